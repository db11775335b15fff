"""The primitives that the model is written in, once per framework, and the choice of ONE of them per process.

:func:`select` names the backend before :mod:`rvrt_cli.model.rvrt` is imported (the way Keras 3 does it); the model
then uses ``from rvrt_cli.backend import active as B``. Every backend module defines the names in
:data:`PRIMITIVES` with the shapes documented in :mod:`rvrt_cli.backend.torch`. Feature maps are channel-last.
"""

from __future__ import annotations

from rvrt_cli.errors import DeviceError

BACKENDS = ("mindspore", "onnx", "torch")

PRIMITIVES = (
    # structure
    "Module",
    "ModuleList",
    "parameter",
    "constant",
    "static",
    "to_numpy",
    "from_numpy",
    # token-wise
    "linear",
    "layer_norm",
    "gelu",
    "gelu_tanh",
    "relu",
    "leaky_relu",
    "tanh",
    "clamp",
    # spatial
    "conv2d",
    "pixel_shuffle",
    "avg_pool2",
    "box_mean",
    "sample",
    "resize_bilinear",
    # attention
    "window_attention",
    "local_attention",
    "deformable_attention",
    # layout
    "concat",
    "chunk",
    "stack",
    "flip",
    "reshape",
    "permute",
    "pad_end",
    "take",
    "zeros_like",
)

_selected: str | None = None


def select(name: str) -> None:
    """Choose the backend of this process: ``"mindspore"``, ``"onnx"`` or ``"torch"``.

    Errors: :class:`DeviceError` when another one was chosen before; a process has one backend.
    """
    global _selected
    if name not in BACKENDS:
        raise DeviceError(f"Unknown backend {name!r}; choose one of {', '.join(BACKENDS)}.")
    if _selected not in (None, name):
        raise DeviceError(
            f"This process already uses the {_selected} backend; start another process for {name}."
        )
    _selected = name


def current() -> str | None:
    """The chosen backend, or None before :func:`select`."""
    return _selected
