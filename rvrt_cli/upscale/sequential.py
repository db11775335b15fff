"""The networks that the options name, one behind the other, and what takes their place when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rvrt_cli.inference.restorer import DenoisingRestorer, Restorer, SequentialRestorer, load_restorer
from rvrt_cli.upscale.options import UpscaleOptions


def load_sequence(
    options: UpscaleOptions, *, device: str | None = None, precision: str | None = None
) -> Restorer:
    """Load what the options name: denoise, then deblur, then super-resolution (left out for scale 1)."""

    def load(model: str, weights: Path | None) -> Restorer:
        return load_restorer(
            model,
            weights,
            device=device or options.device,
            backend=options.backend,
            precision=precision or options.precision,
            threads=options.threads,
        )

    parts: list[Restorer] = []
    if options.denoise is not None:
        parts.append(DenoisingRestorer(load("denoise", None), options.denoise))
    if options.deblur:
        parts.append(load("deblur", None))
    if options.scale != 1 and options.model == "bicubic" and parts:
        parts.append(
            load_restorer("bicubic", options.weights)
        )  # --device and --backend are for the networks before it
    elif options.scale != 1:
        parts.append(load(options.model, options.weights))
    return parts[0] if len(parts) == 1 else SequentialRestorer(parts)


def restorer_loaders(
    options: UpscaleOptions, restorer: Restorer, *, external: bool
) -> Sequence[Callable[[], Restorer]]:
    """The restorer in use, then what to try when memory runs out with the smallest tile and window.

    An ``external`` restorer, which the caller made, has no others: ``options`` do not say which model it holds.
    """
    loaders: list[Callable[[], Restorer]] = [lambda: restorer]
    if external or restorer.device == "cpu":
        return loaders
    if options.precision == "auto" and restorer.precision != "mixed":
        loaders.append(lambda: load_sequence(options, precision="mixed"))
    if options.device == "auto":
        loaders.append(lambda: load_sequence(options, device="cpu", precision="fp32"))
    return loaders


def engine_reason(restorer: Restorer) -> str:
    """Why this engine was chosen, in words; empty where there was no choice."""
    return str(getattr(restorer, "reason", ""))
