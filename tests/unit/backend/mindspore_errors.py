"""Prints what the MindSpore backend says about devices and tensors that it cannot use; started by test_mindspore.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.errors import RvrtError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.model.initialise import initial_tensors
from rvrt_cli.model.shapes import parameter_shapes


def explain(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
        sys.stdout.write("no error\n")
    except RvrtError as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")


def main() -> None:
    backend.select("mindspore")
    from rvrt_cli.backend import mindspore as kernel
    from rvrt_cli.model.rvrt import RVRT

    for device in ("tpu", "gpu:x", "ascend:0"):
        explain(kernel.set_device, device)
    kernel.set_device("cpu")
    config = PRESETS["light-s"]
    model = RVRT(config)
    good = initial_tensors(parameter_shapes(config), config, 0)
    kernel.load_tensors(model, good)
    bad = {name: value + 1 for name, value in good.items()}
    explain(kernel.load_tensors, model, bad | {"extra": np.zeros(1, np.float32)})
    explain(
        kernel.load_tensors,
        model,
        {name: value for name, value in bad.items() if name != "upsampler.last.weight"},
    )
    explain(kernel.load_tensors, model, bad | {"upsampler.last.bias": np.zeros(5, np.float32)})
    same = all(np.array_equal(value.asnumpy(), good[name]) for name, value in model.parameters_and_names())
    sys.stdout.write("unchanged\n" if same else "changed\n")


if __name__ == "__main__":
    main()
