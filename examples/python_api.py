"""Upscale frames in memory and a film from Python. Usage: python python_api.py FILM OUT [MODEL]"""

from __future__ import annotations

import sys

import numpy as np

from rvrt_cli import load_model, upscale_frames, upscale_video
from rvrt_cli.errors import RvrtError
from rvrt_cli.upscale.events import Event, SegmentDone


def show(event: Event) -> None:
    """Called for every event of the run, in the calling thread."""
    if isinstance(event, SegmentDone):
        print(f"{event.frames_done} frames are safe on the disk")


def main() -> int:
    film, out, model_name = [*sys.argv[1:], "light-s"][:3]
    y, x = np.mgrid[:24, :32]
    wave = [
        np.repeat(np.uint8(127 + 100 * np.sin((x + t) / 3) * np.cos(y / 3))[..., None], 3, axis=-1)
        for t in range(6)
    ]
    try:
        with load_model(model_name) as model:
            sr = upscale_frames(np.stack(wave), model=model)
            print("frames in memory:", sr.shape, sr.dtype)
            report = upscale_video(film, out, model=model, on_event=show)
    except RvrtError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    print(
        f"{report.output}: {report.frames} frames of {report.output_width}x{report.output_height}, verified: {report.verified}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
