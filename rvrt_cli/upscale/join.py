"""How finished segments become the output: a film is joined and gets its other streams, pictures are put into their place."""

from __future__ import annotations

import filecmp
import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rvrt_cli.errors import OutputError, VerifyError
from rvrt_cli.media import mux
from rvrt_cli.system.files import (
    explain_os_error,
    fitting_name,
    remove_leftovers,
    sync_directory,
    written_through,
)
from rvrt_cli.upscale.journal import Journal
from rvrt_cli.upscale.output_path import (
    UNFINISHED,
    PictureNames,
    mark_unfinished,
    stale_pictures,
    unfinished_pictures,
)
from rvrt_cli.upscale.prepare import Prepared


def place_output(prepared: Prepared, journal: Journal, stop: threading.Event) -> int:
    """Make the output of the finished segments, verified; return its size in bytes.

    Errors: :class:`OutputError` where the output appeared meanwhile, those of :func:`rvrt_cli.media.mux` and
    :func:`place_pictures`; the segments then stay.
    """
    segments = journal.files()
    if prepared.names is not None:
        return place_pictures(segments, prepared.names, journal.frames_done)
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
        segments,
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


def place_pictures(segments: Iterable[Path], names: PictureNames, expected: int) -> int:
    """Put all pictures into their place and remove an older run's others; return how many bytes they have.

    A run that is killed meanwhile continues here: what it has put there is known by a list beside the pictures.
    Errors: :class:`VerifyError` unless there are ``expected``; :class:`DiskFullError` and :class:`OutputError`, and
    then the pictures that came newly are taken away again.
    """
    target = names.folder
    pictures = [path for segment in segments for path in sorted(segment.iterdir())]
    written = {path.name for path in pictures}
    created: list[Path] = []
    made = not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        ours = {name for name in written if not (target / name).exists()} | unfinished_pictures(target)
        mark_unfinished(target, ours)
        for path in pictures:
            if not (target / path.name).exists():
                created.append(target / path.name)
            # Linked, not moved: a crash in the middle must leave the segments whole for the next run.
            place = written_through(target / path.name)
            temporary = place.with_name(fitting_name(place.parent, f".{place.name}", ".part"))
            created.append(temporary)
            temporary.unlink(missing_ok=True)
            try:
                os.link(path, temporary)
            except OSError:
                shutil.copyfile(path, temporary)
            os.replace(temporary, place)
            # A link of a file does not replace another link of it: then it is still there.
            temporary.unlink(missing_ok=True)
            created.pop()
        if len(written) == expected:
            for stale in stale_pictures(names, written):
                stale.unlink()
            sync_directory(target)
        (target / UNFINISHED).unlink()
        sync_directory(target)
    except OSError as error:
        _take_away(created, target, made)
        raise explain_os_error(error, target) from error
    if len(written) != expected:
        raise VerifyError(
            f"{target} holds {len(written)} images where {expected} frames were upscaled; please report this."
        )
    return sum(path.stat().st_size for path in pictures)


def _take_away(created: list[Path], target: Path, made: bool) -> None:
    """Leave ``target`` as it was before pictures were ``created`` there; ``made``: it did not exist either."""
    with suppress(OSError):
        for path in created:
            path.unlink(missing_ok=True)
        if not any((target / name).exists() for name in unfinished_pictures(target)):
            (target / UNFINISHED).unlink(missing_ok=True)
        if made:
            target.rmdir()
