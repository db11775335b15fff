"""Memory: sizes are read, plans fit their limit, the fallback only ever gets smaller."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.model_restorer import estimate_memory
from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.inference.tiles import TilePlan, check_tiles
from rvrt_cli.model.config import PRESETS
from rvrt_cli.system.memory import peak_rss_mib, total_memory
from rvrt_cli.upscale.level import Level
from rvrt_cli.upscale.memory import (
    GOOD_TILE,
    AutoPlan,
    MemoryModel,
    encoder_bytes,
    parse_size,
    plan_auto,
    smaller_steps,
)
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.plan import plan_work

GIB = 1 << 30
NEED = MemoryModel(1080, 1920, 4)


def light_s(height: int, width: int, window: int, lookahead: int) -> int:
    """What light-s needs."""
    return estimate_memory(PRESETS["light-s"], height, width, window, lookahead)


@pytest.mark.parametrize(
    ("text", "size"),
    [("6G", 6 * GIB), ("800M", 800 << 20), ("1.5 GiB", 3 * GIB // 2), ("123", 123), ("2kb", 2048)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "6 parsecs", "1,5G"])
def test_bad_sizes(text):
    with pytest.raises(UsageError, match="--memory-limit"):
        parse_size(text)


def auto(limit, window=None, tile=None, need=NEED):
    return plan_auto(need, limit, window, tile, default_window=24, tile_overlap=16)


def peak(plan, need=NEED):
    return need.peak_bytes(plan.level.window, plan.level.tile, plan.overlapped)


def test_less_memory_never_gives_larger_work():
    peaks = [peak(auto(limit * GIB)) for limit in (256, 64, 32, 16, 8, 4)]
    assert peaks == sorted(peaks, reverse=True)


@pytest.mark.parametrize("gib", [8, 16, 32, 64, 200])
def test_plans_fit(gib):
    plan = auto(gib * GIB)
    check_tiles(plan.level.tile)
    assert peak(plan) <= gib * GIB


def test_full_hd_fits_half_of_a_24_gb_machine():
    need = MemoryModel(1080, 1920, 4, light_s, encoder_bytes("libx264", 8, 4 * 1080 * 4 * 1920), 4)
    plan = auto(12 * GIB, need=need)
    assert peak(plan, need) <= 12 * GIB
    assert plan.level.tile.tile_px is None or plan.level.tile.tile_px >= GOOD_TILE


def test_full_hd_fits_half_of_a_16_gb_machine():
    need = MemoryModel(1080, 1920, 4, light_s, encoder_bytes("libx264", 8, 4 * 1080 * 4 * 1920), 4)
    plan = auto(8 * GIB, need=need)
    assert peak(plan, need) <= 8 * GIB
    assert plan.level.tile.tile_px is not None


def test_a_window_of_tiles_waits_as_codes():
    need = MemoryModel(1080, 1920, 4, lambda *_: 0)
    codes = 1080 * 1920 * 16 * 3 * 2
    source = 1080 * 1920 * 3 * 4
    more = need.peak_bytes(14, TilePlan(96, 16), False) - need.peak_bytes(12, TilePlan(96, 16), False)
    assert more == 2 * (codes + source)
    assert need.peak_bytes(14, TilePlan(None), False) == need.peak_bytes(12, TilePlan(None), False)
    # A tile as large as the picture is the whole picture.
    assert need.peak_bytes(12, TilePlan(1920, 16)) == need.peak_bytes(12, TilePlan(None))


def test_little_memory_is_not_saved():
    plan = auto(8 * GIB, need=MemoryModel(90, 160, 4, light_s, lookahead=6))
    assert plan == AutoPlan(Level(24), True)


def test_memory_is_not_taken_for_little_time():
    """The cheapest in memory of the plans that take at most a twentieth more time than the fastest one that fits."""
    need = MemoryModel(1080, 1920, 4, light_s, lookahead=6)
    for limit in (64, 16, 8):
        plan = auto(limit * GIB, need=need)
        chosen = need.relative_time(plan.level.window, plan.level.tile, plan.overlapped)
        for window in (8, 12, 16, 24):
            for tile in (TilePlan(None), *(TilePlan(side, 16) for side in (96, 256, 512, 1024))):
                if need.peak_bytes(window, tile) <= limit * GIB:
                    time = need.relative_time(window, tile)
                    assert chosen <= 1.05 * time
                    assert (
                        time > 1.05 * chosen
                        or peak(plan, need) <= need.peak_bytes(window, tile)
                        or time > chosen
                    )


def test_time_grows_with_what_is_computed_twice():
    need = MemoryModel(270, 480, 4, light_s, lookahead=6)
    whole = [need.relative_time(window, TilePlan(None)) for window in (8, 12, 16, 24)]
    assert whole == sorted(whole, reverse=True)
    assert (
        need.relative_time(24, TilePlan(96, 16)) > need.relative_time(24, TilePlan(160, 16)) > whole[-1] > 1
    )
    assert need.relative_time(24, TilePlan(480, 16)) == whole[-1]


def test_when_nothing_fits_tiles_stay_useful():
    plan = auto(1)
    assert (plan.level.window, plan.level.tile.tile_px, plan.overlapped) == (8, GOOD_TILE, False)
    assert auto(1, tile=TilePlan(None)).level.tile == TilePlan(None)


def test_encoders_count():
    assert encoder_bytes(None, 8, 100) < encoder_bytes("libx264", 8, 100) < encoder_bytes("libsvtav1", 8, 100)
    assert encoder_bytes("libx265", 10, 100) == 2 * encoder_bytes("libx265", 8, 100)
    assert encoder_bytes("some_other", 8, 100) > 0


def test_a_plan_that_cannot_fit_says_so():
    options = UpscaleOptions(memory_limit="200M")
    work = plan_work(options, BicubicRestorer(), 270, 480)
    assert work.warning is not None
    assert "0.2 GiB" in work.warning
    assert "another --codec" in work.warning
    assert plan_work(UpscaleOptions(memory_limit="64G"), BicubicRestorer(), 270, 480).warning is None


def test_what_the_user_fixed_is_kept():
    plan = auto(GIB, window=12, tile=TilePlan(64, 8))
    assert (plan.level.window, plan.level.tile) == (12, TilePlan(64, 8))
    assert auto(GIB, tile=TilePlan(None)).level.tile == TilePlan(None)


def test_the_fallback_takes_smaller_tiles_first_and_ends():
    steps = list(smaller_steps(Level(16), 270, 480))
    tiles = [level.tile.tile_px for level in steps if level.window == 16]
    assert tiles == sorted(tiles, reverse=True)
    assert [level.window for level in steps][len(tiles) :] == [12, 8, 4, 2]
    for level in steps:
        check_tiles(level.tile)


def test_total_memory_is_plausible():
    assert total_memory() > 64 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how Linux counts")
def test_the_peak_of_a_child_is_not_that_of_its_parent():
    ballast = np.ones(300 << 20, np.uint8)
    code = "from rvrt_cli.system.memory import peak_rss_mib; print(peak_rss_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300
    assert peak_rss_mib() > ballast.nbytes / (1 << 20)
