"""Find the clips of an evaluation set and check, before anything is computed, that every file is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvrt_cli.data.degrade import degrade_bd, degrade_bi, degrade_real
from rvrt_cli.data.tasks import crop_to_multiple
from rvrt_cli.data.vimeo import find_vimeo_root, septuplet_frames
from rvrt_cli.errors import InputError
from rvrt_cli.evaluate.protocols import Protocol
from rvrt_cli.imaging.images import list_images, read_image
from rvrt_cli.system.files import visible_folders

_GT_FOLDERS = ("GT", "gt", "HR", "train_sharp", "train/train_sharp", "sequences", "JPEGImages/480p")
_LQ_FOLDERS = {
    "BI": ("BIx4", "sharp_bicubic", "train_sharp_bicubic/X4", "train/train_sharp_bicubic/X4", "LRbicx4"),
    "BD": ("BDx4", "LRblurx4"),
    "real": ("realx4",),
}


@dataclass(frozen=True)
class EvalClip:
    """One clip: ground-truth frames and, where they exist, low-quality frames of the same number."""

    name: str
    gt: tuple[Path, ...]
    lq: tuple[Path, ...] = ()


def open_dataset(
    protocol: Protocol,
    root: Path,
    *,
    lq_root: Path | None = None,
    degradation: str = "BI",
    make_lq: bool = False,
    limit: int | None = None,
    frames: int | None = None,
) -> list[EvalClip]:
    """The clips of a data set under ``root`` in a fixed order.

    ``lq_root``: folder of low-quality frames with the same clip names; otherwise ``BIx4/`` and its like beside the
    ground truth are used where they exist, and low quality is made on the fly where they do not, or with ``make_lq``.
    ``limit``: the first so many clips. ``frames``: the first so many frames of each.

    Errors: :class:`InputError` for a wrong root, and for clips or frames that are missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the folder of {protocol.title}.")
    if lq_root is not None and not Path(lq_root).is_dir():
        raise InputError(f"{lq_root} is not a folder; --lq is the folder of low-quality frames.")
    if protocol.name == "vimeo90k":
        clips = _open_vimeo(root, lq_root, degradation, make_lq, limit)
    else:
        clips = _open_folders(protocol, root, lq_root, degradation, make_lq, limit)
    if frames is not None:
        clips = [EvalClip(clip.name, clip.gt[:frames], clip.lq[:frames]) for clip in clips]
    for clip in clips:
        _check_files(clip)
    return clips


def _open_vimeo(
    root: Path, lq_root: Path | None, degradation: str, make_lq: bool, limit: int | None
) -> list[EvalClip]:
    layout = find_vimeo_root(root)
    names = layout.read_list("test")[:limit]
    folder = None if make_lq else lq_root or _existing(layout.root, _LQ_FOLDERS[degradation])
    return [
        EvalClip(
            name,
            tuple(septuplet_frames(layout.images, name)),
            tuple(septuplet_frames(folder, name)) if folder else (),
        )
        for name in names
    ]


def _open_folders(
    protocol: Protocol, root: Path, lq_root: Path | None, degradation: str, make_lq: bool, limit: int | None
) -> list[EvalClip]:
    gt_root = _existing(root, _GT_FOLDERS) or root
    lq_folder = (
        None
        if make_lq
        else lq_root or (_existing(root, _LQ_FOLDERS[degradation]) if gt_root != root else None)
    )
    lengths = dict(protocol.clips)
    if protocol.clips:
        folders = [gt_root / name for name in lengths]
        for folder in folders:
            if not folder.is_dir():
                raise InputError(
                    f"{gt_root} lacks the clip {folder.name!r} of {protocol.title}; copy or download it again."
                )
    else:
        folders = [
            folder
            for folder in visible_folders(gt_root)
            if list_images(folder) and not _is_inside(folder, lq_folder)
        ]
    if not folders:
        raise InputError(
            f"{root} holds no folders of frames (.png or .jpg); give the folder of {protocol.title}'s ground truth."
        )
    clips = []
    for folder in folders[:limit]:
        relative = folder.relative_to(gt_root)
        name = gt_root.name if folder == gt_root else relative.as_posix()
        gt = list_images(folder)
        _check_numbering(gt)
        if folder.name in lengths and len(gt) != lengths[folder.name]:
            raise InputError(
                f"{folder} holds {len(gt)} frames, but {protocol.title} has {lengths[folder.name]} there; copy or download it again."
            )
        clips.append(
            EvalClip(name, tuple(gt), _match_lq(folder, gt, lq_folder / relative) if lq_folder else ())
        )
    return clips


def _existing(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _is_inside(folder: Path, parent: Path | None) -> bool:
    return parent is not None and parent.resolve() in [folder.resolve(), *folder.resolve().parents]


def _match_lq(gt_folder: Path, gt: Sequence[Path], lq_folder: Path) -> tuple[Path, ...]:
    lq = list_images(lq_folder) if lq_folder.is_dir() else []
    if len(lq) != len(gt):
        raise InputError(
            f"{lq_folder} holds {len(lq)} low-quality frames for the {len(gt)} of {gt_folder}; "
            "make them again with `rvrt preprocess`, or add --make-lq."
        )
    return tuple(lq)


def _check_numbering(frames: Sequence[Path]) -> None:
    """Refuse a numbered sequence with a hole, which would give the model a jump in time."""
    numbers = [path.stem[len(path.stem.rstrip("0123456789")) :] for path in frames]
    if len(frames) < 2 or not all(numbers):
        return
    for before, after, path in zip(numbers, numbers[1:], frames, strict=False):
        if int(after) - int(before) != 1:
            raise InputError(
                f"{path.parent} lacks the frames between {before} and {after}; copy or download them again."
            )


def _check_files(clip: EvalClip) -> None:
    for path in (*clip.gt, *clip.lq):
        if not path.is_file():
            raise InputError(f"{path} is missing; copy or download it again.")


def load_clip(clip: EvalClip, scale: int, degradation: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth, cropped to a multiple of ``scale``, and low quality: two (t, h, w, 3) uint8 arrays.

    Errors: :class:`InputError` for images that are damaged, of mixed sizes, not 8-bit RGB, or of sizes that do not match.
    """
    gt = crop_to_multiple(_read_frames(clip.gt), scale)
    if clip.lq:
        lq = _read_frames(clip.lq)
        expected = (gt.shape[1] // scale, gt.shape[2] // scale)
        if lq.shape[1:3] != expected:
            raise InputError(
                f"{clip.lq[0]} is {lq.shape[2]}×{lq.shape[1]} pixels, but its ground truth reduced by {scale} is "
                f"{expected[1]}×{expected[0]}; make it again with `rvrt preprocess`."
            )
        return gt, lq
    if scale == 1:
        raise InputError("A model that does not change the size needs --lq, the frames to restore.")
    if degradation == "BI":
        return gt, degrade_bi(gt, scale)
    if degradation == "BD":
        return gt, degrade_bd(gt, scale)
    # The same clip gets the same damage in every run and for every model.
    return gt, degrade_real(gt, np.random.default_rng([seed, *clip.name.encode()]), scale)


def _read_frames(paths: Sequence[Path]) -> np.ndarray:
    frames: list[np.ndarray] = []
    for path in paths:
        frame = read_image(path)
        if frames and frame.shape != frames[0].shape:
            raise InputError(
                f"{path} is {frame.shape[1]}×{frame.shape[0]} pixels, but the first frame of its clip is "
                f"{frames[0].shape[1]}×{frames[0].shape[0]}; keep one size per clip."
            )
        frames.append(frame)
    return np.stack(frames)
