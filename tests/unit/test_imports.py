"""Who may import whom (docs/extending.md): downwards only, lazy imports included, and nobody in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rvrt_cli.package import FOLDER

ROOT = "rvrt_cli"
LAYERS = (
    {"cli", "web"},
    {"api"},
    {"upscale", "train", "evaluate", "data"},
    {"weights", "media", "inference"},
    {"model"},
    {"backend"},
    {"imaging", "system"},
    {"errors", "package"},
)
"""From the top. Parts of one layer may import each other, in one direction."""
FACADE = {ROOT, f"{ROOT}.__main__"}
"""What the world outside imports: they may import everything, and nothing imports them."""
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""(importer, imported) → why this one points upwards for now."""


def read_modules(package: Path) -> dict[str, str]:
    """Name → source of every module below ``package``, which is called :data:`ROOT`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [ROOT, *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(source: str, modules: Mapping[str, str]) -> set[str]:
    """The package's own modules that ``source`` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in modules}


def import_map(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Module → modules that it imports."""
    return {name: imports_of(source, modules) for name, source in modules.items()}


def layer_of(module: str) -> int:
    """The layer of a module's part of the package, counted from the top. Errors: KeyError for a part that has none."""
    part = module.split(".")[1]
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    raise KeyError(f"{part} is in no layer; add it to LAYERS, where DESIGN or docs say it belongs")


def wrong_arrows(edges: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that point upwards, or at the package itself."""
    return sorted(
        (importer, imported)
        for importer, targets in edges.items()
        for imported in targets
        if importer not in FACADE and (imported in FACADE or layer_of(imported) < layer_of(importer))
    )


def find_circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Some circle of imports, as the names along it; empty where there is none."""
    finished: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in finished:
            for imported in sorted(edges[name]):
                yield from walk(imported, [*path, name])
            finished.add(name)

    return next((circle for name in sorted(edges) for circle in walk(name, [])), [])


def parts_of(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same map for the parts of the package (cli, media, ...)."""
    found: dict[str, set[str]] = {}
    for importer, targets in edges.items():
        if importer in FACADE:
            continue
        part = importer.split(".")[1]
        found.setdefault(part, set()).update(name.split(".")[1] for name in targets if name not in FACADE)
        found[part].discard(part)
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    found = import_map(read_modules(Path(FOLDER)))
    assert len(found) > 150
    return found


@pytest.fixture(scope="module")
def edges(found: dict[str, set[str]]) -> dict[str, set[str]]:
    return {
        name: {target for target in targets if (name, target) not in EXCEPTIONS}
        for name, targets in found.items()
    }


def test_imports_point_downwards(edges: dict[str, set[str]]) -> None:
    assert wrong_arrows(edges) == []


def test_no_modules_import_each_other_in_a_circle(edges: dict[str, set[str]]) -> None:
    assert find_circle(edges) == []


def test_no_parts_import_each_other_in_a_circle(edges: dict[str, set[str]]) -> None:
    assert find_circle(parts_of(edges)) == []


def test_exceptions_are_still_needed(found: dict[str, set[str]]) -> None:
    assert [pair for pair in EXCEPTIONS if pair[1] not in found.get(pair[0], set())] == []


def test_the_check_sees_lazy_imports_and_circles() -> None:
    modules = {
        "rvrt_cli": "",
        "rvrt_cli.media.mux": "def f():\n    from rvrt_cli.upscale import run\n",
        "rvrt_cli.upscale.run": "import rvrt_cli.media.mux\nfrom rvrt_cli import __version__\n",
    }
    found = import_map(modules)
    assert wrong_arrows(found) == [
        ("rvrt_cli.media.mux", "rvrt_cli.upscale.run"),
        ("rvrt_cli.upscale.run", "rvrt_cli"),
    ]
    circle = ["rvrt_cli.media.mux", "rvrt_cli.upscale.run", "rvrt_cli.media.mux"]
    assert find_circle(found) == circle
    assert find_circle(parts_of(found)) == ["media", "upscale", "media"]
    with pytest.raises(KeyError, match="utils is in no layer"):
        layer_of("rvrt_cli.utils.misc")
