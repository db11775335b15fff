"""Where a run's segments go, and how they become the output once all are finished."""

from __future__ import annotations

import filecmp
import threading
from pathlib import Path

from rvrt_cli.errors import OutputError
from rvrt_cli.media import mux
from rvrt_cli.system.files import remove_leftovers
from rvrt_cli.upscale.journal import Journal
from rvrt_cli.upscale.prepare import Prepared
from rvrt_cli.upscale.sinks import ImageSink, VideoSink, image_bit_depth


def open_sink(prepared: Prepared, journal: Journal) -> VideoSink | ImageSink:
    """The sink that writes segments of a video, or of images, into the journal's work directory."""
    if prepared.kind == "video":
        assert prepared.settings is not None
        return VideoSink(journal, prepared.settings)
    assert prepared.names is not None
    return ImageSink(
        journal,
        prepared.names,
        prepared.source.video,
        image_bit_depth(prepared.source, prepared.options.pix_fmt),
    )


def publish(prepared: Prepared, journal: Journal, sink: VideoSink | ImageSink, stop: threading.Event) -> int:
    """Make the output of the finished segments, verified; return its size in bytes.

    Errors: :class:`OutputError` where the output appeared meanwhile, those of :func:`rvrt_cli.media.mux` and
    :meth:`ImageSink.publish`; the segments then stay.
    """
    if isinstance(sink, ImageSink):
        return sink.publish(journal.segments[-1].stop)
    assert prepared.settings is not None
    assert prepared.mux_plan is not None
    output = Path(prepared.output)
    taken = output.exists() and not prepared.options.overwrite
    if taken and not journal.placing:
        raise _appeared(output)
    remove_leftovers(output)  # of runs that were killed here; the journal is locked
    if not journal.placing:
        journal.place()
    # What lies there may be the film of an earlier run that was killed just then: this one, to the byte, or something else.
    made = journal.folder / output.name if taken else output
    mux(
        prepared.source,
        sink.segment_paths(),
        made,
        prepared.settings,
        prepared.mux_plan,
        trimmed=prepared.options.trimmed,
        stop=stop,
    )
    if taken and not filecmp.cmp(made, output, shallow=False):
        made.unlink()
        raise _appeared(output)
    return output.stat().st_size


def _appeared(output: Path) -> OutputError:
    return OutputError(
        f"{output} appeared while the film was made and is not replaced; move it away or add --overwrite, and "
        "run the same command again."
    )
