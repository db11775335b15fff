"""What a folder of training data holds: Vimeo-90K, photographs, sequences of frames, videos, or several of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvrt_cli.data.clips import ArrayCache, ClipSource, FrameSource, MixedSource, PhotoSource, VideoSource
from rvrt_cli.data.motion import MotionSettings
from rvrt_cli.data.vimeo import find_vimeo_root, septuplet_frames
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.images import list_images
from rvrt_cli.system.files import visible, visible_folders
from rvrt_cli.system.suffixes import OPENCV_SUFFIXES, VIDEO_SUFFIXES

KINDS = ("vimeo90k", "photos", "frames", "videos")
_FOLDERS_LOOKED_AT = 64
"""Folders of a tree whose pictures are compared; in larger ones the names of the files must do."""
_PAIRS = 5
_ALIKE = 0.6
"""Least median correlation of neighbouring pictures, 32×32 pixels of grey, of a film. Measured: neighbouring frames of four
DAVIS and 16 Vimeo-90K clips 0.71 to 1.00; pairs of 117 photographs 0.05 in the median, 3 % of them above 0.6."""


def open_clip_source(
    path: Path, kind: str = "auto", motion: MotionSettings | None = None, cache: ArrayCache | None = None
) -> ClipSource:
    """Find out what ``path`` holds and open it; ``cache`` keeps decoded pictures.

    ``kind``: one of :data:`KINDS`, or "auto": a Vimeo-90K tree is recognised by ``sequences/`` and its list (the
    training list is used), videos by their suffix, frames as :func:`looks_like_film` says, folder by folder; other
    images are photographs. A folder with several kinds becomes a mixture in proportion to the number of files. A single
    photograph or video file may be given too.

    Errors: :class:`InputError` for a folder that is missing or holds none of these.
    """
    path = Path(path)
    if path.is_file():
        picture = path.suffix.lower() in OPENCV_SUFFIXES
        return PhotoSource([path], motion, cache) if picture else VideoSource([path])
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give a folder of photographs, frames or videos.")
    if kind not in ("auto", *KINDS):
        raise InputError(
            f"There is no kind of training data called {kind!r}; use {', '.join(KINDS[:-1])} or {KINDS[-1]}."
        )
    if kind == "vimeo90k" or (kind == "auto" and _is_vimeo(path)):
        layout = find_vimeo_root(path)
        names = layout.read_list("train")
        return FrameSource(
            [septuplet_frames(layout.images, name) for name in names], f"{layout.root} (Vimeo-90K)", cache
        )
    folders = visible_folders(path)
    videos = [file for folder in folders for file in visible(folder) if file.suffix.lower() in VIDEO_SUFFIXES]
    sequences: list[list[Path]] = []
    photos: list[Path] = []
    for folder in folders:
        images = list_images(folder)
        if not images:
            continue
        look = len(sequences) < _FOLDERS_LOOKED_AT
        if kind == "frames" or (kind == "auto" and looks_like_film(images, look)):
            sequences.append(images)
        else:
            photos.extend(images)
    sources: list[tuple[ClipSource, float]] = []
    if photos and kind in ("auto", "photos"):
        sources.append((PhotoSource(photos, motion, cache), float(len(photos))))
    if sequences and kind in ("auto", "frames"):
        sources.append((FrameSource(sequences, str(path), cache), float(len(sequences))))
    if videos and kind in ("auto", "videos"):
        sources.append((VideoSource(videos), float(len(videos))))
    if not sources:
        wanted = "photographs, frames or videos" if kind == "auto" else kind
        raise InputError(f"{path} holds no {wanted} to make clips from.")
    return sources[0][0] if len(sources) == 1 else MixedSource(sources)


def _is_vimeo(path: Path) -> bool:
    try:
        return "train" in find_vimeo_root(path).lists
    except InputError:
        return False


def looks_like_film(images: Sequence[Path], look: bool = True) -> bool:
    """Whether images (in order) are the frames of a film: names that differ by a running number, and neighbours alike.

    Cameras and data sets of photographs number their files too, so with ``look`` a few neighbouring pictures are
    compared. An unreadable picture counts as alike: it is named when it is drawn.
    """
    return _numbered(images) and (not look or _neighbours_alike(images))


def _numbered(images: Sequence[Path]) -> bool:
    stems = [image.stem for image in images]
    prefixes = {stem.rstrip("0123456789") for stem in stems}
    if len(images) < 2 or len(prefixes) != 1 or not all(stem[-1:].isdigit() for stem in stems):
        return False
    prefix = next(iter(prefixes))
    numbers = sorted(int(stem[len(prefix) :]) for stem in stems)
    return numbers[-1] - numbers[0] == len(numbers) - 1


def _neighbours_alike(images: Sequence[Path]) -> bool:
    count = min(_PAIRS, len(images) - 1)
    first = np.unique(np.linspace(0, len(images) - 2, count).round().astype(int))
    return float(np.median([_likeness(images[index], images[index + 1]) for index in first])) > _ALIKE


def _likeness(first: Path, second: Path) -> float:
    """Correlation of two pictures reduced to 32×32 pixels of grey; -1 for different sizes."""
    import cv2

    # A reduced decode reads an eighth of a JPEG's size for little more than its header.
    a, b = (
        cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if path.stat().st_size
        else None
        for path in (first, second)
    )
    if a is None or b is None:
        return 1.0
    if a.shape != b.shape:
        return -1.0
    a, b = (cv2.resize(x, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else float(np.abs(a - b).max() == 0)
