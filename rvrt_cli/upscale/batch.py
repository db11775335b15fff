"""A folder of videos: each is upscaled on its own, what is done is skipped, failures are named at the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import ExitCode, InputError, InterruptedRun, OutputError, PartialError, RvrtError
from rvrt_cli.media.av_errors import translate_read_errors
from rvrt_cli.media.containers import CONTAINERS
from rvrt_cli.system.files import translate_write_errors, visible
from rvrt_cli.system.suffixes import VIDEO_SUFFIXES
from rvrt_cli.upscale.events import Event, Notice, OnEvent, Report, counted
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.upscale.run import upscale

FATAL = (ExitCode.DEVICE, ExitCode.WEIGHTS, ExitCode.DISK_FULL)
"""What fails for one video in these ways fails for all: the batch stops at once."""
FALLBACK_SUFFIX = ".mkv"
"""For videos in containers that are read but not written (.avi, .ts, .wmv ...): Matroska holds whatever they held."""


@dataclass(frozen=True)
class BatchReport(Event):
    """What became of each video of a batch; ``failed`` pairs a name with its error."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def list_videos(folder: Path) -> list[Path]:
    """The videos directly in ``folder``, by suffix, sorted by name; hidden files are none."""
    with translate_read_errors(folder):
        return [path for path in visible(folder) if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]


def is_batch(input_path: str) -> bool:
    """Whether the input is a folder that holds videos."""
    path = Path(input_path)
    with translate_read_errors(path):
        return input_path != "-" and path.is_dir() and bool(list_videos(path))


def output_suffix(video: Path, container: str | None) -> str:
    """The suffix of a video's output: the container's where one is asked for, else its own where that can be written."""
    if container is not None:
        name = container.lower().lstrip(".")
        return "." + {"matroska": "mkv"}.get(name, name)
    return video.suffix if video.suffix.lower() in CONTAINERS else FALLBACK_SUFFIX


def output_paths(videos: list[Path], folder: Path, container: str | None) -> list[Path]:
    """The output of each video: its own name in ``folder``, with :func:`output_suffix`.

    Errors: :class:`OutputError` when two videos would get the same name.
    """
    targets = [folder / (video.stem + output_suffix(video, container)) for video in videos]
    for target in targets:
        twins = [video.name for video, other in zip(videos, targets, strict=True) if other == target]
        if len(twins) > 1:
            raise OutputError(f"{' and '.join(twins)} would both become {target}; rename one of them.")
    return targets


def upscale_folder(
    folder: Path, output: Path, options: UpscaleOptions, *, on_event: OnEvent, stop: threading.Event
) -> BatchReport:
    """Upscale every video in ``folder`` into the folder ``output``.

    Errors: :class:`PartialError` when some failed; :class:`InterruptedRun` as in a single run.
    """
    with translate_write_errors(output):
        if not output.is_dir() and (output.suffix or output.exists()):
            raise OutputError(
                f"{folder} is a folder of videos, so the output must be a folder too; got {output}."
            )
        if output.resolve() == folder.resolve():
            raise OutputError("the output folder is the input folder; choose another one.")
    videos = list_videos(folder)
    if not videos:
        raise InputError(f"{folder} holds no videos.")
    targets = output_paths(videos, output, options.container)
    with translate_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    done: list[str] = []
    skipped: list[str] = []
    failed: list[tuple[str, str]] = []
    for number, (video, target) in enumerate(zip(videos, targets, strict=True), start=1):
        try:
            with translate_write_errors(target):  # .ts becomes .mkv, and a name may be too long then
                there = target.exists()
            if there and not options.overwrite:
                # A finished output appears whole and verified or not at all, so a file that exists is done.
                on_event(Notice(f"{number}/{len(videos)}: {target} exists and is skipped."))
                skipped.append(video.name)
                continue
            on_event(Notice(f"{number}/{len(videos)}: {video.name}"))
            report: Report = upscale(video, target, options, on_event=on_event, stop=stop)
            on_event(report)
            done.append(video.name)
        except InterruptedRun:
            raise
        except RvrtError as error:
            if error.exit_code in FATAL:
                raise
            on_event(Notice(f"{video.name} failed: {error}", "warning"))
            failed.append((video.name, str(error)))
        if stop.is_set():
            raise InterruptedRun(f"Interrupted after {video.name}; run the same command again to continue.")
    batch = BatchReport(tuple(done), tuple(skipped), tuple(failed))
    on_event(batch)
    if failed:
        names = ", ".join(name for name, _ in failed)
        rest = "; the others are done." if len(failed) < len(videos) else "."
        raise PartialError(f"{len(failed)} of {counted(len(videos), 'video')} failed: {names}{rest}")
    return batch
