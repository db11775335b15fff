"""Everything that knows codecs and containers: probe, read frames, write segments, mux, verify.

    source = probe(path)                                     # facts; InputError when it cannot be upscaled
    settings = resolve_encoding(source, EncodeOptions(), output, 4 * source.video.width, 4 * source.video.height)
    plan = plan_mux(source, settings)                        # plan.warnings before the run
    dry_run_output(source, settings, plan)                         # fails where the finished file would
    with read_frames(source) as frames:                      # Frame.rgb float32 (h, w, 3)
        ...
    writer = SegmentWriter(path, settings); writer.write(rgb, pts, duration, alpha); info = writer.close()
    mux(source, segments, output, settings, plan, trimmed=False)   # verifies, then replaces ``output``

Pictures: ``probe(folder_or_pattern, fps=...)`` and :class:`ImageSequenceWriter`. Pipes: ``probe("-")`` reads y4m from standard
input, ``Y4mWriter(sys.stdout.buffer, y4m_settings(source, width, height))`` writes it.
"""

from __future__ import annotations

from rvrt_cli.media.decode import NotSeekable
from rvrt_cli.media.dry_run import dry_run_output
from rvrt_cli.media.encode import resolve_encoding, with_shape_kept
from rvrt_cli.media.encode_settings import EncodeOptions, EncodeSettings
from rvrt_cli.media.ffmpeg import ffmpeg_executable, run_ffmpeg
from rvrt_cli.media.frame import Frame
from rvrt_cli.media.images import ImageSequenceWriter
from rvrt_cli.media.mux import mux
from rvrt_cli.media.mux_plan import MuxPlan, StreamPlan, plan_mux
from rvrt_cli.media.probe import probe
from rvrt_cli.media.reader import EmptyRange, FrameReader, read_frames
from rvrt_cli.media.segment import SegmentInfo, SegmentWriter
from rvrt_cli.media.source import Chapter, ColorTags, HdrMetadata, Source, Stream, VideoStream
from rvrt_cli.media.verify import Expected, verify_output
from rvrt_cli.media.y4m import Y4mWriter, y4m_settings

__all__ = [
    "Chapter",
    "ColorTags",
    "EmptyRange",
    "EncodeOptions",
    "EncodeSettings",
    "Expected",
    "Frame",
    "FrameReader",
    "HdrMetadata",
    "ImageSequenceWriter",
    "MuxPlan",
    "NotSeekable",
    "SegmentInfo",
    "SegmentWriter",
    "Source",
    "Stream",
    "StreamPlan",
    "VideoStream",
    "Y4mWriter",
    "dry_run_output",
    "ffmpeg_executable",
    "mux",
    "plan_mux",
    "probe",
    "read_frames",
    "resolve_encoding",
    "run_ffmpeg",
    "verify_output",
    "with_shape_kept",
    "y4m_settings",
]
