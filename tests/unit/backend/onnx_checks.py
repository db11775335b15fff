"""Checks of the ONNX tracing backend that need a process of their own; prints "ok" per check named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rvrt_cli import backend

backend.select("onnx")

from rvrt_cli.backend import onnx as B  # noqa: E402, N812 - as the model calls it
from rvrt_cli.errors import WeightsError  # noqa: E402 - the backend is selected first
from rvrt_cli.inference.device import Choice  # noqa: E402 - the backend is selected first
from rvrt_cli.inference.graph import build_graph  # noqa: E402 - the backend is selected first
from rvrt_cli.inference.model_restorer import ModelRestorer  # noqa: E402 - the backend is selected first
from rvrt_cli.model.config import PRESETS, ModelConfig  # noqa: E402 - the backend is selected first
from rvrt_cli.model.initialise import initial_tensors  # noqa: E402 - the backend is selected first
from rvrt_cli.model.rvrt import RVRT  # noqa: E402 - the backend is selected first
from rvrt_cli.model.shapes import parameter_shapes  # noqa: E402 - the backend is selected first
from rvrt_cli.weights import Weights  # noqa: E402 - the backend is selected first

TINY = replace(PRESETS["light-s"], embed_dim=8, num_heads=2, align_heads=2, passes=2)


def tiny(config: ModelConfig = TINY) -> Weights:
    tensors = initial_tensors(parameter_shapes(config), config, 0)
    rng = np.random.default_rng(1)
    return Weights(
        config, {name: x + rng.normal(0, 0.05, x.shape).astype(np.float32) for name, x in tensors.items()}
    )


def run(record: Callable[[B.Tensor], B.Tensor], x: np.ndarray, half: bool = False) -> np.ndarray:
    """One recorded function of one input, in ONNX Runtime."""
    import onnxruntime as ort
    import spox

    argument = spox.argument(spox.Tensor(np.float32, x.shape))
    with B.precision(half):
        graph = spox.build({"x": argument}, {"y": B.finish(record(B.graph_input(argument, x.shape)))})
    graph.ir_version = 9
    return ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]


def shapes() -> None:
    for config in PRESETS.values():
        declared = {name: parameter.shape for name, parameter in RVRT(config).named_parameters()}
        assert declared == parameter_shapes(config)
        assert list(declared) == list(parameter_shapes(config))


def names() -> None:
    tensors = dict(tiny().tensors)
    first = next(iter(tensors))
    for damaged, word in (
        ({**tensors, "extra.weight": np.zeros(1, np.float32)}, "unknown"),
        ({k: v for k, v in tensors.items() if k != first}, "missing"),
        ({**tensors, first: np.zeros((1, 2, 3), np.float32)}, "shape"),
    ):
        with pytest.raises(WeightsError, match=word):
            build_graph(TINY, damaged, 2, 8, 8)


def sizes() -> None:
    """Any size and any number of frames on both runtimes; the same pictures from both; long clips record."""
    weights = tiny()
    rng = np.random.default_rng(0)
    engines = [
        ModelRestorer(weights, Choice("cpu", "onnx", name, "fp32", ""), name="tiny")
        for name in ("openvino", "onnxruntime-cpu")
    ]
    for size in [(1, 1, 1), (3, 1, 5), (2, 9, 4), (5, 13, 17)]:
        lq = rng.random((*size, 3), dtype=np.float32)
        results = [engine(lq) for engine in engines]
        assert all(y.shape == (size[0], 4 * size[1], 4 * size[2], 3) for y in results)
        # Features wait in float16: where the engines' float32 differs in its last digits, a stored value may round the other way.
        assert np.abs(results[0] - results[1]).max() < 1e-3
    engines[1](rng.random((40, 4, 4, 3), dtype=np.float32))


def cache() -> None:
    """A second restorer uses the stored program; a damaged one is replaced; the pictures stay the same."""
    from rvrt_cli.inference.cache import cache_folder, read_entry

    lq = np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)
    choice = Choice("cpu", "onnx", "openvino", "fp32", "")
    first = ModelRestorer(tiny(), choice, name="tiny")(lq)
    entries = {path: path.read_bytes() for path in cache_folder().iterdir()}
    assert sorted(path.suffix for path in entries) == [".blob"] * 4 + [".onnx"] * 4  # a program for each step
    assert (ModelRestorer(tiny(), choice, name="tiny")(lq) == first).all()
    for path, data in entries.items():
        path.write_bytes(data[: len(data) // 2])
    assert (ModelRestorer(tiny(), choice, name="tiny")(lq) == first).all()
    assert {path.name for path in cache_folder().iterdir()} == {path.name for path in entries}
    assert all(read_entry(path) is not None for path in entries)


def local_attention() -> None:
    """Tiles give what attention to the 3x3 neighbours in every source frame gives, at sizes that tiles do not divide."""
    rng = np.random.default_rng(0)
    for frames, sources in ((2, 2), (1, 2), (2, 1)):
        for h, w in ((1, 1), (3, 5), (8, 9)):
            q = rng.standard_normal((frames, h, w, 6)).astype(np.float32)
            k, v = rng.standard_normal((2, sources, h, w, 6)).astype(np.float32)
            bias = rng.standard_normal((2, 9 * sources)).astype(np.float32)
            x = np.concatenate([q, k, v])[None]

            def attend(t: B.Tensor, frames: int = frames, sources: int = sources, bias=bias) -> B.Tensor:
                queries, keys = t[:, :frames], t[:, frames : frames + sources]
                return B.local_attention(queries, keys, t[:, frames + sources :], 2, B.parameter(bias))

            y = run(attend, x)[0]
            keys, values = (np.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0))) for a in (k, v))
            expected = np.zeros_like(q)
            for f in range(frames):
                for i in range(h):
                    for j in range(w):
                        for head in range(2):
                            part = slice(3 * head, 3 * head + 3)
                            near = keys[:, i : i + 3, j : j + 3, part].reshape(9 * sources, 3)
                            score = np.exp(near @ q[f, i, j, part] / np.sqrt(3) + bias[head])
                            mean = score @ values[:, i : i + 3, j : j + 3, part].reshape(9 * sources, 3)
                            expected[f, i, j, part] = mean / score.sum()
            assert np.abs(y - expected).max() < 1e-5


def pooling() -> None:
    """Means count only the pixels that exist, and limits hold on both sides."""
    x = np.random.default_rng(0).standard_normal((2, 4, 7, 3)).astype(np.float32)
    y = run(lambda t: B.box_mean(t, 3), x)
    for i in range(4):
        for j in range(7):
            near = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            assert np.abs(y[:, i, j] - near.mean((1, 2))).max() < 1e-6
    assert (run(lambda t: B.clamp(t, 0.5), x) == np.clip(x, -0.5, 0.5)).all()


def motion() -> None:
    """Lucas-Kanade flow finds a shift of several pixels to a tenth of one, and none where nothing moves or nothing is to be seen."""
    import cv2

    from rvrt_cli.model.lucas_kanade import LucasKanade

    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.random((80, 96, 3), np.float32), (0, 0), 1.5)
    scene = (scene - scene.min()) / np.ptp(scene)
    flow = LucasKanade()

    def estimate(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
        return run(lambda t: flow(t[:1], t[1:]), np.stack([reference, other]))[0]

    for dx, dy in ((3.0, -2.0), (-0.4, 0.7), (6.5, 5.25)):
        moved = cv2.warpAffine(scene, np.array([[1, 0, dx], [0, 1, dy]]), (96, 80), flags=cv2.INTER_CUBIC)
        inner = estimate(scene[10:63, 10:81], moved[10:63, 10:81])[8:-8, 8:-8]
        assert np.abs(np.median(inner, (0, 1)) - (dx, dy)).max() < 0.1
        assert np.abs(inner - (dx, dy)).mean() < 0.25
    assert np.abs(estimate(scene, scene)).max() < 1e-4
    assert np.abs(estimate(np.full_like(scene, 0.5), np.full_like(scene, 0.7))).max() < 1e-4
    for size in ((1, 1), (1, 9), (5, 3)):
        assert estimate(scene[: size[0], : size[1]], scene[: size[0], : size[1]]).shape == (*size, 2)


def zeros() -> None:
    """Zero inputs of a convolution are left out without changing its result, and with them their weights."""
    rng = np.random.default_rng(0)
    weight, bias = B.parameter(rng.standard_normal((4, 6, 3, 3))), B.parameter(rng.standard_normal(4))
    x = rng.random((1, 2, 5, 6, 3), dtype=np.float32)
    joined = run(lambda t: B.conv2d(B.concat([B.zeros_like(t), t], 4), weight, bias), x)
    whole = run(lambda t: B.conv2d(t, weight, bias), np.concatenate([np.zeros_like(x), x], -1))
    assert np.abs(joined - whole).max() < 1e-5
    assert (run(lambda t: B.zeros_like(t) + t, x) == x).all()
    assert (run(lambda t: B.flip(B.flip(t, 1), 1), x) == x).all()


def half() -> None:
    """A float16 graph takes and gives float32, and positions keep full precision."""
    x = np.linspace(0, 1, 3000, dtype=np.float32).reshape(1, 1, 3000, 1)
    at = np.stack([np.arange(3000) + 0.25, np.zeros(3000)], -1).astype(np.float32)[None, None]
    y = run(lambda t: B.sample(t, B.constant(at)), x, half=True)
    assert np.abs(y[0, 0, :-1, 0] - (x[0, 0, :-1, 0] + 0.25 / 2999)).max() < 1e-3


def export() -> None:
    """The exported files run elsewhere, in float16 close to float32; impossible sizes are refused before anything is written."""
    import tempfile
    from pathlib import Path

    import onnxruntime as ort

    from rvrt_cli.errors import UsageError
    from rvrt_cli.inference.export import export_onnx

    lq = np.random.default_rng(0).random((1, 2, 8, 12, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for precision in ("fp32", "fp16"):
            path = Path(folder) / f"{precision}.onnx"
            export_onnx(tiny(), path, 2, 8, 12, precision)
            results.append(
                ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"lq": lq})[0]
            )
        assert results[0].shape == (1, 2, 32, 48, 3)
        assert 0 < np.mean((results[0] - results[1]) ** 2) < 1e-5
        assert (Path(folder) / "fp16.onnx").stat().st_size < (Path(folder) / "fp32.onnx").stat().st_size
        # What the network cannot take is padded inside the graph, as the restorer pads it.
        path = Path(folder) / "tiny.onnx"
        export_onnx(tiny(), path, 3, 1, 3)
        found = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, {"lq": lq[:, [0, 1, 1], :1, :3]}
        )[0]
        assert found.shape == (1, 3, 4, 12, 3)
        padded = np.pad(lq[:, [0, 1, 1, 1], :1, :3], [(0, 0), (0, 0), (0, 3), (0, 1), (0, 0)], "reflect")
        graph = build_graph(TINY, tiny().tensors, 4, 4, 4)
        expected = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"lq": padded})[
            0
        ]
        assert np.abs(found - expected[:, :3, :4, :12]).max() < 1e-6
        for wrong in [(0, 8, 8, "fp32"), (2, 0, 8, "fp32"), (2, 8, 8, "int8")]:
            with pytest.raises(UsageError):
                export_onnx(tiny(), Path(folder) / "wrong.onnx", *wrong)
        assert not (Path(folder) / "wrong.onnx").exists()


if __name__ == "__main__":
    for check in sys.argv[1:]:
        globals()[check]()
        sys.stdout.write("ok\n")
