"""The page of ``rvrt compare`` in a real browser: wipe, zoom, time line and curves, by mouse and by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, missing_browser, open_browser
from upscale_clips import make_clip, run_ffmpeg

from rvrt_cli.evaluate.compare import CompareOptions, compare_films

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser() or "there is a browser")

STATE = """
const id = (name) => document.getElementById(name);
const over = id("over").getBoundingClientRect(), under = id("under").getBoundingClientRect();
const stage = id("stage").getBoundingClientRect();
return {
  wipe: Number(id("handle").getAttribute("aria-valuenow")), told: id("handle").getAttribute("aria-valuetext"),
  focus: document.activeElement.id || document.activeElement.name || document.activeElement.tagName,
  clip: id("wipe").style.clipPath, left: id("left-tag").textContent, right: id("right-tag").textContent,
  place: [...document.querySelectorAll("#places button")].findIndex((one) => one.hasAttribute("aria-current")),
  over: [over.x, over.y, over.width, over.height], under: [under.x, under.y, under.width, under.height],
  stage: [stage.x, stage.y, stage.width, stage.height], shown: id("over").naturalWidth, other: id("over").src !== id("under").src, readout: id("readout").textContent,
  lines: document.querySelectorAll("#chart polyline").length, sideways: document.documentElement.scrollWidth - window.innerWidth,
};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page of two films and their ground truth, 640x480, with a name that is awkward in a page."""
    folder = tmp_path_factory.mktemp("page")
    make_clip(folder / "gt.mkv", 6, "640x480")
    run_ffmpeg("-i", folder / "gt.mkv", "-vf", "scale=160:120", folder / "in.mkv")
    run_ffmpeg("-i", folder / "gt.mkv", "-vf", "boxblur=2", folder / "out<b>&.mkv")
    out = folder / "report.html"
    compare_films(
        CompareOptions(
            films=(folder / "in.mkv", folder / "out<b>&.mkv"),
            gt=folder / "gt.mkv",
            metrics=("psnr", "ssim"),
            places=3,
            differing=0,
        ),
        out,
    )
    return out.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def opened(browser: Browser, page: str) -> Iterator[Browser]:
    """The page at 800 pixels' width; afterwards nothing may have been complained about, or asked of the network."""
    browser.show(800, 900)
    browser.open(page)
    browser.wait("return document.getElementById('over').naturalWidth > 0")
    yield browser
    assert browser.log() == []
    asked = browser.script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


def test_the_wipe_by_mouse(opened: Browser) -> None:
    before = opened.script(STATE)
    assert (before["wipe"], before["left"], before["right"]) == (50, "in.mkv (bicubic)", "out<b>&.mkv")
    assert before["other"]
    assert before["over"] == before["under"]
    left, top, width, height = before["stage"]
    opened.drag((left + width / 2, top + height / 2), (left + width / 4, top + height / 2))
    after = opened.script(STATE)
    assert after["wipe"] == pytest.approx(25, abs=1)
    assert float(after["clip"].split()[1].rstrip("%")) == pytest.approx(75, abs=1)
    opened.drag(
        (left + width * 0.9, top + 20), (left + width * 0.6, top + 20)
    )  # anywhere in the picture, where it fits
    assert opened.script(STATE)["wipe"] == pytest.approx(60, abs=1)
    opened.drag((left + width * 0.6, top + 20), (799, top + 20))
    assert opened.script(STATE)["wipe"] == 100


def test_everything_by_keyboard(opened: Browser) -> None:
    """From the top of the page with Tab: films, zoom, picture, wipe, places, figures, frames."""
    opened.press("tab", "tab", "tab")
    assert opened.script(STATE)["focus"] == "zoom"
    opened.press("right", "right")  # 200 %
    state = opened.script(STATE)
    assert state["over"][2:] == state["under"][2:] == [1280, 960]
    assert state["over"][0] + 640 == pytest.approx(
        state["stage"][0] + state["stage"][2] / 2, abs=1
    )  # the middle stays in the middle
    opened.press("tab")
    assert opened.script(STATE)["focus"] == "stage"
    opened.press("right", "down", "down")
    moved = opened.script(STATE)
    assert moved["over"] == moved["under"]
    assert moved["over"][0] == pytest.approx(state["over"][0] - 40)
    assert moved["over"][1] < state["over"][1]
    opened.press("tab")
    assert opened.script(STATE)["focus"] == "handle"
    for keys, wipe in (
        (("right", "right"), 52),
        (("page down",), 42),
        (("home",), 0),
        (("left",), 0),
        (("end",), 100),
    ):
        opened.press(*keys)
        assert opened.script(STATE)["wipe"] == wipe
    assert opened.script(STATE)["told"] == "100 % in.mkv (bicubic), 0 % out<b>&.mkv"
    opened.press("tab")
    opened.press("right", "right")
    assert opened.script(STATE)["place"] == 2
    opened.press("tab")
    opened.press("right")  # from PSNR to SSIM
    before = opened.script(STATE)
    assert before["focus"] == "curve"
    assert before["lines"] == 2
    opened.press("tab", "right")
    after = opened.script(STATE)
    assert after["focus"] == "cursor"
    assert after["readout"].startswith("0.04 s: in.mkv (bicubic) 0.")
    assert after["readout"] != before["readout"]


def test_films_places_and_zoom_by_mouse(opened: Browser) -> None:
    opened.click("#zoom label:nth-of-type(2)")
    state = opened.script(STATE)
    assert state["over"][2:] == [640, 480]
    opened.script(
        "const left = document.getElementById('left'); left.value = '2'; left.dispatchEvent(new Event('change'))"
    )
    opened.click("#places li:nth-child(2) button")
    state = opened.script(STATE)
    assert (state["left"], state["place"]) == ("ground truth", 1)
    opened.show(400, 900)  # narrower than the picture at 100 %: dragging moves it now, and the wipe stays
    before = opened.script(STATE)
    top = before["stage"][1]
    opened.drag((120, top + 30), (60, top + 30))
    after = opened.script(STATE)
    assert after["over"][0] == pytest.approx(before["over"][0] - 60, abs=1)
    assert after["wipe"] == before["wipe"]


def test_a_hundred_percent_is_the_screens_pixels(opened: Browser) -> None:
    opened.show(800, 900, scale=2)
    opened.click("#zoom label:nth-of-type(2)")
    assert opened.script(STATE)["over"][2:] == [320, 240]


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_text_can_be_read(opened: Browser, width: int, scheme: str) -> None:
    opened.show(width, 900, scheme)
    assert opened.script(STATE)["sideways"] <= 0
    contrasts = opened.script(CONTRASTS)
    assert len(contrasts) > 10
    assert [found for found in contrasts if found[1] < 4.5] == []


CONTRASTS = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = numbers(colour).slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if ((numbers(colour)[3] ?? 1) > 0.99) return colour;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const element of document.querySelectorAll("h1, h2, p, strong, li, th, td, span, label, button, footer, select")) {
  if (!element.textContent.trim() || element.className === "tag" || element.closest("[hidden]")) continue;
  const a = light(getComputedStyle(element).color), b = light(behind(element));
  found.push([element.tagName + " " + element.textContent.slice(0, 20), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
}
return found;
"""
"""WCAG 2.2's contrast of each text with what is behind it; 4.5 is its minimum."""
