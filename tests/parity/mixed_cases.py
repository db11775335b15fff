"""Runs a real clip in full and in mixed precision on one engine and prints the PSNR between the two, one JSON object per network.

``mixed_cases.py WEIGHTS_FOLDER CLIP ENGINE FILE...``: ENGINE is a value of ``--backend``; CLIP a folder of frames.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def read_clip(folder: Path, frames: int, side: int) -> np.ndarray:
    """The middle of the first frames, ``(t, side, side, 3)`` float32 in [0, 1]."""
    import cv2

    pictures = []
    for path in sorted(folder.iterdir())[:frames]:
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        top, left = ((size - side) // 2 for size in picture.shape[:2])
        pictures.append(picture[top : top + side, left : left + side])
    return np.stack(pictures).astype(np.float32) / 255


def main(folder: Path, clip: Path, engine: str, names: list[str]) -> None:
    from rvrt_cli.device import choose
    from rvrt_cli.runtime.restorer import ModelRestorer
    from rvrt_cli.weights import load_weights

    lq = read_clip(clip, 4, 64)
    for name in names:
        weights = load_weights(folder / name)
        results = [
            ModelRestorer(weights, choose("cpu", engine, precision), name=name)(lq)
            for precision in ("fp32", "mixed")
        ]
        error = results[0] - results[1]
        psnr = float(-10 * np.log10(np.mean(error**2) + 1e-20))
        sys.stdout.write(json.dumps({"engine": engine, "file": name, "psnr_db": psnr}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
