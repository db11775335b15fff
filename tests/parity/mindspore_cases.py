"""Runs golden cases on the MindSpore backend in a process of its own and prints one JSON object per case.

A process has one backend, so the tests start this file: ``mindspore_cases.py GOLDEN pynative|graph [mixed] CASE...``, where
a case is ``<network><number>`` (``sr0``), or ``parts`` for the flows and shallow features of ``sr0``.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from engine_cases import FILES, channel_last

from rvrt_cli import backend


@functools.cache
def load(golden: Path, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A network with its golden weights, and the golden arrays."""
    from rvrt_cli.backend.mindspore import load_tensors
    from rvrt_cli.model.rvrt import RVRT
    from rvrt_cli.weights.files import load_weights

    path = golden / FILES[name]
    weights = load_weights(path)
    model = RVRT(weights.config)
    load_tensors(model, weights.tensors)
    assert all(parameter.name == name for name, parameter in model.parameters_and_names())
    with np.load(path.with_suffix(".npz")) as arrays:
        return model, dict(arrays)


def main(golden: Path, mode: str, cases: list[str]) -> None:
    backend.select("mindspore")
    from rvrt_cli.backend import mindspore as kernel

    kernel.set_device("cpu")
    kernel.set_mode(mode == "graph")
    if cases[0] == "mixed":
        kernel.set_precision(mixed=True)
        cases = cases[1:]
    for case in cases:
        if case == "parts":
            model, arrays = load(golden, "sr")
            x = kernel.from_numpy(channel_last(arrays["x0"]))
            flows = [
                np.stack([kernel.to_numpy(flow) for flow in direction], 1) for direction in model.flows(x)
            ]
            results = {
                "flow_backward0": flows[0],
                "flow_forward0": flows[1],
                "shallow0": kernel.run(model.shallow, channel_last(arrays["x0"])),
            }
        else:
            model, arrays = load(golden, case[:-1])
            results = {f"y{case[-1]}": kernel.run(model, channel_last(arrays[f"x{case[-1]}"]))}
        for name, result in results.items():
            error = np.abs(result - channel_last(arrays[name]))
            row = {
                "case": case,
                "array": name,
                "max_error": float(error.max()),
                "psnr_db": float(-10 * np.log10((error**2).mean())),
            }
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
