"""Memory: sizes are read, plans fit their limit, the ladder only ever gets smaller."""

from __future__ import annotations

import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.upscale.memory import Need, parse_size, plan_auto, smaller_steps, total_memory
from rvrt_cli.upscale.tiles import TilePlan, check_tiles

GIB = 1 << 30
NEED = Need(1080, 1920, 4)


@pytest.mark.parametrize(
    ("text", "size"), [("6G", 6 * GIB), ("800M", 800 << 20), ("1.5 GiB", 3 * GIB // 2), ("123", 123), ("2kb", 2048)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "6 parsecs", "1,5G"])
def test_bad_sizes(text):
    with pytest.raises(UsageError, match="--memory-limit"):
        parse_size(text)


def auto(limit, window=None, tile=None):
    return plan_auto(NEED, limit, window, tile, default_window=16, overlap=4, tile_overlap=16)


def test_less_memory_never_gives_larger_work():
    peaks = [NEED.peak_bytes(*auto(limit * GIB)) for limit in (256, 64, 32, 16, 8, 4)]
    assert peaks == sorted(peaks, reverse=True)
    assert auto(1 << 50) == (16, TilePlan(None))


@pytest.mark.parametrize("gib", [16, 32, 64, 200])
def test_plans_fit(gib):
    window, tile = auto(gib * GIB)
    check_tiles(tile)
    assert NEED.peak_bytes(window, tile) <= gib * GIB


def test_what_the_user_fixed_is_kept():
    assert auto(GIB, window=12, tile=TilePlan(64, 8)) == (12, TilePlan(64, 8))
    assert auto(GIB, tile=TilePlan(None))[1] == TilePlan(None)


def test_the_ladder_takes_smaller_tiles_first_and_ends():
    steps = list(smaller_steps(16, TilePlan(None), 4, 270, 480))
    tiles = [tile.tile_px for window, tile in steps if window == 16]
    assert tiles == sorted(tiles, reverse=True)
    assert [window for window, _ in steps][len(tiles) :] == [8]
    for _, tile in steps:
        check_tiles(tile)


def test_total_memory_is_plausible():
    assert total_memory() > 64 << 20
