"""Exports a golden network as MindIR, reads it back without the model's code and prints its greatest error.

Started by test_export_mindir.py: ``mindir_case.py GOLDEN OUT.mindir``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rvrt_cli.inference.export_mindir import export_mindir
from rvrt_cli.weights.files import load_weights


def main(golden: Path, out: Path) -> None:
    with np.load(golden / "light_small.npz") as arrays:
        x, expected = arrays["x1"].transpose(0, 1, 3, 4, 2), arrays["y1"].transpose(0, 1, 3, 4, 2)
    export_mindir(load_weights(golden / "light_small.ckpt"), out, *x.shape[1:4])

    import mindspore as ms

    network = ms.nn.GraphCell(ms.load(str(out)))
    result = network(ms.Tensor(np.ascontiguousarray(x))).asnumpy()
    sys.stdout.write(f"{np.abs(result - expected).max()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
