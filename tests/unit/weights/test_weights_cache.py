"""Downloads and the cache, against a server on loopback."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import weight_writers as w
from file_server import FileServer, serve

from rvrt_cli.errors import DiskFullError, NetworkError, OutputError, WeightsError
from rvrt_cli.model.config import PRESETS
from rvrt_cli.system.locks import try_lock
from rvrt_cli.weights import download as download_module
from rvrt_cli.weights import find
from rvrt_cli.weights.cache import MIRROR_VARIABLE, address, cached, fetch
from rvrt_cli.weights.download import download, state_path
from rvrt_cli.weights.lock import locked
from rvrt_cli.weights.names import MINDSPORE
from rvrt_cli.weights.registry import PRESET_DEFAULTS, PUBLISHED, SHIPPED_LABELS, PublishedWeights, published

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(download_module, "PAUSE_S", 0.0)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> PublishedWeights:
    """The published Light, made narrow so that tests are quick."""
    monkeypatch.setitem(PRESETS, "light", w.small("light", MINDSPORE))
    return published("light")


@pytest.fixture
def data(entry: PublishedWeights) -> bytes:
    return w.ckpt(w.random_tensors(PRESETS["light"], MINDSPORE))


@pytest.fixture
def server(data: bytes) -> Iterator[FileServer]:
    with serve(data) as server:
        yield server


def ranges(server: FileServer) -> list[str | None]:
    return [headers.get("Range") for _, headers in server.requests]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_registry_has_the_eight_published_files() -> None:
    assert (
        len(PUBLISHED)
        == len({entry.name for entry in PUBLISHED})
        == len({entry.url for entry in PUBLISHED})
        == 8
    )
    official = "https://github.com/JingyunLiang/RVRT/releases/download/v0.0/"
    assert published("denoise").url == official + "006_RVRT_videodenoising_DAVIS_16frames.pth"
    assert [entry.file_name[:3] for entry in PUBLISHED[:6]] == ["001", "002", "003", "004", "005", "006"]
    assert published("light").url.endswith("/RVRT/ckpt/trained/rvrt_light_37.91.ckpt")
    assert {entry.licence for entry in PUBLISHED[:6]} == {"CC BY-NC 4.0"}
    assert published("rvrt-mindspore").config.activation == "gelu_tanh"
    assert published("rvrt").config == PRESETS["rvrt"]
    assert published("001_RVRT_videosr_bi_REDS_30frames.pth") is published("rvrt")
    assert set(PRESET_DEFAULTS) < set(PRESETS)
    with pytest.raises(WeightsError, match="choose one of rvrt, light"):
        published("nope")


def test_first_fetch_records_and_later_ones_check(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    announced: list[str] = []
    seen: list[tuple[int, int | None]] = []
    result = fetch(
        entry,
        folder=tmp_path / "new" / "cache",
        mirror=server.url + "/some/folder/",
        announce=lambda e: announced.append(e.licence),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result.new
    assert result.path.read_bytes() == data
    assert result.record.sha256 == hashlib.sha256(data).hexdigest()
    assert server.requests[0][0] == "/some/folder/rvrt_light_37.91.ckpt"
    assert announced == [entry.licence]
    assert seen[-1] == (len(data), len(data))
    assert names(result.path.parent) == {
        entry.file_name,
        entry.file_name + ".json",
        entry.file_name + ".lock",
    }
    again = fetch(entry, folder=result.path.parent, announce=lambda e: announced.append(e.licence))
    assert (again.new, again.record, len(server.requests), len(announced)) == (False, result.record, 1, 1)
    assert cached(entry, result.path.parent) == result.path
    result.path.write_bytes(data[:-1] + b"\xff")
    for check in (lambda: cached(entry, result.path.parent), lambda: fetch(entry, folder=result.path.parent)):
        with pytest.raises(WeightsError, match="has changed since"):
            check()
    assert (
        fetch(entry, folder=result.path.parent, mirror=server.url, force=True).record.sha256
        == result.record.sha256
    )


@pytest.mark.parametrize("validator", ["etag", "date"])
def test_a_cut_download_resumes(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path, validator: str
) -> None:
    if validator == "date":
        server.etag, server.last_modified = 'W/"weak"', "Sun, 22 Nov 2026 17:00:00 GMT"
    server.cut_after = [1000, 500]
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data
    assert ranges(server) == [None, "bytes=1000-", "bytes=1500-"]
    assert {headers.get("If-Range") for _, headers in server.requests[1:]} == {
        server.etag if validator == "etag" else server.last_modified
    }


def test_a_later_call_resumes(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    server.cut_after = [1000]
    server.statuses = [200, 503, 503, 503]
    with pytest.raises(NetworkError, match=r"HTTP 503.*1000 bytes are kept"):
        fetch(entry, folder=tmp_path, mirror=server.url)
    assert cached(entry, tmp_path) is None
    server.requests.clear()
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data
    assert ranges(server) == ["bytes=1000-"]


@pytest.mark.parametrize(
    "change", ["server ignores Range", "file changed", "no validator", "weak etag", "no length"]
)
def test_it_starts_again_rather_than_mix_two_files(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path, change: str
) -> None:
    part = tmp_path / (entry.file_name + ".part")
    url = address(entry, server.url)
    part.write_bytes(b"other bytes of an older file" * 40)
    state_path(part).write_text(
        json.dumps({"url": url, "validator": '"v0"' if change == "file changed" else '"v1"'})
    )
    if change == "server ignores Range":
        server.ranges = False
    elif change in ("no validator", "weak etag"):
        state_path(part).unlink()
        server.etag = None if change == "no validator" else 'W/"v1"'
        server.cut_after = [1000]
    elif change == "no length":
        state_path(part).unlink()
        server.send_length = False
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data


def test_a_part_of_another_address_is_not_continued(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    part = tmp_path / (entry.file_name + ".part")
    part.write_bytes(b"x" * 100)
    state_path(part).write_text(json.dumps({"url": "https://example.org/x", "validator": '"v1"'}))
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data
    assert ranges(server) == [None]


def test_a_part_that_is_already_complete_or_too_long(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    part = tmp_path / (entry.file_name + ".part")
    for content in (data, data + b"more"):
        part.write_bytes(content)
        state_path(part).write_text(json.dumps({"url": address(entry, server.url), "validator": '"v1"'}))
        assert fetch(entry, folder=tmp_path, mirror=server.url, force=True).path.read_bytes() == data
        assert ranges(server)[-2:] == [f"bytes={len(content)}-", None]


def test_a_server_that_answers_with_another_range(
    entry: PublishedWeights, server: FileServer, tmp_path: Path
) -> None:
    server.cut_after = [1000]
    server.wrong_range = True
    with pytest.raises(NetworkError, match="another part of the file"):
        fetch(entry, folder=tmp_path, mirror=server.url)


def test_statuses(entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(NetworkError, match=r"HTTP 404 Not Found; try --mirror"):
        fetch(entry, folder=tmp_path, mirror=server.url)
    assert len(server.requests) == 1
    assert names(tmp_path) == {entry.file_name + ".lock"}
    server.statuses = [500, 429]
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data


def test_a_login_page_instead_of_the_file(
    entry: PublishedWeights, server: FileServer, tmp_path: Path
) -> None:
    server.data = b"<html>please log in</html>"
    with pytest.raises(WeightsError, match=r"did not give rvrt_light_37.91.ckpt"):
        fetch(entry, folder=tmp_path, mirror=server.url)
    assert names(tmp_path) == {entry.file_name + ".lock"}


def test_another_architecture_is_refused(entry: PublishedWeights, server: FileServer, tmp_path: Path) -> None:
    server.data = w.ckpt(w.random_tensors(w.small("rvrt", MINDSPORE), MINDSPORE))
    with pytest.raises(WeightsError, match=r"holds rvrt \(embed_dim 12.*instead of light"):
        fetch(entry, folder=tmp_path, mirror=server.url)
    assert cached(entry, tmp_path) is None


def test_another_hash_than_the_recorded_one(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    first = fetch(entry, folder=tmp_path, mirror=server.url)
    first.path.unlink()
    server.data = w.ckpt(w.random_tensors(PRESETS["light"], MINDSPORE, seed=1))
    with pytest.raises(WeightsError, match="is not the file that was fetched on"):
        fetch(entry, folder=tmp_path, mirror=server.url)
    assert not first.path.exists()
    forced = fetch(entry, folder=tmp_path, mirror=server.url, force=True)
    assert forced.record.sha256 != first.record.sha256
    assert cached(entry, tmp_path) == forced.path


def test_from_a_local_file(entry: PublishedWeights, data: bytes, tmp_path: Path) -> None:
    copy = w.write(tmp_path / "downloaded by hand.bin", data)
    announced: list[PublishedWeights] = []
    result = fetch(entry, folder=tmp_path / "cache", source=copy, announce=announced.append)
    assert result.path.read_bytes() == data
    assert (result.record.source, announced) == (str(copy), [entry])
    with pytest.raises(WeightsError, match="does not exist"):
        fetch(entry, folder=tmp_path / "cache", source=tmp_path / "missing")
    assert cached(entry, tmp_path / "cache") == result.path


def test_mirror_from_the_environment(
    entry: PublishedWeights, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address(entry) == entry.url
    monkeypatch.setenv(MIRROR_VARIABLE, server.url)
    assert fetch(entry, folder=tmp_path).record.source == f"{server.url}/{entry.file_name}"


def test_the_proxy_of_the_environment_is_used(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    assert fetch(entry, folder=tmp_path, mirror="http://weights.invalid/rvrt").path.read_bytes() == data
    assert server.requests[0][0] == "http://weights.invalid/rvrt/rvrt_light_37.91.ckpt"
    monkeypatch.setenv("no_proxy", "weights.invalid")
    with pytest.raises(NetworkError, match=r"weights.invalid.*--mirror"):
        fetch(entry, folder=tmp_path / "other", mirror="http://weights.invalid/rvrt")


@pytest.mark.parametrize("link", ["", ".json", ".lock", ".part", ".part.json"])
def test_links_in_the_cache_are_refused(
    entry: PublishedWeights, server: FileServer, tmp_path: Path, link: str
) -> None:
    victim = w.write(tmp_path / "victim", b"precious")
    cache = tmp_path / "cache"
    cache.mkdir()
    try:
        (cache / (entry.file_name + link)).symlink_to(victim)
    except OSError:
        pytest.skip("this system does not let us make links")
    with pytest.raises(WeightsError, match="symbolic link"):
        fetch(entry, folder=cache, mirror=server.url)
    with pytest.raises(WeightsError, match="symbolic link"):
        cached(entry, cache)
    assert victim.read_bytes() == b"precious"
    assert server.requests == []


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"sha256": "x"}', b'{"sha256": "../x", "size_bytes": 1, "source": "", "fetched": ""}'],
)
def test_a_damaged_record(
    entry: PublishedWeights, server: FileServer, tmp_path: Path, content: bytes
) -> None:
    fetch(entry, folder=tmp_path, mirror=server.url)
    (tmp_path / (entry.file_name + ".json")).write_bytes(content)
    with pytest.raises(WeightsError, match=r"record .* is damaged"):
        cached(entry, tmp_path)


def test_a_file_without_a_record_is_not_trusted(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    w.write(tmp_path / entry.file_name, b"planted")
    assert cached(entry, tmp_path) is None
    assert fetch(entry, folder=tmp_path, mirror=server.url).path.read_bytes() == data


def test_concurrent_fetches_download_once(
    entry: PublishedWeights, data: bytes, server: FileServer, tmp_path: Path
) -> None:
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(entry, folder=tmp_path, mirror=server.url).new))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]
    assert len(server.requests) == 1
    assert (tmp_path / entry.file_name).read_bytes() == data


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    code = f"import os\nfrom pathlib import Path\nfrom rvrt_cli.weights.lock import locked\nwith locked(Path({str(lock)!r})):\n    os._exit(9)\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    from rvrt_cli.weights.lock import locked

    with locked(lock):
        assert lock.exists()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "example.org/x", "http:///x"])
def test_only_http_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(NetworkError, match="no http"):
        download(url, tmp_path / "x.part")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects(server: FileServer, data: bytes, tmp_path: Path, code: int) -> None:
    """308 too, which Python 3.10 does not follow by itself."""
    with serve(b"") as front:
        front.redirect_code = code
        front.redirect = server.url + "/elsewhere"
        download(front.url + "/x", tmp_path / "x.part")
        assert (tmp_path / "x.part").read_bytes() == data
        front.redirect = "file:///etc/passwd"
        with pytest.raises(NetworkError, match="is not allowed"):
            download(front.url + "/x", tmp_path / "y.part")
        front.redirect = "ftp://127.0.0.1/x"
        with pytest.raises(NetworkError, match="no http"):
            download(front.url + "/x", tmp_path / "y.part")


def test_an_encrypted_address_never_redirects_to_a_plain_one() -> None:
    import urllib.request

    request = urllib.request.Request("https://example.org/x")
    with pytest.raises(NetworkError, match="unencrypted"):
        download_module._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/x")


def test_sizes_are_bounded(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(NetworkError, match="offers"):
        download(server.url + "/x", tmp_path / "x.part")
    server.send_length = False
    with pytest.raises(NetworkError, match="more bytes"):
        download(server.url + "/x", tmp_path / "x.part")


def test_nobody_listens(tmp_path: Path) -> None:
    with serve(b"") as gone:
        url = gone.url
    with pytest.raises(NetworkError, match=r"could not be downloaded: .*HTTPS_PROXY"):
        download(url + "/x", tmp_path / "x.part")


def test_a_full_disk(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.fdopen

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_module.os, "fdopen", lambda *args: Full(original(*args)))
    with pytest.raises(DiskFullError, match="disk is full"):
        download(server.url + "/x", tmp_path / "x.part")


def test_a_cache_that_cannot_be_made(entry: PublishedWeights, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        fetch(entry, folder=w.write(tmp_path / "file", b"") / "cache")
    (tmp_path / "x.part").mkdir()
    with serve(b"x") as server, pytest.raises(OutputError, match="could not be written"):
        download(server.url + "/x", tmp_path / "x.part")


def test_find_weights(
    entry: PublishedWeights, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, cache = tmp_path / "shipped", tmp_path / "cache"
    shipped.mkdir()
    monkeypatch.setattr(find, "shipped_folder", lambda: shipped)
    with pytest.raises(WeightsError, match="run `rvrt weights fetch light` first"):
        find.find_weights("light", cache)
    with pytest.raises(WeightsError, match="choose one of rvrt, light"):
        find.find_weights("../light", cache)
    result = fetch(entry, folder=cache, mirror=server.url)
    assert find.find_weights("light", cache) == find.find_weights("light-mindspore", cache) == result.path
    w.write(shipped / "light.safetensors", b"damaged")
    assert find.find_weights("light", cache) == shipped / "light.safetensors"
    states = {row.name: row.state for row in find.known_weights(cache)}
    assert (states["light"], states["light-mindspore"], states["rvrt-reds"]) == (
        "damaged",
        "cached",
        "not fetched",
    )
    result.path.write_bytes(b"changed")
    assert {row.name: row.state for row in find.known_weights(cache)}["light-mindspore"] == "damaged"


def test_shipped_weights_are_whole() -> None:
    from rvrt_cli.weights import load_weights

    for name, path in find.shipped().items():
        weights = load_weights(path)
        assert weights.source == "safetensors, rvrt names"
        card = path.with_suffix(".md")
        assert card.exists(), f"the shipped weights {name} have no model card"
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card.read_text("utf-8"), (
            f"the card of {name} is that of another file"
        )
        assert name in SHIPPED_LABELS


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://host:port/", "http://[nonsense]/", "http://", "ftp://host/"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(NetworkError, match=r"no http:// or https:// address"):
        download_module.quoted_url(address)


def test_addresses_are_sent_in_ascii() -> None:
    quoted = download_module.quoted_url
    assert quoted("http://host:8000/ä b/x.pth?y=ö&z") == "http://host:8000/%C3%A4%20b/x.pth?y=%C3%B6&z"
    assert quoted("https://bücher.example/%C3%A4") == "https://xn--bcher-kva.example/%C3%A4"
    with pytest.raises(NetworkError, match="cannot be looked up"):
        quoted(f"http://{'ä' * 80}.example/")


@pytest.mark.skipif(os.name == "nt", reason="locks are taken with fcntl here")
def test_waiting_for_another_process_is_told(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from rvrt_cli.weights.lock import locked
with locked(Path({str(tmp_path / "lock")!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    told: list[bool] = []

    def waiting() -> None:
        told.append(True)
        holder.communicate()  # its stdin ends, and so does it

    with locked(tmp_path / "lock", waiting):
        assert told == [True]
    with locked(tmp_path / "lock", waiting):
        assert told == [True]


def test_a_lock_that_fails_for_another_reason_is_no_waiting(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        try_lock(descriptor)


def test_what_is_a_name_and_what_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find.weights_path("light-s").suffix == ".safetensors"
    (tmp_path / "mine").write_bytes(b"")
    assert find.weights_path("mine") == Path("mine")
    assert find.weights_path("other.pth") == Path("other.pth")
    with pytest.raises(WeightsError, match=r"No weights are called 'other'; choose one of light-s"):
        find.weights_path("other")


def test_what_a_name_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find.preset_of("denoise") == "denoise"
    assert find.preset_of("rvrt-vimeo") == "rvrt"
    with monkeypatch.context() as patch:
        patch.setattr(find, "PRESETS", {})
        assert find.preset_of("light-s") == "light-s"  # as the shipped file itself says
    with pytest.raises(WeightsError, match="other"):
        find.preset_of("other")


def test_the_full_light_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find, "cached", lambda entry: None)
    assert find.light_model() == "light-s"
    monkeypatch.setattr(find, "cached", lambda entry: tmp_path)
    assert find.light_model() == "light"
