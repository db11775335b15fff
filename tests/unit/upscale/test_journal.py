"""The journal: survives torn lines and damaged segments, notices changes, is held by one run at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rvrt_cli.errors import DiskFullError, OutputError
from rvrt_cli.upscale import journal as journal_module
from rvrt_cli.upscale.journal import (
    Gap,
    Journal,
    SegmentRecord,
    differences,
    find_work,
    hash_file,
    identify_file,
)
from rvrt_cli.upscale.render import FinishedFile
from rvrt_cli.upscale.segments import PlannerState, SeekPoint, Segment

IDENTITY = {"input": {"size": 3}, "options": {"crf": 17}, "version": "1"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out.mp4.rvrt-work"


def add_segment(journal: Journal, index: int) -> SegmentRecord:
    path = journal.folder / f"{index:06d}.mkv"
    path.write_bytes(b"segment %d" % index)
    record = record_of(index, FinishedFile(path.name, hash_file(path), index % 2))
    journal.append(record)
    return record


def record_of(index: int, file: FinishedFile) -> SegmentRecord:
    start, stop = 10 * index, 10 * index + 10
    segment = Segment(
        index, start, stop, min(4, start), 4, (start,), start, None, 16, 4, None, 0, 0, "m", "e"
    )
    state = PlannerState(index + 1, stop, start, stop + 4, (), stop - 8, ((7, 8),), (SeekPoint(start, 40),))
    return SegmentRecord(segment, file, state)


def finished(journal: Journal) -> list[SegmentRecord]:
    return [journal.records[index] for index in sorted(journal.records)]


def make(folder, segments=3):
    with Journal(folder, IDENTITY, {"window": 16}) as journal:
        assert journal.records == {}
        return [add_segment(journal, i) for i in range(segments)]


def test_segments_are_found_again(folder):
    records = make(folder)
    with Journal(folder, IDENTITY, {"window": 8}) as journal:
        assert finished(journal) == records
        assert journal.resolved == {"window": 16}
        assert journal.started_anew is None


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_ignored_and_overwritten(folder, cut):
    records = make(folder)
    path = folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(folder, IDENTITY, {}) as journal:
        assert finished(journal) == records[:2]
        add_segment(journal, 2)
    with Journal(folder, IDENTITY, {}) as journal:
        assert sorted(journal.records) == [0, 1, 2]


def test_every_torn_length_is_survived(folder):
    make(folder)
    path = folder / "journal.jsonl"
    whole = path.read_bytes()
    for length in range(0, len(whole), 31):
        path.write_bytes(whole[:length])
        for i in range(3):
            (folder / f"{i:06d}.mkv").write_bytes(b"segment %d" % i)
        with Journal(folder, IDENTITY, {}) as journal:
            assert len(journal.records) == max(0, whole[:length].count(b"\n") - 1)


def test_segments_are_found_in_any_order(folder):
    with Journal(folder, IDENTITY, {}) as journal:
        records = {index: add_segment(journal, index) for index in (2, 0, 3)}
        assert journal.gaps() == [
            Gap(records[0].after, 20, records[0].segment),
            Gap(records[3].after, None, records[3].segment),
        ]
    with Journal(folder, IDENTITY, {}) as journal:
        assert journal.records == records
        assert [path.name for path in journal.files()] == ["000000.mkv", "000002.mkv", "000003.mkv"]
        assert journal.frames_done == 30
        records[1] = add_segment(journal, 1)
        assert journal.gaps() == [Gap(records[3].after, None, records[3].segment)]
    with Journal(folder, IDENTITY, {}) as journal:
        assert journal.records == records


@pytest.mark.parametrize("how", ["other", "gone"])
def test_a_damaged_segment_alone_is_made_again(folder, how):
    records = make(folder)
    if how == "gone":
        (folder / "000001.mkv").unlink()
    else:
        (folder / "000001.mkv").write_bytes(b"other")
    with Journal(folder, IDENTITY, {}) as journal:
        assert finished(journal) == [records[0], records[2]]
        assert journal.damaged == [1]
        assert journal.gaps() == [
            Gap(records[0].after, 20, records[1].segment),
            Gap(records[2].after, None, records[2].segment),
        ]
        again = add_segment(journal, 1)
    with Journal(folder, IDENTITY, {}) as journal:
        assert finished(journal) == [records[0], again, records[2]]
        assert journal.damaged == []


def test_damage_of_several_kinds_leaves_gaps_that_are_like_what_was_there(folder):
    """Line 1 is lost, so that nobody knows what segment 1 was like; the files of 2, 4 and 5 are."""
    records = make(folder, segments=6)
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for number, line in enumerate(lines) if number != 2))
    for index in (2, 4, 5):
        (folder / f"{index:06d}.mkv").write_bytes(b"other")
    with Journal(folder, IDENTITY, {}) as journal:
        assert finished(journal) == [records[0], records[3]]
        assert journal.damaged == [2, 4, 5]
        assert journal.gaps() == [
            Gap(records[0].after, 30, records[0].segment),
            Gap(records[3].after, 50, records[4].segment),
            Gap(records[4].after, 60, records[5].segment),
            Gap(records[5].after, None, records[5].segment),
        ]


def test_nothing_finished_is_one_gap(folder):
    with Journal(folder, IDENTITY, {}) as journal:
        assert journal.gaps() == [Gap(PlannerState(), None, None)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_work_that_cannot_be_continued_is_kept_beside(folder):
    """Whatever has changed: finished segments are never removed for it, also when it happens again."""
    for number in (1, 2):
        make(folder)
        before = content(folder)
        changed = {"input": {"size": 4}, "options": {"crf": 18}, "version": "1"}
        with Journal(folder, changed, {"window": 8}) as journal:
            assert journal.records == {}
            assert journal.resolved == {"window": 8}
            assert journal.started_anew == "changed since the earlier run: input.size, options.crf"
            assert journal.kept == folder.with_name(f"out.mp4.kept-{number}.rvrt-work")
            assert content(journal.kept) == before
            assert sorted(p.name for p in folder.iterdir()) == ["journal.jsonl", "lock"]
            journal.remove()
    kept = folder.with_name("out.mp4.kept-1.rvrt-work")
    os.replace(kept, folder)
    with Journal(folder, IDENTITY, {}) as journal:
        assert len(journal.records) == 3


def test_a_run_without_a_finished_segment_leaves_nothing_behind(folder):
    make(folder, segments=0)
    with Journal(folder, {"other": 1}, {}) as journal:
        assert journal.kept is None
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_work_of_a_pipe_is_worth_nothing(folder):
    with Journal(folder, IDENTITY, {}, once=True) as journal:
        add_segment(journal, 0)
    with Journal(folder, IDENTITY, {}, once=True) as journal:
        assert (journal.records, journal.started_anew, journal.kept) == ({}, None, None)


def test_a_pipe_keeps_the_work_of_a_film(folder):
    make(folder)
    with Journal(folder, {**IDENTITY, "input": {}}, {}, once=True) as journal:
        assert journal.kept is not None
        assert len(content(journal.kept)) == 5


def test_nothing_is_touched_where_the_output_exists_and_nothing_is_continued(folder):
    make(folder)
    output = folder.with_name("out.mp4")
    output.write_bytes(b"mine")
    before = content(folder)
    with (
        pytest.raises(OutputError, match="exists"),
        Journal(folder, {"other": 1}, {}, output=output, overwrite=False),
    ):
        pass
    assert content(folder) == before
    with Journal(folder, {"other": 1}, {}, output=output, overwrite=True) as journal:
        assert journal.kept is not None


def test_no_resume_starts_anew(folder):
    make(folder)
    with Journal(folder, IDENTITY, {}, resume=False) as journal:
        assert journal.records == {}


needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@needs_full_disk
def test_a_full_disk_at_the_beginning_is_a_sentence_and_leaves_nothing(folder, monkeypatch):
    def full_open(path, mode):
        return open("/dev/full" if Path(path).name == "journal.jsonl" else path, mode)

    monkeypatch.setattr("rvrt_cli.upscale.journal.open", full_open, raising=False)
    with pytest.raises(DiskFullError, match="free some space"), Journal(folder, IDENTITY, {}):
        pass
    assert not folder.exists()


@needs_full_disk
def test_a_full_disk_later_keeps_what_is_done(folder):
    records = make(folder, segments=2)
    with Journal(folder, IDENTITY, {}) as journal:
        journal._file.close()
        journal._file = open("/dev/full", "ab")  # noqa: SIM115 - closed by the journal
        with pytest.raises(DiskFullError, match="free some space"):
            add_segment(journal, 2)
    with Journal(folder, IDENTITY, {}) as journal:
        assert finished(journal) == records


def test_half_written_segments_are_removed(folder):
    make(folder)
    (folder / "000003.part.mkv").write_bytes(b"half")
    (folder / "000004").mkdir()
    with Journal(folder, IDENTITY, {}):
        assert len(list(folder.iterdir())) == 5


def test_two_runs_do_not_share_a_directory(folder):
    with (
        Journal(folder, IDENTITY, {}),
        pytest.raises(OutputError, match="another run"),
        Journal(folder, IDENTITY, {}),
    ):
        pass


def test_only_work_directories_are_touched(tmp_path):
    (tmp_path / "precious").write_text("keep")
    with pytest.raises(ValueError, match="rvrt-work"), Journal(tmp_path, IDENTITY, {}):
        pass
    assert (tmp_path / "precious").exists()


def test_remove(folder):
    with Journal(folder, IDENTITY, {}) as journal:
        journal.remove()
    assert not folder.exists()


def test_the_lock_is_held_until_the_folder_is_gone(folder, monkeypatch):
    """A run that begins while another removes its work is refused, until it can make a folder of its own."""
    make(folder)
    real, refused = Path.unlink, []

    def unlink(path, missing_ok=False):
        with pytest.raises(OutputError, match="another run"), Journal(folder, IDENTITY, {}):
            pass
        refused.append(path.name)
        real(path, missing_ok=missing_ok)

    with Journal(folder, IDENTITY, {}) as journal, monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        journal.remove()
    assert sorted(refused) == ["000000.mkv", "000001.mkv", "000002.mkv", "journal.jsonl", "lock"]
    assert not folder.exists()
    assert len(make(folder)) == 3


def test_a_folder_that_vanishes_while_it_is_locked_is_made_again(folder, monkeypatch):
    make(folder)
    real, tries = journal_module.try_lock_where_possible, []

    def lock(descriptor):
        if not tries:
            shutil.rmtree(folder)  # the run that held it has just removed it
        tries.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(journal_module, "try_lock_where_possible", lock)
    with Journal(folder, IDENTITY, {}) as journal:
        assert len(tries) == 2
        add_segment(journal, 0)
    monkeypatch.undo()
    with Journal(folder, IDENTITY, {}) as journal:
        assert sorted(journal.records) == [0]


def test_folders_made_for_the_work_go_with_it(tmp_path):
    """Also where a later run ends what an earlier one began; what was there before stays."""
    (tmp_path / "mine").mkdir()
    folder = tmp_path / "mine" / "a" / "b" / "out.mp4.rvrt-work"
    make(folder)
    with Journal(folder, IDENTITY, {}) as journal:
        assert len(journal.records) == 3
        journal.remove()
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize("resume", [True, False])
def test_work_that_is_thrown_away_still_knows_who_made_its_folder(tmp_path, resume):
    folder = tmp_path / "work" / "out.mp4.rvrt-work"
    make(folder, segments=3 if not resume else 0)
    with Journal(folder, {"other": 1}, {}, resume=resume) as journal:
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_made_for_the_work_stays_while_something_is_in_it(tmp_path):
    folder = tmp_path / "work" / "out.mp4.rvrt-work"
    make(folder)
    (tmp_path / "work" / "mine.txt").write_text("keep")
    with Journal(folder, IDENTITY, {}) as journal:
        journal.remove()
    assert list((tmp_path / "work").iterdir()) == [tmp_path / "work" / "mine.txt"]


def test_work_moved_by_hand_leaves_the_folder_that_it_was_moved_to(tmp_path):
    make(tmp_path / "made" / "out.mp4.rvrt-work")
    (tmp_path / "mine").mkdir()
    moved = tmp_path / "mine" / "out.mp4.rvrt-work"
    (tmp_path / "made" / "out.mp4.rvrt-work").rename(moved)
    with Journal(moved, IDENTITY, {}) as journal:
        assert len(journal.records) == 3
        journal.remove()
    assert list((tmp_path / "mine").iterdir()) == []


def test_identity_of_a_file_is_its_content(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"x" * 1000)
    b.write_bytes(b"x" * 1000)
    assert identify_file(a) == identify_file(b)
    b.write_bytes(b"x" * 999 + b"y")
    assert identify_file(a) != identify_file(b)


def test_large_files_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr("rvrt_cli.upscale.journal.WHOLE_HASH_BYTES", 10)
    monkeypatch.setattr("rvrt_cli.upscale.journal.SAMPLE_BYTES", 4)
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)))
    before = identify_file(path)
    path.write_bytes(bytes(range(255)) + b"\0")
    assert differences(before, identify_file(path)) == ["samples_sha256"]
    path.write_bytes(bytes(range(256)))
    os.utime(path, (1, 1))
    assert identify_file(path) == before, "when a file was written is no part of it"


def test_another_plan_is_kept_for_the_rest_of_a_run(folder):
    with Journal(folder, IDENTITY, {"window": 16}) as journal:
        journal.amend({"window": 8})
        assert journal.amended
    with Journal(folder, IDENTITY, {"window": 4}) as journal:
        assert journal.resolved == {"window": 8}
        assert journal.amended


@pytest.mark.parametrize("line", range(4))
@pytest.mark.parametrize("place", [0, 20, -2])
def test_a_flipped_bit_costs_one_segment(folder, line, place):
    records = make(folder)
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = bytearray(lines[line])
    damaged[place] ^= 1
    lines[line] = bytes(damaged)
    path.write_bytes(b"".join(lines))
    with Journal(folder, IDENTITY, {}) as journal:
        left = [] if line == 0 else [record for record in records if record.segment.index != line - 1]
        assert finished(journal) == left
        assert (journal.started_anew == "the journal of the earlier run is damaged") == (line == 0)
        assert (journal.kept is not None) == (line == 0)


def test_work_of_another_format_starts_anew(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "FORMAT", 1)
        make(folder)
    with Journal(folder, IDENTITY, {}) as journal:
        assert journal.records == {}
        assert journal.started_anew == "the earlier run was made by another version of rvrt"
        assert len(content(journal.kept)) == 5


@pytest.mark.parametrize("change", [{"segment": {"colour": "red"}}, {"after": {"unknown": 1}}, {"file": {}}])
def test_segments_with_other_fields_start_anew(folder, change):
    make(folder, segments=1)
    with Journal(folder, IDENTITY, {}) as journal:
        values = record_of(1, FinishedFile("000001.mkv", "0")).to_json()
        journal._write({"kind": "segment", **values, **change})
    with Journal(folder, IDENTITY, {}) as journal:
        assert journal.records == {}
        assert journal.started_anew == "the earlier run was made by another version of rvrt"
        assert journal.kept is not None
    assert sorted(p.name for p in folder.iterdir()) == ["journal.jsonl", "lock"]


def test_a_name_that_leads_out_of_the_folder_is_not_believed(folder, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    make(folder, segments=0)
    with Journal(folder, IDENTITY, {}) as journal:
        journal.append(record_of(0, FinishedFile("../mine", hash_file(tmp_path / "mine"))))
    with Journal(folder, IDENTITY, {}) as journal:
        assert (journal.records, journal.damaged) == ({}, [0])


def test_the_hash_of_a_folder_covers_names_and_contents(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    seen = set()
    for name, content in [("1.png", b"a"), ("1.png", b"b"), ("2.png", b"b")]:
        for path in pictures.iterdir():
            path.unlink()
        (pictures / name).write_bytes(content)
        seen.add(hash_file(pictures))
    assert len(seen) == 3
    assert hash_file(pictures) in seen


def test_work_that_was_moved_is_taken_up(folder, tmp_path):
    records = make(folder)
    named = tmp_path / "disk" / "out.mp4.01234567.rvrt-work"
    moved = tmp_path / "disk" / "out.mp4.rvrt-work"
    moved.parent.mkdir()
    os.replace(folder, moved)
    assert find_work(named, moved, {**IDENTITY, "version": "2"}) == named
    assert moved.exists(), "the work of another run stays where it is"
    assert find_work(named, moved, IDENTITY) == named
    assert not moved.exists()
    with Journal(named, IDENTITY, {}) as journal:
        assert finished(journal) == records


def test_moved_work_without_a_usable_journal_stays(folder, tmp_path):
    named = tmp_path / "out.mp4.01234567.rvrt-work"
    assert find_work(named, folder, IDENTITY) == named
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b"0123 {}\n")
    assert find_work(named, folder, IDENTITY) == named
    assert folder.exists()
    make(named)
    assert find_work(named, folder, IDENTITY) == named


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="could not be written"):
        Journal(tmp_path / "file" / "out.mp4.rvrt-work", IDENTITY, {}).__enter__()


def test_a_full_disk_is_told_and_the_lock_released(folder, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", full)
        with pytest.raises(DiskFullError, match="disk is full"):
            Journal(folder, IDENTITY, {}).__enter__()
    assert len(make(folder)) == 3
