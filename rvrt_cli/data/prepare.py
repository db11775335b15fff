"""Write data sets to disk: low-quality frames beside ground truth, frames of videos, clips made from photographs.

Every output file appears whole or not at all, an existing whole file is left alone (so a run that was stopped goes
on), and a source file that cannot be used is named in the result instead of ending the run.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rvrt_cli.atomic import explain_os_error, write_bytes
from rvrt_cli.data.bicubic import imresize_u8
from rvrt_cli.data.degrade import degrade_bd, degrade_real
from rvrt_cli.data.images import encode_png, list_images, read_image
from rvrt_cli.data.motion import MotionSettings, synthesize_clip
from rvrt_cli.data.pool import run_parallel
from rvrt_cli.data.recognise import VIDEO_SUFFIXES
from rvrt_cli.data.vimeo import (
    GT_FOLDER,
    LISTS,
    SEPTUPLET_FRAMES,
    find_vimeo_root,
    read_septuplet_list,
    septuplet_frames,
)
from rvrt_cli.errors import DiskFullError, InputError, InterruptedRun, OutputError

_SAMPLED_FOR_PROGRESS = 200
"""Tasks looked at to estimate how many are finished already."""
_SAMPLED_FOR_SIZE = 6
"""Of those, tasks carried out in memory to estimate how much space they take."""
_SPACE_MARGIN = 1.1
_PNG_TRAILER = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Degrade:
    """How ground truth becomes low quality."""

    name: str = "BI"
    scale: int = 4
    seed: int = 0
    """Only "real" draws from it, per sequence."""

    @property
    def folder(self) -> str:
        """The field's name of the folder of low-quality frames, for example ``BIx4``."""
        return f"{self.name}x{self.scale}"


@dataclass(frozen=True)
class Task:
    """One unit of work; what it writes is known beforehand, so a finished one is recognised."""

    kind: str
    """"frame" (one image to its LQ), "clip" (the images of a sequence to their LQ), "video", or "photos"."""
    sources: tuple[Path, ...]
    gt: tuple[Path, ...]
    """Ground-truth frames to write; empty where the sources are the ground truth."""
    lq: tuple[Path, ...]
    degrade: Degrade | None
    index: int = 0
    height: int = 0
    width: int = 0
    motion: MotionSettings | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task: files and bytes written, files that were there, and what went wrong."""

    written: int = 0
    written_bytes: int = 0
    kept: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    """(file, reason)."""


@dataclass(frozen=True)
class PrepareResult:
    """The end of a run."""

    output: Path
    tasks: int
    written: int
    kept: int
    written_mib: float
    estimated_mib: float
    failures: tuple[tuple[str, str], ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        result = asdict(self)
        result["output"] = str(self.output)
        result["failures"] = [{"file": name, "reason": reason} for name, reason in self.failures]
        return result


@dataclass(frozen=True)
class PrepareProgress:
    """How far a run is."""

    done: int
    total: int
    written: int
    kept: int
    failures: int


OnProgress = Callable[[PrepareProgress], None]


def _is_whole_png(path: Path) -> bool:
    """Whether a PNG exists and ends as PNGs end; one read of a few bytes."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PNG_TRAILER), os.SEEK_END)
            return file.read() == _PNG_TRAILER
    except OSError:
        return False


def _write_file(path: Path, data: bytes) -> None:
    """Atomic, but without fsync: with hundreds of thousands of files that would take hours on a hard disk.

    A power cut can leave a file of the last seconds empty; the next run sees that it is not whole and writes it again.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def crop_to_multiple(clip: np.ndarray, scale: int) -> np.ndarray:
    """(..., h, w, 3) without the last rows and columns beyond a multiple of ``scale``."""
    h, w = clip.shape[-3:-1]
    if h < scale or w < scale:
        raise InputError(f"A {w}×{h} image is too small to be reduced by {scale}.")
    return clip[..., : h - h % scale, : w - w % scale, :]


def degrade_clip(gt: np.ndarray, degrade: Degrade, index: int) -> np.ndarray:
    """Low-quality frames of a (t, h, w, 3) uint8 clip whose size is a multiple of the scale."""
    if degrade.name == "BI":
        return imresize_u8(gt, 1.0 / degrade.scale)
    if degrade.name == "BD":
        return degrade_bd(gt, degrade.scale)
    if degrade.name == "real":
        return degrade_real(gt, np.random.default_rng([degrade.seed, index]), degrade.scale)
    raise InputError(f"There is no degradation called {degrade.name!r}; choose BI, BD or real.")


def _make_frames(task: Task) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(ground truth to write, low quality to write) of a task."""
    if task.kind in ("frame", "clip"):
        frames = [read_image(path) for path in task.sources]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise InputError(
                f"{task.sources[0].parent} holds frames of different sizes; keep one size per sequence."
            )
        gt = np.stack(frames)
    elif task.kind == "photos":
        photos = [read_image(path, convert=True) for path in task.sources]
        assert task.degrade is not None
        rng = np.random.default_rng([task.degrade.seed, task.index])
        gt = synthesize_clip(photos, rng, len(task.gt), task.height, task.width, task.motion)
    else:
        raise ValueError(task.kind)
    gt_out = list(gt) if task.gt else []
    if not task.lq:
        return gt_out, []
    assert task.degrade is not None
    return gt_out, list(degrade_clip(crop_to_multiple(gt, task.degrade.scale), task.degrade, task.index))


def _encoded(task: Task) -> Iterable[tuple[Path, bytes]]:
    gt, lq = _make_frames(task)
    for path, image in zip((*task.gt, *task.lq), (*gt, *lq), strict=True):
        yield path, encode_png(image)


def run_task(task: Task) -> Outcome:
    """Carry out a task; a source that cannot be used is part of the outcome, a full disk is raised."""
    if task.kind == "video":
        return _run_video(task)
    outputs = (*task.gt, *task.lq)
    missing = {path for path in outputs if not _is_whole_png(path)}
    if not missing:
        return Outcome(kept=len(outputs))
    written = size = 0
    try:
        for path, data in _encoded(task):
            if path in missing:
                _write_file(path, data)
                written += 1
                size += len(data)
    except InputError as error:
        return Outcome(written, size, len(outputs) - len(missing), ((str(task.sources[0]), str(error)),))
    return Outcome(written, size, len(outputs) - len(missing))


def verify_task(task: Task) -> Outcome:
    """Make a task's files again in memory and compare them with those on the disk, pixel for pixel; writes nothing."""
    failures = []
    kept = 0
    try:
        gt, lq = _make_frames(task)
    except InputError as error:
        return Outcome(failures=((str(task.sources[0]), str(error)),))
    for path, expected in zip((*task.gt, *task.lq), (*gt, *lq), strict=True):
        try:
            if not path.exists():
                failures.append((str(path), f"{path} is missing."))
            elif not np.array_equal(read_image(path), expected):
                failures.append((str(path), f"{path} differs from what its ground truth gives."))
            else:
                kept += 1
        except InputError as error:
            failures.append((str(path), str(error)))
    return Outcome(kept=kept, failures=tuple(failures))


def _run_video(task: Task) -> Outcome:
    """Decode a video to ground-truth frames and their low quality; ``gt[0]`` and ``lq[0]`` are folders here.

    How many frames there are is known only at the end, when a marker file is written: a video without it is decoded
    again, but frames that are whole stay.
    """
    from rvrt_cli.media.probe import probe
    from rvrt_cli.media.reader import read_frames

    assert task.degrade is not None
    source, gt_folder, lq_folder = task.sources[0], task.gt[0], task.lq[0]
    marker = lq_folder / ".complete"
    if marker.exists():
        return Outcome(kept=2 * int(marker.read_text() or 0))
    written = size = kept = count = 0

    def store(path: Path, image: np.ndarray) -> None:
        nonlocal written, size, kept
        if _is_whole_png(path):
            kept += 1
            return
        data = encode_png(image)
        _write_file(path, data)
        written += 1
        size += len(data)

    try:
        clip: list[np.ndarray] = []
        with read_frames(probe(source), threads=1) as reader:
            for frame in reader:
                rgb = np.rint(np.clip(frame.rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
                rgb = crop_to_multiple(rgb, task.degrade.scale)
                name = f"{count:08d}.png"
                store(gt_folder / name, rgb)
                if task.degrade.name == "real":
                    clip.append(rgb)
                else:
                    store(lq_folder / name, degrade_clip(rgb[None], task.degrade, task.index)[0])
                count += 1
        if clip:
            for number, image in enumerate(degrade_clip(np.stack(clip), task.degrade, task.index)):
                store(lq_folder / f"{number:08d}.png", image)
        _write_file(marker, str(count).encode())
    except InputError as error:
        return Outcome(written, size, kept, ((str(source), str(error)),))
    return Outcome(written, size, kept)


def estimate_bytes(tasks: Sequence[Task]) -> float:
    """Bytes that the tasks have still to write, judged by a sample: looking at a million files first would take minutes.

    A few of the sampled tasks that are not finished are carried out in memory.
    """
    candidates = [task for task in tasks if task.kind != "video"]
    sample = candidates[:: max(1, len(candidates) // _SAMPLED_FOR_PROGRESS)]
    pending = [task for task in sample if not _is_finished(task)]
    sizes: list[int] = []
    for task in pending[:: max(1, len(pending) // _SAMPLED_FOR_SIZE)][:_SAMPLED_FOR_SIZE]:
        try:
            sizes.append(sum(len(data) for _, data in _encoded(task)))
        except InputError:
            continue
    images = float(np.mean(sizes)) * len(candidates) * len(pending) / len(sample) if sizes else 0.0
    # A video's frames as PNG take some thirty times the space of the video; its low quality a twelfth of that again.
    videos = sum(
        task.sources[0].stat().st_size for task in tasks if task.kind == "video" and not _is_finished(task)
    )
    return images + 32.0 * videos


def _is_finished(task: Task) -> bool:
    if task.kind == "video":
        return (task.lq[0] / ".complete").exists()
    return all(_is_whole_png(path) for path in (*task.gt, *task.lq))


def check_space(output: Path, needed_bytes: float) -> None:
    """Errors: :class:`DiskFullError` when ``needed_bytes`` do not fit on the disk that holds ``output``."""
    folder = output
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed_bytes * _SPACE_MARGIN > free:
        raise DiskFullError(
            f"About {needed_bytes / 2**20:,.0f} MiB would be written to {output}, but only {free / 2**20:,.0f} MiB are free; "
            "free some space or choose another folder."
        )


def run_tasks(
    tasks: Sequence[Task],
    output: Path,
    *,
    workers: int = 1,
    verify: bool = False,
    on_progress: OnProgress | None = None,
) -> PrepareResult:
    """Carry out all tasks (or, with ``verify``, check what they wrote).

    Errors: :class:`DiskFullError` before the start when the estimate does not fit, or when the disk fills up later;
    :class:`InterruptedRun` on Ctrl+C. In both cases the files written so far are whole and the same call goes on.
    """
    estimated = 0.0
    if not verify:
        estimated = estimate_bytes(tasks)
        check_space(output, estimated)
    written = kept = done = 0
    size = 0
    failures: list[tuple[str, str]] = []
    results = run_parallel(verify_task if verify else run_task, tasks, workers)
    try:
        for outcome in results:
            done += 1
            written += outcome.written
            kept += outcome.kept
            size += outcome.written_bytes
            failures.extend(outcome.failures)
            if on_progress is not None:
                on_progress(PrepareProgress(done, len(tasks), written, kept, len(failures)))
    except KeyboardInterrupt as error:
        results.close()
        raise InterruptedRun(
            f"Stopped after {done} of {len(tasks)} parts; run the same command again to go on from here."
        ) from error
    return PrepareResult(
        output, len(tasks), written, kept, size / 2**20, estimated / 2**20, tuple(sorted(failures))
    )


def plan_vimeo(
    root: Path | None,
    *,
    images_root: Path | None = None,
    annotations: dict[str, Path] | None = None,
    output_dir: Path | None = None,
    subsets: Sequence[str] = ("train", "test"),
    degrade: Degrade | None = None,
) -> tuple[list[Task], dict[str, list[str]], Path]:
    """Tasks that write a low-quality frame for every frame of the subsets' septuplets.

    ``root`` holds ``sequences/`` and the lists; ``images_root``, ``annotations`` (subset to list file) and
    ``output_dir`` replace its parts one by one. Returns the tasks, the septuplets per subset and the output folder.

    Errors: :class:`InputError` for folders or lists that are missing.
    """
    annotations = annotations or {}
    degrade = degrade or Degrade()
    names: dict[str, list[str]] = {}
    layout = None
    if root is not None and not (images_root is not None and annotations):
        layout = find_vimeo_root(root)
    images = images_root or (layout.images if layout else None)
    if images is None:
        raise InputError(
            "Give --root, or --images-root together with --train-annotation or --test-annotation."
        )
    if not images.is_dir():
        raise InputError(
            f"{images} is not a folder; --images-root is the folder that holds 00001/0001/im1.png."
        )
    for subset in subsets:
        if subset in annotations:
            names[subset] = read_septuplet_list(annotations[subset])
        elif layout is not None and (subset in layout.lists or len(subsets) == 1):
            names[subset] = layout.read_list(subset)
    if not names:
        raise InputError(
            f"No list of septuplets was found for {images}; give --train-annotation or --test-annotation."
        )
    output = output_dir or (layout.root if layout else images.parent)
    tasks: list[Task] = []
    for name in dict.fromkeys(name for subset in names.values() for name in subset):
        for path in septuplet_frames(images, name):
            lq = output / degrade.folder / name / path.name
            tasks.append(Task("frame", (path,), (), (lq,), degrade, index=len(tasks)))
    return tasks, names, output


def write_vimeo_annotations(output: Path, names: dict[str, list[str]], tasks: Sequence[Task]) -> list[Path]:
    """Write ``meta_info_Vimeo90K_<subset>_GT.txt``: one ``00001/0001 7 (256,448,3)`` line per septuplet, as training scripts read."""
    shape = "(256,448,3)"
    for task in tasks:
        try:
            h, w, c = read_image(task.sources[0]).shape
        except InputError:
            continue
        shape = f"({h},{w},{c})"
        break
    written = []
    for subset, septuplets in names.items():
        path = output / f"meta_info_Vimeo90K_{subset}_GT.txt"
        if not output.is_dir():
            output.mkdir(parents=True, exist_ok=True)
        write_bytes(path, "".join(f"{name} {SEPTUPLET_FRAMES} {shape}\n" for name in septuplets).encode())
        written.append(path)
    return written


def plan_folder(source: Path, output: Path, degrade: Degrade) -> list[Task]:
    """Tasks for a folder of videos, of frame folders, or of frames: ``GT/<sequence>`` and ``BIx4/<sequence>`` in ``output``.

    Frames that are images already stay where they are; only their low quality is written.
    Errors: :class:`InputError` for a folder without videos or frames, :class:`OutputError` for writing into the source.
    """
    source, output = Path(source), Path(output)
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give a folder of videos or of folders of frames.")
    if source.resolve() == output.resolve():
        raise OutputError(f"{output} is the source itself; choose another output folder.")
    tasks: list[Task] = []
    folders = sorted(
        path
        for path in [source, *source.rglob("*")]
        if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    for folder in folders:
        if output.resolve() in [folder.resolve(), *folder.resolve().parents]:
            continue
        relative = folder.relative_to(source)
        images = list_images(folder)
        lq = tuple(output / degrade.folder / relative / f"{path.stem}.png" for path in images)
        if images and degrade.name == "real":
            tasks.append(Task("clip", tuple(images), (), lq, degrade, index=len(tasks)))
        else:
            tasks.extend(
                Task("frame", (path,), (), (target,), degrade, index=len(tasks) + number)
                for number, (path, target) in enumerate(zip(images, lq, strict=True))
            )
        for video in sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES):
            gt_folder = output / "GT" / relative / video.stem
            lq_folder = output / degrade.folder / relative / video.stem
            tasks.append(Task("video", (video,), (gt_folder,), (lq_folder,), degrade, index=len(tasks)))
    if not tasks:
        raise InputError(f"{source} holds no videos and no images.")
    return tasks


def plan_photos(
    source: Path,
    output: Path,
    *,
    clips: int,
    frames: int = SEPTUPLET_FRAMES,
    height: int = 256,
    width: int = 448,
    degrade: Degrade | None = None,
    generate_lq: bool = True,
    motion: MotionSettings | None = None,
) -> list[Task]:
    """Tasks that turn photographs into clips in the Vimeo-90K layout, ``sequences/00001/0001/im1.png`` …

    Clip ``i`` depends on ``degrade.seed`` and ``i`` alone, so a longer run begins with the clips of a shorter one.
    Errors: :class:`InputError` for a folder without photographs.
    """
    degrade = degrade or Degrade()
    if not Path(source).is_dir():
        raise InputError(f"{source} is not a folder; give a folder of photographs.")
    photos = [
        path
        for folder in [source, *sorted(p for p in source.rglob("*") if p.is_dir())]
        for path in list_images(folder)
    ]
    if not photos:
        raise InputError(f"{source} holds no photographs (.jpg, .png, .webp, .tif or .bmp).")
    tasks = []
    for index in range(clips):
        # The photographs take turns in the background; what passes in front is drawn.
        other = int(np.random.default_rng([degrade.seed, index, 1]).integers(len(photos)))
        name = clip_name(index)
        gt = tuple(output / GT_FOLDER / name / f"im{number}.png" for number in range(1, frames + 1))
        lq = tuple(output / degrade.folder / name / path.name for path in gt) if generate_lq else ()
        tasks.append(
            Task(
                "photos",
                (photos[index % len(photos)], photos[other]),
                gt,
                lq,
                degrade,
                index,
                height,
                width,
                motion,
            )
        )
    return tasks


def clip_name(index: int) -> str:
    """``00001/0001`` … as Vimeo-90K numbers its septuplets, 1000 to a folder."""
    return f"{index // 1000 + 1:05d}/{index % 1000 + 1:04d}"


def write_clip_list(output: Path, clips: int) -> Path:
    """Write ``sep_trainlist.txt`` of the first ``clips`` clips."""
    path = output / LISTS["train"]
    write_bytes(path, "".join(f"{clip_name(index)}\n" for index in range(clips)).encode())
    return path
