"""Cover pictures for Matroska, which holds them as attached files."""

from __future__ import annotations

from pathlib import Path

from rvrt_cli.errors import OutputError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.source import Source, Stream


def attach_arguments(source: Source, stream: Stream, number: int, before: int, folder: Path) -> list[str]:
    """Write a cover picture out and attach it; ffmpeg would otherwise store it as a film of one frame."""
    kind = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}.get(
        stream.codec, (stream.codec, f"image/{stream.codec}")
    )
    metadata = {key.lower(): value for key, value in stream.metadata}
    name = metadata.get("filename") or f"cover{number or ''}.{kind[0]}"
    path = folder / f"cover{number}.{kind[0]}"
    path.write_bytes(cover_bytes(source, stream.index))
    tag = f"-metadata:s:{before + number}"
    arguments = [
        "-attach",
        str(path),
        tag,
        f"mimetype={metadata.get('mimetype', kind[1])}",
        tag,
        f"filename={name}",
    ]
    if "title" in metadata:
        arguments += [tag, f"title={metadata['title']}"]
    return arguments


def cover_bytes(source: Source, index: int) -> bytes:
    """The coded picture in stream ``index``. Errors: :class:`OutputError` where there is none to be read."""
    try:
        with open_container(source.path) as container:
            for packet in container.demux(container.streams[index]):
                if packet.size:
                    return bytes(packet)
    except LIBRARY_ERRORS as error:
        raise OutputError(f"The cover picture of {source.path} cannot be read ({error}).") from error
    raise OutputError(f"The cover picture of {source.path} is empty.")
