"""Try the whole way of a frame into the finished file before the first one is upscaled.

What an encoder refuses or a container changes would otherwise be noticed when the run, which may last days, is over.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rvrt_cli.errors import VerifyError
from rvrt_cli.media.encode_settings import EncodeSettings
from rvrt_cli.media.mux import mux
from rvrt_cli.media.mux_plan import MuxPlan
from rvrt_cli.media.scratch import scratch_folder
from rvrt_cli.media.segment import SegmentWriter, frame_step
from rvrt_cli.media.source import Source
from rvrt_cli.media.verify import SideStreamsError

FRAMES = 2


def dry_run_output(
    source: Source,
    settings: EncodeSettings,
    plan: MuxPlan,
    *,
    trimmed: bool = False,
    start_s: float | None = None,
) -> MuxPlan:
    """Encode grey frames, mux them with every stream of the source and verify the result, in a temporary folder.

    All text that is converted is, and every chapter is written; of other streams the first packets are enough. ffmpeg
    looks for them in the whole file, as it will for the final one; where all begin at once it need not. trimmed, start_s: as
    of the run. Returns the plan with what names, languages and the like came out otherwise, which is no reason not to begin.
    Errors: :class:`OutputError`, :class:`DiskFullError` for what the encoder or the container refuses, :class:`VerifyError`
    for what they change.
    """
    step = frame_step(settings)
    first = source.video.start_pts or 0
    if start_s is not None:
        first = max(first, math.ceil((source.start_s + start_s) / settings.time_base))
    picture = np.full((settings.height, settings.width, 3), 0.5, np.float32)
    alpha = np.ones((settings.height, settings.width), np.float32) if settings.has_alpha else None
    with scratch_folder() as folder:
        segment = folder / "dry-run.segment.mkv"
        with SegmentWriter(segment, settings) as writer:
            for number in range(FRAMES):
                writer.write(picture, first + number * step, step, alpha)
            writer.close()
        output = folder / f"dry-run.{settings.container}"
        try:
            mux(source, [segment], output, settings, plan, trimmed=trimmed, dry_run=True)
        except SideStreamsError as error:
            if error.only_labels:
                return replace(plan, differences=frozenset(error.problems))
            raise _failed(error) from error
        except VerifyError as error:
            raise _failed(error) from error
    return plan


def _failed(error: VerifyError) -> VerifyError:
    return VerifyError(f"A rehearsal with {FRAMES} empty frames failed before the run began: {error}")
