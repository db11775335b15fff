"""Download one file over HTTP(S): resumable, never mixing two versions of a file, honouring proxy settings."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from rvrt_cli.errors import NetworkError
from rvrt_cli.package import __version__
from rvrt_cli.system.files import explain_os_error, write_json
from rvrt_cli.weights.lock import NO_FOLLOW
from rvrt_cli.weights.raw import MAX_FILE_BYTES

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are there and the bytes there will be (None where the server does not say)."""

CHUNK_BYTES = 256 << 10
TIMEOUT_S = 30.0
FAILURES = 3
"""Attempts in a row that bring no byte before the download is given up."""

ATTEMPTS = 50
PAUSE_S = 1.0
"""Wait after the first such failure; doubled after the next."""


def download(url: str, part: Path, progress: Progress | None = None) -> None:
    """Fetch ``url`` into ``part``, continuing what an earlier, interrupted call left there.

    A part is continued only when the server confirms (``If-Range`` with a strong ETag or a date) that it still serves the
    same file; else it starts again. The partial file stays when the download fails, so that the next call can go on.

    Errors: :class:`NetworkError` in words; OutputError or DiskFullError when ``part`` cannot be written.
    """
    url = quoted_url(url)
    failure = ""
    failures = 0
    for _ in range(ATTEMPTS):
        before = _size(part)
        try:
            _attempt(url, part, progress)
            state_path(part).unlink(missing_ok=True)
            return
        except _Retry as error:
            failure = str(error)
        failures = 0 if _size(part) > before else failures + 1
        if failures == FAILURES:
            break
        time.sleep(PAUSE_S * 2 ** max(failures - 1, 0))
    kept = _size(part)
    hint = f"; {kept} bytes are kept, run the same command again to go on" if kept else ""
    raise NetworkError(f"{url} could not be downloaded: {failure}{hint}.")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def check_url(url: str) -> None:
    """Refuse what is no http(s) address: file: and ftp: would bypass proxies and verification."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises for one that is no number
        if "[" in parts.netloc:  # Python 3.10 does not look into the brackets itself
            ipaddress.IPv6Address(parts.hostname or "")
    except ValueError:  # an address in brackets that is none, a port of letters
        usable = False
    if not usable:
        raise NetworkError(f"{url!r} is no http:// or https:// address.")


def quoted_url(url: str) -> str:
    """An address as it is sent: international names in their ASCII form, other characters outside ASCII as ``%xx``.

    Errors: :class:`NetworkError` as :func:`check_url`, and for a host name that has no ASCII form.
    """
    check_url(url)
    parts = urllib.parse.urlsplit(url)
    safe = "%/:=&?~#+!$,;'@()*[]"  # what may already be quoted stays
    try:
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise NetworkError(f"{url!r} has a host name that cannot be looked up.") from error
    path, query = (urllib.parse.quote(part, safe=safe) for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))


def state_path(part: Path) -> Path:
    """Where the origin of a partial file is noted."""
    return part.with_name(part.name + ".json")


class _Retry(Exception):  # noqa: N818 - it never leaves this module
    """A failure that another attempt may mend, as the end of a sentence."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https to http."""

    def http_error_308(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """A permanent redirect that keeps the method, which Python 3.10 does not know; ours are GETs, where it is like 301."""
        return self.http_error_302(req, fp, 301, msg, headers)

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise NetworkError(f"{req.full_url} redirects to the unencrypted {newurl}; it was not followed.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS through the proxies of the environment; no other schemes."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass(frozen=True)
class _Answer:
    """What the server's headers say: where its bytes begin, how large the whole is, and how to recognise this version."""

    start: int
    total: int | None
    validator: str


def _attempt(url: str, part: Path, progress: Progress | None) -> None:
    validator = _noted_validator(url, part)
    have = _size(part) if validator else 0
    headers = {"User-Agent": f"rvrt/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        _explain_status(url, part, error)
    except (OSError, http.client.HTTPException) as error:
        raise _Retry(_explain_connection(error)) from error
    with response:
        answer = _read_headers(response, have)
        if answer.start == 0:
            state_path(part).unlink(missing_ok=True)
            if answer.validator:
                write_json(state_path(part), {"url": url, "validator": answer.validator}, follow=False)
        _receive(response, part, answer, progress)


def _explain_status(url: str, part: Path, error: urllib.error.HTTPError) -> NoReturn:
    if error.code == 416:
        part.unlink(missing_ok=True)
        raise _Retry("the partial file did not fit the server's (HTTP 416)") from error
    if error.code in (408, 425, 429) or error.code >= 500:
        raise _Retry(f"the server answered HTTP {error.code} {error.reason}") from error
    raise NetworkError(
        f"{url} could not be downloaded: the server answered HTTP {error.code} {error.reason}; "
        "try --mirror URL, or download it by other means and use --from FILE."
    ) from error


def _explain_connection(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{reason} (check the connection and HTTPS_PROXY, or use --mirror URL or --from FILE)"


def _read_headers(response: http.client.HTTPResponse, have: int) -> _Answer:
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    etag = response.headers.get("ETag", "")
    strong = (
        etag if etag.startswith('"') else ""
    )  # a weak one (W/"...") must not be used for ranges, RFC 9110 13.1.5
    validator = strong or response.headers.get("Last-Modified", "")
    start, total = 0, size
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            raise _Retry("the server sent another part of the file than it was asked for")
        start = have
        total = int(match[3]) if match[3] != "*" else None if size is None else have + size
    elif response.status != 200:
        raise _Retry(f"the server answered HTTP {response.status}")
    if total is not None and total > MAX_FILE_BYTES:
        raise NetworkError(
            f"The server offers {total} bytes, more than any RVRT weight file; it was not downloaded."
        )
    return _Answer(start, total, validator)


def _receive(
    response: http.client.HTTPResponse, part: Path, answer: _Answer, progress: Progress | None
) -> None:
    """Write the response's body at its place in ``part``."""
    received = answer.start
    flags = (
        os.O_WRONLY
        | os.O_CREAT
        | NO_FOLLOW
        | (os.O_APPEND if answer.start else os.O_TRUNC)
        | getattr(os, "O_BINARY", 0)
    )
    try:
        file = os.fdopen(os.open(part, flags, 0o644), "wb")
    except OSError as error:
        raise explain_os_error(error, part) from error
    with file:
        while True:
            try:
                chunk = response.read1(CHUNK_BYTES)  # what has arrived, so that a kill loses nothing of it
            except (OSError, http.client.HTTPException) as error:
                raise _Retry(f"the connection broke after {received} bytes") from error
            if not chunk:
                break
            received += len(chunk)
            if received > MAX_FILE_BYTES:
                raise NetworkError(
                    "The server sends more bytes than any RVRT weight file has; the download was stopped."
                )
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise explain_os_error(error, part) from error
            if progress is not None:
                progress(received, answer.total)
        os.fsync(file.fileno())
    if answer.total is not None and received != answer.total:
        raise _Retry(f"the connection broke after {received} of {answer.total} bytes")


def _noted_validator(url: str, part: Path) -> str:
    """The validator under which the partial file was begun; empty where it is unknown or from another address."""
    try:
        state = json.loads(state_path(part).read_bytes())
        return str(state["validator"]) if state["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
