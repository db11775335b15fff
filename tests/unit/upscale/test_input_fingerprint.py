"""An input that is replaced, cut or removed while it is upscaled is noticed before its sound is copied."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from upscale_clips import make_clip

from rvrt_cli.errors import InputError
from rvrt_cli.inference.restorer import BicubicRestorer
from rvrt_cli.media import probe
from rvrt_cli.upscale.input_fingerprint import InputFingerprint
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.run import upscale


@pytest.fixture
def film(tmp_path) -> Path:
    return make_clip(tmp_path / "in.mp4", 4, "16x16", audio=True)


def test_a_touched_or_moved_back_film_is_the_same(film):
    fingerprint = InputFingerprint.begin(probe(film))
    fingerprint.check()
    os.utime(film, (1, 1))
    fingerprint.check()
    film.rename(film.with_suffix(".old"))
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        fingerprint.check()
    film.write_bytes(film.with_suffix(".old").read_bytes())
    fingerprint.check()


def test_a_picture_that_changes_is_noticed(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    fingerprint = InputFingerprint.begin(probe(tmp_path))
    fingerprint.check()
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8, 3), 99, np.uint8))
    with pytest.raises(InputError, match="was changed while it was read"):
        fingerprint.check()


def test_the_sound_of_another_film_never_gets_under_the_pictures(film, tmp_path):
    other = make_clip(tmp_path / "other.mp4", 4, "16x16", picture="smptebars", audio=True)
    output = tmp_path / "out.mp4"

    class Replacing(BicubicRestorer):
        def __call__(self, frames):
            if other.exists():
                other.replace(film)
            return super().__call__(frames)

    with pytest.raises(InputError, match="starts anew with what is there now"):
        upscale(film, output, UpscaleOptions(model="bicubic"), restorer=Replacing())
    assert not output.exists()
    said = []
    upscale(film, output, UpscaleOptions(model="bicubic"), restorer=Replacing(), on_event=said.append)
    assert any("Changed since the earlier run" in getattr(event, "message", "") for event in said)
