"""Where the output goes: what kind it is, how pictures are named, and what must not be in its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from rvrt_cli.errors import OutputError, UsageError
from rvrt_cli.media import Frame, Source
from rvrt_cli.media.images import is_pattern
from rvrt_cli.system.files import write_bytes, written_through
from rvrt_cli.system.suffixes import IMAGE_SUFFIXES
from rvrt_cli.upscale.events import counted

OutputKind = Literal["video", "images", "stream"]
NUMBER = re.compile(r"%(0\d+)?d")
UNFINISHED = ".rvrt-unfinished"
"""In a folder of pictures: the names of those that a run is putting there. Found later, it says that the run was killed."""


def output_kind(output: Path | str, source: Source, *, one_frame: bool = False) -> OutputKind:
    """Whether ``output`` means a video file, pictures or a stream.

    A folder, or a name without suffix, means pictures when the input is an image sequence. A ``.png`` that is no
    pattern holds one picture, so the run must have ``one_frame``. Errors: :class:`OutputError`, :class:`UsageError`.
    """
    if str(output) == "-":
        return "stream"
    path = Path(output)
    if path.suffix.lower() == ".png" and not path.is_dir():
        if is_pattern(path):
            if NUMBER.search(path.name) is None or path.name.count("%") != 1:
                raise UsageError(f"{path} is not a pattern for PNG files; write it like frames/%05d.png.")
        elif not one_frame:
            raise OutputError(
                f"{path} is one picture and the input has many frames; write a sequence such as "
                f"{path.parent / 'frames' / '%05d.png'}, or add --frame TIME for one picture."
            )
        return "images"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise OutputError(f"images are written as PNG; name the output {path.with_suffix('.png')}.")
    if source.kind == "images" and (path.is_dir() or not path.suffix):
        return "images"
    if path.is_dir() or not path.suffix:
        raise OutputError(
            f"{path} has no suffix that names a format; use for example {path / 'out.mp4'} or {path / '%05d.png'}."
        )
    return "video"


@dataclass(frozen=True)
class PictureNames:
    """The names of the pictures of a run in ``folder``.

    ``pattern``: file name with one %d directive, or a plain name for a single picture; None keeps the source's names.
    ``numbers``: the source's own numbers, None to count from 1. ``stems``: the source's names without suffix.
    """

    folder: Path
    pattern: str | None
    numbers: tuple[int, ...] | None = None
    stems: tuple[str, ...] = ()

    def name(self, frame: Frame) -> str:
        """The file name of a frame. In an image sequence ``frame.pts`` counts the source's pictures from 0."""
        if self.pattern is None:
            return f"{self.stems[frame.pts]}.png"
        if NUMBER.search(self.pattern) is None:
            return self.pattern
        return self.pattern % (frame.index + 1 if self.numbers is None else self.numbers[frame.pts])

    def planned(self) -> set[str]:
        """The names that are known before the run: of a single picture, and of an image sequence."""
        if self.pattern is None:
            return {f"{stem}.png" for stem in self.stems}
        if NUMBER.search(self.pattern) is None:
            return {self.pattern}
        return {self.pattern % number for number in self.numbers or ()}

    def belongs(self, name: str) -> bool:
        """Whether a file of this name is, or was, a picture of this output."""
        found = NUMBER.search(self.pattern or "")
        if self.pattern is None or found is None:
            return name in self.planned()
        # %05d gives five digits at least.
        digits = int((found[1] or "1").lstrip("0") or 1)
        before, after = self.pattern[: found.start()], self.pattern[found.end() :]
        return re.fullmatch(rf"{re.escape(before)}\d{{{digits},}}{re.escape(after)}", name) is not None


def picture_names(output: Path, source: Source, *, preview: bool = False) -> PictureNames:
    """How the pictures of a run are named: by ``output``'s pattern with the source's numbers, or as the source's files.

    A video's frames, and those of a ``preview``, are counted from 1. Errors: :class:`OutputError` where two source
    files would get one name.
    """
    if output.suffix.lower() == ".png" and not output.is_dir():
        if not is_pattern(output):
            return PictureNames(output.parent, output.name)
        return PictureNames(output.parent, output.name, None if preview else source_numbers(source))
    if preview:
        return PictureNames(output, "%08d.png")
    stems = tuple(path.stem for path in source.images)
    if len(set(stems)) < len(stems):
        twin = next(stem for stem in stems if stems.count(stem) > 1)
        raise OutputError(
            f"two pictures would become {output / twin}.png; write {output / '%05d.png'} instead."
        )
    return PictureNames(output, None, None, stems)


def source_numbers(source: Source) -> tuple[int, ...] | None:
    """The number in each source picture's name (the last one, which orders them); None where they are missing or repeated."""
    found = [re.findall(r"\d+", path.stem) for path in source.images]
    if not found or not all(found):
        return None
    numbers = tuple(int(parts[-1]) for parts in found)
    return numbers if len(set(numbers)) == len(numbers) else None


def gap_warnings(source: Source) -> list[str]:
    """A sentence where numbers are missing in an image sequence."""
    numbers = source_numbers(source)
    if numbers is None:
        return []
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if missing <= 0:
        return []
    first = next(a + 1 for a, b in pairwise(numbers) if b != a + 1)
    return [
        f"The sequence has gaps: {missing} of the numbers {numbers[0]} to {numbers[-1]} have no picture (the first is {first}); "
        "the pictures that exist are taken one after the other."
    ]


def stay_warnings(names: PictureNames | None) -> list[str]:
    """A sentence where a folder that gets the source's names holds other pictures, which --overwrite does not remove."""
    if names is None or names.pattern is not None or not names.folder.is_dir():
        return []
    others = set(_pictures_in_place(names)) - names.planned() - unfinished_pictures(names.folder)
    return (
        [f"{names.folder} holds {counted(len(others), 'other image')}, which stay there."] if others else []
    )


def check_output_path(
    output: Path, source: Source, kind: OutputKind, names: PictureNames | None, *, overwrite: bool
) -> None:
    """Raise :class:`OutputError` where the output exists, is the input, or its folder is missing or read-only."""
    folder = written_through(output).parent
    if kind == "images" and names is not None and is_pattern(output):
        folder = output.parent.parent if not output.parent.is_dir() else output.parent
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; choose another place.")
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"the folder {folder} cannot be written; choose another place or fix its permissions."
        )
    _refuse_the_input(output, source, names)
    if overwrite:
        return
    if kind == "video" and output.exists():
        raise exists_already(output)
    if names is None:
        return
    unfinished = unfinished_pictures(names.folder)
    if found := [name for name in _pictures_in_place(names) if name not in unfinished]:
        raise OutputError(
            f"{names.folder} already holds images ({found[0]}); choose another name or add --overwrite."
        )


def exists_already(output: Path) -> OutputError:
    """The error for an output that is there."""
    return OutputError(f"{output} exists; choose another name or add --overwrite.")


def _refuse_the_input(output: Path, source: Source, names: PictureNames | None) -> None:
    if source.kind == "video" and output.exists() and output.samefile(source.path):
        raise OutputError("the output is the input; choose another name.")
    if names is None or source.kind != "images":
        return
    own = {path.name for path in source.images if path.parent.resolve() == names.folder.resolve()}
    if any(name in names.planned() or names.belongs(name) for name in own):
        raise OutputError("the output would replace pictures of the input; choose another name.")


def _pictures_in_place(names: PictureNames) -> list[str]:
    """Files that a run would replace, or that would be taken for its pictures afterwards."""
    if names.folder.is_file():
        return [names.folder.name]
    if not names.folder.is_dir():
        return []
    found = sorted(path.name for path in names.folder.iterdir())
    if names.pattern is None:
        return [name for name in found if name.lower().endswith(".png")]
    return [name for name in found if names.belongs(name)]


def unfinished_pictures(folder: Path) -> set[str]:
    """The names of the pictures that a run began to put into ``folder`` and was stopped before all were there."""
    try:
        names = os.fsdecode((folder / UNFINISHED).read_bytes()).split("\0")
    except OSError:
        return set()
    return {name for name in names if name == Path(name).name and name.lower().endswith(".png")}


def mark_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Record that ``names`` are being put into ``folder``, before the first one is."""
    write_bytes(folder / UNFINISHED, os.fsencode("\0".join(sorted(names))))


def stale_pictures(names: PictureNames, written: Iterable[str]) -> list[Path]:
    """Pictures that the new run did not replace: of an older run under the same pattern, or of one that was killed."""
    keep, unfinished = set(written), unfinished_pictures(names.folder)
    numbered = names.pattern is not None and NUMBER.search(names.pattern) is not None
    return sorted(
        path
        for path in names.folder.iterdir()
        if path.name not in keep and (path.name in unfinished or (numbered and names.belongs(path.name)))
    )
