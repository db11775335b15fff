"""Readers: equal to the frameworks on real files, and on files written byte by byte."""

from __future__ import annotations

import binascii
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import weight_writers as w

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights import read_ckpt, read_pth, read_raw, read_safetensors
from rvrt_cli.weights.raw import decode

ARRAYS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.half": np.array([1.5, -2.0], np.float16),
    "index": np.arange(6).reshape(2, 3),
    "scalar": np.array(3.25, np.float64),
    "none": np.zeros((0, 3), np.float32),
}


def assert_arrays(found: dict[str, np.ndarray]) -> None:
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == (np.int64 if name == "index" else np.float32)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("key", ["params", "params_ema", None])
@pytest.mark.parametrize("writer", ["zip", "legacy"])
def test_pth_written_without_pytorch(tmp_path: Path, writer: str, key: str | None) -> None:
    raw = read_pth(w.write(tmp_path / "a.pth", w.WRITERS[writer](ARRAYS, key)))
    assert_arrays(raw.tensors)
    assert raw.metadata == ({"state_key": key} if key else {})


@pytest.mark.parametrize("case", ["rvrt_sr_small", "rvrt_deblur_small", "rvrt_denoise_small"])
def test_golden_pth_equals_torch(shared: Path, case: str) -> None:
    torch = pytest.importorskip("torch")
    path = shared / "golden" / f"{case}.pth"
    expected = torch.load(path, map_location="cpu", weights_only=True)["params"]
    found = read_pth(path).tensors
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_everything_that_torch_saves(tmp_path: Path, zipped: bool, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(2, 3, 3)
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = {
        **layer.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "half": torch.tensor([1.0, 2.5]).half(),
        "bfloat": torch.tensor([1.0, -3.5, 1e30], dtype=torch.bfloat16),
        "double": torch.tensor([1.25], dtype=torch.float64),
        "long": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "whole": shared,
        "view": shared[1:, ::2],
        "transposed": shared.T,
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "all.pth"
    torch.save(
        {"params": tensors, "epoch": 3}, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol
    )
    found = read_pth(path).tensors
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        value = value.detach()
        expected = value.float().numpy() if value.is_floating_point() else value.numpy()
        assert found[name].dtype == expected.dtype
        assert found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], expected)


def test_big_endian_zip(tmp_path: Path) -> None:
    array = np.array([1.0, -2.0], np.float32)
    data = w.zip_file(
        w.state_dict({"x": w.tensor(array, "0")}),
        {"0": array.astype(">f4").tobytes()},
        extra={"archive/byteorder": b"big"},
    )
    np.testing.assert_array_equal(read_pth(w.write(tmp_path / "a.pth", data)).tensors["x"], array)


def test_state_dict_key_and_bare_state_dict_win_over_other_entries(tmp_path: Path) -> None:
    ema, plain = (w.tensor(np.full(2, value, np.float32), str(value)) for value in (1, 2))
    both = (
        b"\x80\x02}("
        + w.text("params")
        + b"}"
        + w.text("x")
        + plain
        + b"s"
        + w.text("params_ema")
        + b"}"
        + w.text("x")
        + ema
        + b"su."
    )
    storages = {str(value): np.full(2, value, np.float32).tobytes() for value in (1, 2)}
    raw = read_pth(w.write(tmp_path / "both.pth", w.zip_file(both, storages)))
    assert raw.metadata == {"state_key": "params_ema"}
    np.testing.assert_array_equal(raw.tensors["x"], [1, 1])


def test_ckpt_written_without_mindspore(tmp_path: Path) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name != "none"}
    raw = read_ckpt(w.write(tmp_path / "a.ckpt", w.ckpt(arrays)))
    assert list(raw.tensors) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(raw.tensors[name], array)


def test_ckpt_pieces_packed_dims_text_and_bfloat16(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    pieces = [w.ckpt_value("x", "Float32", (2, 3), array.tobytes()[i : i + 8]) for i in range(0, 24, 8)]
    packed = w.field(1, b"\x02\x03") + w.field(2, b"Float32") + w.field(3, array.tobytes())
    data = b"".join(pieces) + w.field(1, w.field(1, b"packed") + w.field(2, packed))
    data += w.ckpt_value("note", "str", (2,), "ab".encode("utf-32-le"))
    data += w.ckpt_value("b", "BFloat16", (2,), np.array([0x3F80, 0xC000], "<u2").tobytes())
    raw = read_ckpt(w.write(tmp_path / "a.ckpt", data))
    np.testing.assert_array_equal(raw.tensors["x"], array)
    np.testing.assert_array_equal(raw.tensors["packed"], array)
    np.testing.assert_array_equal(raw.tensors["b"], [1.0, -2.0])
    assert raw.metadata == {"note": "ab"}


def test_ckpt_checksum(tmp_path: Path) -> None:
    body = w.ckpt({"x": np.ones(3, np.float32)})
    good = body + b"crc_num" + binascii.crc32(body).to_bytes(10, "big")
    np.testing.assert_array_equal(read_ckpt(w.write(tmp_path / "a.ckpt", good)).tensors["x"], [1, 1, 1])
    damaged = bytearray(good)
    damaged[25] ^= 1
    with pytest.raises(WeightsError, match="checksum"):
        read_ckpt(w.write(tmp_path / "b.ckpt", bytes(damaged)))


MINDSPORE_SIDE = """
import sys
import mindspore, numpy
golden, folder = sys.argv[1:]
values = mindspore.load_checkpoint(golden)
numpy.savez(folder + "/golden.npz", **{name: value.asnumpy() for name, value in values.items()})
arrays = numpy.load(folder + "/arrays.npz")
data = [{"name": name, "data": mindspore.Tensor(arrays[name])} for name in arrays.files]
mindspore.save_checkpoint(data, folder + "/own.ckpt", append_dict={"note": "hello", "epoch": 3}, crc_check=True)
"""


def test_ckpt_equals_mindspore(shared: Path, tmp_path: Path) -> None:
    """MindSpore reads and writes in a process of its own, away from the other frameworks' libraries."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed")
    golden = shared / "golden" / "light_small.ckpt"
    arrays = {
        "a": np.ones((2, 3), np.float16),
        "s": np.array(2.0, np.float32),
        "i": np.arange(3),
        "b": np.array([True, False]),
    }
    np.savez(tmp_path / "arrays.npz", **arrays)
    subprocess.run([sys.executable, "-c", MINDSPORE_SIDE, golden, tmp_path], check=True, capture_output=True)
    expected = np.load(tmp_path / "golden.npz")
    found = read_ckpt(golden).tensors
    assert list(found) == expected.files
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
    raw = read_ckpt(tmp_path / "own.ckpt")
    for name, array in arrays.items():
        assert raw.tensors[name].shape == array.shape
        np.testing.assert_array_equal(raw.tensors[name], array)
    assert raw.metadata["note"] == "hello"


def test_safetensors_equals_the_package(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    save_file(ARRAYS, path, {"note": "hello"})
    raw = read_safetensors(path)
    assert raw.metadata == {"note": "hello"}
    assert set(raw.tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(raw.tensors[name], array)


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    values = np.array([1.0, -2.5, 3e38, 0.0], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    np.testing.assert_allclose(decode("BF16", upper.tobytes()), values, rtol=2**-7)


def test_formats_are_told_apart_by_content(tmp_path: Path) -> None:
    from safetensors.numpy import save

    contents = {
        "PyTorch zip": w.pth_zip(ARRAYS),
        "PyTorch legacy": w.pth_legacy(ARRAYS),
        "MindSpore checkpoint": w.ckpt({"x": np.ones(2, np.float32)}),
        "safetensors": save({"x": np.ones(2, np.float32)}),
    }
    for form, data in contents.items():
        assert read_raw(w.write(tmp_path / "download.part", data)).format == form
