"""Evaluate models on a data set: every clip restored, compared, recorded; the same table after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.data.pool import run_parallel
from rvrt_cli.errors import InterruptedRun, OutputError, UsageError
from rvrt_cli.evaluate.datasets import EvalClip, load_clip, open_dataset
from rvrt_cli.evaluate.eval_page import PictureShelf, write_eval_page
from rvrt_cli.evaluate.journal import EvalJournal
from rvrt_cli.evaluate.metrics import psnr, ssim
from rvrt_cli.evaluate.models import ModelSpec, WindowConfig, restore_clip, spread_devices
from rvrt_cli.evaluate.protocols import Protocol, find_published
from rvrt_cli.evaluate.report import ClipScore, EvalReport, Total, jsonable, score_from_dict
from rvrt_cli.evaluate.scales import settle_scale
from rvrt_cli.evaluate.temporal import TemporalJudge
from rvrt_cli.evaluate.vmaf import VmafMeter, check_libvmaf
from rvrt_cli.imaging.images import write_png
from rvrt_cli.inference.restorer import Restorer, describe_engine
from rvrt_cli.package import __version__
from rvrt_cli.system.cache_dir import user_cache
from rvrt_cli.system.hardware import available_cores
from rvrt_cli.system.memory import peak_rss_mib

DATA_SET_SCALE = 4
"""Of the low quality that data sets hold, and of published figures."""


@dataclass(frozen=True)
class EvalOptions:
    """What to evaluate, on what, and how."""

    protocol: Protocol
    root: Path
    models: tuple[ModelSpec, ...]
    """The model first, then what it is compared with."""
    lq_root: Path | None = None
    degradation: str = "BI"
    scale: int | None = None
    """How many times smaller low quality is; None: the scale of the models (:func:`settle_scale`)."""
    make_lq: bool = False
    limit: int | None = None
    frames: int | None = None
    windows: WindowConfig = field(default_factory=WindowConfig)
    temporal: bool = False
    vmaf: tuple[str, ...] = ()
    """Names of VMAF's kinds to measure too."""
    devices: int = 1
    save_images: Path | None = None
    page: Path | None = None
    """The HTML report; check it with :func:`rvrt_cli.evaluate.compare.check_page_path` first."""
    work_dir: Path | None = None
    resume: bool = True
    seed: int = 0


OnClip = Callable[[int, int, Sequence[ClipScore]], None]
"""Called with (clips done, clips in all, the scores of the clip just finished; empty for clips of an earlier run)."""

OnStart = Callable[[str, str], None]
"""Called once for each model with its label and :func:`~rvrt_cli.inference.restorer.describe_engine`."""


class _Evaluator:
    """The loaded models of one process."""

    def __init__(self, options: EvalOptions, specs: Sequence[ModelSpec]) -> None:
        self.options = options
        self.specs = tuple(specs)
        self.shelf: PictureShelf | None = None
        self.restorers: list[Restorer] = []
        try:
            for spec in self.specs:
                self.restorers.append(spec.load())
            self.scale = settle_scale(self.specs, self.restorers, options.scale)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for restorer in self.restorers:
            restorer.close()
        self.restorers = []

    def evaluate(self, clip: EvalClip) -> list[ClipScore]:
        """Restore a clip with every model and compare."""
        options = self.options
        gt, lq = load_clip(clip, self.scale, options.degradation, options.seed)
        judge = TemporalJudge(gt) if options.temporal and len(gt) > 1 else None
        scores = []
        results = []
        for spec, restorer in zip(self.specs, self.restorers, strict=True):
            restored = restore_clip(
                restorer, spec.label, lq, options.windows, mirror=options.protocol.mirror, scale=self.scale
            )
            score = compare(clip.name, spec.label, restored.frames, gt, options.protocol)
            scores.append(
                replace(
                    score,
                    seconds=restored.seconds,
                    calls=restored.calls,
                    output_frames=restored.computed,
                    peak_rss_mib=peak_rss_mib(),
                    peak_device_mib=peak_device_mib(restorer),
                    **(asdict(judge.score(restored.frames)) if judge else {}),
                    **measure_vmaf(restored.frames, gt, options),
                )
            )
            if self.shelf is not None:
                results.append(restored.frames)
            if options.save_images is not None:
                save_frames(options.save_images, spec.label, clip, restored.frames, options.protocol)
        if self.shelf is not None:
            self.shelf.keep(clip.name, [*results, gt], compared_frames(options.protocol, len(gt)))
        return scores


def compare(clip: str, model: str, sr: np.ndarray, gt: np.ndarray, protocol: Protocol) -> ClipScore:
    """PSNR and SSIM of (t, h, w, 3) uint8 frames after ``protocol``, without any timing."""
    chosen = compared_frames(protocol, len(gt))
    arguments: dict[str, Any] = {"crop": protocol.crop_px, "y_channel": protocol.y_channel}
    psnrs = tuple(psnr(sr[i], gt[i], **arguments) for i in chosen)
    ssims = tuple(ssim(sr[i], gt[i], **arguments) for i in chosen)
    return ClipScore(clip, model, float(np.mean(psnrs)), float(np.mean(ssims)), psnrs, ssims, 0.0, 0, 0, 0.0)


def compared_frames(protocol: Protocol, count: int) -> Sequence[int]:
    """Which of a clip's frames count."""
    return [count // 2] if protocol.centre_only else range(count)


def measure_vmaf(sr: np.ndarray, gt: np.ndarray, options: EvalOptions) -> dict[str, Any]:
    """The fields of :class:`ClipScore` about VMAF, for (t, h, w, 3) uint8 frames; none where it is not asked for.

    Every frame is measured, because VMAF looks at the motion between them; those that the protocol compares count.
    """
    if not options.vmaf:
        return {}
    with VmafMeter(gt.shape[1], gt.shape[2], options.vmaf) as meter:
        for restored, true in zip(sr, gt, strict=True):
            meter.add(restored, true)
        figures = meter.finish()
    fields: dict[str, Any] = {}
    for name, values in figures.items():
        counted = tuple(values[i] for i in compared_frames(options.protocol, len(gt)))
        field_name = name.replace("-", "_")
        fields |= {field_name: float(np.mean(counted)), f"frame_{field_name}": counted}
    return fields


def peak_device_mib(restorer: Restorer) -> float | None:
    """Peak memory of the accelerator in MiB; None on the CPU or where the engine cannot say."""
    import sys

    own = getattr(restorer, "peak_device_mib", None)
    if own is not None:
        return float(own)
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / 2**20


def save_frames(folder: Path, label: str, clip: EvalClip, frames: np.ndarray, protocol: Protocol) -> None:
    """Write the compared frames as ``folder/<model>/<clip>/<name of the GT frame>.png``."""
    target = folder / label.replace("/", "_") / clip.name
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be made: {error.strerror or error}.") from error
    for i in compared_frames(protocol, len(frames)):
        write_png(target / f"{clip.gt[i].stem}.png", frames[i])


def _identity(
    options: EvalOptions, clips: Sequence[EvalClip], restorers: Sequence[Restorer], scale: int
) -> dict[str, Any]:
    """Everything that the figures depend on."""
    return {
        "version": __version__,
        "protocol": options.protocol.name,
        "degradation": options.degradation,
        "scale": scale,
        "frames": options.frames,
        "windows": asdict(options.windows),
        "temporal": options.temporal,
        "vmaf": options.vmaf,
        "page": options.page is not None,
        "seed": options.seed,
        "models": [
            [spec.label, restorer.fingerprint]
            for spec, restorer in zip(options.models, restorers, strict=True)
        ],
        "save_images": str(options.save_images.resolve()) if options.save_images else None,
        "clips": [
            [
                clip.name,
                *((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*clip.gt, *clip.lq)),
            ]
            for clip in clips
        ],
    }


def evaluate(
    options: EvalOptions, on_clip: OnClip | None = None, on_start: OnStart | None = None
) -> EvalReport:
    """Evaluate ``options.models`` on a data set. ``on_start`` gets each model's label, and its engine and why it was chosen.

    Finished clips are kept in ``work_dir`` (the user's cache unless given) until the table is complete; the same call
    after an interruption computes only the others.

    Errors: :class:`InputError` for data that are missing, damaged or do not fit; :class:`UsageError` for models that
    cannot be compared; :class:`InterruptedRun` on Ctrl+C; those of loading and running a model.
    """
    labels = [spec.label for spec in options.models]
    if len(set(labels)) != len(labels):
        raise UsageError(f"{labels[0]} would be compared with itself; name two different models.")
    if options.vmaf:
        check_libvmaf()
    clips = open_dataset(
        options.protocol,
        options.root,
        lq_root=options.lq_root,
        degradation=options.degradation,
        make_lq=options.make_lq,
        limit=options.limit,
        frames=options.frames,
    )
    evaluator: _Evaluator | None = _Evaluator(
        options, spread_devices(options.models, 1, available_cores())[0]
    )
    assert evaluator is not None
    engines = [restorer.engine for restorer in evaluator.restorers]
    if on_start is not None:
        for label, restorer in zip(labels, evaluator.restorers, strict=True):
            on_start(label, describe_engine(restorer))
    scale = evaluator.scale
    if scale != DATA_SET_SCALE and options.lq_root is None:
        clips = [replace(clip, lq=()) for clip in clips]
    journal = EvalJournal(
        _work_folder(options), _identity(options, clips, evaluator.restorers, scale), resume=options.resume
    )
    shelf = None
    if options.page is not None:
        shelf = evaluator.shelf = PictureShelf(
            journal.path.with_suffix(".pictures"), [clip.name for clip in clips]
        )
    resumed = [clip.name for clip in clips if clip.name in journal.finished]
    pending = [clip for clip in clips if clip.name not in journal.finished]
    done = len(resumed)
    try:
        if on_clip is not None and resumed:
            on_clip(done, len(clips), ())
        if options.devices > 1:
            # The worker processes hold the models from here on.
            evaluator.close()
            evaluator = None
            results = _evaluate_spread(options, pending, shelf)
        else:
            results = ((clip.name, evaluator.evaluate(clip)) for clip in pending)
        for name, scores in results:
            journal.add(name, jsonable([asdict(score) for score in scores]))
            done += 1
            if on_clip is not None:
                on_clip(done, len(clips), scores)
    except KeyboardInterrupt as error:
        raise InterruptedRun(
            f"Stopped after {done} of {len(clips)} clips; run the same command again to go on from here."
        ) from error
    finally:
        if evaluator is not None:
            evaluator.close()

    scores = tuple(score_from_dict(value) for clip in clips for value in journal.finished[clip.name])
    whole = options.limit is None and options.frames is None and not options.windows.repeat
    whole = whole and scale == DATA_SET_SCALE
    totals = tuple(
        _total(
            spec,
            engine,
            [score for score in scores if score.model == spec.label],
            options,
            len(clips) if whole else 0,
        )
        for spec, engine in zip(options.models, engines, strict=True)
    )
    given = options.lq_root or (clips[0].lq[0].parent if clips[0].lq else None)
    low_quality = f"read from {given}" if given else f"{options.degradation} x{scale}, made on the fly"
    report = EvalReport(
        options.protocol.title,
        options.protocol.statement,
        low_quality,
        options.windows.statement,
        len(clips),
        len(resumed),
        scores,
        totals,
    )
    if options.page is not None and shelf is not None:
        write_eval_page(options.page, report, shelf)
        shelf.remove()
    journal.remove()
    return report


def _work_folder(options: EvalOptions) -> Path:
    return options.work_dir if options.work_dir is not None else user_cache("eval")


# State of a worker process.
_pending_share: tuple[EvalOptions, tuple[ModelSpec, ...], PictureShelf | None] | None = None
_worker: _Evaluator | None = None


def _evaluate_spread(options: EvalOptions, clips: Sequence[EvalClip], shelf: PictureShelf | None) -> Any:
    """Clips over several worker processes, each with its own device."""
    import multiprocessing

    shares: SimpleQueue[tuple[ModelSpec, ...]] = multiprocessing.get_context("spawn").SimpleQueue()
    for share in spread_devices(options.models, options.devices, available_cores()):
        shares.put(share)
    threads = max(1, available_cores() // options.devices)
    return run_parallel(
        _evaluate_in_worker,
        clips,
        options.devices,
        threads=threads,
        initializer=_start_evaluator,
        arguments=(options, shares, shelf),
    )


def _start_evaluator(options: EvalOptions, shares: Any, shelf: PictureShelf | None) -> None:
    global _pending_share
    # Loading may fail with an error for the user, which an initializer cannot carry: the first clip loads.
    _pending_share = (options, shares.get(), shelf)


def _evaluate_in_worker(clip: EvalClip) -> tuple[str, list[ClipScore]]:
    global _worker
    if _worker is None:
        assert _pending_share is not None
        options, specs, shelf = _pending_share
        _worker = _Evaluator(options, specs)
        _worker.shelf = shelf
    return clip.name, _worker.evaluate(clip)


def _total(
    spec: ModelSpec, engine: str, scores: Sequence[ClipScore], options: EvalOptions, whole_clips: int
) -> Total:
    def mean(name: str) -> float | None:
        values = [getattr(score, name) for score in scores]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    device = [score.peak_device_mib for score in scores if score.peak_device_mib is not None]
    seconds = sum(score.seconds for score in scores)
    figure = find_published(spec.published_name, options.protocol, options.degradation, whole_clips)
    return Total(
        model=spec.label,
        engine=engine,
        psnr=float(np.mean([score.psnr for score in scores])),
        ssim=float(np.mean([score.ssim for score in scores])),
        seconds_per_call=seconds / max(1, sum(score.calls for score in scores)),
        fps=sum(score.output_frames for score in scores) / seconds if seconds > 0 else math.inf,
        peak_rss_mib=max(score.peak_rss_mib for score in scores),
        peak_device_mib=max(device) if device else None,
        warp_error=mean("warp_error"),
        gt_warp_error=mean("gt_warp_error"),
        flicker=mean("flicker"),
        tof_px=mean("tof_px"),
        vmaf=mean("vmaf"),
        vmaf_neg=mean("vmaf_neg"),
        published_psnr=figure.psnr if figure else None,
        published_ssim=figure.ssim if figure else None,
        published_source=figure.source if figure else None,
    )
