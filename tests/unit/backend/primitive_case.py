"""Writes results of single primitives on fixed inputs: ``primitive_case.py torch|mindspore OUT.npz``; started by the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rvrt_cli import backend


def main(engine: str, out: Path) -> None:
    backend.select(engine)
    if engine == "mindspore":
        from rvrt_cli.backend import mindspore as kernel

        kernel.set_device("cpu")
        kernel.set_mode(graph=False)
    from rvrt_cli.backend import active as B  # noqa: N812 - as the model calls it

    rng = np.random.default_rng(11)

    def tensor(*shape: int, scale: float = 1.0):
        return B.from_numpy((scale * rng.standard_normal(shape)).astype(np.float32))

    wide = B.from_numpy(np.linspace(-9, 9, 4001, dtype=np.float32))
    results = {name: getattr(B, name)(wide) for name in ("tanh", "gelu", "gelu_tanh", "relu", "leaky_relu")}
    results["clamp"] = B.clamp(wide, 2.5)
    for h, w in ((1, 1), (3, 7), (8, 8), (9, 5)):
        q, k, v = (tensor(2, 2, h, w, 8) for _ in range(3))
        offset = tensor(2, 2, h, w, 2, 4, 9, 2, scale=2.0)
        image, place = tensor(3, h, w, 4), tensor(3, h, w, 2, scale=6.0)
        results |= {
            f"local_attention {h}x{w}": B.local_attention(q, k, v, 2),
            f"local_attention one query frame, bias {h}x{w}": B.local_attention(
                q[:, :1], k, v, 2, tensor(2, 18)
            ),
            f"local_attention one source frame {h}x{w}": B.local_attention(
                q, k[:, :1], v[:, :1], 4, tensor(4, 9)
            ),
            f"box_mean {h}x{w}": B.box_mean(tensor(2, h, w, 3), 5),
            f"deformable_attention {h}x{w}": B.deformable_attention(q, k, v, offset, 2, 4),
            f"sample {h}x{w}": B.sample(image, place),
            f"sample border {h}x{w}": B.sample(image, place, True),
            f"resize {h}x{w}": B.resize_bilinear(image, 2 * h + 1, w + 3),
            f"resize corners {h}x{w}": B.resize_bilinear(image, 2 * h + 1, w + 3, True),
            f"pad {h}x{w}": B.pad_end(image, 1, 2),
            f"pad replicate {h}x{w}": B.pad_end(image, 2, 2, True),
            f"flip {h}x{w}": B.flip(image, 2),
            f"pixel_shuffle {h}x{w}": B.pixel_shuffle(tensor(2, 3, h, w, 12), 2),
            f"conv grouped {h}x{w}": B.conv2d(image, tensor(6, 2, 3, 3), tensor(6), 2, 1, 2),
            f"conv 1x1 {h}x{w}": B.conv2d(image, tensor(6, 4, 1, 1), tensor(6), 1, 0, 1),
        }
    qkv, bias, mask = tensor(6, 5, 24), tensor(2, 5, 5), tensor(3, 5, 5)
    results |= {
        "window_attention": B.window_attention(qkv, 2, None, None),
        "window_attention bias mask": B.window_attention(qkv, 2, bias, mask),
        "layer_norm": B.layer_norm(qkv, tensor(24), tensor(24), 1e-5),
        "avg_pool2": B.avg_pool2(tensor(2, 4, 6, 3)),
        "linear": B.linear(qkv, tensor(7, 24), tensor(7)),
    }
    np.savez(out, **{name: B.to_numpy(value) for name, value in results.items()})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
