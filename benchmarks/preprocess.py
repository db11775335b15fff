"""Frames per second of the ×4 reduction on one core: ours, the usual NumPy ports, and OpenCV as the limit.

Run: ``python benchmarks/preprocess.py``. Prints a row per method and size, as a Markdown table or, with ``--json``, as one
JSON object each; ``ratio`` is over the faster port. The ports follow the two forms in circulation: a loop over output rows and columns, and a gather of all taps that is summed with one multiplication (both compute in float64
from the whole weight table, as Matlab's description suggests). OpenCV's INTER_AREA and INTER_CUBIC compute something else
(a box, and cubic without antialiasing); they show how fast any reduction could be.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded: one core for everybody

import cv2  # noqa: E402 - the numbers of threads are set first
import numpy as np  # noqa: E402 - after the numbers of threads
from rows import Row, print_rows  # noqa: E402 - after the numbers of threads

from rvrt_cli.data.clips import PhotoSource  # noqa: E402 - after the numbers of threads
from rvrt_cli.data.degrade import degrade_bi  # noqa: E402 - after the numbers of threads
from rvrt_cli.imaging.images import encode_png, list_images  # noqa: E402 - after the numbers of threads
from rvrt_cli.imaging.resize import imresize, imresize_u8  # noqa: E402 - after the numbers of threads

VIMEO = (256, 448)
SIZES = {"Vimeo-90K, 448×256": VIMEO, "REDS, 1280×720": (720, 1280), "1920×1080": (1080, 1920)}
SCALE = 0.25


def taps(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(weights, indices) of each output sample along one axis, with mirrored borders."""
    out = math.ceil(size * scale)
    width = 4.0 / scale
    centre = np.arange(1, out + 1) / scale + 0.5 * (1 - 1 / scale)
    index = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)[None, :] - 1
    x = np.abs(scale * (centre[:, None] - index - 1))
    weights = np.where(
        x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
    )
    weights /= weights.sum(axis=1, keepdims=True)
    mirror = np.concatenate([np.arange(size), np.arange(size - 1, -1, -1)])
    index = mirror[np.mod(index.astype(int), 2 * size)]
    keep = np.any(weights != 0, axis=0)
    return weights[:, keep], index[:, keep]


def port_loop(image: np.ndarray, scale: float) -> np.ndarray:
    """The port with a Python loop over output rows, then over output columns."""
    values = image.astype(np.float64)
    for axis in (0, 1):
        weights, index = taps(values.shape[axis], scale)
        lines = []
        for weight, where in zip(weights, index, strict=True):
            lines.append(np.tensordot(weight, np.take(values, where, axis=axis), axes=(0, axis)))
        values = np.stack(lines, axis=axis)
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def port_gather(image: np.ndarray, scale: float) -> np.ndarray:
    """The port that gathers all taps of an axis at once and sums them."""
    values = image.astype(np.float64)
    weights, index = taps(values.shape[0], scale)
    values = np.sum(weights[:, :, None, None] * values[index], axis=1)
    weights, index = taps(values.shape[1], scale)
    values = np.sum(weights[None, :, :, None] * values[:, index], axis=2)
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def frames_per_second(function: Callable[[], object], seconds: float) -> float:
    """Per second of processor time, the best of five rounds of ``seconds`` / 5: other programs on the machine hardly matter."""
    function()
    best = math.inf
    for _ in range(5):
        count, start = 0, time.process_time()
        while time.process_time() - start < seconds / 5:
            function()
            count += 1
        best = min(best, (time.process_time() - start) / count)
    return 1.0 / best


def opencv(image: np.ndarray, interpolation: int) -> np.ndarray:
    """OpenCV's reduction."""
    return cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=interpolation)


METHODS: dict[str, Callable[[np.ndarray], object]] = {
    "rvrt, exact uint8 (float64)": lambda image: imresize_u8(image, SCALE),
    "rvrt, float32": lambda image: imresize(image, SCALE),
    "NumPy port, loop": lambda image: port_loop(image, SCALE),
    "NumPy port, gather": lambda image: port_gather(image, SCALE),
    "OpenCV INTER_AREA": lambda image: opencv(image, cv2.INTER_AREA),
    "OpenCV INTER_CUBIC": lambda image: opencv(image, cv2.INTER_CUBIC),
}


def measure(seconds: float, photos: Path | None) -> Iterator[Row]:
    """A row for each method and size of picture, then what it is to be compared with.

    Raises RuntimeError where the port and rvrt disagree, because the comparison would mean nothing then.
    """
    rng = np.random.default_rng(0)
    for label, size in SIZES.items():
        image = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 1.5)
        if not np.array_equal(imresize_u8(image, SCALE), port_gather(image, SCALE)):
            raise RuntimeError("The port and rvrt disagree")
        yield from method_rows(label, image, seconds)
        if size == VIMEO:
            yield from scale_rows(label, image, seconds)
    if photos:
        yield row(
            "clips of 6 frames with their low quality",
            "128×128, from photographs",
            clips_per_second(photos, seconds),
        )


def row(method: str, size: str, rate: float, ratio: float | None = None) -> Row:
    """One figure."""
    return {"method": method, "size": size, "per_second": rate, "ratio": ratio}


def method_rows(size: str, image: np.ndarray, seconds: float) -> Iterator[Row]:
    """Each method on one picture, (h, w, 3) uint8."""
    rates = {name: frames_per_second(partial(method, image), seconds) for name, method in METHODS.items()}
    port = max(rate for name, rate in rates.items() if name.startswith("NumPy port"))
    for name, rate in rates.items():
        yield row(name, size, rate, rate / port)


def scale_rows(size: str, image: np.ndarray, seconds: float) -> Iterator[Row]:
    """What else has to be done for a frame: its PNG is decoded and that of its low quality is encoded."""
    png, lq = np.frombuffer(encode_png(image), np.uint8), imresize_u8(image, SCALE)
    yield row(
        "decode the PNG", size, frames_per_second(lambda: cv2.imdecode(png, cv2.IMREAD_UNCHANGED), seconds)
    )
    yield row("encode the low quality", size, frames_per_second(lambda: encode_png(lq), seconds))


def clips_per_second(photos: Path, seconds: float) -> float:
    """Training clips made from photographs."""
    source = PhotoSource(list_images(photos))
    for index in range(len(source)):
        source.sample(np.random.default_rng(index), 1, 32)  # photographs into the cache
    generators = (np.random.default_rng(seed) for seed in itertools.count())
    return frames_per_second(lambda: degrade_bi(source.sample(next(generators), 6, 128).frames), 5 * seconds)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each method and size")
    parser.add_argument("--photos", type=Path, help="folder of photographs: also measure training clips")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row, not a table")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    return print_rows(measure(options.seconds, options.photos), options.json)


if __name__ == "__main__":
    sys.exit(main())
