"""One self-contained HTML page that compares pictures: a wipe between two, places to look at, curves of figures.

The page is ``report_page/`` (template, style, script) with one block of JSON. It asks no network for anything, and its own
Content-Security-Policy forbids it to; hashes in that policy also keep anything but this script from running.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from rvrt_cli.evaluate.page_pictures import Encoded
from rvrt_cli.package import __version__

MAX_PICTURE_BYTES = 16e6
"""What the pictures of a page take unless the user says otherwise."""
MAX_POINTS = 2000
"""Longer curves are drawn with each point the mean of a run of frames: a page of an hour's film stays small."""


@dataclass(frozen=True)
class PageFilm:
    """One of the things compared. detail: size, rate; shown beside its name."""

    label: str
    detail: str


@dataclass(frozen=True)
class Place:
    """A frame to look at. name: such as "1.25 s". why: such as "differs most". point: its index in the curves' frames.

    pictures: one per film, encoded alike. pixel_aspect: width of a pixel beside its height.
    """

    name: str
    why: str
    point: int
    pictures: Sequence[Encoded]
    thumbnail: Encoded
    pixel_aspect: float = 1.0


@dataclass(frozen=True)
class Curve:
    """A figure of every frame. lines: (index of the film, its figures, one per frame); infinity where pictures are equal."""

    title: str
    unit: str
    digits: int
    lines: Sequence[tuple[int, Sequence[float]]]


@dataclass(frozen=True)
class Page:
    """All that a page shows. frames: position of each frame on the time line; frame_names: what each is called.

    unit: of the positions, such as "s". left, right: indices of the films shown first. notes: sentences.
    """

    title: str
    films: Sequence[PageFilm]
    places: Sequence[Place]
    frames: Sequence[float]
    frame_names: Sequence[str]
    unit: str
    curves: Sequence[Curve]
    left: int
    right: int
    notes: Sequence[str]


def render_page(page: Page) -> bytes:
    """The HTML file, in UTF-8."""
    folder = files("rvrt_cli.evaluate") / "report_page"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    parts = {
        "policy": f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
        "title": html.escape(page.title),
        "style": style,
        "script": script,
        "notes": "".join(f"<li>{html.escape(note)}</li>" for note in page.notes),
        "figures": _table(page),
        "version": html.escape(__version__),
        "data": _embedded(_data(page)),
    }
    template = (folder / "template.html").read_text(encoding="utf-8")
    # One pass: what is put in is not searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template).encode("utf-8", "replace")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(value: Any) -> str:
    """JSON for a script element: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(page: Page) -> dict[str, Any]:
    step = max(1, -(-len(page.frames) // MAX_POINTS))
    return {
        "films": [{"label": film.label, "detail": film.detail} for film in page.films],
        "left": page.left,
        "right": page.right,
        "unit": page.unit,
        "step": step,
        "x": [round(page.frames[i], 4) for i in range(0, len(page.frames), step)],
        "names": [page.frame_names[i] for i in range(0, len(page.frames), step)],
        "curves": [
            {
                "title": curve.title,
                "unit": curve.unit,
                "digits": curve.digits,
                "lines": [
                    {"film": film, "values": [_rounded(value) for value in _means(values, step)]}
                    for film, values in curve.lines
                ],
            }
            for curve in page.curves
        ],
        "places": [
            {
                "name": place.name,
                "why": place.why,
                "x": round(page.frames[place.point], 4),
                "width": place.pictures[0].width,
                "height": place.pictures[0].height,
                "aspect": place.pixel_aspect,
                "stored": place.pictures[0].description,
                "pictures": [picture.data_uri for picture in place.pictures],
                "thumbnail": place.thumbnail.data_uri,
                "figures": _figures_at(page, place.point),
            }
            for place in page.places
        ],
    }


def _means(values: Sequence[float], step: int) -> list[float]:
    if step == 1:
        return list(values)
    return [sum(values[i : i + step]) / len(values[i : i + step]) for i in range(0, len(values), step)]


def _rounded(value: float) -> float | str:
    return "inf" if math.isinf(value) else round(value, 5)


def show_figure(value: float, curve: Curve) -> str:
    """``31.42 dB``; the sign of infinity where pictures are equal."""
    return f"{'∞' if math.isinf(value) else format(value, f'.{curve.digits}f')} {curve.unit}".strip()


def _figures_at(page: Page, point: int) -> list[list[str]]:
    """Per film the figures of one frame, in words."""
    found: list[list[str]] = [[] for _ in page.films]
    for curve in page.curves:
        for film, values in curve.lines:
            found[film].append(f"{curve.title} {show_figure(values[point], curve)}")
    return found


def _table(page: Page) -> str:
    """The table of means and of the lowest frames, which can be read without the script too."""
    heads = ["Film", *(f"{curve.title}{f' ({curve.unit})' if curve.unit else ''}" for curve in page.curves)]
    rows = ["<tr>" + "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads) + "</tr>"]
    for index, film in enumerate(page.films):
        cells = [
            f'<th scope="row">{html.escape(film.label)}<span class="detail">{html.escape(film.detail)}</span></th>'
        ]
        for curve in page.curves:
            values = dict(curve.lines).get(index)
            if values is None:
                cells.append('<td class="none">–</td>')
                continue
            lowest = min(range(len(values)), key=values.__getitem__)
            mean = "∞" if math.isinf(sum(values)) else f"{sum(values) / len(values):.{curve.digits}f}"
            low = "∞" if math.isinf(values[lowest]) else f"{values[lowest]:.{curve.digits}f}"
            where = html.escape(page.frame_names[lowest])
            cells.append(f'<td>{mean}<span class="detail">lowest {low} at {where}</span></td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return "".join(rows)
