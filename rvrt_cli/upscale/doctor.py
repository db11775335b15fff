"""Checks an installation end to end: every stage of a real run on a tiny film, and what the run needs around it.

Each check is a function from a :class:`Bench` to a :class:`Finding`; a check that raises is a problem with the error as its text.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rvrt_cli.errors import RvrtError, WeightsError
from rvrt_cli.system.hardware import ONNX_RUNTIME_PACKAGES

if TYPE_CHECKING:
    import numpy as np

    from rvrt_cli.inference.restorer import Restorer

State = Literal["ok", "warning", "problem"]

FRAMES = 6
WIDTH, HEIGHT = 64, 48
FREE_DISK_BYTES = 2 << 30
FREE_MEMORY_BYTES = 2 << 30
SIGMA = 10.0
"""Noise that a denoising network is told to expect in the tiny film, in 1/255: little, because it has none."""

MINDSPORE = "2.8.0"
"""The version that pyproject.toml asks for."""

CONFLICTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ONNX_RUNTIME_PACKAGES,
        f"pip uninstall -y {' '.join(ONNX_RUNTIME_PACKAGES)}, then install the one you want",
    ),
    (
        (
            "opencv-python",
            "opencv-python-headless",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        "pip uninstall -y opencv-python opencv-contrib-python opencv-contrib-python-headless, then pip install --force-reinstall "
        "opencv-python-headless",
    ),
)
"""Packages that install into the same folder and overwrite one another, and the way out."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``found``: the fact; ``advice``: what to do about it, empty when ``state`` is "ok"."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass
class Bench:
    """What checks share: a scratch folder, the model's name or weights file, and what earlier checks found out."""

    folder: Path
    model: str
    film: Path | None = None
    weights_usable: bool = False


Check = Callable[[Bench], Finding]


class NotTriedError(Exception):
    """A check that needs what an earlier one did not provide."""


def examine(model: str = "light-s") -> Iterator[Finding]:
    """Run every check and yield its finding as soon as it is known; nothing is left on the disk but the graph cache.

    ``model``: the model that the run uses, as for ``rvrt upscale --model``.
    """
    with tempfile.TemporaryDirectory(prefix="rvrt-doctor-") as folder:
        bench = Bench(Path(folder), model)
        for name, check, advice in CHECKS:
            try:
                yield check(bench)
            except NotTriedError as error:
                yield Finding(name, "problem", str(error), "Mend the problem above first.")
            except RvrtError as error:
                yield Finding(name, "problem", str(error), advice)
            except Exception as error:  # a broken installation fails in ways that nobody listed
                yield Finding(name, "problem", f"{type(error).__name__}: {error}", advice)


def check_python(_: Bench) -> Finding:
    """The interpreter; MindSpore has wheels up to 3.12."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info >= (3, 13):
        return Finding(
            "Python",
            "warning",
            found,
            "MindSpore has no wheels for it: use Python 3.10 to 3.12 to train on MindSpore or Ascend.",
        )
    return Finding("Python", "ok", found)


def check_packages(_: Bench) -> Finding:
    """Packages that overwrite one another, the pinned MindSpore, and the NumPy that it needs."""
    versions = _installed(
        [package for packages, _ in CONFLICTS for package in packages] + ["mindspore", "numpy"]
    )
    for packages, way_out in CONFLICTS:
        both = [package for package in packages if package in versions]
        if len(both) > 1:
            return Finding("Packages", "problem", f"{' and '.join(both)} overwrite each other", way_out)
    mindspore, numpy = versions.get("mindspore"), versions.get("numpy", "")
    if mindspore is None:
        return Finding("Packages", "ok", "no conflicts")
    if mindspore != MINDSPORE:
        return Finding(
            "Packages",
            "warning",
            f"MindSpore {mindspore}; only {MINDSPORE} was tried (2.9 and 2.10 convolve 100 times slower on CPUs)",
            f"pip install mindspore=={MINDSPORE}",
        )
    if int(numpy.partition(".")[0] or 0) >= 2:
        return Finding(
            "Packages",
            "warning",
            f"NumPy {numpy}, but MindSpore {MINDSPORE} needs NumPy 1",
            'pip install "numpy<2"; where another package needs NumPy 2, give rvrt an environment of its own.',
        )
    return Finding("Packages", "ok", f"no conflicts; MindSpore {mindspore} with NumPy {numpy}")


def check_engines(_: Bench) -> Finding:
    """At least one engine, and the one that would be chosen."""
    from rvrt_cli.inference.device import choose

    return Finding("Engine", "ok", choose().describe())


def check_gpu(_: Bench) -> Finding:
    """A card that is here but that nothing installed can use, or that has to be asked for."""
    from rvrt_cli.inference.device import choose
    from rvrt_cli.system.hardware import ascend_cards, nvidia_cards, openvino_gpus

    choice = choose()
    if choice.device != "cpu":
        return Finding("GPU", "ok", f"{choice.device} will be used")
    if nvidia_cards():
        return Finding(
            "GPU",
            "warning",
            f"{nvidia_cards()[0].name} is here, but nothing installed can use it",
            "pip uninstall -y onnxruntime, then pip install onnxruntime-gpu with the CUDA libraries it names; or pip uninstall -y "
            "torch, then install PyTorch's CUDA build (https://pytorch.org/get-started).",
        )
    if ascend_cards():
        return Finding(
            "GPU",
            "warning",
            "an Ascend device is here, but MindSpore is not",
            f"pip install mindspore=={MINDSPORE} (Python 3.10 to 3.12)",
        )
    if openvino_gpus():
        return Finding(
            "GPU",
            "ok",
            f"{openvino_gpus()[0].name} is here; the CPU will be used unless --device gpu asks for it",
        )
    return Finding("GPU", "ok", "none found; the CPU will be used")


def check_weights(bench: Bench) -> Finding:
    """The weights of the model to run."""
    from rvrt_cli.weights.files import load_weights
    from rvrt_cli.weights.find import LIGHT_SMALL, weights_path

    if bench.model == "bicubic":
        bench.weights_usable = True
        return Finding("Weights", "ok", "bicubic needs none")
    try:
        weights = load_weights(weights_path(bench.model))
    except WeightsError as error:
        advice = REINSTALL if bench.model == LIGHT_SMALL else OTHER_WEIGHTS
        return Finding("Weights", "problem", str(error), advice)
    bench.weights_usable = True
    return Finding(
        "Weights",
        "ok",
        f"{bench.model}: {weights.parameter_count / 1e6:.2f} M parameters, SHA-256 {weights.sha256[:12]}",
    )


def check_ffmpeg(_: Bench) -> Finding:
    """The ffmpeg that joins segments and copies the other streams."""
    from rvrt_cli.media.ffmpeg import ffmpeg_executable

    path = ffmpeg_executable()
    done = subprocess.run([path, "-version"], capture_output=True, timeout=30, check=True)
    return Finding("ffmpeg", "ok", done.stdout.decode("utf-8", "replace").split(" Copyright")[0].strip())


def check_encode(bench: Bench) -> Finding:
    """A tiny film is written from pictures and verified, the model left out."""
    from rvrt_cli.inference.restorer import IdentityRestorer
    from rvrt_cli.media import ImageSequenceWriter
    from rvrt_cli.upscale.run import upscale

    writer = ImageSequenceWriter(bench.folder / "pictures")
    for index, picture in enumerate(gradients()):
        writer.write(picture, index)
    film = bench.folder / "film.mp4"
    report = upscale(bench.folder / "pictures", film, restorer=IdentityRestorer())
    bench.film = film
    return Finding(
        "Encode", "ok", f"{report.frames} frames of {WIDTH}x{HEIGHT} written as H.264 and verified"
    )


def check_decode(bench: Bench) -> Finding:
    """The film's frames come back with the colours they were written with."""
    import numpy as np

    from rvrt_cli.media import probe, read_frames

    with read_frames(probe(_film(bench))) as reader:
        pictures = np.stack([frame.rgb for frame in reader])
    if pictures.shape != (FRAMES, HEIGHT, WIDTH, 3):
        return Finding("Decode", "problem", f"frames came back as {pictures.shape}", REINSTALL_AV)
    error = float(np.abs(pictures - gradients()).mean())
    if error > 0.02:
        return Finding("Decode", "problem", f"colours came back {error:.3f} off", REINSTALL_AV)
    return Finding("Decode", "ok", f"{len(pictures)} frames, colours within {255 * error:.1f}/255 on average")


def check_model(bench: Bench) -> Finding:
    """The model runs and returns a picture that resembles its input, enlarged as the model enlarges."""
    import time

    import numpy as np

    from rvrt_cli.imaging.resize import imresize

    with _loaded(bench) as restorer:
        lq = gradients()
        began = time.perf_counter()
        sr = restorer(lq)
        seconds = time.perf_counter() - began
        wanted = lq if restorer.scale == 1 else imresize(lq, scale=restorer.scale)
        engine = restorer.engine
    if sr.shape != wanted.shape or not np.isfinite(sr).all() or float(np.abs(sr - wanted).mean()) > 0.05:
        return Finding(
            "Model", "problem", f"{bench.model} on {engine} returned a wrong picture", TRY_ANOTHER_ENGINE
        )
    return Finding(
        "Model", "ok", f"{bench.model} on {engine}; {FRAMES} frames, compiling included, in {seconds:.1f} s"
    )


def check_run(bench: Bench) -> Finding:
    """Everything together, as ``rvrt upscale`` does it."""

    from rvrt_cli.upscale.run import upscale

    film = _film(bench)
    with _loaded(bench) as restorer:
        report = upscale(film, bench.folder / "upscaled.mp4", restorer=restorer)
    return Finding(
        "Whole run",
        "ok",
        f"{report.frames} frames to {report.output_width}x{report.output_height}, output verified",
    )


def check_cache(_: Bench) -> Finding:
    """Compiled graphs and fetched weights can be kept."""
    from rvrt_cli.inference.cache import cache_folder

    folder = cache_folder().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"rvrt")
            file.flush()
    except OSError as error:
        return Finding(
            "Cache",
            "warning",
            f"{folder} cannot be written ({error.strerror}); every run compiles its graphs again",
            "Make it writable, or set RVRT_CACHE to a folder that is.",
        )
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding("Cache", "ok", f"{folder}, {used / 1e6:.0f} MB used")


def check_disk(_: Bench) -> Finding:
    """Room for work in progress: here (beside the output) and in the cache."""
    from rvrt_cli.inference.cache import cache_folder

    places = [Path.cwd(), next(folder for folder in cache_folder().parents if folder.is_dir())]
    free, place = min((shutil.disk_usage(folder).free, folder) for folder in places)
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < FREE_DISK_BYTES:
        return Finding(
            "Disk",
            "warning",
            found,
            "Free some space, or put the work in progress elsewhere with --work-dir.",
        )
    return Finding("Disk", "ok", found)


def check_memory(_: Bench) -> Finding:
    """Memory that is free now; small machines get smaller tiles by themselves."""
    import psutil

    free = psutil.virtual_memory().available
    found = f"{free / 1e9:.1f} GB available"
    if free < FREE_MEMORY_BYTES:
        return Finding(
            "Memory", "warning", found, "Close other programs, or plan for less with --memory-limit 1G."
        )
    return Finding("Memory", "ok", found)


REINSTALL = "Install it again, in its checkout: pip install --force-reinstall --no-deps ."
OTHER_WEIGHTS = (
    "Do what the sentence says, or leave out --model: light-s ships with rvrt and needs no fetching."
)
REINSTALL_AV = "Install the decoder again: pip install --force-reinstall av"
REINSTALL_FFMPEG = "pip install --force-reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to the path of an ffmpeg of version 9.0 or newer."
TRY_ANOTHER_ENGINE = "Try another engine (rvrt upscale ... --backend onnxruntime or torch); if that works, empty the cache and report it."
INSTALL_ENGINE = "pip install openvino spox onnx"

CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("Python", check_python, REINSTALL),
    ("Packages", check_packages, REINSTALL),
    ("Engine", check_engines, INSTALL_ENGINE),
    ("GPU", check_gpu, "Use --device cpu until the driver works."),
    ("Weights", check_weights, REINSTALL),
    ("ffmpeg", check_ffmpeg, REINSTALL_FFMPEG),
    ("Encode", check_encode, REINSTALL_AV),
    ("Decode", check_decode, REINSTALL_AV),
    ("Model", check_model, TRY_ANOTHER_ENGINE),
    (
        "Whole run",
        check_run,
        "Mend the problems above first; if there are none, report this with --debug's traceback.",
    ),
    ("Cache", check_cache, "Set RVRT_CACHE to a folder that can be written."),
    ("Disk", check_disk, "Free some space."),
    ("Memory", check_memory, "Close other programs."),
)
"""Name, check, and the advice when the check itself fails; later checks use what earlier ones made."""


def gradients() -> np.ndarray:
    """The tiny film: a soft pattern that moves one pixel a frame; float32 (FRAMES, HEIGHT, WIDTH, 3) in [0.1, 0.9]."""
    import numpy as np

    t, y, x, c = np.meshgrid(
        np.arange(FRAMES), np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij"
    )
    return (0.5 + 0.4 * np.sin((x + t) / 9) * np.cos((y + 12 * (c == 0)) / 11)).astype(np.float32)


def _film(bench: Bench) -> Path:
    if bench.film is None:
        raise NotTriedError("not tried, because the tiny film could not be written")
    return bench.film


@contextmanager
def _loaded(bench: Bench) -> Iterator[Restorer]:
    """The model to run, for frames of three channels; a denoising network is told :data:`SIGMA`."""
    from rvrt_cli.inference.restorer import DenoisingRestorer, load_restorer

    if not bench.weights_usable:
        raise NotTriedError("not tried, because the weights cannot be used")
    restorer = load_restorer(bench.model)
    if restorer.channels == 4:
        restorer = DenoisingRestorer(restorer, SIGMA)
    try:
        yield restorer
    finally:
        restorer.close()


def _installed(packages: list[str]) -> dict[str, str]:
    """Package → version of those that are installed, from metadata alone."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
