"""What lies beside picture and sound: telemetry, timecodes, empty tracks, names, languages, metadata, covers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from media_helpers import Passed, tracks

from rvrt_cli.cli import app as cli
from rvrt_cli.errors import ExitCode, VerifyError
from rvrt_cli.media import (
    EncodeOptions,
    dry_run_output,
    plan_mux,
    probe,
    resolve_encoding,
    run_ffmpeg,
    verify,
)
from rvrt_cli.media.containers import METADATA_KEYS

FILM = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.4"]
SOUND = ["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=0.4"]
CHAPTERS = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=a\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=b\n"  # fmt: skip


def make(path: Path, *arguments: str) -> Path:
    run_ffmpeg(["-v", "error", "-y", *arguments, str(path)], doing="making a test file")
    return path


def with_data(path: Path, tag: str, *arguments: str) -> Path:
    """A film with sound and a second sound track that is made to be one of metadata described by ``tag``."""
    make(path, *FILM, *SOUND, *SOUND, *arguments, "-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-c:a:0", "aac", "-c:a:1", "pcm_s16le", "-f", "mov")  # fmt: skip
    data = bytearray(path.read_bytes())
    for old, new in ((b"soun", b"meta"), (b"sowt", tag.encode()), (b"smhd", b"gmhd")):
        place = data.rfind(old)
        data[place : place + 4] = new
    path.write_bytes(data)
    return path


def data_tags(path: Path) -> list[str]:
    return [s.codec for s in probe(path).streams if s.kind == "data"]


@pytest.mark.parametrize(
    ("output", "timecode", "chapters"),
    [("o.mp4", False, False), ("o.mp4", True, True), ("o.mov", True, False), ("o.mov", False, True)],
)
def test_telemetry_is_kept_beside_what_the_muxer_makes_itself(
    output: str, timecode: bool, chapters: bool, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    (tmp_path / "c.txt").write_text(CHAPTERS)
    more = ["-i", str(tmp_path / "c.txt"), "-map_chapters", "3"] if chapters else []
    source = with_data(tmp_path / "a.mov", "gpmd", *more, *(["-timecode", "01:00:00:00"] if timecode else []))
    assert "gpmd" in data_tags(source)
    done = run_through(source, output, factor=1)
    found = data_tags(done.output)
    assert (found.count("gpmd"), found.count("tmcd")) == (1, timecode)
    assert len(probe(done.output).chapters) == 2 * chapters
    before, after = (next(t for t in tracks(p)[2:] if t.packets > 2) for p in (source, done.output))
    assert before.digest == after.digest
    assert not [w for w in done.plan.warnings if "data stream" in w]


@pytest.mark.parametrize("tag", ["mebx", "djmd", "camm"])
@pytest.mark.parametrize("output", ["o.mp4", "o.mov", "o.mkv"])
def test_telemetry_that_could_not_be_read_again_is_named(tag: str, output: str, tmp_path: Path) -> None:
    """ffmpeg writes a track for it in MOV, with another box in the place of its description."""
    (tmp_path / "c.txt").write_text(CHAPTERS)
    source = probe(with_data(tmp_path / "a.mov", tag, "-i", str(tmp_path / "c.txt"), "-map_chapters", "3"))
    plan = plan_mux(source, resolve_encoding(source, EncodeOptions(), output, 64, 48))
    assert [s.kind for s in plan.kept] == ["video", "audio"]
    assert [w for w in plan.warnings if "data stream 2" in w and "left out" in w]


@pytest.mark.parametrize(
    ("rate", "timecode", "read", "written"),
    [
        ("25", "01:00:00:00", {}, "01:00:00:00"),
        ("25", "01:00:00:00", {"start_s": 0.2}, "01:00:00:05"),
        ("30000/1001", "00:00:59;26", {"start_s": 0.2}, "00:01:00;04"),
        ("25", "01:00:00:00", {"max_frames": 3}, "01:00:00:00"),
    ],
)
def test_the_timecode_is_that_of_the_first_frame(
    rate: str, timecode: str, read: dict[str, float], written: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:  # fmt: skip
    source = make(tmp_path / "a.mov", "-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}:duration=0.4", "-c:v", "libx264", "-timecode", timecode)  # fmt: skip
    for name in ("o.mp4", "o.mkv"):
        found = {
            k.lower(): v for k, v in probe(run_through(source, name, factor=1, **read).output).video.metadata
        }
        assert found["timecode"] == written, name


def test_a_timecode_that_does_not_fit_the_rate_is_told(
    tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    """The muxer refuses dropped frame numbers at 25 frames a second; before, every such film ended in an error."""
    source = make(tmp_path / "a.mkv", *FILM, "-c:v", "libx264", "-metadata:s:v", "timecode=01:00:00;00")
    done = run_through(source, "o.mp4", factor=1)
    assert any("The timecode 01:00:00;00 does not fit 25.000" in w for w in done.plan.warnings)
    assert data_tags(done.output) == []


def empty_track(folder: Path, kind: str) -> Path:
    """A film with a track that is announced and never has a packet, of sound or of forced subtitles."""
    if kind == "subtitle":
        (folder / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,200\nx\n")
    coding = ["-i", str(folder / "s.srt"), "-c:s", "srt", "-bsf:s", "noise=drop=1"] if kind == "subtitle" else [*SOUND, "-c:a", "aac" if kind == "aac" else "wmav2", "-bsf:a", "noise=drop=1"]  # fmt: skip
    return make(
        folder / "a.mkv", *FILM, *SOUND, *coding, "-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264"
    )


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("aac", "o.mp4"),
        ("wmav2", "o.mov"),
        ("subtitle", "o.mp4"),
        ("aac", "o.mkv"),
        ("wmav2", "o.webm"),
        ("subtitle", "o.webm"),
    ],
)
def test_a_track_without_packets_is_left_out_or_kept_empty(
    output: str, kind: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = empty_track(tmp_path, "aac" if kind == "aac" else kind)
    if kind != "subtitle":  # the first sound track is made empty, too, by the filter for all
        assert all(t.packets == 0 for t in tracks(source)[1:])
    done = run_through(source, output, factor=1)
    dropped = [p for p in done.plan.streams if p.action == "drop"]
    assert all(f"stream {p.index}" in " ".join(done.plan.warnings) and "empty" in p.reason for p in dropped)
    assert len(tracks(done.output)) == len(done.plan.streams) - len(dropped)
    if output in ("o.mp4", "o.mov"):
        assert dropped


def test_a_range_without_sound_of_one_track(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    """A comment that ends early: the range after it has one track less, which is told."""
    film = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=1.6",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1.6",
    ]
    source = make(
        tmp_path / "a.mkv",
        *film,
        *SOUND,
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "libx264",
        "-c:a",
        "ac3",
    )
    done = run_through(source, "o.mp4", factor=1, start_s=0.8)
    assert [p.action for p in done.plan.streams][2] == "drop"
    assert any("audio stream 2" in w and "in the chosen range" in w for w in done.plan.warnings)
    assert len(tracks(done.output)) == 2
    assert len(tracks(run_through(source, "o.webm", factor=1, start_s=0.8).output)) == 3, (
        "Matroska holds it empty"
    )


@pytest.mark.parametrize(
    ("language", "mp4", "mov"),
    [
        ("en-US", "eng", "eng"), ("fre", "fre", "fra"), ("qaa", "qaa", None),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("en", "eng", "eng"), ("GER", "ger", "ger"), ("English", "eng", "eng"), ("Klingon", None, None)]),
    ],
)  # fmt: skip
def test_languages_in_any_spelling(
    language: str, mp4: str | None, mov: str | None, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = make(tmp_path / "a.mkv", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "aac", "-metadata:s:a:0", f"language={language}")  # fmt: skip
    for name, written in (("o.mkv", language), ("o.mp4", mp4), ("o.mov", mov)):
        done = run_through(source, name, factor=1)
        assert (probe(done.output).streams[1].language or "und") == (written or "und"), name
        told = [w for w in done.plan.warnings if "language" in w and repr(language) in w]
        assert bool(told) == (written is None or len(written) < len(language)), name


def test_the_language_tag_in_capitals(
    shared: Path, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    source = shared / "data" / "media_faults" / "0355_roadtrip-vp92-10bit.webm"
    if not source.exists():
        pytest.skip("shared data (media_faults) not found")
    done = run_through(source, "o.mkv", factor=0.125, max_frames=2)
    assert (done.source.streams[0].language, probe(done.output).streams[0].language) == ("eng", "eng")


@pytest.mark.parametrize("name", ["a.mp4", pytest.param("a.mov", marks=pytest.mark.slow), "a.mkv"])
def test_names_of_tracks(name: str, tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,200\nx\n")
    text = "srt" if name.endswith("mkv") else "mov_text"
    source = make(
        tmp_path / name, *FILM, *SOUND, *SOUND, "-i", str(tmp_path / "s.srt"), *(part for n in range(4) for part in ("-map", str(n))),
        "-c:v", "libx264", "-c:a", "aac", "-c:s", text, "-metadata:s:0", "title=Camera 1", "-metadata:s:1", "title=Mic", "-metadata:s:3", "title=Für alle",
    )  # fmt: skip
    for output in ("o.mp4", "o.mov", "o.mkv", "o.webm"):
        found = probe(run_through(source, output, factor=1).output).streams
        assert [s.title for s in found] == ["Camera 1", "Mic", None, "Für alle"], output
        if output == "o.mkv":
            assert not [key for s in found for key, _ in s.metadata if key.lower() == "name"], (
                "the element has it"
            )


def test_quicktime_metadata_is_kept(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    facts = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.location.ISO6709": "+48.1+011.5/",
        "title": "A film",
    }
    source = make(
        tmp_path / "a.mov", *FILM, "-c:v", "libx264", *(part for k, v in facts.items() for part in ("-metadata", f"{k}={v}")),
        "-movflags", "use_metadata_tags",
    )  # fmt: skip
    for output in ("o.mov", "o.mp4", "o.mkv"):
        done = run_through(source, output, factor=1)
        found = {k.lower(): v for k, v in probe(done.output).metadata}
        assert facts.items() <= {**found, **{k: found[k.lower()] for k in facts}}.items(), output
        assert not [w for w in done.plan.warnings if "metadata" in w]
        assert "isom" not in found.get("compatible_brands", "") or output == "o.mp4"


def test_tags_of_single_streams_are_kept_or_named(tmp_path: Path, run_through: Callable[..., Passed]) -> None:
    source = make(
        tmp_path / "a.mkv", *FILM, *SOUND, "-map", "0", "-map", "1", "-c:v", "libx264", "-c:a", "aac", "-metadata:s:0", "DIRECTOR=Ä",
        "-metadata:s:1", "LABEL=x", "-metadata:s:1", "BPS-eng=1", "-metadata:s:1", "title=Mic",
    )  # fmt: skip
    for output in ("o.mkv", "o.mp4", "o.mov"):
        done = run_through(source, output, factor=1)
        found = [dict(s.metadata).get(key) for s, key in zip(probe(done.output).streams, ("DIRECTOR", "LABEL"), strict=True)]  # fmt: skip
        told = [
            w
            for w in done.plan.warnings
            if "DIRECTOR of the video stream 0, LABEL of the audio stream 1;" in w
        ]
        assert (found == ["Ä", "x"]) != bool(told), output
        assert not [w for w in done.plan.warnings if "BPS" in w or "title" in w]


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_the_metadata_that_ffmpeg_writes_is_as_listed(container: str, tmp_path: Path) -> None:
    values = {"creation_time": "2020-01-02T03:04:05Z", "location": "+48.1000+011.5000/"}
    everything = sorted(
        METADATA_KEYS["mp4"]
        | METADATA_KEYS["mov"]
        | {"year", "language", "performer", "author", "rating", "custom"}
    )
    arguments = [part for key in everything for part in ("-metadata", f"{key}={values.get(key, '7')}")]
    found = dict(probe(make(tmp_path / f"a.{container}", *FILM, "-c:v", "libx264", *arguments)).metadata)
    assert set(everything) & found.keys() == METADATA_KEYS[container]


@pytest.mark.parametrize(
    ("codec", "output"),
    [
        ("png", "o.mp4"),
        ("libwebp", "o.mp4"),
        ("libwebp", "o.mkv"),
        ("bmp", "o.mkv"),
        ("png", "o.mov"),
        ("png", "o.webm"),
    ],
)
def test_covers_are_kept_or_named(
    codec: str, output: str, tmp_path: Path, run_through: Callable[..., Passed]
) -> None:
    suffix = codec.removeprefix("lib")
    cover = make(
        tmp_path / f"cover.{suffix}",
        "-f",
        "lavfi",
        "-i",
        "color=red:size=16x16",
        "-frames:v",
        "1",
        "-c:v",
        codec,
    )
    source = make(
        tmp_path / "a.mkv",
        *FILM,
        "-c:v",
        "libx264",
        "-attach",
        str(cover),
        "-metadata:s:t:0",
        f"mimetype=image/{suffix}",
    )
    done = run_through(source, output, factor=1)
    kept = len(probe(done.output).streams) == 2
    assert kept != any("left out" in w for w in done.plan.warnings)
    assert kept == (output == "o.mkv" or (output == "o.mp4" and codec == "png"))


def test_a_film_that_differs_beside_its_picture_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days of work: the frames are right, a sound stream is not what was promised, as verification sees it."""
    source = make(tmp_path / "a.mkv", *FILM, *SOUND, "-c:v", "libx264", "-c:a", "aac")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(
        verify,
        "_compare_sound",
        lambda source, tracks, expected, pairs: [] if expected.dry_run else ["the sound is gone"],
    )
    monkeypatch.setattr(
        sys, "argv", ["rvrt", "upscale", str(source), str(tmp_path / "out" / "o.mkv"), "--model", "bicubic"]
    )
    for name in ("o.differs.mkv", "o.differs2.mkv"):
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr().err.replace("\n", " ")
        assert stop.value.code == ExitCode.VERIFY
        assert "the sound is gone. It is kept as" in said
        assert len(tracks(tmp_path / "out" / name)[0].times_s) == 10
    assert not (tmp_path / "out" / "o.mkv").exists()
    assert (tmp_path / "out" / "o.mkv.rvrt-work").is_dir()


def test_the_rehearsal_has_all_that_the_finished_film_will_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converted text whole, of everything else the first packets; what is lost of it is noticed."""
    (tmp_path / "s.srt").write_text("1\n00:00:00,350 --> 00:00:00,390\nlate\n")
    (tmp_path / "c.txt").write_text(CHAPTERS)
    source = probe(make(
        tmp_path / "a.mkv", *FILM, *SOUND, "-i", str(tmp_path / "s.srt"), "-i", str(tmp_path / "c.txt"), "-map_chapters", "3",
        "-c:v", "libx264", "-c:a", "aac", "-c:s", "srt",
    ))  # fmt: skip
    settings = resolve_encoding(source, EncodeOptions(), tmp_path / "o.mp4", 64, 48)
    plan = plan_mux(source, settings)
    seen: list[tuple[list[int], int]] = []

    def look(source: object, path: Path, *_: object) -> None:
        seen.append(([t.packets for t in tracks(path) if t.kind != "data"], len(probe(path).chapters)))
        original(source, path, *_)  # type: ignore[arg-type]

    original = verify.verify_output
    monkeypatch.setattr(sys.modules["rvrt_cli.media.mux"], "verify_output", look)
    dry_run_output(source, settings, plan)
    ((film, sound, text), chapters) = seen[0]
    assert (film, sound <= 4, text >= 1, chapters) == (2, True, True, 2)
    assert plan == dry_run_output(source, settings, plan)
    found = verify.probe
    monkeypatch.setattr(verify, "probe", lambda path, **k: replace(found(path, **k), chapters=()))
    told = dry_run_output(source, settings, plan)
    assert told.differences == {"it holds 0 chapters, not 2"}, "no reason not to begin"
    dry_run_output(source, settings, told)
    without = [s for s in probe(source.path).streams if s.kind != "subtitle"]
    monkeypatch.setattr(
        verify,
        "probe",
        lambda path, **k: replace(found(path, **k), streams=found(path, **k).streams[: len(without)]),
    )
    with pytest.raises(VerifyError, match=r"rehearsal .* its streams are .*, not .*mov_text"):
        dry_run_output(source, settings, plan)
