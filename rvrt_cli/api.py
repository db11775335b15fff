"""The Python interface: the command line's guarantees for programs.

from rvrt_cli import load_model, upscale_frames, upscale_video

report = upscale_video("in.mp4", "out.mp4", scale=2)
with load_model("light-s") as model:
    sr = upscale_frames(frames, model=model)         # (t, h, w, 3) → (t, 4h, 4w, 3)
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from rvrt_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Unpack

    from rvrt_cli.inference.restorer import Restorer
    from rvrt_cli.upscale.events import Event, Report
    from rvrt_cli.upscale.options import UpscaleOptions


class FrameOptions(TypedDict, total=False):
    """The options of :func:`upscale_frames`, named and checked as in :class:`rvrt_cli.upscale.options.UpscaleOptions`."""

    window: int | None
    overlap: int | None
    tile: str
    tile_overlap: int
    memory_limit: str | None
    shots: bool


class VideoOptions(FrameOptions, total=False):
    """The options of :func:`upscale_video`: those of :class:`rvrt_cli.upscale.options.UpscaleOptions`, paths as text too."""

    weights: Path | str | None
    scale: int | None
    height: int | None
    width: int | None
    denoise: float | None
    deblur: bool
    strength: float
    codec: str | None
    crf: float | None
    preset: str | None
    pix_fmt: str | None
    lossless: bool
    container: str | None
    fps: str | None
    start_s: float | None
    end_s: float | None
    frames: int | None
    preview: int | None
    compare: Literal["side", "split"] | None
    deinterlace: Literal["auto", "on", "off"]
    device: str
    backend: str
    precision: str
    threads: int
    resume: bool
    overwrite: bool
    work_dir: Path | str | None
    keep_work: bool
    segment_frames: int | None


def upscale_video(
    input_path: Path | str,
    output: Path | str,
    *,
    model: Restorer | str | None = None,
    on_event: Callable[[Event], None] | None = None,
    stop: threading.Event | None = None,
    **options: Unpack[VideoOptions],
) -> Report:
    """Upscale a video file or image sequence as ``rvrt upscale`` does, and return the report.

    ``model``: a loaded model (it stays open) or a name (``light_model()`` for the best RVRT Light on this machine); without
    it, what ``weights`` holds, or light-s. ``on_event`` gets the events of :mod:`rvrt_cli.upscale.events` in the calling
    thread. Setting ``stop`` from another thread finishes the current segment (at once while a continued run skips what is
    done) and raises :class:`rvrt_cli.errors.InterruptedRun`; the same call continues. Errors: subclasses of
    :class:`rvrt_cli.errors.RvrtError`, :class:`rvrt_cli.errors.UsageError` for an option that does not exist or is of the
    wrong type; the output then is untouched.
    """
    from rvrt_cli.upscale.events import ignore_event
    from rvrt_cli.upscale.run import upscale

    restorer = None if model is None or isinstance(model, str) else model
    return upscale(
        input_path,
        output,
        _video_options(model if isinstance(model, str) else None, dict(options)),
        restorer=restorer,
        on_event=on_event or ignore_event,
        stop=stop,
    )


def _video_options(model: str | None, given: dict[str, Any]) -> UpscaleOptions:
    """The options as a command would have read them. Errors: :class:`UsageError`."""
    for name in ("weights", "work_dir"):
        if isinstance(given.get(name), str):
            given[name] = Path(given[name])
    if model is not None:
        given["model"] = model
    elif given.get("weights") is not None:
        given["model"] = str(given["weights"])  # the network is the one that the file holds
    return _checked("upscale_video", ("model", *VideoOptions.__annotations__), given)


def _checked(function: str, known: Sequence[str], given: dict[str, Any]) -> UpscaleOptions:
    """The options ``given`` to ``function``, which has the options ``known``. Errors: :class:`UsageError`."""
    from rvrt_cli.upscale.options import UpscaleOptions

    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"choose among {', '.join(known)}."
            raise UsageError(f"{function} has no option {name!r}; {hint}")
    try:
        options = UpscaleOptions(**given)
        options.check()
    except (TypeError, AttributeError) as error:
        raise UsageError(f"An option of {function} is of the wrong type: {error}.") from error
    return options


def light_model() -> str:
    """The name of the RVRT Light that ``--light`` means on this machine: "light" where it was fetched, else "light-s"."""
    from rvrt_cli.weights import light_model as find_light

    return find_light()


@contextmanager
def load_model(
    model: str | None = None,
    weights: Path | str | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> Iterator[Restorer]:
    """Load a model for as long as the ``with`` block lasts; arguments as on the command line ("light-s" without any).

    Errors: :class:`rvrt_cli.errors.WeightsError`, :class:`rvrt_cli.errors.DeviceError`.
    """
    from rvrt_cli.inference.restorer import load_restorer

    restorer = load_restorer(
        model,
        None if weights is None else Path(weights),
        device=device,
        backend=backend,
        precision=precision,
        threads=threads,
    )
    try:
        yield restorer
    finally:
        restorer.close()


def upscale_frames(
    frames: np.ndarray,
    *,
    model: Restorer | str = "light-s",
    **options: Unpack[FrameOptions],
) -> np.ndarray:
    """Upscale frames in memory, with the windows, tiles, shots and fallbacks without memory of a video run.

    ``frames``: (t, h, w, 3) RGB, uint8 or floating point in [0, 1]. Returns (t, s*h, s*w, 3) in the same type (rounded and
    clipped for uint8, clipped float32 otherwise). Errors: :class:`rvrt_cli.errors.InputError` for another shape or type,
    :class:`rvrt_cli.errors.UsageError` for an option that does not exist or is of the wrong type.
    """
    import numpy as np

    from rvrt_cli.inference.restorer import load_restorer
    from rvrt_cli.media.frame import Frame
    from rvrt_cli.upscale.events import ignore_event
    from rvrt_cli.upscale.executors import RenderJob
    from rvrt_cli.upscale.executors.local import LocalExecutor
    from rvrt_cli.upscale.finish import Finish
    from rvrt_cli.upscale.frame_source import frames_in_memory
    from rvrt_cli.upscale.oom_fallback import OomFallback
    from rvrt_cli.upscale.plan import plan_work
    from rvrt_cli.upscale.planner import PlanSettings
    from rvrt_cli.upscale.writers import PictureTaker

    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(f"frames must have the shape (t, h, w, 3) and not be empty; got {frames.shape}.")
    if frames.dtype != np.uint8 and not np.issubdtype(frames.dtype, np.floating):
        raise InputError(f"frames must be uint8, or floating point in [0, 1]; got {frames.dtype}.")
    if frames.dtype != np.uint8 and not np.isfinite(frames).all():
        raise InputError("frames hold NaN or infinite values.")
    settled = _checked("upscale_frames", tuple(FrameOptions.__annotations__), dict(options))
    restorer: Restorer = load_restorer(model) if isinstance(model, str) else model
    count, height, width, _ = frames.shape
    scale = restorer.scale
    work = plan_work(settled, restorer, height, width)
    eight_bit = frames.dtype == np.uint8
    out = np.empty((count, scale * height, scale * width, 3), np.uint8 if eight_bit else np.float32)

    def read(first: int) -> Iterator[Frame]:
        factor = np.float32(1 / 255 if eight_bit else 1)
        return (Frame(i, i, 1, frames[i].astype(np.float32) * factor) for i in range(first, count))

    def take(frame: Frame, picture: np.ndarray, _alpha: np.ndarray | None) -> None:
        picture = np.clip(picture, 0, 1)
        out[frame.index] = np.rint(picture * 255) if eight_bit else picture

    overlap = settled.context_frames
    taker = PictureTaker(take)
    job = RenderJob(
        source=frames_in_memory(read, count),
        settings=PlanSettings(count, work.level, overlap, detect_shots=settled.shots),
        fallback=OomFallback([lambda: restorer], work.level),
        finish=Finish(scale * height, scale * width),
        open_file=lambda _index: taker,
        finished=lambda *_: None,
        overlapped=work.overlapped,
    )
    try:
        LocalExecutor(job, ignore_event).run()
    finally:
        if isinstance(model, str):
            restorer.close()
    return out
