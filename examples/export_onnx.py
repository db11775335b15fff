"""Export the network and run it in plain ONNX Runtime: how to bring rvrt into a program of your own.

Usage: python export_onnx.py OUT.onnx      Needs: onnxruntime. The graph has a fixed size: 6 frames of 64x64 here.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime

FRAMES, HEIGHT, WIDTH = 6, 64, 64


def main() -> None:
    out = sys.argv[1]
    size = ["--frames", str(FRAMES), "--height", str(HEIGHT), "--width", str(WIDTH)]
    subprocess.run(
        [sys.executable, "-m", "rvrt_cli", "weights", "export", "light-s", out, *size, "--force"], check=True
    )
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    lq = np.random.default_rng(0).random([int(n) for n in given.shape], dtype=np.float32)
    (sr,) = session.run(None, {given.name: lq})
    print(f"{given.name} {lq.shape} -> {sr.shape}; {sr.min():.3f} to {sr.max():.3f}")


if __name__ == "__main__":
    main()
