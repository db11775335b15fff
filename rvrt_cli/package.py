"""Facts about this package, where everything can import them: its version and its folder."""

from __future__ import annotations

import os

__version__ = "0.1.0"

FOLDER = os.path.dirname(__file__)  # no Path: this module is imported before Ctrl+C is answered
