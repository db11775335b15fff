"""Where training clips come from: photographs with synthetic motion, sequences of frames, videos, mixtures of them.

Every source answers ``sample(rng, frames, patch_gt_px)`` with a clip that depends on its files and the state of
``rng`` alone: what happens to be cached never changes the result. Sources can be pickled (their caches stay behind),
so each worker process holds its own. :mod:`rvrt_cli.data.recognise` finds out which source a folder is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.errors import InputError
from rvrt_cli.imaging.images import read_image
from rvrt_cli.upscale.events import counted

if TYPE_CHECKING:
    from rvrt_cli.media.frame import Frame
    from rvrt_cli.media.source import Source

_CACHE_MIB = 1024
_TRIES = 8
"""Places in a video that are tried until one is undamaged and without a cut."""


@dataclass(frozen=True)
class Clip:
    """Ground truth to train on: ``frames (t, h, w, 3)`` uint8, and the file (with the place in it) that it is from."""

    frames: np.ndarray
    origin: str


class ClipSource(Protocol):
    """A supply of ground-truth clips."""

    @property
    def name(self) -> str:
        """What it is, for logs: the folder and what was found in it."""
        ...

    def __len__(self) -> int:
        """How many files or sequences it draws from."""
        ...

    def count_clips(self, frames: int) -> int:
        """How many clips of ``frames`` frames it holds that share none; each photograph counts as one."""
        ...

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
        """A clip of ``frames`` frames of ``patch_gt_px`` × ``patch_gt_px`` pixels, drawn with ``rng``.

        Errors: :class:`InputError` naming a file that is damaged or smaller than the patch.
        """
        ...


class ArrayCache:
    """Recently used arrays, at most ``budget_bytes`` of them together; pickles empty. Several sources may share one."""

    def __init__(self, budget_bytes: int = _CACHE_MIB << 20) -> None:
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
        self, files: Sequence[Path], motion: MotionSettings | None = None, cache: ArrayCache | None = None
    ) -> None:
        if not files:
            raise InputError("There are no photographs to make training clips from.")
        self.files = tuple(files)
        self.motion = motion or MotionSettings()
        self._cache = cache or ArrayCache()

    @property
    def name(self) -> str:
        return f"{counted(len(self), 'photograph')} in {self.files[0].parent}"

    def __len__(self) -> int:
        return len(self.files)

    def count_clips(self, frames: int) -> int:
        return len(self.files)

    def _read(self, index: int) -> np.ndarray:
        path = self.files[index]
        return self._cache.get(path, lambda: read_image(path, convert=True))

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
        chosen = rng.integers(len(self.files), size=2)
        photos = [self._read(int(index)) for index in chosen]
        for index, photo in zip(chosen, photos, strict=True):
            _check_patch(self.files[int(index)], photo.shape[0], photo.shape[1], patch_gt_px)
        clip = synthesize_clip(photos, rng, frames, patch_gt_px, patch_gt_px, self.motion)
        return Clip(clip, " and ".join(str(self.files[int(index)]) for index in chosen))


class FrameSource:
    """Sequences stored as one image per frame; a clip is a run of consecutive frames, mirrored in time where too short."""

    def __init__(
        self, sequences: Sequence[Sequence[Path]], label: str, cache: ArrayCache | None = None
    ) -> None:
        """A sequence is drawn in proportion to its length."""
        if not sequences or not all(sequences):
            raise InputError(f"There are no frames to train on in {label}.")
        self.sequences = tuple(tuple(sequence) for sequence in sequences)
        self._label = label
        self._cache = cache or ArrayCache()
        lengths = np.array([len(sequence) for sequence in self.sequences], dtype=np.float64)
        self._ends = np.cumsum(lengths) / lengths.sum()

    @property
    def name(self) -> str:
        return f"{counted(len(self), 'sequence')} of frames in {self._label}"

    def __len__(self) -> int:
        return len(self.sequences)

    def count_clips(self, frames: int) -> int:
        return sum(max(1, len(sequence) // frames) for sequence in self.sequences)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
        sequence = self.sequences[int(np.searchsorted(self._ends, rng.random(), side="right"))]
        start = int(rng.integers(max(1, len(sequence) - frames + 1)))
        paths = [sequence[index] for index in mirrored_run(start, frames, len(sequence))]
        corner: tuple[int, int] | None = None
        shape: tuple[int, ...] = ()
        clip = np.empty((frames, patch_gt_px, patch_gt_px, 3), dtype=np.uint8)
        for position, path in enumerate(paths):
            image = self._cache.get(path, lambda path=path: read_image(path, convert=True))  # type: ignore[misc]  # mypy cannot type a lambda with a default
            if corner is None:
                shape = image.shape
                corner = _pick_corner(rng, path, image.shape[0], image.shape[1], patch_gt_px)
            elif image.shape != shape:
                raise InputError(
                    f"{path} has another size than {paths[0].name}, with which it was taken for one film; "
                    "keep one size per sequence, or give photographs as --data photos=DIR."
                )
            clip[position] = _crop(image, corner, patch_gt_px)
        return Clip(clip, f"{paths[0]} and on")


class VideoSource:
    """Video files; a clip is a run of consecutive frames at a random place, without a cut where that can be had.

    Only the wanted frames are decoded (and those before them, back to a keyframe), with one thread: the other cores
    are for training. A place with damage is not used; a file in which :data:`_TRIES` places are damaged is an error.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        if not files:
            raise InputError("There are no videos to train on.")
        self.files = tuple(files)
        self._probed: dict[Path, Source] = {}

    @property
    def name(self) -> str:
        return f"{counted(len(self), 'video')} in {self.files[0].parent}"

    def __len__(self) -> int:
        return len(self.files)

    def count_clips(self, frames: int) -> int:
        return sum(max(1, int(self._length(path) // frames)) for path in self.files)

    def _probe(self, path: Path) -> Source:
        if path not in self._probed:
            from rvrt_cli.media.probe import probe

            source = probe(path)
            if source.video is None:
                raise InputError(f"{path} has no picture; remove it from the training data.")
            self._probed[path] = source
        return self._probed[path]

    def _rate(self, path: Path) -> float:
        return float(self._probe(path).video.average_rate or Fraction(25))

    def _length(self, path: Path) -> float:
        """Frames, from duration and mean rate; 0 where the file does not say."""
        source = self._probe(path)
        return float(source.video.duration_s or source.duration_s or 0.0) * self._rate(path)

    def _read(self, path: Path, start_s: float, frames: int) -> tuple[list[np.ndarray], bool]:
        """At most ``frames`` frames from a time on, (h, w, 3) uint8 each, and whether there is a cut between them.

        Errors: :class:`InputError` where the decoder reports damage.
        """
        from rvrt_cli.media.reader import read_frames
        from rvrt_cli.upscale.shots import MIN_SHOT_FRAMES, CutDetector, flag_cuts

        # Any frame may start a shot here, not only one that comes long enough after the clip's first.
        detector = CutDetector(shot_start=-MIN_SHOT_FRAMES)
        with read_frames(self._probe(path), start_s=start_s, max_frames=frames) as reader:
            lost_before = 0  # what was lost before the first wanted frame does not matter

            def wanted() -> Iterator[Frame]:
                nonlocal lost_before
                for index, frame in enumerate(reader):
                    if index == 0:
                        lost_before = reader.corrupt_frames - int(frame.corrupt)
                    yield frame

            found = [
                (np.rint(np.clip(frame.rgb, 0.0, 1.0) * 255.0).astype(np.uint8), starts_shot)
                for frame, starts_shot in flag_cuts(wanted(), detector)
            ]
        if not found or reader.corrupt_frames > lost_before or len(found) < frames <= self._length(path) - 1:
            raise InputError(f"{path} is damaged at {start_s:.1f} s.")
        return [picture for picture, _ in found], any(starts_shot for _, starts_shot in found)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
        path = self.files[int(rng.integers(len(self.files)))]
        latest_s = max(0.0, (self._length(path) - frames) / self._rate(path))
        best: tuple[list[np.ndarray], float] | None = None
        problem: InputError | None = None
        for _ in range(_TRIES):
            start_s = float(rng.random() * latest_s)
            try:
                pictures, cut = self._read(path, start_s, frames)
            except InputError as error:
                problem = error
                continue
            best = pictures, start_s
            if not cut:
                break
        if best is None:
            raise InputError(
                f"{path} gave no undamaged clip in {_TRIES} tries; repair it or remove it from the training data (the last: {problem})"
            ) from problem
        pictures, start_s = best
        height, width = pictures[0].shape[:2]
        corner = _pick_corner(rng, path, height, width, patch_gt_px)
        clip = [
            _crop(pictures[index], corner, patch_gt_px) for index in mirrored_run(0, frames, len(pictures))
        ]
        return Clip(np.stack(clip), f"{path} at {start_s:.2f} s")


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

    def count_clips(self, frames: int) -> int:
        return sum(source.count_clips(frames) for source, _ in self.parts)

    def sample(self, rng: np.random.Generator, frames: int, patch_gt_px: int) -> Clip:
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
