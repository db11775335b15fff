"""VMAF of frames in memory, by the libvmaf of the ffmpeg that ships, with the models built into it.

VMAF looks at luma alone. Both films go through one pipe, ground truth above restored, and ffmpeg takes them apart again: two
pipes would need named ones, which Windows lacks, and files would need the disk space of both films.

Source: Li et al., "Toward a practical perceptual video quality metric" (2016); NEG (no enhancement gain): "Toward a better
quality metric for the video community" (2020). Models vmaf_v0.6.1 and vmaf_v0.6.1neg, made for 1080p seen from three heights.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from rvrt_cli.errors import DeviceError, InputError, OutputError
from rvrt_cli.media.color import LUMA_WEIGHTS
from rvrt_cli.media.ffmpeg import OWN_GROUP, explain_ffmpeg_failure, ffmpeg_executable
from rvrt_cli.system.hardware import available_cores

VMAF_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf-neg": "vmaf_v0.6.1neg"}
"""Name of the figure → libvmaf's built-in model."""
BT601 = 6
"""H.273's code for the matrix of :func:`rvrt_cli.evaluate.metrics.rgb_to_y`."""
_MIN_SIDE_PX = 32
"""libvmaf halves a picture four times and crashes where nothing is left."""


@lru_cache(maxsize=1)
def check_libvmaf() -> None:
    """Errors: :class:`DeviceError` where the ffmpeg in use was built without libvmaf."""
    done = subprocess.run(
        [ffmpeg_executable(), "-hide_banner", "-filters"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        **OWN_GROUP,
    )
    if b" libvmaf " not in done.stdout:
        raise DeviceError(
            f"{ffmpeg_executable()} has no libvmaf; use the ffmpeg of imageio-ffmpeg, or choose --metrics psnr,ssim."
        )


class VmafMeter:
    """Measures the frames of one film as they come; a context manager, which ends ffmpeg whatever happens.

    height, width: of the frames. metrics: names out of :data:`VMAF_MODELS`. matrix: H.273's code of the ground truth's colour
    matrix, so that the luma is the one in its file; BT.601 where it is not a matrix of luma weights (RGB).
    Errors: :class:`InputError` for frames below 32 pixels; :class:`DeviceError` where ffmpeg has no libvmaf.
    """

    def __init__(self, height: int, width: int, metrics: Sequence[str], matrix: int = BT601) -> None:
        if min(height, width) < _MIN_SIDE_PX:
            raise InputError(
                f"VMAF needs pictures of at least {_MIN_SIDE_PX} pixels on each side, but these are {width}x{height}; "
                "choose --metrics psnr,ssim."
            )
        check_libvmaf()
        self.metrics = tuple(metrics)
        red, blue = LUMA_WEIGHTS.get(matrix, LUMA_WEIGHTS[BT601])
        self._weights = 219 / 255 * np.array([red, 1 - red - blue, blue], np.float32)
        self._chroma = bytes([128]) * (4 * height * width)
        self._folder = tempfile.TemporaryDirectory(prefix="rvrt-vmaf-")
        self._messages = open(Path(self._folder.name, "stderr"), "w+b")  # noqa: SIM115 - close() closes it
        models = "|".join(f"version={VMAF_MODELS[name]}\\:name={name}" for name in self.metrics)
        graph = (
            f"[0:v]split[a][b];[a]crop={width}:{height}:0:0[gt];[b]crop={width}:{height}:0:{height}[sr];"
            f"[sr][gt]libvmaf=log_fmt=json:log_path=log.json:n_threads={available_cores()}:model='{models}'"
        )
        arguments = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", f"{width}x{2 * height}", "-i", "-"]
        self._process = subprocess.Popen(
            [ffmpeg_executable(), "-hide_banner", "-v", "error", *arguments, "-filter_complex", graph, "-f", "null", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            cwd=self._folder.name,
            **OWN_GROUP,
        )  # fmt: skip

    def __enter__(self) -> VmafMeter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(self, sr: np.ndarray, gt: np.ndarray) -> None:
        """Measure (h, w, 3) uint8 ``sr`` against ``gt``. Errors: :class:`OutputError` where ffmpeg has ended."""
        assert self._process.stdin is not None
        try:
            for picture in (gt, sr):
                self._process.stdin.write(np.rint(picture @ self._weights + 16).astype(np.uint8).tobytes())
            self._process.stdin.write(self._chroma)
        except OSError as error:
            raise self._failure() from error

    def finish(self) -> dict[str, list[float]]:
        """Figures of every frame by name, once all frames are added. Errors: :class:`OutputError` where ffmpeg failed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError as error:
            raise self._failure() from error
        if self._process.wait() != 0:
            raise self._failure()
        log = json.loads(Path(self._folder.name, "log.json").read_bytes())
        return {name: [float(frame["metrics"][name]) for frame in log["frames"]] for name in self.metrics}

    def _failure(self) -> Exception:
        code = self._process.wait()
        self._messages.seek(0)
        error = explain_ffmpeg_failure(
            self._messages.read().decode("utf-8", "replace"), "measuring VMAF", code
        )
        return error if code else OutputError("ffmpeg stopped while measuring VMAF, before the last frame.")

    def close(self) -> None:
        """End ffmpeg and remove its files. Harmless when called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(OSError):  # what was buffered for a process that is gone
                self._process.stdin.close()
        self._messages.close()
        self._folder.cleanup()
