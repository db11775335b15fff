"""The primitives of the backend chosen with :func:`rvrt_cli.backend.select`; import it after the choice."""

from __future__ import annotations

import importlib
from typing import Any

from rvrt_cli import backend
from rvrt_cli.errors import DeviceError

if backend.current() is None:
    raise DeviceError("Choose a backend with rvrt_cli.backend.select() before importing the model.")

_module = importlib.import_module(f"rvrt_cli.backend.{backend.current()}")
globals().update({name: getattr(_module, name) for name in backend.PRIMITIVES})


def __getattr__(name: str) -> Any:  # for the type checker: the names above exist at run time only
    raise AttributeError(f"{name} is not a primitive of the {backend.current()} backend")
