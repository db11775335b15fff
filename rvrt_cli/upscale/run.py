"""One run: an input, an output, options → a finished and verified file and a report."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rvrt_cli.errors import InterruptedRun
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.inference.tiles import TilePlan
from rvrt_cli.media import dry_run_output
from rvrt_cli.package import __version__
from rvrt_cli.upscale.events import Finishing, Notice, OnEvent, Report, counted, ignore_event
from rvrt_cli.upscale.executors import RenderJob, RenderResult, Stretch
from rvrt_cli.upscale.executors.local import LocalExecutor
from rvrt_cli.upscale.input_fingerprint import InputFingerprint
from rvrt_cli.upscale.join import place_output
from rvrt_cli.upscale.journal import Journal, SegmentRecord, find_work
from rvrt_cli.upscale.level import Level, level_of
from rvrt_cli.upscale.oom_fallback import OomFallback
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.output_path import exists_already
from rvrt_cli.upscale.plan import plan_work
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.render import FinishedFile, SegmentFile
from rvrt_cli.upscale.report import final_report, started_event
from rvrt_cli.upscale.segments import PlannerState, Segment
from rvrt_cli.upscale.writers import PictureFolder, StreamWriter, VideoFile, image_bit_depth

ANNOUNCED_BYTES = 1 << 30
"""Finished segments above this size take seconds or minutes to check."""


def upscale(
    input_path: Path | str,
    output: Path | str,
    options: UpscaleOptions | None = None,
    *,
    restorer: Restorer | None = None,
    on_event: OnEvent = ignore_event,
    stop: threading.Event | None = None,
) -> Report:
    """Upscale ``input_path`` into ``output`` and return the report; see :func:`rvrt_cli.api.upscale_video`."""
    prepared = prepare(input_path, output, options or UpscaleOptions(), restorer)
    try:
        return run_prepared(prepared, on_event, stop or threading.Event())
    finally:
        if not prepared.external:
            prepared.restorer.close()


def run_prepared(prepared: Prepared, on_event: OnEvent, stop: threading.Event) -> Report:
    """The run itself."""
    for warning in prepared.warnings:
        on_event(Notice(warning, "warning"))
    if prepared.kind == "stream":
        return _run_stream(prepared, on_event, stop)
    began = time.perf_counter()
    if prepared.settings is not None and prepared.mux_plan is not None:
        options = prepared.options
        plan = dry_run_output(
            prepared.source,
            prepared.settings,
            prepared.mux_plan,
            trimmed=options.trimmed,
            start_s=options.start_s,
        )
        for difference in sorted(plan.differences):
            on_event(Notice(f"The output will differ in this from the source: {difference}.", "warning"))
        prepared = replace(prepared, mux_plan=plan)
    fingerprint = InputFingerprint.begin(prepared.source)
    identity, folder = run_identity(prepared, fingerprint.identity), prepared.work_folder
    if prepared.options.work_dir is not None:
        folder = find_work(folder, prepared.moved_work_folder, identity)
    _announce_check(folder, on_event)
    output = Path(prepared.output) if prepared.kind == "video" else None
    once = prepared.source.kind == "y4m"
    with Journal(
        folder,
        identity,
        resolved_choices(prepared),
        resume=prepared.options.resume,
        output=output,
        overwrite=prepared.options.overwrite,
        once=once,
    ) as journal:
        try:
            if journal.finished:
                return _finished_before(prepared, journal, on_event, began)
            if output is not None and output.exists() and not (prepared.options.overwrite or journal.placing):
                raise exists_already(output)
            report = _run_journaled(prepared, journal, fingerprint, on_event, stop, began)
        except BaseException as error:
            if not journal.records or once:
                # Nothing is worth keeping, or nothing can be continued: leave no trace.
                journal.remove()
            elif isinstance(error, Exception) and not isinstance(error, InterruptedRun):
                on_event(
                    Notice(
                        f"{_frames(journal.frames_done)} finished and kept in {journal.folder}: the same command with the same "
                        "input continues after them; delete that folder if it is not wanted.",
                        "warning",
                    )
                )
            raise
        journal.close_work(output, keep=prepared.options.keep_work)
        return report


def _run_stream(prepared: Prepared, on_event: OnEvent, stop: threading.Event) -> Report:
    """A run whose pictures leave at once as y4m: nothing is kept, nothing can be continued."""
    assert prepared.settings is not None
    began = time.perf_counter()
    on_event(started_event(prepared, 0))
    writer = StreamWriter(sys.stdout.buffer, prepared.settings)
    fallback = prepared.fallback()
    try:
        result = render_stretches(prepared, fallback, lambda _index: writer, lambda *_: None, on_event, stop)
    finally:
        fallback.close()
    return final_report(
        prepared,
        result,
        began,
        frames=result.frames,
        resumed=0,
        shots=result.shots,
        corrupt=max(result.corrupt, prepared.film.corrupt_frames()),
    )


def run_identity(prepared: Prepared, content: dict[str, Any]) -> dict[str, Any]:
    """What the output's bytes depend on; ``content`` identifies the input. Work of another identity is not continued."""
    return {
        "version": __version__,
        "input": content,
        "options": prepared.options.identity(),
        "model": prepared.restorer.fingerprint,
        "encoder": prepared.encoder_fingerprint,
        "segment_frames": prepared.segment_frames,
        # A video's name is no part of its bytes; the pictures' names are what a segment holds.
        "names": prepared.names.pattern if prepared.names else None,
    }


def resolved_choices(prepared: Prepared) -> dict[str, Any]:
    """What "auto" became on this machine; a continued run keeps it."""
    return {
        "window": prepared.level.window,
        "tile_px": prepared.level.tile.tile_px,
        "tile_overlap_px": prepared.level.tile.overlap_px,
        "memory_limit": prepared.options.memory_limit,
    }


def resolved_level(journal: Journal) -> Level:
    """The level among the :func:`resolved_choices` of the run that began."""
    chosen = journal.resolved
    return Level(chosen["window"], TilePlan(chosen["tile_px"], chosen["tile_overlap_px"]))


def _finished_before(prepared: Prepared, journal: Journal, on_event: OnEvent, began: float) -> Report:
    """The report of a run that was killed when its film was in place; its work goes now."""
    assert isinstance(prepared.output, Path)
    frames = journal.frames_done
    on_event(started_event(prepared, frames))
    on_event(Notice("The earlier run had finished this film; only its work was left, which is removed now."))
    report = final_report(
        prepared,
        RenderResult(
            engine=prepared.restorer.engine,
            model=prepared.restorer.name,
            level=resolved_level(journal),
        ),
        began,
        frames=frames,
        resumed=frames,
        **_counts(journal),
        size=prepared.output.stat().st_size,
        verified=True,
    )
    journal.close_work(prepared.output, keep=prepared.options.keep_work)
    return report


def _announce_check(folder: Path, on_event: OnEvent) -> None:
    """Say that finished segments are read again, where they are so large that the wait would look like a hang."""
    size = sum(path.stat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0
    if size > ANNOUNCED_BYTES:
        on_event(Notice(f"Checking {size / 1e9:.1f} GB of finished segments in {folder} ..."))


def _run_journaled(
    prepared: Prepared,
    journal: Journal,
    fingerprint: InputFingerprint,
    on_event: OnEvent,
    stop: threading.Event,
    began: float,
) -> Report:
    _tell_what_was_found(journal, on_event)
    _amend_plan(prepared, journal)
    # "auto" was settled by the run that began; the machine's state may have changed since, the result must not.
    prepared = replace(prepared, level=resolved_level(journal))
    resumed = journal.frames_done
    on_event(started_event(prepared, resumed))
    stretches = _stretches(prepared, journal)
    if resumed:
        after = f"after frame {resumed}" if len(stretches) == 1 else f"of which {_frames(resumed)} finished"
        on_event(Notice(f"Continuing an earlier run {after}."))

    def finished(segment: Segment, file: FinishedFile, after: PlannerState) -> None:
        journal.append(SegmentRecord(segment, file, after))

    fallback = prepared.fallback()
    try:
        result = render_stretches(
            prepared,
            fallback,
            partial(_open_file, prepared, journal.folder),
            finished,
            on_event,
            stop,
            stretches=stretches,
            frames_done=resumed,
        )
    except (InterruptedRun, KeyboardInterrupt) as error:
        raise InterruptedRun(_what_is_kept(prepared, journal)) from error
    finally:
        fallback.close()
    fingerprint.check()
    on_event(
        Finishing(
            "joining the segments and copying the other streams"
            if prepared.kind == "video"
            else "putting the images into place"
        )
    )
    size = place_output(prepared, journal, stop)
    counts = _counts(journal)
    counts["corrupt"] = max(counts["corrupt"], prepared.film.corrupt_frames())
    return final_report(
        prepared,
        result,
        began,
        frames=journal.frames_done,
        resumed=resumed,
        **counts,
        size=size,
        verified=True,
    )


def _counts(journal: Journal) -> dict[str, int]:
    """Shots and damaged frames of the finished segments."""
    return {
        "shots": sum(len(record.segment.cuts) for record in journal.records.values()),
        "corrupt": sum(record.file.corrupt for record in journal.records.values()),
    }


def _tell_what_was_found(journal: Journal, on_event: OnEvent) -> None:
    """Say why an earlier run's work is not continued and where it is kept, and which of its segments are made again."""
    if journal.started_anew:
        reason = journal.started_anew[0].upper() + journal.started_anew[1:]
        kept = f" The work of the earlier run is kept in {journal.kept}." if journal.kept else ""
        on_event(Notice(f"{reason}; starting anew.{kept}", "warning"))
    for index in journal.damaged:
        on_event(Notice(f"Segment {index} of the earlier run is damaged and is made again.", "warning"))


def _amend_plan(prepared: Prepared, journal: Journal) -> None:
    """Plan the rest of an earlier run anew where ``--memory-limit`` is another one now, and record that."""
    limit = prepared.options.memory_limit
    if limit is None or limit == journal.resolved.get("memory_limit"):
        return
    video = prepared.source.video
    work = plan_work(
        prepared.options,
        prepared.restorer,
        video.height,
        video.width,
        encoder_bytes=prepared.encoder_bytes,
    )
    journal.amend(resolved_choices(replace(prepared, level=work.level)))


def _stretches(prepared: Prepared, journal: Journal) -> tuple[Stretch, ...]:
    """What is left to do, each part with the level that had worked there: memory ran out before it, and would again."""
    stretches: list[Stretch] = []
    planned = prepared.level
    for gap in journal.gaps():
        like = None if journal.amended else gap.like
        level = level_of(like) if like else planned
        if stretches and (stretches[-1].until, stretches[-1].level) == (gap.state.start, level):
            stretches[-1] = replace(stretches[-1], until=gap.until)
        else:
            stretches.append(Stretch(gap.state, gap.until, level))
    return tuple(stretches)


def _what_is_kept(prepared: Prepared, journal: Journal) -> str:
    """What a person who interrupted the run is told."""
    if prepared.source.kind == "y4m":
        return "Interrupted; frames from standard input cannot be read again, so nothing is kept."
    if not journal.records:
        return "Interrupted before the first segment was finished; nothing is kept."
    return (
        f"Interrupted; {_frames(journal.frames_done)} finished and kept in {journal.folder}. Run the same command again to "
        "continue."
    )


def _open_file(prepared: Prepared, folder: Path, index: int) -> SegmentFile:
    """The file of a segment of a film, or the folder of one of pictures, in the work directory."""
    if prepared.kind == "video":
        assert prepared.settings is not None
        return VideoFile(folder, index, prepared.settings)
    assert prepared.names is not None
    video = prepared.source.video
    depth = image_bit_depth(prepared.source, prepared.options.pix_fmt)
    return PictureFolder(folder, index, prepared.names, video, depth)


def render_stretches(
    prepared: Prepared,
    fallback: OomFallback,
    open_file: Callable[[int], SegmentFile],
    finished: Callable[[Segment, FinishedFile, PlannerState], None],
    on_event: OnEvent,
    stop: threading.Event,
    *,
    stretches: tuple[Stretch, ...] = (Stretch(PlannerState()),),
    frames_done: int = 0,
) -> RenderResult:
    """Render parts of the film as they are planned; see :class:`RenderJob`. Does not close the fallback's restorer."""
    job = RenderJob(
        source=prepared.film,
        settings=prepared.plan_settings,
        fallback=fallback,
        finish=prepared.finish,
        open_file=open_file,
        finished=finished,
        stretches=stretches,
        frames_done=frames_done,
        overlapped=prepared.work.overlapped,
        can_continue=prepared.can_continue,
    )
    return LocalExecutor(job, on_event, stop).run()


def _frames(count: int) -> str:
    return f"{counted(count, 'frame')} {'is' if count == 1 else 'are'}"
