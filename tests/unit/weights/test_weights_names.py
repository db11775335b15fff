"""Name maps, preset detection and our own file format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weight_writers as w

from rvrt_cli.errors import RvrtError, UsageError, WeightsError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.shapes import parameter_shapes, relative_position_index
from rvrt_cli.weights import Weights, load_weights, save_weights
from rvrt_cli.weights.files import CONFIG_KEY, summary
from rvrt_cli.weights.names import (
    MINDSPORE,
    PYTORCH,
    describe,
    mindspore_arithmetic,
    published_tensors,
)

PUBLISHED_LISTS = [
    ("rvrt_official_tensors.json", "sr", "rvrt", PYTORCH),
    ("rvrt_official_tensors.json", "deblur", "deblur", PYTORCH),
    ("rvrt_official_tensors.json", "denoise", "denoise", PYTORCH),
    ("mindediting_tensors.json", "rvrt", "rvrt", MINDSPORE),
    ("mindediting_tensors.json", "light", "light", MINDSPORE),
]
FILES = [
    (*entry, writer)
    for entry in PUBLISHED_LISTS
    for writer in (("zip", "legacy") if entry[3] == PYTORCH else ("ckpt",))
]


def published_list(shared: Path, file: str, key: str) -> dict[str, Any]:
    return json.loads((shared / "golden" / file).read_text())[key]


@pytest.mark.parametrize(("file", "key", "preset", "scheme"), PUBLISHED_LISTS)
def test_tables_are_the_published_lists(shared: Path, file: str, key: str, preset: str, scheme: str) -> None:
    expected = {name: tuple(shape) for name, shape in published_list(shared, file, key)["tensors"].items()}
    assert {
        name: tensor.shape for name, tensor in published_tensors(PRESETS[preset], scheme).items()
    } == expected


@pytest.mark.parametrize(("file", "key", "preset", "scheme", "writer"), FILES)
def test_full_width_files_load(
    shared: Path, tmp_path: Path, file: str, key: str, preset: str, scheme: str, writer: str
) -> None:
    entry = published_list(shared, file, key)
    table = published_tensors(PRESETS[preset], scheme)
    rng = np.random.default_rng(1)
    tensors = {
        name: table[name].values if table[name].values is not None else rng.standard_normal(shape, np.float32)
        for name, shape in entry["tensors"].items()
    }
    weights = load_weights(w.write(tmp_path / "published", w.WRITERS[writer](tensors)))
    assert weights.config == replace(
        PRESETS[preset], **(mindspore_arithmetic() if scheme == MINDSPORE else {})
    )
    assert {name: array.shape for name, array in weights.tensors.items()} == parameter_shapes(weights.config)
    if (
        scheme == PYTORCH or preset == "light"
    ):  # the MindSpore list of RVRT counts its caches of the bias tables as well
        assert weights.parameter_count == round(entry["parameters_million"] * 1e6)
    stored = {name: tensor.canonical for name, tensor in table.items() if tensor.canonical}
    assert sorted(stored.values()) == sorted(weights.tensors)
    for name, canonical in stored.items():
        np.testing.assert_array_equal(weights.tensors[canonical].ravel(), tensors[name].ravel())


def test_a_few_names_by_hand() -> None:
    """Written out once, so that a slip in the tables' loops cannot hide behind them."""
    official = {
        name: tensor.canonical for name, tensor in published_tensors(PRESETS["rvrt"], PYTORCH).items()
    }
    assert official["spynet.basic_module.5.basic_module.8.bias"] == "flow.levels.5.convs.4.bias"
    assert (
        official["feat_extract.main.5.0.residual_group.blocks.1.attn.qkv_self.weight"]
        == "shallow.blocks.0.layers.1.attn.qkv.weight"
    )
    assert official["backbone.backward_2.main.5.1.linear.bias"] == "passes.2.refine.blocks.1.linear.bias"
    assert official["deform_align.forward_1.conv_offset.10.weight"] == "passes.1.align.offset.5.weight"
    assert official["deform_align.forward_2.mlp.1.fc2.bias"] == "passes.3.align.mlp.fc2.bias"
    assert official["upsampler.5.weight"] == "upsampler.up.1.weight"
    deblur = {
        name: tensor.canonical for name, tensor in published_tensors(PRESETS["deblur"], PYTORCH).items()
    }
    assert deblur["feat_extract.3.bias"] == "entry.second.bias"
    assert deblur["feat_extract.6.main.7.weight"] == "shallow.norm_out.weight"
    light = {
        name: tensor.canonical for name, tensor in published_tensors(PRESETS["light"], MINDSPORE).items()
    }
    assert light["reconstruction.main.3.gamma"] == "reconstruction.norm_in.weight"
    assert (
        light["backbone.forward_1.main.5.0.residual_group.blocks.0.norm2.beta"]
        == "passes.1.refine.blocks.0.layers.0.norm2.bias"
    )


def test_relative_position_index_is_the_published_one(shared: Path) -> None:
    from rvrt_cli.weights import read_pth

    tensors = read_pth(shared / "golden" / "rvrt_sr_small.pth").tensors
    for window, prefix in (((1, 8, 8), "feat_extract.main"), ((2, 8, 8), "backbone.forward_1.main")):
        name = f"{prefix}.5.0.residual_group.blocks.0.attn.relative_position_index"
        np.testing.assert_array_equal(relative_position_index(window), tensors[name])


@pytest.mark.parametrize(
    ("file", "preset"),
    [
        ("rvrt_sr_small.pth", "rvrt"),
        ("rvrt_deblur_small.pth", "deblur"),
        ("rvrt_denoise_small.pth", "denoise"),
        ("light_small.ckpt", "light"),
    ],
)
def test_golden_files_round_trip(shared: Path, tmp_path: Path, file: str, preset: str) -> None:
    weights = load_weights(shared / "golden" / file)
    assert weights.config == replace(PRESETS[preset], embed_dim=24)
    path = tmp_path / "own.safetensors"
    sha256 = save_weights(path, replace(weights, metadata={"title": "golden"}))
    again = load_weights(path)
    assert (again.config, again.sha256, again.metadata) == (weights.config, sha256, {"title": "golden"})
    assert list(again.tensors) == list(weights.tensors)
    for name, array in weights.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], array)
    half = tmp_path / "half.safetensors"
    save_weights(half, weights, "fp16")
    assert half.stat().st_size < 0.55 * path.stat().st_size
    for name, array in load_weights(half).tensors.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, weights.tensors[name].astype(np.float16))


def test_safetensors_with_published_names(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    tensors = w.random_tensors(w.small("light", MINDSPORE), MINDSPORE)
    save_file(tensors, tmp_path / "a.safetensors")
    weights = load_weights(tmp_path / "a.safetensors")
    assert weights.config == w.small("light", MINDSPORE)
    np.testing.assert_array_equal(weights.tensors["upsampler.last.bias"], tensors["conv_last.bias"])


def random_weights(preset: str = "light-s") -> Weights:
    config = PRESETS[preset]
    rng = np.random.default_rng(0)
    return Weights(
        config,
        {name: rng.standard_normal(shape, np.float32) for name, shape in parameter_shapes(config).items()},
    )


def test_light_s_is_stored_with_its_configuration(tmp_path: Path) -> None:
    weights = random_weights()
    save_weights(tmp_path / "a.safetensors", weights)
    again = load_weights(tmp_path / "a.safetensors")
    assert again.config == PRESETS["light-s"]
    assert describe(again.config) == "light-s"
    assert summary(again)["parameters"] == weights.parameter_count <= 600_000
    with pytest.raises(WeightsError, match="published architecture"):
        published_tensors(PRESETS["light-s"], MINDSPORE)


def test_saving_refuses_what_could_not_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = random_weights()
    name = next(iter(weights.tensors))
    faults: list[tuple[Weights, str, type[RvrtError]]] = [
        (replace(weights, tensors={}), "missing", WeightsError),
        (
            replace(weights, tensors={**weights.tensors, name: weights.tensors[name] * np.float32(np.inf)}),
            "not finite",
            WeightsError,
        ),
        (weights, "Unknown dtype", UsageError),
        (weights, r"\.safetensors", UsageError),
    ]
    for index, (fault, message, kind) in enumerate(faults):
        with pytest.raises(kind, match=message):
            save_weights(path if index != 3 else tmp_path / "a.pth", fault, "int3" if index == 2 else "fp32")
    big = replace(weights, tensors={**weights.tensors, name: np.full_like(weights.tensors[name], 1e6)})
    with pytest.raises(WeightsError, match="does not fit fp16"):
        save_weights(path, big, "fp16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 200_000, "not JSON"),
        ('{"colour": 3}', "unknown setting"),
        ('{"embed_dim": "wide"}', "wrong kind"),
        ('{"num_heads": 0}', "damaged"),
        ('{"embed_dim": -6}', "out of range"),
        ('{"mlp_ratio": NaN}', "out of range"),
        ('{"depth": 1000000000}', "out of range"),
        ('{"depth": 4000}', "out of range"),
        ('{"depth": true}', "wrong kind"),
        ('{"num_blocks": [1, 2]}', "not 3 whole numbers"),
        ('{"num_blocks": ["a", "b", "c"]}', "not 3 whole numbers"),
        ('{"num_blocks": []}', "not 3 whole numbers"),
        ('{"num_blocks": [[1], 2, 1]}', "not 3 whole numbers"),
        ('{"num_blocks": [1, true, 1]}', "not 3 whole numbers"),
        ('{"num_blocks": [1, 17, 1]}', "out of range"),
        ('{"window": [2, 8]}', "not 3 whole numbers"),
        ('{"window": [2, 0, 0]}', "out of range"),
        ('{"window": [2, 4096, 4096]}', "out of range"),
        ('{"window": [2, 4.5, 4.0]}', "not 3 whole numbers"),
        ('{"window": [2, 4, 8]}', "square"),
        ('{"window": [4, 8, 8]}', "square"),
        ('{"window": 8}', "wrong kind"),
        ('{"embed_dim": 1e400}', "wrong kind"),
        ('{"mlp_ratio": 1e400}', "out of range"),
        ('{"mlp_ratio": 0}', "no channels"),
        ('{"align_ratio": 0.001}', "attention heads"),
        ('{"passes": 5}', "out of range"),
        ('{"conv_groups": [1, 1, 1, 1, 1, 7]}', "groups of the reconstruction"),
        ('{"conv_groups": [3, 1, 1, 1, 1, 1], "in_channels": 4}', "groups of the shallow"),
        ('{"deformable_groups": 10}', "deformable groups"),
        ('{"in_channels": 5}', "none of 3, 4"),
        ('{"skip": "nearest"}', "none of bilinear, bicubic"),
        ('{"upscale": [4]}', "wrong kind"),
        ("{}", "is missing"),
    ],
)
def test_hostile_configurations(tmp_path: Path, config: str, message: str) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.ones(2, np.float32)}, tmp_path / "a.safetensors", {CONFIG_KEY: config})
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(tmp_path / "a.safetensors")
    assert str(tmp_path / "a.safetensors") in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "it has nothing"),
        ({"conv1.weight": np.ones(3, np.float32)}, "holds no RVRT.*conv1.weight"),
        ({"feat_extract.main.1.weight": np.ones((13, 3, 1, 3, 3), np.float32)}, "width of 13"),
        (
            {"feat_extract.main.1.weight": np.ones((12, 3, 1, 3, 3), np.float32)},
            r"preset light \(embed_dim 12\).*is missing",
        ),
        (
            {"feat_extract.1.weight": np.ones((24, 4, 1, 3, 3), np.float32)},
            r"preset denoise \(embed_dim 24\)",
        ),
        ({"feat_extract.1.weight": np.ones((12, 3, 1, 3, 3), np.float32)}, r"preset deblur \(embed_dim 12\)"),
        ({"feat_extract.main.1.weight": np.ones((12, 3, 3, 3), np.float32)}, "holds no RVRT"),
    ],
)
def test_other_models_are_named(tmp_path: Path, tensors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(w.write(tmp_path / "a.pth", w.pth_zip(tensors)))


def test_weights_are_read_without_a_framework(shared: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom pathlib import Path\nfrom rvrt_cli.weights import load_weights\n"
        f"for name in ('rvrt_sr_small.pth', 'light_small.ckpt'):\n    load_weights(Path({str(shared / 'golden')!r}) / name)\n"
        "print([name for name in ('torch', 'mindspore', 'onnx', 'spox', 'openvino', 'google.protobuf') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
