"""A web server on loopback that serves one file and can misbehave in the ways real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """Serves ``data`` at any path. Every request's path and headers are kept in ``requests``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.etag: str | None = '"v1"'
        self.last_modified: str | None = None
        self.ranges = True
        self.cut_after: list[int] = []  # bytes after which each of the next answers breaks off
        self.statuses: list[int] = []  # statuses of the next answers; 200 serves the file
        self.send_length = True
        self.wrong_range = False
        self.redirect: str | None = None
        self.redirect_code = 302
        self.stall_after: int | None = None  # bytes after which an answer waits for ``go_on``
        self.go_on = threading.Event()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = dict(handler.headers.items())
        self.requests.append((handler.path, headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            handler.send_error(status)
            return
        if self.redirect:
            handler.send_response(self.redirect_code)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        start = self._start(headers)
        if start is not None and start >= len(self.data):
            handler.send_error(416)
            return
        body = self.data[start or 0 :]
        handler.send_response(200 if start is None else 206)
        if start is not None:
            first = start + 1 if self.wrong_range else start
            handler.send_header("Content-Range", f"bytes {first}-{len(self.data) - 1}/{len(self.data)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.last_modified:
            handler.send_header("Last-Modified", self.last_modified)
        if self.send_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
        if self.stall_after is not None:
            handler.wfile.write(body[: self.stall_after])
            handler.wfile.flush()
            body = body[self.stall_after :]
            self.go_on.wait(60)
        with suppress(OSError):  # the other side may be gone by now
            handler.wfile.write(body)

    def _start(self, headers: dict[str, str]) -> int | None:
        """First byte to serve, or None for the whole file."""
        wanted = headers.get("Range")
        if (
            not self.ranges
            or wanted is None
            or headers.get("If-Range") not in (self.etag, self.last_modified)
        ):
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def serve(data: bytes) -> Iterator[FileServer]:
    """Run a :class:`FileServer`; its address is in ``url`` (without a file name)."""
    server = FileServer(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
