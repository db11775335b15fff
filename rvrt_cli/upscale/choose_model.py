"""Which weights of a family a run uses: those of the scale that costs least for the size asked."""

from __future__ import annotations

from dataclasses import replace

from rvrt_cli.media import VideoStream
from rvrt_cli.upscale.options import UpscaleOptions
from rvrt_cli.weights.find import shipped

NATIVE = {"light-s": {2: "light-s-x2"}}
"""Weights of the same family for smaller scales, by the name of the x4 weights; what does not ship is passed over."""


def for_size(options: UpscaleOptions, video: VideoStream) -> UpscaleOptions:
    """The same options with the model of the smallest scale that reaches the size asked for.

    Only where the model was given by its name or is the default: a weights file is what its user wants. Without
    ``--scale``, ``--height`` and ``--width`` the result is as large as the x4 model makes it.
    """
    if options.weights is not None or options.model not in NATIVE or options.scale == 1:
        return options
    files = shipped()
    for scale, name in sorted(NATIVE[options.model].items()):
        if name in files and _reaches(options, video, scale):
            return replace(options, model=name)
    return options


def _reaches(options: UpscaleOptions, video: VideoStream, scale: int) -> bool:
    """Whether ``scale`` times the source is at least as large as the result."""
    if options.scale is not None:
        return options.scale <= scale
    if options.height is None and options.width is None:
        return False
    height, width = video.height, video.width
    if video.rotation % 180:
        height, width = width, height
    return (options.height or 0) <= scale * height and (options.width or 0) <= scale * width
