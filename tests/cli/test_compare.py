"""``rvrt compare`` as its user meets it: what the page holds, its figures, its refusals; and ``rvrt eval --report``."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from upscale_clips import make_clip, run_ffmpeg

from rvrt_cli.errors import ExitCode
from rvrt_cli.evaluate import compare
from rvrt_cli.evaluate.metrics import psnr, ssim
from rvrt_cli.imaging.resize import imresize
from rvrt_cli.media import probe, read_frames


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ground truth, a quarter of it, and a worse copy."""
    folder = tmp_path_factory.mktemp("films")
    make_clip(folder / "gt.mkv", 9, "128x96", extra=("-c:v", "ffv1"))
    run_ffmpeg("-i", folder / "gt.mkv", "-vf", "scale=32:24", "-c:v", "ffv1", folder / "lq.mkv")
    run_ffmpeg("-i", folder / "gt.mkv", "-vf", "boxblur=2", "-c:v", "ffv1", folder / "sr.mkv")
    return folder


def data_of(page: Path) -> Any:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S
    )
    assert found
    return json.loads(found[1])


def pictures(path: Path) -> list[np.ndarray]:
    """Frames by the reader, enlarged to the ground truth's size, 8 bits."""
    found = []
    with read_frames(probe(path)) as frames:
        for frame in frames:
            rgb = (
                frame.rgb if frame.rgb.shape[0] == 96 else imresize(np.clip(frame.rgb, 0, 1), size=(96, 128))
            )
            found.append(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    return found


def test_the_page_of_two_films_and_their_ground_truth(rvrt, films: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    made = rvrt(
        "compare", films / "lq.mkv", films / "sr.mkv", "--gt", films / "gt.mkv", "--out", page, "--at", "0.17"
    )
    assert (made.code, made.err) == (ExitCode.OK, "")
    assert "lq.mkv is 32x24; it is shown enlarged to 128x96 by bicubic interpolation" in made.out
    assert f"{page}: 9 frames compared, " in made.out
    assert list(tmp_path.iterdir()) == [page]
    data = data_of(page)
    assert [film["label"] for film in data["films"]] == ["lq.mkv (bicubic)", "sr.mkv", "ground truth"]
    curves = {curve["title"]: curve["lines"] for curve in data["curves"]}
    assert list(curves) == ["PSNR-Y", "SSIM-Y", "VMAF", "VMAF-NEG", "PSNR-Y against lq.mkv (bicubic)"]
    shown = [pictures(films / f"{name}.mkv") for name in ("lq", "sr", "gt")]
    for name, figure in (("PSNR-Y", psnr), ("SSIM-Y", ssim)):
        for index in (0, 1):
            expected = [figure(a, b, y_channel=True) for a, b in zip(shown[index], shown[2], strict=True)]
            assert curves[name][index] == {"film": index, "values": pytest.approx(expected, abs=1e-4)}
    beside = [psnr(a, b, y_channel=True) for a, b in zip(shown[0], shown[1], strict=True)]
    assert curves["PSNR-Y against lq.mkv (bicubic)"][0]["values"] == pytest.approx(beside, abs=1e-4)
    assert all(0 <= value <= 100 for line in curves["VMAF-NEG"] for value in line["values"])
    # The pictures of a place are those of its frame, lossless here.
    (place,) = [place for place in data["places"] if place["why"] == "chosen"]
    assert place["name"] == "0.17 s"
    assert "lossless" in place["stored"]
    for picture, frames in zip(place["pictures"], shown, strict=True):
        stored = cv2.imdecode(
            np.frombuffer(base64.b64decode(picture.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR
        )[..., ::-1]
        assert np.array_equal(stored, frames[4])
    assert f"PSNR-Y {curves['PSNR-Y'][1]['values'][4]:.2f} dB" in place["figures"][1]


def test_what_differs_most_is_among_the_places(rvrt, tmp_path: Path) -> None:
    """A film with one damaged frame; everything else is equal."""
    make_clip(tmp_path / "a.mkv", 40, extra=("-c:v", "ffv1"))
    run_ffmpeg(
        "-i", tmp_path / "a.mkv", "-vf", "negate=enable='eq(n,29)'", "-c:v", "ffv1", tmp_path / "b.mkv"
    )
    for whole in (True, False):  # looked through as a whole, or only here and there
        page = tmp_path / f"{whole}.html"
        with pytest.MonkeyPatch.context() as patch:
            if not whole:
                patch.setattr(compare, "LOOKED_THROUGH", 10)
            result = rvrt(
                "compare", tmp_path / "a.mkv", tmp_path / "b.mkv", "-o", page, "--places", 2, "--differing", 1
            )
        assert result.code == ExitCode.OK, result.err
        data = data_of(page)
        assert [(place["name"], place["why"]) for place in data["places"]] == [
            ("0.42 s", "evenly spaced"),
            ("1.21 s", "differs most"),
            ("1.25 s", "evenly spaced"),
        ]
        values = data["curves"][0]["lines"][0]["values"]
        assert values[data["x"].index(round(29 / 24, 3))] < 20
        assert values[0] == "inf"
        assert ("spread over the film, not in all" in result.out) is not whole


def test_a_film_with_its_ground_truth_alone_and_json(rvrt, films: Path, tmp_path: Path) -> None:
    page = tmp_path / "one.html"
    result = rvrt("compare", films / "sr.mkv", "--gt", films / "gt.mkv", "-o", page, "--metrics", "ssim,psnr", "--json",
                  "--label", "ours", "--frames", 3, "--places", 1)  # fmt: skip
    assert result.err == ""
    report = json.loads(result.out)
    assert report["output"] == str(page)
    assert report["output_bytes"] == page.stat().st_size
    assert report["frames"] == 3
    assert list(report["means"]["ours"]) == ["ssim", "psnr"]
    data = data_of(page)
    assert [curve["title"] for curve in data["curves"]] == ["SSIM-Y", "PSNR-Y"]
    assert report["means"]["ours"]["psnr"] == pytest.approx(
        np.mean(data["curves"][1]["lines"][0]["values"]), abs=1e-4
    )


def test_pictures_of_several_results_keep_within_the_limit(rvrt, films: Path, tmp_path: Path) -> None:
    copies = [shutil.copy(films / "sr.mkv", tmp_path / f"{name}.mkv") for name in "abcd"]
    page = tmp_path / "small.html"
    assert rvrt("compare", *copies, "-o", page, "--max-mb", "0.2", "-q").code == ExitCode.OK
    assert page.stat().st_size < 0.2e6 + 40_000  # what is around the pictures
    assert len(data_of(page)["places"][0]["pictures"]) == 4


def test_an_interrupted_comparison_leaves_nothing(
    rvrt, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rvrt_cli.cli.compare._Progress.show", interrupt)
    page = tmp_path / "report.html"
    page.write_text("the one before")
    result = rvrt("compare", films / "sr.mkv", "--gt", films / "gt.mkv", "-o", page, "--overwrite")
    assert result.code == ExitCode.INTERRUPTED
    assert result.err == f"rvrt: Stopped; {page} was not written. Run the same command again for the page.\n"
    assert page.read_text() == "the one before"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_page_that_is_there_is_kept(rvrt, films: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("mine")
    refused = rvrt("compare", films / "sr.mkv", films / "gt.mkv", "-o", page)
    assert (refused.code, page.read_text()) == (ExitCode.OUTPUT, "mine")
    assert "exists; choose another name or add --overwrite" in refused.err
    assert (
        rvrt("compare", films / "sr.mkv", films / "gt.mkv", "-o", page, "--overwrite", "-q").code
        == ExitCode.OK
    )
    assert data_of(page)["films"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gt.mkv",), ExitCode.USAGE, "name a second film, or a ground truth with --gt"),
        (("gt.mkv", "nowhere.mkv"), ExitCode.INPUT, "nowhere.mkv"),
        (("gt.mkv", "damaged.mkv"), ExitCode.INPUT, "damaged.mkv"),
        (("gt.mkv", "tall.mkv"), ExitCode.INPUT, "another shape"),
        (("gt.mkv", "-"), ExitCode.USAGE, "cannot seek in standard input"),
        (("gt.mkv", "sr.mkv", "--gt", "lq.mkv"), ExitCode.INPUT, "larger than the ground truth"),
        (("gt.mkv", "sr.mkv", "--metrics", "vmaf"), ExitCode.USAGE, "name it with --gt"),
        (("lq.mkv", "--gt", "gt.mkv", "--metrics", "erqa"), ExitCode.USAGE, "psnr, ssim, vmaf, vmaf-neg"),
        (("tiny.mkv", "--gt", "tiny.mkv"), ExitCode.INPUT, "at least 32 pixels"),
        (("gt.mkv", "sr.mkv", "--at", "7"), ExitCode.USAGE, "behind the end of the shortest film, 0.375 s"),
        (("gt.mkv", "sr.mkv", "--at", "x"), ExitCode.USAGE, "--at must be a time"),
        (("gt.mkv", "sr.mkv", "--at", "0.1", "--start", "0.2"), ExitCode.USAGE, "outside of the range"),
        (("gt.mkv", "sr.mkv", "--start", "5"), ExitCode.INPUT, "has no frame from"),
        (("gt.mkv", "sr.mkv", "--start", "0.3", "--end", "0.1"), ExitCode.USAGE, "--end 0.1 is not behind --start 0.3"),
        (("gt.mkv", "sr.mkv", "--places", "0", "--differing", "0"), ExitCode.USAGE, "No place to look at"),
        (("gt.mkv", "sr.mkv", "--label", "x"), ExitCode.USAGE, "2 films, 1 labels"),
        (("gt.mkv", "sr.mkv", "--out", "report.pdf"), ExitCode.USAGE, "name it like report.html"),
        (("gt.mkv", "sr.mkv", "--out", "none/report.html"), ExitCode.OUTPUT, "is not a folder"),
    ],
)  # fmt: skip
def test_refusals(
    rvrt,
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments,
    code: ExitCode,
    message: str,
) -> None:
    for path in films.iterdir():
        shutil.copy(path, tmp_path)
    if "tall.mkv" in arguments:
        make_clip(tmp_path / "tall.mkv", 2, "48x64")
    if "tiny.mkv" in arguments:
        make_clip(tmp_path / "tiny.mkv", 2, "48x16")
    (tmp_path / "damaged.mkv").write_bytes((films / "gt.mkv").read_bytes()[:300])
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    result = rvrt("compare", *arguments)
    assert (result.code, message in result.err) == (code, True), result.err
    assert result.err.startswith("rvrt: ")
    assert result.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_an_evaluation_has_the_same_page(rvrt, tmp_path: Path) -> None:
    for clip in ("a", "b"):
        (tmp_path / "gt" / clip).mkdir(parents=True)
        for frame in range(3):
            noise = np.random.default_rng([ord(clip), frame]).integers(0, 256, (64, 96, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "gt" / clip / f"{frame:04}.png"), cv2.GaussianBlur(noise, (0, 0), 2.0))
    page = tmp_path / "eval.html"
    arguments = ("eval", "--gt", tmp_path / "gt", "--model", "bicubic", "--metrics", "vmaf,vmaf-neg", "--report", page,
                 "--work-dir", tmp_path / "work", "--save-metrics", tmp_path / "m.json", "--overwrite")  # fmt: skip
    result = rvrt(*arguments)
    assert result.code == ExitCode.OK, result.err
    assert "VMAF-NEG" in result.out
    report = json.loads((tmp_path / "m.json").read_text())
    data = data_of(page)
    assert [film["label"] for film in data["films"]] == ["bicubic", "ground truth"]
    for title, field in (("PSNR", "psnr"), ("SSIM", "ssim"), ("VMAF", "vmaf"), ("VMAF-NEG", "vmaf_neg")):
        (values,) = [curve["lines"][0]["values"] for curve in data["curves"] if curve["title"] == title]
        assert values == pytest.approx(
            [v for score in report["scores"] for v in score[f"frame_{field}"]], abs=1e-4
        )
        assert report["totals"][0][field] == pytest.approx(np.mean(values), abs=1e-3)
    assert data["names"] == [f"{clip}, frame {i}" for clip in "ab" for i in (1, 2, 3)]
    worst = [
        f"{clip}, frame {1 + int(np.argmin(report['scores'][i]['frame_psnr']))}"
        for i, clip in enumerate("ab")
    ]
    assert [place["name"].rpartition(" ")[0] for place in data["places"]] == ["a, frame", "b, frame"]
    assert all(place["width"] == 96 for place in data["places"])
    assert [place["name"] for place in data["places"]] == worst
    assert list((tmp_path / "work").iterdir()) == []
    again = rvrt(*arguments[:-1])
    assert (again.code, "add --overwrite" in again.err) == (ExitCode.OUTPUT, True)
    assert rvrt("eval", "--gt", tmp_path / "gt", "--overwrite").code == ExitCode.USAGE
