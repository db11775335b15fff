"""One run: an input, an output, options → a finished and verified file and a report."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from rvrt_cli.errors import InterruptedRun
from rvrt_cli.inference.restorer import Restorer
from rvrt_cli.media import rehearse
from rvrt_cli.upscale.chain import make_rungs
from rvrt_cli.upscale.events import Finishing, Notice, OnEvent, Report, counted, ignore_event
from rvrt_cli.upscale.job import PipelineResult, PipelineSettings
from rvrt_cli.upscale.journal import Journal, find_work
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.pipeline import run_pipeline
from rvrt_cli.upscale.prepare import Prepared, prepare
from rvrt_cli.upscale.publish import open_sink, publish
from rvrt_cli.upscale.report import final_report, started_event
from rvrt_cli.upscale.resume import amend_plan, resolved_choices, restart_of, run_identity
from rvrt_cli.upscale.sinks import StreamSink
from rvrt_cli.upscale.target import exists_already
from rvrt_cli.upscale.tiles import TilePlan
from rvrt_cli.upscale.unchanged import InputWatch

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
        prepared.restorer.close()


def run_prepared(prepared: Prepared, on_event: OnEvent, stop: threading.Event) -> Report:
    """The run itself."""
    for warning in prepared.warnings:
        on_event(Notice(warning, "warning"))
    began = time.perf_counter()
    if prepared.kind == "stream":
        assert prepared.settings is not None
        on_event(started_event(prepared, 0))
        sink = StreamSink(sys.stdout.buffer, prepared.settings)
        result = run_pipeline(_pipeline_settings(prepared), sink, on_event, stop)
        return final_report(
            prepared,
            result,
            began,
            frames=result.frames,
            resumed=0,
            shots=result.shots,
            corrupt=max(result.corrupt, prepared.film.corrupt_frames()),
        )
    if prepared.settings is not None and prepared.mux_plan is not None:
        options = prepared.options
        plan = rehearse(
            prepared.source,
            prepared.settings,
            prepared.mux_plan,
            trimmed=options.trimmed,
            start_s=options.start_s,
        )
        for difference in sorted(plan.differences):
            on_event(Notice(f"The output will differ in this from the source: {difference}.", "warning"))
        prepared = replace(prepared, mux_plan=plan)
    watch = InputWatch.begin(prepared.source)
    identity, folder = run_identity(prepared, watch.identity), prepared.work_folder
    if prepared.options.work_dir is not None:
        folder = find_work(folder, prepared.moved_work_folder, identity)
    _announce_check(folder, on_event)
    output = Path(prepared.output) if prepared.kind == "video" else None
    with Journal(
        folder,
        identity,
        resolved_choices(prepared),
        resume=prepared.options.resume and prepared.source.kind != "y4m",
        output=output,
    ) as journal:
        try:
            if journal.finished:
                return _finished_before(prepared, journal, on_event, began)
            if output is not None and output.exists() and not (prepared.options.overwrite or journal.placing):
                raise exists_already(output)
            report = _run_journaled(prepared, journal, watch, on_event, stop, began)
        except BaseException as error:
            if not journal.segments or prepared.source.kind == "y4m":
                # Nothing is worth keeping, or nothing can be continued: leave no trace.
                journal.remove()
            elif isinstance(error, Exception) and not isinstance(error, InterruptedRun):
                on_event(
                    Notice(
                        f"{_frames(journal.segments[-1].stop)} finished and kept in {journal.folder}: the same command with the same "
                        "input continues after them; delete that folder if it is not wanted.",
                        "warning",
                    )
                )
            raise
        journal.close_work(output, keep=prepared.options.keep_work)
        return report


def _finished_before(prepared: Prepared, journal: Journal, on_event: OnEvent, began: float) -> Report:
    """The report of a run that was killed when its film was in place; its work goes now."""
    assert isinstance(prepared.output, Path)
    frames = journal.segments[-1].stop
    on_event(started_event(prepared, frames))
    on_event(Notice("The earlier run had finished this film; only its work was left, which is removed now."))
    report = final_report(
        prepared,
        PipelineResult(
            engine=prepared.restorer.engine,
            model=prepared.restorer.name,
            window=journal.resolved["window"],
            tile=prepared.tile,
        ),
        began,
        frames=frames,
        resumed=frames,
        shots=sum(segment.shots for segment in journal.segments),
        corrupt=sum(segment.corrupt for segment in journal.segments),
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
    watch: InputWatch,
    on_event: OnEvent,
    stop: threading.Event,
    began: float,
) -> Report:
    if journal.started_anew:
        on_event(
            Notice(
                journal.started_anew[0].upper()
                + journal.started_anew[1:]
                + ("." if journal.segments else "; starting anew."),
                "warning",
            )
        )
    amend_plan(prepared, journal)
    # "auto" was settled by the run that began; the machine's state may have changed since, the result must not.
    prepared = replace(
        prepared,
        window=journal.resolved["window"],
        tile=TilePlan(journal.resolved["tile_px"], journal.resolved["tile_overlap_px"]),
    )
    resumed = journal.segments[-1].stop if journal.segments else 0
    on_event(started_event(prepared, resumed))
    if resumed:
        on_event(Notice(f"Continuing an earlier run after frame {resumed}."))
    sink = open_sink(prepared, journal)
    try:
        result = run_pipeline(_pipeline_settings(prepared, journal), sink, on_event, stop)
    except (InterruptedRun, KeyboardInterrupt) as error:
        raise InterruptedRun(_what_is_kept(prepared, journal)) from error
    watch.check()
    on_event(
        Finishing(
            "joining the segments and copying the other streams"
            if prepared.kind == "video"
            else "putting the images into place"
        )
    )
    size = publish(prepared, journal, sink, stop)
    return final_report(
        prepared,
        result,
        began,
        frames=journal.segments[-1].stop,
        resumed=resumed,
        shots=sum(segment.shots for segment in journal.segments),
        corrupt=max(sum(segment.corrupt for segment in journal.segments), prepared.film.corrupt_frames()),
        size=size,
        verified=True,
    )


def _what_is_kept(prepared: Prepared, journal: Journal) -> str:
    """What a person who interrupted the run is told."""
    if prepared.source.kind == "y4m":
        return "Interrupted; frames from standard input cannot be read again, so nothing is kept."
    if not journal.segments:
        return "Interrupted before the first segment was finished; nothing is kept."
    done = _frames(journal.segments[-1].stop)
    return (
        f"Interrupted; {done} finished and kept in {journal.folder}. Run the same command again to continue."
    )


def _pipeline_settings(prepared: Prepared, journal: Journal | None = None) -> PipelineSettings:
    last = journal.segments[-1] if journal and journal.segments else None
    return PipelineSettings(
        decode=prepared.film.decode,
        rungs=make_rungs(prepared.options, prepared.restorer, brought=prepared.brought),
        finish=prepared.finish,
        window=prepared.window,
        overlap=prepared.options.shared_frames,
        tile=prepared.tile,
        segment_frames=prepared.segment_frames,
        frames_total=prepared.film.frames_total,
        start_frame=last.stop if last else 0,
        first_segment=last.index + 1 if last else 0,
        restart=restart_of(journal) if journal and last else None,
        detect_shots=prepared.options.shots,
        overlapped=prepared.work.overlapped,
        shot_detector=prepared.film.detector,
        frames_read=prepared.film.frames_read,
    )


def _frames(count: int) -> str:
    return f"{counted(count, 'frame')} {'is' if count == 1 else 'are'}"
