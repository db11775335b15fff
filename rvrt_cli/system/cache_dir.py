"""Where this tool keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(part: str) -> Path:
    """The folder of one kind of entries: ``part`` ("graphs", "weights", "eval") below ``RVRT_CACHE`` or the platform's cache.

    It is not made here, and deleting it costs time only.
    """
    import platformdirs

    return Path(os.environ.get("RVRT_CACHE") or platformdirs.user_cache_dir("rvrt")) / part
