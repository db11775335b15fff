"""A real headless Chromium for tests, driven over WebDriver's own HTTP interface; nothing but Debian's packages is needed."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name of the field that holds an element's id
KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "home": "\ue011", "end": "\ue010",
        "page up": "\ue00e", "page down": "\ue00f", "tab": "\ue004", "space": " "}  # fmt: skip

_HERE = urllib.request.build_opener(
    urllib.request.ProxyHandler({})
)  # a proxy knows nothing of this machine's ports


def missing_browser() -> str:
    """Why no page can be looked at here; empty when it can."""
    if not shutil.which("chromedriver"):
        return "no chromedriver (Debian: apt-get install chromium chromium-driver)"
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        return "no Chromium (Debian: apt-get install chromium)"
    return ""


class Browser:
    """One window. Errors of WebDriver are :class:`RuntimeError`."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
                     f"--user-data-dir={profile}"]  # fmt: skip
        chosen = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "args": arguments,
                "binary": shutil.which("chromium") or shutil.which("google-chrome"),
            },
        }
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": chosen}})
        self._session = f"/session/{made['sessionId']}"

    def _call(self, method: str, path: str, value: Any = None) -> Any:
        body = None if method in ("GET", "DELETE") else json.dumps(value or {}).encode()
        request = urllib.request.Request(
            self._base + path, body, {"Content-Type": "application/json"}, method=method
        )
        try:
            with _HERE.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def do(self, method: str, path: str, value: Any = None) -> Any:
        """A command of this session."""
        return self._call(method, self._session + path, value)

    def open(self, url: str) -> None:
        self.do("POST", "/url", {"url": url})

    def script(self, text: str, *arguments: Any) -> Any:
        """The value of ``return …`` in the page."""
        return self.do("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def wait(self, text: str, seconds: float = 30) -> None:
        """Until ``return …`` is true in the page."""
        deadline = time.monotonic() + seconds
        while not self.script(text):
            if time.monotonic() > deadline:
                raise TimeoutError(text)
            time.sleep(0.05)

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, width: int, height: int, scheme: str = "light", scale: float = 1) -> None:
        """Size of the page in CSS pixels, its colour scheme and the screen's pixels for each of them."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def element(self, selector: str) -> str:
        return str(self.do("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def click(self, selector: str) -> None:
        self.do("POST", f"/element/{self.element(selector)}/click")

    def press(self, *keys: str) -> None:
        """Keys on whatever has the focus: names of :data:`KEYS`, or characters."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")
        ]
        self.do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse from one point of the window to another, with its button down."""
        x, y = (round(value) for value in start)
        to_x, to_y = (round(value) for value in end)
        actions = [
            {"type": "pointerMove", "x": x, "y": y, "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": (x + to_x) // 2, "y": (y + to_y) // 2, "duration": 20},
            {"type": "pointerMove", "x": to_x, "y": to_y, "duration": 20},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}
        self.do("POST", "/actions", {"actions": [mouse]})

    def screenshot(self) -> bytes:
        """PNG of the window."""
        return base64.b64decode(self.do("GET", "/screenshot"))

    def log(self) -> list[str]:
        """What the console and the network said since the last call: errors and warnings."""
        entries = self.do("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def quit(self) -> None:
        self.do("DELETE", "")


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in ``folder``, ended at the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with _HERE.open(f"http://127.0.0.1:{port}/status", timeout=5):
                    break
            except OSError:
                if time.monotonic() > deadline or driver.poll() is not None:
                    raise
                time.sleep(0.1)
        browser = Browser(port, folder / "profile")
        try:
            yield browser
        finally:
            browser.quit()
    finally:
        driver.terminate()
        driver.wait()
