"""The engines' own telemetry, switched off before any of them is imported."""

from __future__ import annotations

import os
import sys


def opt_out() -> None:
    """Keep OpenVINO and ONNX Runtime from reporting this process, and those that it starts, to their makers.

    OpenVINO sends an event to an analytics service at every import, through the package openvino-telemetry, and uses a stub
    of its own where that package cannot be imported. ONNX Runtime (1.32) collects events in a data base of its own, with a
    session file in the temporary folder, unless a variable says no; who set that variable has decided already.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it fails
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
