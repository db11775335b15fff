"""Writes a network as MindIR, MindSpore's own graph file, for one input size (MindSpore Lite and Ascend read it)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rvrt_cli import backend
from rvrt_cli.errors import UsageError
from rvrt_cli.inference.export import check_size
from rvrt_cli.inference.memory import translate_engine_errors
from rvrt_cli.system.files import atomic_path
from rvrt_cli.weights.files import Weights


def export_mindir(weights: Weights, path: Path, frames: int, height: int, width: int) -> None:
    """Write the graph ``lq (1, t, h, w, c)`` float32 in [0, 1] → ``(1, t, s·h, s·w, 3)`` float32, not clipped, to ``path``.

    ``path`` ends in ``.mindir`` and appears whole or not at all. Selects the MindSpore backend for this process and
    compiles on the CPU; that takes a minute for six frames. Errors: :class:`UsageError` for a size that the network
    does not take, :class:`WeightsError` where the weights do not fit, :class:`DeviceError` without MindSpore.
    """
    path = Path(path)
    if path.suffix != ".mindir":
        raise UsageError(f"{path} does not end in .mindir; name the MindIR file so.")
    check_size(frames, height, width)
    backend.select("mindspore")
    with translate_engine_errors("MindSpore"):
        import mindspore as ms

        from rvrt_cli.backend import mindspore as kernel

        kernel.set_device("cpu")
        kernel.set_mode(graph=True)
        from rvrt_cli.model.any_size import AnySize
        from rvrt_cli.model.rvrt import RVRT

        model = RVRT(weights.config)
        kernel.load_tensors(model, weights.tensors)
        model.set_train(False)
        example = kernel.from_numpy(
            np.zeros((1, frames, height, width, weights.config.in_channels), np.float32)
        )
        with atomic_path(path) as temporary:
            ms.export(AnySize(model, weights.config), example, file_name=str(temporary), file_format="MINDIR")
            os.chmod(
                temporary, 0o644
            )  # MindSpore leaves it read-only, which neither flushing nor a later export can use
