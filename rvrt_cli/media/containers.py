"""What each container of the output holds and what it calls things."""

from __future__ import annotations

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "mkv", ".webm": "webm"}
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
# Containers that keep a display matrix with a mirror; Matroska and WebM keep a plain rotation at most.
CARRIES_ROTATION = frozenset({"mp4", "mov"})
