"""Whether the input is still the film that the run began with: frames are read for hours, sound is copied at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvrt_cli.errors import InputError
from rvrt_cli.media import Source
from rvrt_cli.media.av_errors import translate_read_errors
from rvrt_cli.upscale.journal import identify_file

Stamp = tuple[int, int, int]


def input_identity(source: Source) -> dict[str, Any]:
    """What the frames depend on; empty for a stream, which cannot be looked at twice. Errors: :class:`InputError`."""
    with translate_read_errors(source.path):
        if source.kind == "images":
            return {"images": [[path.name, identify_file(path)] for path in source.images]}
        return identify_file(source.path) if source.kind == "video" else {}


@dataclass(frozen=True)
class InputFingerprint:
    """The input as it was when the run began. ``identity``: of its content; ``stamps``: what the file system says of it."""

    source: Source
    stamps: tuple[Stamp, ...]
    identity: dict[str, Any]

    @classmethod
    def begin(cls, source: Source) -> InputFingerprint:
        """Look at the input for the first time. Errors: :class:`InputError`."""
        stamps = _stamps(source)  # before the content: a change in between is noticed then, too
        return cls(source, stamps, input_identity(source))

    def check(self) -> None:
        """Raise :class:`InputError` where the input was removed or has another content now."""
        # Content is read again only where the file system says that something happened.
        if _stamps(self.source) != self.stamps and input_identity(self.source) != self.identity:
            raise InputError(
                f"{self.source.path} was changed while it was read; run the same command again, which starts anew with what "
                "is there now."
            )


def _stamps(source: Source) -> tuple[Stamp, ...]:
    paths: tuple[Path, ...] = {"video": (source.path,), "images": source.images}.get(source.kind, ())
    with translate_read_errors(source.path):
        return tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in (path.stat() for path in paths))
