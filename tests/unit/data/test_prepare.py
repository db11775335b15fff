"""Preparing data sets: exact, resumable, atomic, and a broken file does not stop the rest."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from upscale_clips import make_clip

import rvrt_cli
from rvrt_cli.data import prepare
from rvrt_cli.data.plans import (
    plan_folder,
    plan_photos,
    plan_vimeo,
    write_clip_list,
    write_vimeo_annotations,
)
from rvrt_cli.data.pool import run_parallel
from rvrt_cli.data.prepare import run_tasks
from rvrt_cli.data.recognise import open_clip_source
from rvrt_cli.data.tasks import Degrade
from rvrt_cli.errors import DiskFullError, InputError, InterruptedRun, OutOfMemoryError_, OutputError
from rvrt_cli.imaging.images import read_image
from rvrt_cli.imaging.resize import imresize_u8


def image(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    """A tiny copy of the Vimeo-90K layout: two training septuplets, one for testing."""
    root = tmp_path / "vimeo_septuplet"
    names = ["00001/0001", "00001/0002", "00002/0001"]
    for index, name in enumerate(names):
        for frame in range(1, 8):
            write(root / "sequences" / name / f"im{frame}.png", image(10 * index + frame))
    (root / "sep_trainlist.txt").write_text("00001/0001\n00001/0002\n\n")
    (root / "sep_testlist.txt").write_text("00002/0001\n")
    return root


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_vimeo_frames_are_matlab_bicubic(vimeo: Path) -> None:
    tasks, names, output = plan_vimeo(vimeo.parent)
    assert output == vimeo
    assert names == {"train": ["00001/0001", "00001/0002"], "test": ["00002/0001"]}
    result = run_tasks(tasks, output)
    assert (result.written, result.kept, result.failures) == (21, 0, ())
    gt = read_image(vimeo / "sequences/00002/0001/im3.png")
    np.testing.assert_array_equal(read_image(vimeo / "BIx4/00002/0001/im3.png"), imresize_u8(gt, 0.25))
    assert len(files(vimeo / "BIx4")) == 21
    assert result.written_mib == pytest.approx(result.estimated_mib, rel=0.5)


def test_subset_bd_and_separate_folders(vimeo: Path, tmp_path: Path) -> None:
    tasks, _, output = plan_vimeo(
        None,
        images_root=vimeo / "sequences",
        annotations={"test": vimeo / "sep_testlist.txt"},
        output_dir=tmp_path / "out",
        degrade=Degrade("BD"),
    )
    assert run_tasks(tasks, output).written == 7
    assert files(tmp_path / "out") == [f"BDx4/00002/0001/im{i}.png" for i in range(1, 8)]


def test_annotations_name_each_septuplet_with_its_size(vimeo: Path) -> None:
    tasks, names, output = plan_vimeo(vimeo)
    paths = write_vimeo_annotations(output, names, tasks)
    assert [path.name for path in paths] == [
        "meta_info_Vimeo90K_train_GT.txt",
        "meta_info_Vimeo90K_test_GT.txt",
    ]
    assert paths[0].read_text() == "00001/0001 7 (32,48,3)\n00001/0002 7 (32,48,3)\n"
    # And the annotation is a valid list itself.
    assert (
        plan_vimeo(vimeo, annotations={"train": paths[0]}, subsets=("train",))[1]["train"] == names["train"]
    )


def test_a_second_run_writes_only_what_is_missing_or_cut_off(vimeo: Path) -> None:
    tasks, _, output = plan_vimeo(vimeo)
    run_tasks(tasks, output)
    cut_off, missing, kept = (vimeo / "BIx4/00001/0001" / f"im{i}.png" for i in (1, 2, 3))
    whole = cut_off.read_bytes()
    cut_off.write_bytes(whole[:-30])
    missing.unlink()
    stamp = kept.stat().st_mtime_ns
    result = run_tasks(tasks, output)
    assert (result.written, result.kept) == (2, 19)
    assert cut_off.read_bytes() == whole
    assert kept.stat().st_mtime_ns == stamp


def test_broken_and_missing_sources_are_named_and_the_rest_is_done(vimeo: Path) -> None:
    broken = vimeo / "sequences/00001/0001/im4.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    (vimeo / "sequences/00002/0001/im1.png").unlink()
    tasks, _, output = plan_vimeo(vimeo)
    result = run_tasks(tasks, output)
    assert result.written == 19
    assert [Path(name).name for name, _ in result.failures] == ["im4.png", "im1.png"]
    assert "damaged (it is cut off)" in result.failures[0][1]
    assert "No such file" in result.failures[1][1]
    assert not (vimeo / "BIx4/00001/0001/im4.png").exists()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((32, 48, 3), np.uint16), "16 bits per sample"),
        (np.zeros((32, 48), np.uint8), "grey"),
        (np.zeros((32, 48, 4), np.uint8), "alpha"),
        (np.zeros((2, 3, 3), np.uint8), "too small"),
    ],
)
def test_other_kinds_of_png_are_refused(vimeo: Path, pixels: np.ndarray, message: str) -> None:
    write(vimeo / "sequences/00001/0001/im4.png", pixels)
    tasks, _, output = plan_vimeo(vimeo)
    result = run_tasks(tasks, output)
    assert len(result.failures) == 1
    assert message in result.failures[0][1]


def test_verify_finds_what_differs(vimeo: Path) -> None:
    tasks, _, output = plan_vimeo(vimeo)
    run_tasks(tasks, output)
    assert run_tasks(tasks, output, verify=True).kept == 21
    changed = vimeo / "BIx4/00001/0001/im1.png"
    pixels = cv2.imread(str(changed))
    pixels[3, 4, 1] ^= 1
    write(changed, pixels)
    (vimeo / "BIx4/00001/0001/im2.png").unlink()
    result = run_tasks(tasks, output, verify=True)
    assert result.written == 0
    assert [reason.split(".png ")[1] for _, reason in result.failures] == [
        "differs from what its ground truth gives.",
        "is missing.",
    ]


def test_worker_processes_write_the_same_bytes(vimeo: Path, tmp_path: Path) -> None:
    tasks, _, _ = plan_vimeo(vimeo, output_dir=tmp_path / "one")
    run_tasks(tasks, tmp_path / "one")
    tasks, _, _ = plan_vimeo(vimeo, output_dir=tmp_path / "two")
    seen = []
    result = run_tasks(tasks, tmp_path / "two", workers=2, on_progress=seen.append)
    assert result.written == 21
    assert [progress.done for progress in seen] == list(range(1, 22))
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_space_is_said_before_the_start(vimeo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    tasks, _, output = plan_vimeo(vimeo)
    with pytest.raises(DiskFullError, match="would be written"):
        run_tasks(tasks, output)
    assert not (vimeo / "BIx4").exists()


def test_a_disk_that_fills_up_leaves_no_half_file(vimeo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, _, output = plan_vimeo(vimeo)
    real = Path.write_bytes
    calls = 0

    def fill_up(path: Path, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 5:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DiskFullError, match="run the same command again"):
        run_tasks(tasks, output)
    monkeypatch.undo()
    assert len(files(vimeo / "BIx4")) == 5
    assert run_tasks(tasks, output).kept == 5


def test_ctrl_c_says_how_to_go_on(vimeo: Path) -> None:
    tasks, _, output = plan_vimeo(vimeo)

    def stop(progress: prepare.PrepareProgress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="4 of 21"):
        run_tasks(tasks, output, on_progress=stop)
    assert len(files(vimeo / "BIx4")) == 4


def test_wrong_roots_and_lists(tmp_path: Path, vimeo: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        plan_vimeo(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no sequences/"):
        plan_vimeo(vimeo / "sequences")
    bad = tmp_path / "list.txt"
    bad.write_text("00001/0001\nim1.png\n")
    with pytest.raises(InputError, match=r"entry 2 is 'im1\.png'"):
        plan_vimeo(vimeo, annotations={"train": bad})
    (vimeo / "sep_testlist.txt").unlink()
    assert list(plan_vimeo(vimeo)[1]) == ["train"]
    with pytest.raises(InputError, match=r"has no sep_testlist\.txt"):
        plan_vimeo(vimeo, subsets=("test",))


def test_folder_of_frames(tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        for frame in range(3):
            # 34×50 is no multiple of 4: the last rows and columns are left out.
            write(tmp_path / "in" / name / f"{frame:04d}.png", image(frame, 34, 50))
    tasks = plan_folder(tmp_path / "in", tmp_path / "out", Degrade())
    assert run_tasks(tasks, tmp_path / "out").written == 6
    gt = read_image(tmp_path / "in/b/c/0001.png")[:32, :48]
    np.testing.assert_array_equal(read_image(tmp_path / "out/BIx4/b/c/0001.png"), imresize_u8(gt, 0.25))
    with pytest.raises(OutputError, match="is the source itself"):
        plan_folder(tmp_path / "in", tmp_path / "in", Degrade())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no videos and no images"):
        plan_folder(tmp_path / "empty", tmp_path / "out", Degrade())


def test_real_degradation_is_made_per_sequence_and_repeats(tmp_path: Path) -> None:
    for frame in range(4):
        write(tmp_path / "in" / "a" / f"{frame:04d}.png", image(frame))
    for out in ("one", "two"):
        assert (
            run_tasks(
                plan_folder(tmp_path / "in", tmp_path / out, Degrade("real", seed=3)), tmp_path / out
            ).written
            == 4
        )
    assert files(tmp_path / "one") == [f"realx4/a/{i:04d}.png" for i in range(4)]
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_real_degradation_of_a_film_is_that_of_its_frames(tmp_path: Path) -> None:
    """Made from the frames on the disk, so that a film of any length needs the memory of one."""
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "film.mp4", 9, "50x34")
    for seed in (1, 2, 3):
        out, again = tmp_path / f"out{seed}", tmp_path / f"again{seed}"
        assert run_tasks(plan_folder(tmp_path / "in", out, Degrade("real", seed=seed)), out).written == 18
        shutil.copytree(out / "GT", again / "frames")
        run_tasks(plan_folder(again / "frames", again / "out", Degrade("real", seed=seed)), again)
        made = sorted((out / "realx4/film").glob("*.png"))
        assert len(made) == 9
        for path in made:
            assert path.read_bytes() == (again / "out/realx4/film" / path.name).read_bytes()


def test_a_sequence_of_several_sizes_leaves_no_half(tmp_path: Path) -> None:
    for frame, height in enumerate((32, 32, 36)):
        write(tmp_path / "in" / "a" / f"{frame:04d}.png", image(frame, height))
    for seed in range(4):
        tasks = plan_folder(tmp_path / "in", tmp_path / "out", Degrade("real", seed=seed))
        result = run_tasks(tasks, tmp_path / "out")
        assert "different sizes" in result.failures[0][1]
        assert result.written == 0
        assert not list((tmp_path / "out").rglob("*.png"))


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    """``._`` companions of a Mac on another disk, thumbnails, a disk's waste paper basket."""
    write(tmp_path / "in" / "a" / "0001.png", image(1))
    for name in ("a/._0001.png", ".Trash-1000/files/deep/0002.png", "a/.thumbnails/0001.png"):
        write(tmp_path / "in" / name, image(2))
    (tmp_path / "in" / "a" / "._film.mp4").write_bytes(b"\0\5\26\7")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "in" / "a")
    tasks = plan_folder(tmp_path / "in", tmp_path / "out", Degrade())
    assert [task.lq[0].relative_to(tmp_path / "out").as_posix() for task in tasks] == [
        "BIx4/a/0001.png",
        "BIx4/linked/0001.png",
    ]
    photos = plan_photos(tmp_path / "in", tmp_path / "out", clips=3)
    assert {path.name for task in photos for path in task.sources} == {"0001.png"}
    source = open_clip_source(tmp_path / "in", "photos")
    assert source.count_clips(1) == 2


def test_folder_of_videos(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(shared / "data/media/red-46x48.mp4", tmp_path / "in")
    (tmp_path / "in" / "bad.mp4").write_bytes(b"not a film")
    tasks = plan_folder(tmp_path / "in", tmp_path / "out", Degrade())
    result = run_tasks(tasks, tmp_path / "out")
    assert [Path(name).name for name, _ in result.failures] == ["bad.mp4"]
    gt, lq = files(tmp_path / "out/GT"), files(tmp_path / "out/BIx4")
    assert len(gt) > 0
    assert gt == [name for name in lq if name.endswith(".png")]
    assert read_image(tmp_path / "out/GT" / gt[0]).shape == (48, 44, 3)
    assert read_image(tmp_path / "out/BIx4" / gt[0]).shape == (12, 11, 3)
    assert run_tasks(tasks, tmp_path / "out").written == 0


def test_photos_become_clips_in_the_vimeo_layout(tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / "in" / f"photo{index}.jpg", image(index, 120, 160))
    for out, clips in (("short", 2), ("long", 3)):
        tasks = plan_photos(tmp_path / "in", tmp_path / out, clips=clips, height=32, width=48)
        assert run_tasks(tasks, tmp_path / out).written == clips * 14
        write_clip_list(tmp_path / out, clips)
    assert (tmp_path / "long/sep_trainlist.txt").read_text() == "00001/0001\n00001/0002\n00001/0003\n"
    for name in files(tmp_path / "short/sequences"):
        assert (tmp_path / "short/sequences" / name).read_bytes() == (
            tmp_path / "long/sequences" / name
        ).read_bytes()
    # What was written is a data set that `preprocess vimeo90k` accepts and finds complete.
    tasks, _, output = plan_vimeo(tmp_path / "long", subsets=("train",))
    assert run_tasks(tasks, output, verify=True).kept == 21
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photographs"):
        plan_photos(tmp_path / "empty", tmp_path / "x", clips=1)


def _die(task: int) -> int:
    if task == 3:
        os._exit(9)
    return task


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(OutOfMemoryError_, match="fewer --workers"):
        list(run_parallel(_die, range(8), 2))


ORPHAN_RUN = """
import os, sys, time
from pathlib import Path
from rvrt_cli.data.pool import run_parallel
if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from orphan_task import note
    for _ in run_parallel(note, [sys.argv[1]] * 4, 2):
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "orphan_task.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def note(folder):\n    (Path(folder) / f'{os.getpid()}.pid').touch()\n    time.sleep(60)\n"
    )
    (tmp_path / "run.py").write_text(ORPHAN_RUN)
    environment = {**os.environ, "PYTHONPATH": f"{Path(rvrt_cli.__file__).parents[1]}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py"), str(tmp_path)], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    process.kill()
    process.wait()
    while any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in workers
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
