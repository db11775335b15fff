"""The HTML page: whole in itself, safe with any name, bounded, and with the figures it was given."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pytest

from rvrt_cli.evaluate.page import MAX_POINTS, Curve, Page, PageFilm, Place, render_page
from rvrt_cli.evaluate.page_pictures import encode_alike, thumbnail


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.found[-1][0] if self.found else "", data))


def page_data(html: bytes) -> Any:
    """The JSON of a page."""
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_page(names: tuple[str, ...] = ("a.mp4", "b.mp4"), frames: int = 5, **changes: Any) -> Page:
    shown = [picture(index) for index in range(len(names))]
    values = [20 + 0.123456789 * index for index in range(frames)]
    fields: dict[str, Any] = {
        "title": " | ".join(names),
        "films": [PageFilm(name, "32x24") for name in names],
        "places": [Place("0.04 s", "chosen", 1, encode_alike(shown, 1e6), thumbnail(shown[0]))],
        "frames": [index / 25 for index in range(frames)],
        "frame_names": [f"{index / 25:.2f} s" for index in range(frames)],
        "unit": "s",
        "curves": [Curve("PSNR-Y", "dB", 2, [(0, values), (1, [value + 1 for value in values])])],
        "left": 0,
        "right": 1,
        "notes": ["How it was measured."],
    }
    return Page(**{**fields, **changes})


def test_it_asks_no_network_for_anything() -> None:
    html = render_page(make_page()).decode()
    # Namespaces are names, not addresses.
    assert re.findall(r"https?://[^\"'\s]*", html.replace("http://www.w3.org/2000/svg", "")) == []
    assert "url(" not in html
    assert "@import" not in html
    for tag, attributes in Elements(html).found:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)


def test_the_policy_lets_only_its_own_script_and_style_run() -> None:
    html = render_page(make_page()).decode()
    policy = next(
        a["content"] for t, a in Elements(html).found if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize(
    "name",
    [
        "</script><script>alert(1)</script>.mp4",
        '"><img src=x onerror=alert(1)>.mp4',
        "{{script}} & {{data}}.mp4",
        "<!--<script>.mp4",
        "film\u2028\u00e9\u6620\U0001f3ac'.mp4",
        "broken\udcff.mp4",
    ],
)
def test_names_are_text(name: str) -> None:
    plain = Elements(render_page(make_page()).decode())
    html = render_page(make_page((name, "b.mp4"), notes=[name]))
    hostile = Elements(html.decode())
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    shown = name.encode("utf-8", "replace").decode()
    assert page_data(html)["films"][0]["label"] == name
    assert ("title", f"{shown} | b.mp4") in hostile.texts
    assert ("li", shown) in hostile.texts


def test_figures_are_those_given() -> None:
    page = make_page()
    data = page_data(render_page(page))
    for given, shown in zip(page.curves[0].lines, data["curves"][0]["lines"], strict=True):
        assert shown["film"] == given[0]
        assert shown["values"] == pytest.approx(given[1], abs=1e-5)
    assert data["places"][0]["figures"] == [["PSNR-Y 20.12 dB"], ["PSNR-Y 21.12 dB"]]
    assert '20.25<span class="detail">lowest 20.00 at 0.00 s' in render_page(page).decode()


def test_equal_pictures_have_infinite_psnr() -> None:
    html = render_page(
        make_page(curves=[Curve("PSNR-Y", "dB", 2, [(1, [math.inf, 40.0, math.inf, 41, 42])])])
    )
    data = page_data(html)
    assert data["curves"][0]["lines"][0]["values"][:2] == ["inf", 40.0]
    assert '∞<span class="detail">lowest 40.00' in html.decode()


def test_a_long_film_makes_no_large_page() -> None:
    frames = 10 * MAX_POINTS + 3
    values = list(np.random.default_rng(0).normal(30, 2, frames))
    html = render_page(
        make_page(frames=frames, curves=[Curve("PSNR-Y", "dB", 2, [(0, values), (1, values)])])
    )
    assert len(html) < 200_000
    data = page_data(html)
    points = data["curves"][0]["lines"][0]["values"]
    assert data["step"] == 11
    assert len(points) == len(data["x"]) == len(data["names"]) <= MAX_POINTS
    assert points[0] == pytest.approx(np.mean(values[:11]), abs=1e-5)
    assert points[-1] == pytest.approx(np.mean(values[11 * (len(points) - 1) :]), abs=1e-5)


def smooth(height: int, width: int, shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = (
        127
        + 60 * np.sin((x + shift) / 11) * np.cos(y / 7)
        + np.random.default_rng(0).normal(0, 2, (height, width))
    )
    return np.repeat(wave.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def decoded(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_pictures_are_lossless_where_that_fits_and_never_over_the_budget() -> None:
    shown = [smooth(120, 160), smooth(120, 160, 1)]
    kinds = []
    for budget in (1e6, 30_000, 10_000, 3_600):
        made = encode_alike(shown, budget)
        assert sum(len(one.data_uri) for one in made) <= budget + 100
        assert len({one.description for one in made}) == 1  # no film is stored better than another
        kinds.append(made[0].mime)
        for one, true in zip(made, shown, strict=True):
            found = decoded(one.data)
            assert found.shape == (one.height, one.width, 3)
            if one.mime == "image/png":
                assert np.array_equal(found, true)
    assert kinds[0] == "image/png"
    assert "image/jpeg" in kinds
    assert made[0].width < 160
    assert f"{made[0].width}x{made[0].height} of 160x120 pixels" in made[0].description


def test_the_part_that_is_kept_is_the_one_that_differs() -> None:
    first = picture(0, 300, 400)
    second = first.copy()
    second[200:260, 300:380] = 255 - second[200:260, 300:380]
    made = encode_alike([first, second], 60_000)
    assert made[0].width < 300
    cut = [decoded(one.data).astype(int) for one in made]
    assert (np.abs(cut[0] - cut[1]).max(axis=2) > 60).sum() > 0.6 * 60 * 80
