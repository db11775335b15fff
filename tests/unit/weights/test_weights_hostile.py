"""Hostile and damaged weight files: one clear WeightsError each, and nothing of them is ever executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weight_writers as w

from rvrt_cli.errors import WeightsError
from rvrt_cli.weights import load_weights, pickle_tensors, read_raw
from rvrt_cli.weights.names import MINDSPORE, PYTORCH
from rvrt_cli.weights.pickle_tensors import Refused, load
from rvrt_cli.weights.raw import MAX_FILE_BYTES

ONE = np.ones(4, np.float32)


class Command:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path: Path, form: str, protocol: int) -> None:
    proof = tmp_path / "executed"
    payload = pickle.dumps({"params": Command(f"touch {proof}")}, protocol)
    data = {"zip": w.zip_file(payload, {}), "legacy": w.LEGACY_HEAD + payload, "bare": payload}[form]
    path = w.write(tmp_path / "evil.pth", data)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)
    if protocol >= 2:
        assert "posix.system" in str(caught.value) or "nt.system" in str(caught.value)
    assert not proof.exists()
    pickle.loads(payload)  # the payload is live: Python's own loader does run it
    assert proof.exists()


def test_reading_a_hostile_pickle_imports_nothing(tmp_path: Path) -> None:
    payload = b"\x80\x02cantigravity\nfly_to\n."
    path = w.write(tmp_path / "evil.pth", w.zip_file(payload, {}))
    code = (
        "import sys\nfrom pathlib import Path\nfrom rvrt_cli.errors import WeightsError\nfrom rvrt_cli.weights import load_weights\n"
        f"try:\n    load_weights(Path({str(path)!r}))\nexcept WeightsError as error:\n    print(error)\n"
        "print('antigravity' in sys.modules, 'torch' in sys.modules, 'mindspore' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "antigravity.fly_to" in result.stdout
    assert result.stdout.splitlines()[-1] == "False False False"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (w.name("torch", "load") + b".", "torch.load"),
        (w.name("torch.storage", "_load_from_bytes") + b".", "_load_from_bytes"),
        (w.name("collections", "OrderedDict") + b")\x81.", "NEWOBJ"),
        (b"(" + b"i" + b"os\nsystem\n.", "INST"),
        (b"\x82\x01.", "EXT1"),
        (b"P0\n.", "PERSID"),
        (b"\xfe.", "xfe"),
        (b"}" + w.text("a") + b"Kb.", "truncated|malformed|dict"),
        (w.name("collections", "OrderedDict") + b"K\x01\x85R.", "arguments"),
        (w.name("torch._utils", "_rebuild_tensor_v2") + b")R.", "arguments"),
        (w.name("torch._utils", "_rebuild_parameter") + b")R.", "arguments"),
        (w.name("torch", "FloatStorage") + b")R.", "arguments"),
        (b"K\x01)R.", "no function"),
        (b"K\x01Q.", "storage"),
        (
            b"("
            + w.text("storage")
            + w.name("torch", "FloatStorage")
            + w.text("0")
            + w.text("cpu")
            + w.number(-1)
            + b"tQ.",
            "storage",
        ),
        (
            b"("
            + w.text("storage")
            + w.name("torch", "FloatStorage")
            + w.text("0")
            + w.text("cpu")
            + w.number(4)
            + b"K\x01tQ.",
            "version 0.4",
        ),
        (b"t.", "mark"),
        (b"0.", "POP"),
        (b"R.", "missing"),
        (b"(R.", "missing"),
        (b"}b.", "missing"),
        (b"K\x01K\x01a.", "list"),
        (b"](K\x01e", "truncated"),
        (b"}(K\x01u.", "missing"),
        (b"})K\x01s.", "key of type tuple"),
        (b"K\x01s.", "missing"),
        (b"q\x00.", "remember"),
        (b"h\x07.", "never stored"),
        (b"K\x01K\x02\x93.", "not a string"),
        (b"X\x02\x00\x00\x00\xff\xff.", "UTF-8"),
        (b"c" + b"a" * 1000 + b"\n.", "without end"),
        (b"K\x01K\x02.", "left over"),
        (b".", "missing"),
        (b"X\xff\xff\xff\x7f", "truncated"),
        (b"", "truncated"),
    ],
)
def test_pickles_that_pytorch_does_not_write_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        load(b"\x80\x02" + body)


def test_a_pickle_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_tensors, "MAX_PICKLE_BYTES", 1000)
    with pytest.raises(Refused, match="more than 1000 bytes"):
        load(b"\x80\x02" + b"N" * 2000)


def test_plain_values_of_all_pickle_protocols_since_2() -> None:
    value = {
        "a": [1, 300, 70000, -5, 1 << 70, 2.5, None, True, False, "é"],
        "b": (1, 2, 3, 4),
        "c": ((), (1,), (1, 2)),
        "d": {},
    }
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(value, protocol)
        assert load(data) == (value, len(data))


def test_a_pickle_that_refers_to_itself_ends(tmp_path: Path) -> None:
    endless = b"\x80\x02}q\x00" + w.text("params") + b"h\x00s."
    for data in (w.zip_file(endless, {}), w.LEGACY_HEAD + endless + b"\x80\x02]."):
        with pytest.raises(WeightsError, match="no tensor"):
            load_weights(w.write(tmp_path / "endless.pth", data))


def test_a_deep_pickle_ends(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"(" * 20_000 + b"t" * 20_000 + b"."
    for data in (w.zip_file(deep, {}), w.LEGACY_HEAD + deep + b"\x80\x02]."):
        with pytest.raises(WeightsError, match="tuple instead of a dictionary"):
            load_weights(w.write(tmp_path / "deep.pth", data))


LYING_TENSORS = {
    "more elements than stored": (w.tensor(ONE, "0", shape=(5,)), "beyond the elements"),
    "an endless shape": (w.tensor(ONE, "0", shape=(1 << 30, 1 << 30)), "larger than any"),
    "too many axes": (w.tensor(ONE, "0", shape=(1,) * 40), "larger than any"),
    "empty, but along an endless axis": (w.tensor(ONE, "0", shape=(0, 1 << 30, 1 << 30)), "larger than any"),
    "a name without end": (w.tensor(ONE, "k" * 100_000), "lacks the storage 'kkk"),
    "more stored than there is": (w.tensor(ONE, "0", storage=1000), "16 bytes"),
    "an unknown storage": (w.tensor(ONE, "../../etc/passwd"), "lacks the storage"),
}


@pytest.mark.parametrize("case", LYING_TENSORS)
def test_tensors_that_lie(tmp_path: Path, case: str) -> None:
    entry, message = LYING_TENSORS[case]
    with pytest.raises(WeightsError, match=message) as caught:
        read_raw(w.write(tmp_path / "lie.pth", w.zip_file(w.state_dict({"x": entry}), {"0": ONE.tobytes()})))
    assert len(str(caught.value)) < 500


def test_zero_strides_do_not_multiply_a_small_file(tmp_path: Path) -> None:
    entry = w.tensor(ONE, "0").replace(w.sizes((4,)) + w.sizes((1,)), w.sizes((1000, 1000)) + w.sizes((0, 0)))
    with pytest.raises(WeightsError, match="beyond the elements"):
        read_raw(w.write(tmp_path / "lie.pth", w.zip_file(w.state_dict({"x": entry}), {"0": ONE.tobytes()})))


def test_zip_bombs_and_strange_archives(tmp_path: Path) -> None:
    state = w.state_dict({"x": w.tensor(ONE, "0")})
    bomb = w.zip_file(state, {"0": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    cases = {
        "compressed": bomb,
        "not one that PyTorch writes": w.zip_file(state, {}, extra={"other/data.pkl": state}),
        "repeated names": w.zip_file(state, {}, extra={}) if sys.version_info < (3, 10) else _repeated(state),
        "lacks the storage": w.zip_file(state, {}),
    }
    for message, data in cases.items():
        with pytest.raises(WeightsError, match=message):
            load_weights(w.write(tmp_path / "bomb.pth", data))


def _repeated(state: bytes) -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return w.zip_file(state, {}, extra={"archive/data.pkl": state})


def test_overlapping_zip_entries_are_refused(tmp_path: Path) -> None:
    data = bytearray(w.zip_file(w.state_dict({"x": w.tensor(ONE, "0")}), {"0": ONE.tobytes()}))
    central = data.rindex(b"PK\x01\x02")
    data[central + 20 : central + 28] = struct.pack("<II", 1 << 28, 1 << 28)
    with pytest.raises(WeightsError, match="more than its own size"):
        load_weights(w.write(tmp_path / "overlap.pth", bytes(data)))


NOT_WHOLE = "is not a whole safetensors file"
SAFETENSORS = {
    "2 GB header": (struct.pack("<Q", 2 << 30) + b"{}", NOT_WHOLE),
    "endless header": (struct.pack("<Q", (1 << 64) - 1) + b"{}", NOT_WHOLE),
    "truncated header": (struct.pack("<Q", 100) + b"{}", NOT_WHOLE),
    "too short": (b"\x01\x02", NOT_WHOLE),
    "no JSON": (struct.pack("<Q", 4) + b"{abc", NOT_WHOLE),
    "deep JSON": (struct.pack("<Q", 200_000) + b"[" * 200_000, NOT_WHOLE),
    "a list": (struct.pack("<Q", 2) + b"[]", NOT_WHOLE),
    "bad UTF-8": (struct.pack("<Q", 4) + b'{"\xff"', NOT_WHOLE),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors_headers(tmp_path: Path, case: str) -> None:
    data, message = SAFETENSORS[case]
    with pytest.raises(WeightsError, match=message):
        load_weights(w.write(tmp_path / "a.safetensors", data))


def _end_of(header: dict[str, Any]) -> int:
    """How many bytes of tensors a header announces, so that the file is right but for what the header says."""
    last = max((entry for entry in header.values() if isinstance(entry, dict)), key=str, default={})
    stop = last.get("data_offsets", [0])[-1]
    return stop if isinstance(stop, int) and stop < 1 << 20 else 8


def test_safetensors_with_bytes_that_belong_to_no_tensor(tmp_path: Path) -> None:
    text = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    with pytest.raises(WeightsError, match=NOT_WHOLE):
        load_weights(w.write(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + bytes(8)))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, NOT_WHOLE),
        (
            {"x": {"dtype": "F32", "shape": [1 << 20], "data_offsets": [0, 1 << 22]}},
            NOT_WHOLE,
        ),
        ({"x": {"dtype": "F32", "shape": [1 << 62], "data_offsets": [0, 1 << 64]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [0, 1 << 62, 1 << 62], "data_offsets": [0, 0]}}, "type or shape"),
        ({"x" * 100_000: {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, NOT_WHOLE),
        (
            {
                "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "y": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            },
            NOT_WHOLE,
        ),
        ({"x": {"dtype": "F128", "shape": [1], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, "type or shape"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, NOT_WHOLE),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": "ab"}}, NOT_WHOLE),
        ({"x": 3}, NOT_WHOLE),
        ({"__metadata__": {"a": 1}}, NOT_WHOLE),
        ({"__metadata__": []}, NOT_WHOLE),
    ],
)
def test_safetensors_entries(tmp_path: Path, header: dict[str, Any], message: str) -> None:
    text = json.dumps(header).encode()
    body = bytes(_end_of(header))
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(w.write(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + body))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x0a\xff\xff\xff\xff\x0f", "truncated"),
        (b"\x0a" + b"\xff" * 20, "64 bits"),
        (b"\x0a\x80", "truncated"),
        (b"\x0d1234", "kind that checkpoints"),
        (w.field(2, b"abc"), "unknown part"),
        (b"\x08\x01", "unknown part"),
        (w.field(1, w.field(1, b"x")), "without content"),
        (w.field(1, w.field(1, b"\xff\xfe") + w.field(2, b"")), "UTF-8"),
        (w.field(1, w.field(1, b"x") + w.field(3, b"")), "hash table"),
        (w.ckpt_value("x", "Float32", (2,), b"1234"), "4 bytes"),
        (w.ckpt_value("x", "Float32", (1 << 40, 1 << 40), b"1234"), "4 bytes"),
        (w.ckpt_value("x", "Float32", (-1,), b""), "0 bytes"),
        (w.ckpt_value("x", "Float32", (0, 1 << 62, 1 << 62), b""), "0 bytes"),
        (w.ckpt_value("x", "Float32", (1,) * 40, b"1234"), "4 bytes"),
        (w.ckpt_value("x", "Quaternion", (1,), b"1234"), "unknown type"),
        (w.ckpt({"x": ONE}) + w.ckpt({"y": ONE}) + w.ckpt({"x": ONE}), "twice"),
        (w.ckpt({"x": ONE}) + w.ckpt({"x": ONE[:2]}), "twice"),
        (w.ckpt({"x": ONE}) + w.ckpt({"x": ONE}), "32 bytes"),
    ],
)
def test_checkpoints(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(w.write(tmp_path / "a.ckpt", data))


def test_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_weights(tmp_path / "missing.pth")
    with pytest.raises(WeightsError, match="regular file"):
        load_weights(tmp_path)
    with pytest.raises(WeightsError, match="known format"):
        load_weights(w.write(tmp_path / "page.html", b"<html>404 not found</html>"))
    with pytest.raises(WeightsError):
        load_weights(w.write(tmp_path / "page.pth", b"<html>404 not found</html>"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pth")
        with pytest.raises(WeightsError, match="regular file"):
            load_weights(tmp_path / "pipe.pth")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with open(path, "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(WeightsError, match="more than any"):
        load_weights(path)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = w.write(tmp_path / "secret.pth", b"x")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(WeightsError, match="cannot be read: Permission denied"):
        load_weights(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (w.LEGACY_HEAD[:-1], "truncated"),
        (b"\x80\x02K\x01.", "not a PyTorch file"),
        (b"\x80\x02\x88.", "not a PyTorch file"),
        (w.LEGACY_HEAD + b"\x80\x02K\x05." + b"\x80\x02].", "int instead of a dictionary"),
        (w.LEGACY_HEAD + w.state_dict({"x": w.tensor(ONE, "0")}) + b"\x80\x02K\x01.", "list of storages"),
        (
            w.LEGACY_HEAD
            + w.state_dict({"x": w.tensor(ONE, "0")})
            + b"\x80\x02]"
            + w.text("9")
            + b"a."
            + bytes(16),
            "not known",
        ),
        (
            w.LEGACY_HEAD
            + w.state_dict({"x": w.tensor(ONE, "0")})
            + b"\x80\x02]"
            + w.text("0")
            + b"a."
            + bytes(4),
            "truncated",
        ),
        (
            w.LEGACY_HEAD
            + w.state_dict({"x": w.tensor(ONE, "0")})
            + b"\x80\x02]"
            + w.text("0")
            + b"a."
            + struct.pack("<q", 1 << 60),
            "truncated",
        ),
        (
            w.LEGACY_HEAD
            + w.state_dict({"x": w.tensor(ONE, "0")})
            + b"\x80\x02]"
            + w.text("0")
            + b"a."
            + struct.pack("<q", -1),
            "truncated",
        ),
        (w.LEGACY_HEAD + w.state_dict({"x": w.tensor(ONE, "0")}) + b"\x80\x02].", "lacks the storage"),
    ],
)
def test_legacy_files(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(w.write(tmp_path / "a.pth", data))


def small_files() -> dict[str, bytes]:
    from safetensors.numpy import save

    arrays = {"feat_extract.main.1.weight": np.ones((12, 3, 1, 3, 3), np.float32), "b": ONE}
    return {
        "a.pth": w.pth_zip(arrays),
        "b.pth": w.pth_legacy(arrays),
        "c.ckpt": w.ckpt(arrays),
        "d.safetensors": save(arrays),
    }


@pytest.mark.parametrize("name", small_files())
def test_truncated_at_every_place(tmp_path: Path, name: str) -> None:
    data = small_files()[name]
    for end in [*range(0, 64), *range(64, len(data), 97)]:
        with pytest.raises(WeightsError):
            load_weights(w.write(tmp_path / name, data[:end]))


@pytest.mark.parametrize("name", small_files())
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, name: str) -> None:
    data = small_files()[name]
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(256)
        with pytest.raises(
            WeightsError
        ):  # none of these files is a whole RVRT, so a lucky flip is refused as well
            load_weights(w.write(tmp_path / name, bytes(damaged)))


@pytest.mark.parametrize("writer", w.WRITERS)
def test_wrong_shapes_and_names(tmp_path: Path, writer: str) -> None:
    scheme = MINDSPORE if writer == "ckpt" else PYTORCH
    config = w.small("rvrt", scheme)
    good = w.random_tensors(config, scheme)
    victim = "backbone.forward_1.main.5.1.linear.weight"

    def change(**changes: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        return {name: changes["shape"](array) if name == victim else array for name, array in good.items()}

    cases = {
        r"forward_1.main.5.1.linear.weight' is missing": {n: a for n, a in good.items() if n != victim},
        r"'evil' is not part of it \(and 1 more\)": {**good, "evil": ONE, "evil2": ONE},
        r"has shape \(12, 6\) instead of \(12, 12\)": change(shape=lambda a: np.ascontiguousarray(a[:, :6])),
        r"has shape \(144,\) instead of": change(shape=lambda a: a.reshape(-1)),
        r"NaN or infinite": change(shape=lambda a: a * np.float32(np.nan)),
        r"holds int64 instead": change(shape=lambda a: a.astype(np.int64)),
        r"the constant 'spynet.mean' has other values": {
            **good,
            "spynet.mean": good["spynet.mean"] + np.float32(0.1),
        },
    }
    for message, tensors in cases.items():
        with pytest.raises(WeightsError, match=message) as caught:
            load_weights(w.write(tmp_path / "a.pth", w.WRITERS[writer](tensors)))
        if "preset" in str(caught.value):
            assert "preset rvrt (embed_dim 12" in str(caught.value)
