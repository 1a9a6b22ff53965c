"""Chromium without a window, driven over its own DevTools protocol: pages as people see them.

Nothing but Debian's browser and the WebSocket library that comes with the web server.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import connect

START_SECONDS = 40
ANSWER_SECONDS = 30


@contextmanager
def _chromium(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Chromium of its own runs meanwhile; it finds no profile, no extensions and nobody to report to."""
    program = shutil.which("chromium")
    assert program, "no chromium: apt-get install chromium fonts-noto-cjk"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=zh-CN",
                "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank",
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def _announced(process: subprocess.Popen[bytes], file: Path) -> str:
    """Return the address of the DevTools that the browser writes down once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and len(lines := file.read_text().split()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError(f"chromium did not start; see {file.parents[1] / 'chromium.log'}")


class Browser:
    """A headless Chromium with a profile of its own; everything it asked for and complained of is kept.

    Attributes:
        requested: Addresses of everything that the pages asked for.
        complaints: What the console and the browser's security checks said.
    """

    def __init__(self, folder: Path) -> None:
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._folder = folder
        self._ids = itertools.count(1)
        self._session = ""
        self._open = ExitStack()

    def __enter__(self) -> Browser:
        with ExitStack() as opened:
            process = opened.enter_context(_chromium(self._folder))
            address = _announced(process, self._folder / "profile" / "DevToolsActivePort")
            self._socket = opened.enter_context(connect(address, max_size=None, proxy=None))
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Runtime", "Log"):
                self.call(f"{domain}.enable")
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to one command."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self._socket.recv(ANSWER_SECONDS))
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]["text"]))
        return event

    def cookie(self, address: str, name: str, value: str) -> None:
        """The browser holds a cookie of a site, as its login would have set it."""
        self.call("Network.setCookie", name=name, value=value, url=address, httpOnly=True)

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """The window has this size, and the reader's system this theme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=theme)

    def open(self, address: str) -> None:
        """The page at an address is loaded, its styles and scripts included."""
        self.call("Page.navigate", url=address)
        deadline = time.monotonic() + ANSWER_SECONDS
        while urlsplit(self.value("location.href")).path != urlsplit(address).path or not self.ready():
            assert time.monotonic() < deadline, f"{address} did not load"
            time.sleep(0.05)

    def ready(self) -> bool:
        """Whether the document is loaded."""
        return bool(self.value("document.readyState === 'complete'"))

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """An expression in the page has become true."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.1)

    def picture(self, path: Path, *, whole: bool = True) -> bytes:
        """Return a PNG of the page, from top to bottom or as the window shows it; it lies at ``path`` too."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        data = base64.b64decode(shot["data"])
        path.write_bytes(data)
        return data
