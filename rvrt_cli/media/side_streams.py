"""Copies of sound and subtitles that ffmpeg cannot take from the source itself, in a file of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import av

from rvrt_cli.errors import OutputError, RvrtError
from rvrt_cli.media.av_errors import LIBRARY_ERRORS
from rvrt_cli.media.clock import Clock, packets_on_one_clock, until_damage
from rvrt_cli.media.open_file import open_container
from rvrt_cli.media.source import Source
from rvrt_cli.system.files import explain_os_error

# Sound this long before zero is hidden by an edit list; less is what decoders need to warm up.
HIDDEN_SOUND_S = 0.1
PACKETS_TO_FIRST_SOUND = 2000


def first_sound_s(source: Source) -> dict[int, float]:
    """When the first packet of each sound stream begins, on the source's clock; nothing of streams that are not met soon."""
    waiting = {stream.index for stream in source.streams if stream.kind == "audio"}
    found: dict[int, float] = {}
    try:
        with open_container(source.path) as container:
            for number, packet in enumerate(container.demux(audio=tuple(range(len(waiting))))):
                if packet.pts is not None and packet.time_base is not None:
                    found.setdefault(packet.stream_index, float(packet.pts * packet.time_base))
                if found.keys() >= waiting or number > PACKETS_TO_FIRST_SOUND:
                    break
    except (RvrtError, OSError, *LIBRARY_ERRORS):
        return found
    return found


def hides_sound(source: Source) -> bool:
    """Whether an edit list hides more than a decoder's warming up at the beginning of the sound.

    FFmpeg writes that length into a Matroska file as the codec's delay, also when the beginning is cut off; players would
    then skip as much of what is left.
    """
    if not source.format.startswith("mov"):
        return False
    return any(begins_s < -HIDDEN_SOUND_S for begins_s in first_sound_s(source).values())


def copy_side_streams(
    source: Source, indices: Sequence[int], folder: Path, from_s: float | None, until_s: float | None
) -> Path:
    """A file in ``folder`` with the streams ``indices`` of the source, in this order, on one clock.

    NUT holds every codec and time base, and no codec delay. from_s, until_s: what ends before or begins after may be
    left out. Errors: :class:`OutputError`, :class:`DiskFullError`.
    """
    path = folder / "side-streams.nut"
    clock = Clock()
    try:
        with open_container(source.path) as container, av.open(f"file:{path}", "w", format="nut") as out:
            copies = {i: out.add_stream_from_template(container.streams[i], opaque=True) for i in indices}
            waiting = {i for i in indices if container.streams[i].type == "audio"}  # for their end
            for packet in until_damage(_packets(source, container, clock)):
                if not packet.size or packet.dts is None or packet.time_base is None:
                    continue
                begins_s = float(packet.dts * packet.time_base)
                if until_s is not None and begins_s > until_s and packet.stream_index in waiting:
                    waiting.discard(packet.stream_index)
                    if not waiting:
                        break
                ends_s = begins_s + float((packet.duration or 0) * packet.time_base)
                if packet.stream_index in copies and (from_s is None or ends_s > from_s):
                    packet.stream = copies[packet.stream_index]
                    with suppress(av.error.ArgumentError):  # a damaged packet; verification counts them
                        out.mux(packet)
    except OSError as error:
        raise explain_os_error(error, path) from error
    except LIBRARY_ERRORS as error:
        raise OutputError(
            f"The sound and subtitles of {source.path} cannot be copied ({error}); copy the film with ffmpeg first."
        ) from error
    return path


def _packets(source: Source, container: av.container.InputContainer, clock: Clock) -> Iterator[av.Packet]:
    return packets_on_one_clock(container, clock) if source.clock_jumps else container.demux()
