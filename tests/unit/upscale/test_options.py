"""Options: every value out of range and every contradiction is refused in one sentence that names the option."""

from __future__ import annotations

import pytest

from rvrt_cli.errors import UsageError
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.upscale.options import UpscaleOptions


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"strength": 1.5}, "--strength"),
        ({"denoise": -1}, "--denoise"),
        ({"crf": 99}, "--crf"),
        ({"start_s": -1}, "--start"),
        ({"start_s": 5, "end_s": 4}, "--end"),
        ({"end_s": 0}, "--end"),
        ({"frames": 0}, "--frames"),
        ({"preview": 0}, "--preview"),
        ({"preview": 2, "start_s": 3}, "--preview"),
        ({"scale": 5}, "--scale"),
        ({"scale": 1}, "--scale 1"),
        ({"lossless": True, "crf": 10}, "--lossless"),
        ({"deinterlace": "maybe"}, "--deinterlace"),
        ({"compare": "above"}, "--compare"),
        ({"window": 5}, "--window"),
        ({"overlap": 3}, "--overlap"),
        ({"tile": "big"}, "--tile"),
        ({"tile": "100"}, "--tile"),
        ({"tile": "64", "tile_overlap": 40}, "--tile-overlap"),
        ({"memory_limit": "lots"}, "--memory-limit"),
        ({"threads": -1}, "--threads"),
        ({"segment_frames": 0}, "--segment-frames"),
        ({"strength": float("nan")}, "--strength"),
    ],
)
def test_refused(values, named):
    with pytest.raises(UsageError, match=named):
        UpscaleOptions(**values).check()


def test_tiles():
    assert UpscaleOptions().fixed_tile() is None
    assert UpscaleOptions(tile="off").fixed_tile() == TilePlan(None)
    assert UpscaleOptions(tile="128", tile_overlap=8).fixed_tile() == TilePlan(128, 8)


def test_identity_has_what_changes_bytes_and_nothing_else(tmp_path):
    base = UpscaleOptions().identity()
    assert UpscaleOptions(work_dir=tmp_path, keep_work=True, overwrite=True, resume=False).identity() == base
    assert UpscaleOptions(crf=12).identity() != base
    assert UpscaleOptions(window=8).identity() != base


def test_bicubic_behind_a_network_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone it refuses --device gpu, which it would ignore; here the network before it takes that."""
    from rvrt_cli.inference.restorer import IdentityRestorer
    from rvrt_cli.upscale import sequential

    real, asked = sequential.load_restorer, []

    def load(model: str, weights: object = None, **settings: object) -> object:
        asked.append((model, settings.get("device")))
        return real(model, **settings) if model == "bicubic" else IdentityRestorer()

    monkeypatch.setattr(sequential, "load_restorer", load)
    chain = sequential.load_sequence(
        UpscaleOptions(model="bicubic", deblur=True, device="gpu", precision="mixed")
    )
    assert chain.scale == 4
    assert asked == [("deblur", "gpu"), ("bicubic", None)]
    with pytest.raises(UsageError, match="leave out --device gpu"):
        sequential.load_sequence(UpscaleOptions(model="bicubic", device="gpu"))


@pytest.mark.parametrize(("window", "shared"), [(None, 6), (24, 6), (12, 6), (8, 4), (6, 2), (2, 0)])
def test_short_windows_share_fewer_frames(window: int | None, shared: int) -> None:
    options = UpscaleOptions(window=window)
    options.check()
    assert options.context_frames == shared
    assert UpscaleOptions(window=24, overlap=8).context_frames == 8
