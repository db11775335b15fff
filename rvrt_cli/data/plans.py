"""What has to be written for a data set: tasks for Vimeo-90K, for any folder, and for clips made from photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvrt_cli.data.motion import MotionSettings
from rvrt_cli.data.tasks import Degrade, Task
from rvrt_cli.data.vimeo import (
    GT_FOLDER,
    LISTS,
    SEPTUPLET_FRAMES,
    find_vimeo_root,
    read_septuplet_list,
    septuplet_frames,
)
from rvrt_cli.errors import InputError, OutputError
from rvrt_cli.imaging.images import list_images, read_image
from rvrt_cli.system.files import visible, visible_folders, write_bytes
from rvrt_cli.system.suffixes import VIDEO_SUFFIXES


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
    for folder in visible_folders(source):
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
        for video in (path for path in visible(folder) if path.suffix.lower() in VIDEO_SUFFIXES):
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
    photos = [path for folder in visible_folders(Path(source)) for path in list_images(folder)]
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
