"""Runs a real clip in full and in mixed precision on one engine and prints the PSNR between the two, one JSON object per network.

``mixed_cases.py CLIP ENGINE MODEL...``: ENGINE is a value of ``--backend``; CLIP a folder of frames; MODEL a name or a file.
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


def main(clip: Path, engine: str, names: list[str]) -> None:
    from rvrt_cli.inference.device import choose
    from rvrt_cli.inference.model_restorer import ModelRestorer
    from rvrt_cli.weights import load_weights, weights_path

    for name in names:
        weights = load_weights(weights_path(name))
        lq = read_clip(clip, 4, 64)
        if weights.config.in_channels == 4:
            sigma = np.full_like(lq[..., :1], 10 / 255)
            lq = np.concatenate([lq, sigma], -1)
        results = []
        for precision in ("fp32", "mixed"):
            restorer = ModelRestorer(weights, choose("cpu", engine, precision), name=name, threads=1)
            results.append(restorer(lq))
            restorer.close()
        full, mixed = results
        psnr = float(-10 * np.log10(np.mean((full - mixed) ** 2) + 1e-20))
        row = {"engine": engine, "model": name, "psnr_db": psnr, "differ": bool((full != mixed).any())}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
