"""The restorer around an engine: padding of any size, the program kept, identity, memory, errors. The engine is a double."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvrt_cli.errors import DeviceError, InputError, OutOfMemoryError_, UsageError, WeightsError
from rvrt_cli.inference.device import Choice
from rvrt_cli.inference.memory import memory_ran_out, translate_engine_errors
from rvrt_cli.inference.model_restorer import ModelRestorer, pad_frame
from rvrt_cli.inference.programs import PREPARE, step_programs
from rvrt_cli.inference.restorer import DenoisingRestorer, describe_engine, load_restorer
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes
from rvrt_cli.weights import Weights, save_weights

CPU = Choice("cpu", "onnx", "openvino", "fp32", "test")


def weights(name: str, seed: int = 0) -> Weights:
    config = PRESETS[name]
    return Weights(config, initial_tensors(parameter_shapes(config), config, seed))


class Enlarger:
    """Steps that repeat every pixel; records the sizes it is given."""

    def __init__(self, scale: int, sizes: list[tuple[int, ...]]) -> None:
        self.scale, self.sizes = scale, sizes

    def run(self, program: str, inputs: Sequence[Any]) -> list[Any]:
        if program == "reconstruct":
            return [inputs[0].repeat(self.scale, 2).repeat(self.scale, 3)]
        if program == "prepare":
            self.sizes.append(inputs[0].shape)
        return [np.zeros(1), np.zeros(1)]

    def numbers(self, value: Any) -> np.ndarray:
        return value


@pytest.mark.parametrize("name", ["light-s", "light", "rvrt", "deblur", "denoise"])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 9), (3, 7, 2), (4, 65, 130)])
def test_any_size_is_padded_to_what_the_model_takes_and_cropped_back(
    monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int, int]
) -> None:
    config, sizes = PRESETS[name], []
    restorer = ModelRestorer(weights("light-s"), CPU, name=name)
    restorer.config, restorer.scale, restorer.channels = config, config.upscale, config.in_channels
    monkeypatch.setattr(restorer, "_start", lambda height, width: Enlarger(config.upscale, sizes))
    lq = np.random.default_rng(0).random((*size, config.in_channels), dtype=np.float32)
    y = restorer(lq)
    np.testing.assert_array_equal(y, lq[..., :3].repeat(config.upscale, 1).repeat(config.upscale, 2))
    assert len(sizes) == -(-size[0] // 2)
    _, t, h, w, _ = sizes[0]
    assert t == 2
    for padded, given in ((h, size[1]), (w, size[2])):
        assert padded % config.size_multiple == 0
        assert padded >= max(config.min_size, given)
        assert padded < max(config.min_size, given) + config.size_multiple


def test_padding_mirrors_without_repeating_the_edge() -> None:
    lq = np.arange(5, dtype=np.float32).reshape(1, 5, 1).repeat(3, 2)
    padded = pad_frame(lq, replace(PRESETS["light-s"], window=(2, 8, 8)))
    assert padded.shape == (8, 8, 3)
    np.testing.assert_array_equal(padded[7, :, 0], [0, 1, 2, 3, 4, 3, 2, 1])


def test_the_programs_of_one_size_are_kept_and_freed_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    restorer = ModelRestorer(weights("light-s"), CPU, name="light-s")
    alive: weakref.WeakSet[Enlarger] = weakref.WeakSet()

    def start(height: int, width: int) -> Enlarger:
        assert not alive, "the programs before take memory meanwhile"
        made.append((height, width))
        programs = Enlarger(4, [])
        alive.add(programs)
        return programs

    monkeypatch.setattr(restorer, "_start", start)
    for side, frames in ((8, 2), (8, 5), (16, 2), (16, 2), (8, 2)):
        restorer(np.zeros((frames, side, side, 3), np.float32))
    assert [size[1] for size in made] == [8, 16, 8]


def test_the_fingerprint_follows_weights_engine_and_precision() -> None:
    restorers = [
        ModelRestorer(weights("light-s"), CPU, name="light-s"),
        ModelRestorer(weights("light-s", seed=1), CPU, name="light-s"),
        ModelRestorer(weights("light-s"), replace(CPU, precision="mixed"), name="light-s"),
        ModelRestorer(weights("light-s"), replace(CPU, runtime="onnxruntime-cpu"), name="light-s"),
    ]
    assert len({restorer.fingerprint for restorer in restorers}) == 4
    assert restorers[0].fingerprint == ModelRestorer(weights("light-s"), CPU, name="other").fingerprint
    assert "OpenVINO" in restorers[0].engine
    assert "fp32" in restorers[0].engine


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A weights file of each kind, all called something else than their preset."""
    paths = {preset: tmp_path / f"my-{preset}.safetensors" for preset in ("light-s", "deblur")}
    for preset, path in paths.items():
        config = replace(PRESETS[preset], embed_dim=24, num_heads=2, align_heads=2, deformable_groups=4)
        save_weights(path, Weights(config, initial_tensors(parameter_shapes(config), config, seed=1)))
    return paths


def test_a_file_names_its_network(files: dict[str, Path]) -> None:
    """It used to be called what ``--model`` said, or light-s, whatever the file held."""
    assert load_restorer(weights=files["deblur"]).name == "my-deblur (deblur)"
    assert load_restorer(str(files["deblur"])).scale == 1
    assert load_restorer("light-s", files["light-s"]).name == "my-light-s (light-s)"
    assert load_restorer(str(files["light-s"]), files["light-s"]).name == "my-light-s (light-s)"


def test_a_file_that_is_not_the_named_network_is_refused(files: dict[str, Path]) -> None:
    for model in ("rvrt", "rvrt-vimeo", "light-s"):
        with pytest.raises(UsageError, match=f"holds deblur, not .*leave out --model {model}"):
            load_restorer(model, files["deblur"])
    with pytest.raises(UsageError, match="two files"):
        load_restorer(str(files["light-s"]), files["deblur"])
    with pytest.raises(UsageError, match="two files"):
        load_restorer("no-such-name", files["deblur"])
    with pytest.raises(WeightsError, match="does not exist"):
        load_restorer(str(files["deblur"].with_suffix(".pt")))


@pytest.mark.parametrize(
    "ignored",
    [{"weights": Path("x.pth")}, {"device": "gpu"}, {"backend": "torch"}, {"precision": "mixed"}],
)
def test_bicubic_refuses_what_it_would_ignore(ignored: dict[str, object]) -> None:
    (name,) = ignored
    with pytest.raises(UsageError, match=f"leave out --{name}"):
        load_restorer("bicubic", **ignored)
    assert load_restorer("bicubic", device="cpu", precision="fp32").name == "bicubic"
    with pytest.raises(UsageError, match="must be one of"):
        load_restorer("bicubic", backend="nonsense")


def test_the_engine_is_described_with_its_reason() -> None:
    restorer = ModelRestorer(weights("denoise"), replace(CPU, reason="why"), name="denoise")
    assert describe_engine(DenoisingRestorer(restorer, 10)).endswith("on CPU, fp32: why")
    assert describe_engine(load_restorer("bicubic")) == load_restorer("bicubic").engine


def test_changed_code_is_another_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Between two releases too: a changed primitive must never run an old graph from the cache."""
    import rvrt_cli
    from rvrt_cli.inference import graph

    package = Path(rvrt_cli.__file__).parent
    for name in ("model", "backend", "inference", "imaging"):
        shutil.copytree(package / name, tmp_path / "rvrt_cli" / name)
    monkeypatch.setattr(graph, "FOLDER", str(tmp_path / "rvrt_cli"))

    def found(change: str = "") -> tuple[str, Path]:
        if change:
            with open(tmp_path / "rvrt_cli" / change, "a") as file:
                file.write("# changed\n")
        graph.code_digest.cache_clear()
        entries: list[Path] = []
        restorer = ModelRestorer(weights("light-s"), CPU, name="light-s")
        with monkeypatch.context() as patch:
            patch.setattr(
                "rvrt_cli.inference.model_restorer.OpenVinoSession",
                lambda graph, *_, **__: entries.append(graph._path),
            )
            restorer._compile(step_programs(restorer.config, 8, 8)[PREPARE], (8, 8), False)
        return restorer.fingerprint, entries[0]

    seen = {found()}
    assert found() in seen
    for change in ("backend/onnx.py", "model/layers.py", "imaging/cubic.py", "inference/graph.py"):
        assert not {part for pair in seen for part in pair} & set(found(change))
        seen.add(found())
    assert found("backend/torch.py") in seen  # another backend's code changes nothing here
    graph.code_digest.cache_clear()


def test_input_of_another_shape_is_refused() -> None:
    restorer = ModelRestorer(weights("light-s"), CPU, name="light-s")
    for shape in [(2, 8, 8, 4), (8, 8, 3), (0, 8, 8, 3)]:
        with pytest.raises(InputError, match="light-s takes frames"):
            restorer(np.zeros(shape, np.float32))


def test_running_out_of_memory_frees_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def run(self, program: str, inputs: Sequence[Any]) -> list[Any]:
            with translate_engine_errors("OpenVINO"):
                raise RuntimeError("Exception from src: std::bad_alloc")

    restorer = ModelRestorer(weights("light-s"), CPU, name="light-s")
    monkeypatch.setattr(restorer, "_start", lambda height, width: Full())
    with pytest.raises(OutOfMemoryError_, match="smaller --tile"):
        restorer(np.zeros((2, 8, 8, 3), np.float32))
    assert restorer._programs is None


def test_memory_is_asked_for_by_size_and_window() -> None:
    for name in ("light-s", "light", "rvrt", "denoise"):
        restorer = ModelRestorer(weights(name), CPU, name=name)
        small = restorer.memory_bytes(64, 64, 8, 4)
        assert small < restorer.memory_bytes(64, 64, 24, 4) < restorer.memory_bytes(64, 64, 24, 8)
        assert restorer.memory_bytes(64, 64, 24, 8) < restorer.memory_bytes(128, 64, 24, 8)


def test_engine_errors_are_explained() -> None:
    with (
        pytest.raises(DeviceError, match=r"OpenVINO failed: no such port"),
        translate_engine_errors("OpenVINO"),
    ):
        raise RuntimeError("no such port\nlong trace")
    with pytest.raises(DeviceError, match="not installed"), translate_engine_errors("OpenVINO"):
        raise ImportError("libtbb.so")
    with pytest.raises(TypeError), translate_engine_errors("OpenVINO"):
        raise TypeError("ours")
    assert memory_ran_out(MemoryError())
    assert memory_ran_out(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not memory_ran_out(RuntimeError("shapes differ"))
