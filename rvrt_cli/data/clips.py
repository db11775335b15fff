"""Where training clips come from: photographs with synthetic motion, Vimeo-90K, folders of frames, videos.

Every source answers ``sample(rng, frames, patch_gt_px)`` with a clip that depends on its files and the state of
``rng`` alone: what happens to be cached never changes the result. Sources can be pickled (their caches stay behind),
so each worker process holds its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from rvrt_cli.data.images import list_images, read_image
from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.data.vimeo import find_vimeo_root, septuplet_frames
from rvrt_cli.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".mpg", ".mpeg", ".y4m", ".ogv", ".flv", ".wmv"}
)
_VIDEO_RUN_FRAMES = 48
"""Consecutive frames of a video that are decoded and cached together."""


class ClipSource(Protocol):
    """A supply of ground-truth clips."""

    @property
    def name(self) -> str:
        """What it is, for logs: the folder and what was found in it."""
        ...

    def __len__(self) -> int:
        """How many files or sequences it draws from."""
        ...

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> np.ndarray:
        """A clip of (frames, patch_gt_px, patch_gt_px, 3) uint8, drawn with ``rng``.

        Errors: :class:`InputError` naming a file that is damaged or smaller than the patch.
        """
        ...


class ArrayCache:
    """Recently used arrays, at most ``budget_bytes`` of them together; pickles empty."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._arrays: OrderedDict[object, np.ndarray] = OrderedDict()
        self.bytes = 0

    def get(self, key: object, load: Callable[[], np.ndarray]) -> np.ndarray:
        """The array cached under ``key``; loaded, and others dropped, where it is not there."""
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
            return array
        array = load()
        self._arrays[key] = array
        self.bytes += array.nbytes
        while self.bytes > self.budget_bytes and len(self._arrays) > 1:
            _, dropped = self._arrays.popitem(last=False)
            self.bytes -= dropped.nbytes
        return array

    def __getstate__(self) -> dict[str, object]:
        return {"budget_bytes": self.budget_bytes, "_arrays": OrderedDict(), "bytes": 0}


class PhotoSource:
    """Photographs, each turned into a moving clip by :mod:`rvrt_cli.data.motion`."""

    def __init__(
        self, files: Sequence[Path], motion: MotionSettings | None = None, cache_mib: int = 1024
    ) -> None:
        if not files:
            raise InputError("There are no photographs to make training clips from.")
        self.files = tuple(files)
        self.motion = motion or MotionSettings()
        self._cache = ArrayCache(cache_mib << 20)

    @property
    def name(self) -> str:
        return f"{len(self)} photographs in {self.files[0].parent}"

    def __len__(self) -> int:
        return len(self.files)

    def _read(self, index: int) -> np.ndarray:
        path = self.files[index]
        return self._cache.get(path, lambda: read_image(path, convert=True))

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> np.ndarray:
        chosen = rng.integers(len(self.files), size=2)
        photos = [self._read(int(index)) for index in chosen]
        for index, photo in zip(chosen, photos, strict=True):
            _check_patch(self.files[int(index)], photo.shape[0], photo.shape[1], patch_gt_px)
        return synthesize_clip(photos, rng, frames, patch_gt_px, patch_gt_px, self.motion)


class FrameSource:
    """Sequences stored as one image per frame; a clip is a run of consecutive frames, mirrored in time where too short."""

    def __init__(
        self, sequences: Sequence[Sequence[Path]], label: str, cache_mib: int = 1024, per_frame: bool = True
    ) -> None:
        """``per_frame`` draws a sequence in proportion to its length, else all alike."""
        if not sequences or not all(sequences):
            raise InputError(f"There are no frames to train on in {label}.")
        self.sequences = tuple(tuple(sequence) for sequence in sequences)
        self._label = label
        self._cache = ArrayCache(cache_mib << 20)
        lengths = np.array(
            [len(sequence) if per_frame else 1 for sequence in self.sequences], dtype=np.float64
        )
        self._ends = np.cumsum(lengths) / lengths.sum()

    @property
    def name(self) -> str:
        return f"{len(self)} sequences of frames in {self._label}"

    def __len__(self) -> int:
        return len(self.sequences)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> np.ndarray:
        sequence = self.sequences[int(np.searchsorted(self._ends, rng.random(), side="right"))]
        start = int(rng.integers(max(1, len(sequence) - frames + 1)))
        paths = [sequence[index] for index in mirrored_run(start, frames, len(sequence))]
        corner: tuple[int, int] | None = None
        shape: tuple[int, ...] = ()
        clip = np.empty((frames, patch_gt_px, patch_gt_px, 3), dtype=np.uint8)
        for position, path in enumerate(paths):
            image = self._cache.get(path, lambda path=path: read_image(path, convert=True))  # type: ignore[misc]
            if corner is None:
                shape = image.shape
                corner = _pick_corner(rng, path, image.shape[0], image.shape[1], patch_gt_px)
            elif image.shape != shape:
                raise InputError(
                    f"{path} has another size than the first frame of its sequence; keep one size per sequence."
                )
            clip[position] = _crop(image, corner, patch_gt_px)
        return clip


class VideoSource:
    """Video files; a clip is a run of consecutive frames at a random place."""

    def __init__(self, files: Sequence[Path], cache_mib: int = 1024) -> None:
        if not files:
            raise InputError("There are no videos to train on.")
        self.files = tuple(files)
        self._cache = ArrayCache(cache_mib << 20)
        self._plans: dict[Path, tuple[int, float]] = {}

    @property
    def name(self) -> str:
        return f"{len(self)} videos in {self.files[0].parent}"

    def __len__(self) -> int:
        return len(self.files)

    def _plan(self, path: Path) -> tuple[int, float]:
        """How many runs the video has and how long one lasts in seconds."""
        if path not in self._plans:
            from rvrt_cli.media.probe import probe

            source = probe(path)
            if source.video is None:
                raise InputError(f"{path} has no picture; remove it from the training data.")
            rate = source.video.average_rate or Fraction(25)
            run_s = float(_VIDEO_RUN_FRAMES / rate)
            self._plans[path] = (max(1, int(float(source.duration_s or 0.0) / run_s)), run_s)
        return self._plans[path]

    def _decode(self, path: Path, run: int) -> np.ndarray:
        from rvrt_cli.media.probe import probe
        from rvrt_cli.media.reader import read_frames

        _, run_s = self._plan(path)
        with read_frames(probe(path), start_s=run * run_s, max_frames=_VIDEO_RUN_FRAMES) as reader:
            frames = [np.rint(np.clip(frame.rgb, 0.0, 1.0) * 255.0).astype(np.uint8) for frame in reader]
        if not frames:
            raise InputError(
                f"{path} gives no frames at {run * run_s:.1f} s; remove it from the training data."
            )
        return np.stack(frames)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> np.ndarray:
        path = self.files[int(rng.integers(len(self.files)))]
        run = int(rng.integers(self._plan(path)[0]))
        decoded = self._cache.get((path, run), lambda: self._decode(path, run))
        start = int(rng.integers(max(1, len(decoded) - frames + 1)))
        corner = _pick_corner(rng, path, decoded.shape[1], decoded.shape[2], patch_gt_px)
        return np.stack(
            [
                _crop(decoded[index], corner, patch_gt_px)
                for index in mirrored_run(start, frames, len(decoded))
            ]
        )


class MixedSource:
    """Several sources, each drawn with its own weight."""

    def __init__(self, parts: Sequence[tuple[ClipSource, float]]) -> None:
        if not parts or any(weight <= 0 for _, weight in parts):
            raise InputError(
                "A mixture of training data needs at least one source, and a weight above zero for each."
            )
        self.parts = tuple(parts)
        weights = np.array([weight for _, weight in parts], dtype=np.float64)
        self._ends = np.cumsum(weights) / weights.sum()

    @property
    def name(self) -> str:
        return "; ".join(f"{source.name} (weight {weight:g})" for source, weight in self.parts)

    def __len__(self) -> int:
        return sum(len(source) for source, _ in self.parts)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> np.ndarray:
        index = int(np.searchsorted(self._ends, rng.random(), side="right"))
        return self.parts[index][0].sample(rng, frames, patch_gt_px)


def mirrored_run(start: int, frames: int, length: int) -> list[int]:
    """Indices of ``frames`` frames from ``start``, running back and forth (0 1 2 2 1 0 0 …) where the sequence ends.

    Seven frames asked for fourteen give the field's mirrored Vimeo-90K sequence.
    """
    cycle = [*range(length), *range(length - 1, -1, -1)]
    return [cycle[(start + step) % len(cycle)] for step in range(frames)]


def augment_clip(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, mirror, transpose and reverse a square (t, h, w, c) clip in time, each with probability one half."""
    flip, mirror, transpose, reverse = rng.random(4) < 0.5
    if flip:
        clip = clip[:, ::-1]
    if mirror:
        clip = clip[:, :, ::-1]
    if transpose:
        clip = clip.swapaxes(1, 2)
    if reverse:
        clip = clip[::-1]
    return np.ascontiguousarray(clip)


def open_clip_source(
    path: Path, kind: str = "auto", motion: MotionSettings | None = None, cache_mib: int = 1024
) -> ClipSource:
    """Find out what ``path`` holds and open it.

    ``kind``: "vimeo90k" (its training list), "photos", "frames", "videos", or "auto": a Vimeo-90K tree is recognised
    by ``sequences/`` and its list, videos by their suffix, frames by numbered images in sub-folders (or numbered images
    of one size in the folder itself); other images are photographs. A folder with several kinds becomes a mixture in
    proportion to the number of files. A single video file may be given too.

    Errors: :class:`InputError` for a folder that is missing or holds none of these.
    """
    path = Path(path)
    if path.is_file():
        return VideoSource([path], cache_mib)
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give a folder of photographs, frames or videos.")
    if kind not in ("auto", "vimeo90k", "photos", "frames", "videos"):
        raise InputError(
            f"There is no kind of training data called {kind!r}; use vimeo90k, photos, frames or videos."
        )
    if kind == "vimeo90k" or (kind == "auto" and _is_vimeo(path)):
        layout = find_vimeo_root(path)
        names = layout.read_list("train")
        return FrameSource(
            [septuplet_frames(layout.images, name) for name in names], f"{layout.root} (Vimeo-90K)", cache_mib
        )

    folders = sorted(
        folder for folder in [path, *path.rglob("*")] if folder.is_dir() and not folder.name.startswith(".")
    )
    videos = [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in VIDEO_SUFFIXES
    ]
    sequences: list[list[Path]] = []
    photos: list[Path] = []
    for folder in folders:
        images = list_images(folder)
        if not images:
            continue
        if kind == "frames" or (kind == "auto" and _looks_like_frames(images)):
            sequences.append(images)
        else:
            photos.extend(images)
    sources: list[tuple[ClipSource, float]] = []
    if photos and kind in ("auto", "photos"):
        sources.append((PhotoSource(photos, motion, cache_mib), float(len(photos))))
    if sequences and kind in ("auto", "frames"):
        sources.append((FrameSource(sequences, str(path), cache_mib), float(len(sequences))))
    if videos and kind in ("auto", "videos"):
        sources.append((VideoSource(videos, cache_mib), float(len(videos))))
    if not sources:
        wanted = "photographs, frames or videos" if kind == "auto" else kind
        raise InputError(f"{path} holds no {wanted} to make clips from.")
    return sources[0][0] if len(sources) == 1 else MixedSource(sources)


def _is_vimeo(path: Path) -> bool:
    try:
        return "train" in find_vimeo_root(path).lists
    except InputError:
        return False


def _looks_like_frames(images: Sequence[Path]) -> bool:
    """Whether file names differ by a running number only, as frames do and photographs rarely."""
    stems = [image.stem for image in images]
    prefixes = {stem.rstrip("0123456789") for stem in stems}
    if len(images) < 2 or len(prefixes) != 1 or not all(stem[-1:].isdigit() for stem in stems):
        return False
    prefix = next(iter(prefixes))
    numbers = sorted(int(stem[len(prefix) :]) for stem in stems)
    return numbers[-1] - numbers[0] == len(numbers) - 1


def _check_patch(path: Path, height: int, width: int, patch_gt_px: int) -> None:
    if min(height, width) < patch_gt_px:
        raise InputError(
            f"{path} is {width}×{height} pixels, smaller than the {patch_gt_px}×{patch_gt_px} patch; "
            "remove it or train with a smaller patch."
        )


def _pick_corner(
    rng: np.random.Generator, path: Path, height: int, width: int, patch_gt_px: int
) -> tuple[int, int]:
    _check_patch(path, height, width, patch_gt_px)
    return int(rng.integers(height - patch_gt_px + 1)), int(rng.integers(width - patch_gt_px + 1))


def _crop(image: np.ndarray, corner: tuple[int, int], patch_gt_px: int) -> np.ndarray:
    top, left = corner
    return image[top : top + patch_gt_px, left : left + patch_gt_px]
