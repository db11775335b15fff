"""Films matched by time: rates, delays, lengths, rotation, pixel shapes, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from upscale_clips import make_clip

from rvrt_cli.errors import InputError, UsageError
from rvrt_cli.evaluate.films import look_at, open_films, walk
from rvrt_cli.imaging.images import write_png


def write_film(
    path: Path,
    times_ms: list[int],
    levels: list[int],
    size: tuple[int, int] = (32, 48),
    rate: str = "25",
    stated_ms: int | None = None,
) -> Path:
    """Grey frames of the given levels, lossless, shown at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(rate))
        stream.height, stream.width, stream.pix_fmt = *size, "bgra"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms, level in zip(times_ms, levels, strict=True):
            picture = np.full((*size, 4), (level, level, level, 255), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgra")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.duration = packet.duration if stated_ms is None else stated_ms
                container.mux(packet)
        container.mux(stream.encode())
    return path


def levels(moment_pictures: tuple[np.ndarray, ...]) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in moment_pictures]


def test_frames_are_matched_by_their_times_not_by_their_numbers(tmp_path: Path) -> None:
    """The second film starts its clock elsewhere and shows every other frame for twice as long."""
    first = write_film(tmp_path / "a.mkv", [0, 40, 80, 120, 160, 200], [10, 20, 30, 40, 50, 60])
    second = write_film(tmp_path / "b.mkv", [500, 580, 660, 740], [10, 30, 50, 70], rate="12.5")
    films = open_films([first, second])
    assert any("frame rates differ (a.mkv 25, b.mkv 12.5" in note for note in films.notes)
    pairs = [levels(moment.pictures) for moment in walk(films)]
    assert pairs == [[10, 10], [20, 10], [30, 30], [40, 30], [50, 50], [60, 50]]
    for time_s, pair in ((0.0, [10, 10]), (0.121, [40, 30]), (0.2, [60, 50])):
        assert levels(look_at(films, time_s).pictures) == pair


def test_times_rounded_by_a_container_are_the_same_times(tmp_path: Path) -> None:
    first = write_film(tmp_path / "a.mkv", [0, 42, 83, 125, 167, 208], [10, 20, 30, 40, 50, 60])
    second = write_film(tmp_path / "b.mkv", [0, 41, 84, 124, 168, 207], [10, 20, 30, 40, 50, 60])
    films = open_films([first, second])
    for moment in walk(films):
        assert len(set(levels(moment.pictures))) == 1
        assert levels(look_at(films, moment.time_s).pictures) == levels(moment.pictures)


def test_the_last_frame_counts_where_a_container_states_a_tick_as_its_length(tmp_path: Path) -> None:
    paths = [write_film(tmp_path / f"{name}.mkv", [0, 40, 80], [10, 20, 30], stated_ms=1) for name in "ab"]
    films = open_films(paths)
    assert [frame.duration for frame in films.clock.read()] == [1, 1, 1]  # the case is the one meant
    assert [levels(moment.pictures) for moment in walk(films)] == [[10, 10], [20, 20], [30, 30]]


def test_a_frame_shown_for_long_is_found_again(tmp_path: Path) -> None:
    """Variable rate: nothing changes for four seconds, further than the first look back reaches."""
    first = write_film(tmp_path / "a.mkv", [0, 40, 4040, 4080], [10, 20, 30, 40])
    second = write_film(tmp_path / "b.mkv", list(range(0, 4120, 40)), list(range(103)))
    films = open_films([second, first])
    assert levels(look_at(films, 3.0).pictures) == [75, 20]
    assert levels(look_at(films, 4.05).pictures)[1] == 30


def test_what_is_compared_ends_with_the_shortest(tmp_path: Path) -> None:
    first = write_film(tmp_path / "a.mkv", [0, 40, 80, 120, 160, 200], [10, 20, 30, 40, 50, 60])
    second = write_film(tmp_path / "b.mkv", [0, 40, 80], [10, 20, 30])
    films = open_films([first, second])
    assert any("differ in length (a.mkv 0.24 s, b.mkv 0.12 s)" in note for note in films.notes)
    assert [levels(moment.pictures) for moment in walk(films)] == [[10, 10], [20, 20], [30, 30]]
    assert [levels(m.pictures)[0] for m in walk(films, start_s=0.04, end_s=0.08)] == [20]
    assert [levels(m.pictures)[0] for m in walk(films, start_s=0.04, max_frames=1)] == [20]


def test_a_smaller_film_is_enlarged_and_the_ground_truth_sets_the_size(tmp_path: Path) -> None:
    small = write_film(tmp_path / "a.mkv", [0, 40], [10, 20], (16, 24))
    large = write_film(tmp_path / "b.mkv", [0, 40], [30, 40])
    films = open_films([small, large])
    assert [film.label for film in films.films if films.enlarges(film)] == ["a.mkv"]
    assert {picture.shape for picture in look_at(films, 0).pictures} == {(32, 48, 3)}
    with pytest.raises(InputError, match=r"b\.mkv \(48x32\) is larger than the ground truth \(24x16\)"):
        open_films([large], gt=small)


def test_pixels_that_are_not_square_and_pictures_in_folders(tmp_path: Path) -> None:
    wide = make_clip(tmp_path / "a.mkv", 2, "24x32", extra=("-vf", "setsar=2"))
    square = write_film(tmp_path / "b.mkv", [0, 40], [30, 40])
    films = open_films([square, wide])
    assert float(films.clock.shape) == pytest.approx(1.5)
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        write_png(folder / f"{index:04}.png", np.full((32, 48, 3), 10 * index, np.uint8))
    pictures = open_films([folder, square])
    assert pictures.films[0].rate == 25  # the film's, not the 24 that pictures have otherwise
    assert [levels(moment.pictures) for moment in walk(pictures)] == [[0, 30], [10, 40]]


def test_labels(tmp_path: Path) -> None:
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(write_film(tmp_path / folder / "out.mkv", [0], [10]))
    assert [film.label for film in open_films(paths).films] == ["one/out.mkv", "two/out.mkv"]
    assert [film.label for film in open_films(paths, labels=["x", "y"]).films] == ["x", "y"]
    for labels_given, sentence in (
        (["x"], "2 films, 1 labels"),
        (["x", "x"], "tell them apart with --label"),
    ):
        with pytest.raises(UsageError, match=sentence):
            open_films(paths, labels=labels_given)
    with pytest.raises(UsageError, match="tell them apart"):
        open_films([paths[0], paths[0]])


@pytest.mark.parametrize("size", [(48, 32), (32, 32)])
def test_another_shape_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    first = write_film(tmp_path / "a.mkv", [0], [10])
    second = write_film(tmp_path / "b.mkv", [0], [10], size)
    with pytest.raises(InputError, match="another shape cannot lie on one another"):
        open_films([first, second])
