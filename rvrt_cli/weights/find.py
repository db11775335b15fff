"""Find weights by name: files that ship with the tool first, then the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import WeightsError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.package import FOLDER
from rvrt_cli.weights.cache import cached
from rvrt_cli.weights.registry import PRESET_DEFAULTS, PUBLISHED, SHIPPED_LABELS, published

SUFFIX = ".safetensors"
READ_SUFFIXES = (SUFFIX, ".pth", ".pt", ".ckpt")
LIGHT = "light"
LIGHT_SMALL = "light-s"
LIGHTS = (LIGHT, LIGHT_SMALL, "light-s-x2")
"""The presets that are an RVRT Light."""


@dataclass(frozen=True)
class Known:
    """A row of ``rvrt weights list``. ``state``: "shipped", "cached", "not fetched" or "damaged"."""

    name: str
    preset: str
    state: str
    label: str
    licence: str
    path: Path | None
    url: str


def shipped_folder() -> Path:
    """The weight files that come with the tool: inside the installed package, or ``weights/`` of a checkout."""
    package = Path(FOLDER)
    installed = package / "_shipped"
    return installed if installed.is_dir() else package.parent / "weights"


def shipped() -> dict[str, Path]:
    """Name → file of the weights that ship with the tool."""
    return {path.stem: path for path in sorted(shipped_folder().glob(f"*{SUFFIX}"))}


def is_name(target: str) -> bool:
    """Whether a command's NAME|FILE is a name: of a shipped file, a preset or a published one."""
    return target in PRESETS or target in shipped() or target in {entry.name for entry in PUBLISHED}


def weights_path(target: str) -> Path:
    """The file that NAME|FILE means, the same for every command.

    A known name is a name even where a file is called so; then anything that is a file, or looks like one by its suffix or
    a folder in it, is a file, whether it exists or not. Errors: as :func:`find_weights`.
    """
    path = Path(target)
    if is_name(target):
        return find_weights(target)
    if path.is_file():
        return path
    fetched = target in {entry.file_name for entry in PUBLISHED}
    if not fetched and (path.suffix.lower() in READ_SUFFIXES or path.name != target):
        return path
    return find_weights(target)


def preset_of(name: str) -> str:
    """The preset that a name stands for. Errors: :class:`WeightsError` for an unknown one."""
    from rvrt_cli.weights.files import load_weights

    if name in PRESETS:
        return name
    return load_weights(shipped()[name]).preset if name in shipped() else published(name).preset


def find_weights(name: str, folder: Path | None = None) -> Path:
    """The file for a model's name: a shipped one (``light-s``), a preset (``rvrt``) or a published one (``rvrt-vimeo``).

    ``folder``: the cache (default: the user's). Nothing is downloaded.
    Errors: :class:`WeightsError` for an unknown name, or one that must be fetched first, with the command for it.
    """
    files = shipped()
    if name in files:
        return files[name]
    try:
        entry = published(name)
    except WeightsError as error:
        known = ", ".join(dict.fromkeys([*files, *PRESET_DEFAULTS, *(entry.name for entry in PUBLISHED)]))
        raise WeightsError(
            f"No weights are called {name!r}; choose one of {known}, or give a file."
        ) from error
    path = cached(entry, folder)
    if path is None:
        raise WeightsError(
            f"The weights {name!r} are not on this machine; run `rvrt weights fetch {name}` first."
        )
    return path


def light_model() -> str:
    """The RVRT Light to use: ``light``, the full width, where it is on this machine, otherwise ``light-s``, which ships.

    Errors: :class:`WeightsError` when the cached full-width file is damaged.
    """
    if LIGHT in shipped() or cached(published(LIGHT)) is not None:
        return LIGHT
    return LIGHT_SMALL


def known_weights(folder: Path | None = None) -> list[Known]:
    """Everything that :func:`find_weights` knows, shipped files first; the hashes of cached files are checked."""
    from rvrt_cli.weights.files import load_weights

    rows = []
    for name, path in shipped().items():
        try:
            weights = load_weights(path)
            preset, state, metadata = weights.preset, "shipped", weights.metadata
        except WeightsError:
            preset, state, metadata = "", "damaged", {}
        rows.append(
            Known(
                name,
                preset,
                state,
                SHIPPED_LABELS.get(name, metadata.get("title", "")),
                metadata.get("licence", "Apache-2.0"),
                path,
                "",
            )
        )
    for entry in PUBLISHED:
        try:
            found = cached(entry, folder)
            state = "cached" if found else "not fetched"
        except WeightsError:
            found, state = None, "damaged"
        rows.append(Known(entry.name, entry.preset, state, entry.label, entry.licence, found, entry.url))
    return rows
