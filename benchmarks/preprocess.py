"""Frames per second of the ×4 reduction on one core: ours, the usual NumPy ports, and OpenCV as the limit.

Run: ``python benchmarks/preprocess.py``. Prints one Markdown table. The ports follow the two forms in circulation: a loop
over output rows and columns, and a gather of all taps that is summed with one multiplication (both compute in float64
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
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded: one core for everybody

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from rvrt_cli.data.bicubic import imresize, imresize_u8  # noqa: E402
from rvrt_cli.data.clips import PhotoSource  # noqa: E402
from rvrt_cli.data.degrade import degrade_bi  # noqa: E402
from rvrt_cli.data.images import encode_png, list_images  # noqa: E402

SIZES = {"Vimeo-90K, 448×256": (256, 448), "REDS, 1280×720": (720, 1280), "1920×1080": (1080, 1920)}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each method and size")
    parser.add_argument("--photos", type=Path, help="folder of photographs: also measure training clips")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    methods: dict[str, Callable[[np.ndarray], object]] = {
        "rvrt, exact uint8 (float64)": lambda image: imresize_u8(image, 0.25),
        "rvrt, float32": lambda image: imresize(image, 0.25),
        "NumPy port, loop": lambda image: port_loop(image, 0.25),
        "NumPy port, gather": lambda image: port_gather(image, 0.25),
        "OpenCV INTER_AREA": lambda image: cv2.resize(
            image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA
        ),
        "OpenCV INTER_CUBIC": lambda image: cv2.resize(
            image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_CUBIC
        ),
    }
    images = {
        label: cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 1.5)
        for label, size in SIZES.items()
    }
    for image in images.values():
        if not np.array_equal(imresize_u8(image, 0.25), port_gather(image, 0.25)):
            sys.exit("The port and rvrt disagree: the comparison would mean nothing.")
    rates = {
        name: [
            frames_per_second(lambda image=image, method=method: method(image), arguments.seconds)
            for image in images.values()
        ]  # type: ignore[misc]
        for name, method in methods.items()
    }
    write = sys.stdout.write
    write(f"Reduction by 4, frames per second on one core ({cv2.getNumThreads()} thread)\n\n")
    write(f"| method | {' | '.join(images)} |\n|---|{'---:|' * len(images)}\n")
    for name, row in rates.items():
        write(f"| {name} | {' | '.join(f'{rate:,.0f}' for rate in row)} |\n")
    best_port = [
        max(rates["NumPy port, loop"][i], rates["NumPy port, gather"][i]) for i in range(len(images))
    ]
    factors = [
        ours / port for ours, port in zip(rates["rvrt, exact uint8 (float64)"], best_port, strict=True)
    ]
    write(f"| times the faster port | {' | '.join(f'{factor:.1f}×' for factor in factors)} |\n\n")

    image = images["Vimeo-90K, 448×256"]
    png = encode_png(image)
    lq = imresize_u8(image, 0.25)
    decode = frames_per_second(
        lambda: cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), arguments.seconds
    )
    encode = frames_per_second(lambda: encode_png(lq), arguments.seconds)
    if arguments.photos:
        source = PhotoSource(list_images(arguments.photos))
        for index in range(len(source)):
            source.sample(np.random.default_rng(index), 1, 32)  # photographs into the cache
        generators = (np.random.default_rng(seed) for seed in itertools.count())
        rate = frames_per_second(
            lambda: degrade_bi(source.sample(next(generators), 6, 128).frames), 5 * arguments.seconds
        )
        write(
            f"Training clips of 6 frames, 128×128, from photographs, with their low quality: {rate:,.0f}/s.\n"
        )
    write(
        f"For scale: decoding the PNG of one Vimeo-90K frame {decode:,.0f}/s, encoding its low quality {encode:,.0f}/s.\n"
    )


if __name__ == "__main__":
    main()
