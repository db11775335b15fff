"""Runs tiny pictures and short clips through narrow networks on one engine and keeps the results in an .npz file.

``size_cases.py ENGINE OUT.npz PRESET...``: ENGINE is a value of ``--backend``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

SIZES = ((1, 1, 1), (3, 1, 1), (1, 2, 2), (3, 2, 2), (1, 3, 1), (3, 3, 1))
"""Frames, height, width."""

NARROW = {
    "light-s": {"embed_dim": 24, "num_blocks": (1, 1, 1)},
    "light-s-x2": {"embed_dim": 24, "num_blocks": (1, 1, 1)},
    "light": {"embed_dim": 24, "num_blocks": (1, 1, 1), "depth": 1, "num_heads": 2, "align_heads": 2},
    "rvrt": {
        "embed_dim": 24, "num_blocks": (1, 1, 1), "depth": 1, "num_heads": 2, "align_heads": 2, "deformable_groups": 4,
    },
    "denoise": {
        "embed_dim": 24, "num_blocks": (1, 1, 1), "depth": 1, "num_heads": 2, "align_heads": 2, "deformable_groups": 4,
        "conv_groups": (1, 1, 1, 1, 1, 1),
    },
}  # fmt: skip


def main(engine: str, output: Path, presets: list[str]) -> None:
    from rvrt_cli.inference.device import choose
    from rvrt_cli.inference.model_restorer import ModelRestorer
    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.model.initialise import initial_tensors
    from rvrt_cli.model.shapes import parameter_shapes
    from rvrt_cli.weights import Weights

    results = {}
    for preset in presets:
        config = replace(PRESETS[preset], **NARROW[preset])
        rng = np.random.default_rng(7)
        # Some layers begin with zeros, behind which an engine could compute anything.
        tensors = {
            name: (value + rng.normal(0, 0.02, value.shape)).astype(np.float32)
            for name, value in initial_tensors(parameter_shapes(config), config, 1).items()
        }
        restorer = ModelRestorer(
            Weights(config, tensors), choose("cpu", engine, "fp32"), name=preset, threads=1
        )
        for size in SIZES:
            lq = rng.random((*size, config.in_channels), dtype=np.float32)
            results[f"{preset} {size}"] = restorer(lq)
        restorer.close()
    np.savez(output, **results)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
