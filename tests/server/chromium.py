"""A headless Chromium, steered over its DevTools pipe by the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path),
    None,
)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
START = (
    "import fcntl, os, sys;"
    "read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]);"
    "os.dup2(read, 3); os.dup2(write, 4);"
    "os.execv(sys.argv[3], sys.argv[3:])"
)
"""Program that becomes Chromium, whose pipe is on the descriptors 3 and 4."""
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "ArrowDown": ("ArrowDown", 40, ""),
    "Escape": ("Escape", 27, ""),
}


class Page:
    """One tab."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._n_calls = 0
        self._session: str | None = None
        self.requests: list[str] = []
        """Addresses that the page has asked for."""
        self.complaints: list[str] = []
        """Errors in the console, such as violations of the Content-Security-Policy."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Result of a DevTools method."""
        self._n_calls += 1
        message = {"id": self._n_calls, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(30)
            if answer.get("id") == self._n_calls:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], seconds)[0], "Chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"]["text"])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["source"] != "network":
            self.complaints.append(parameters["entry"]["text"])

    def attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Emulate a screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Load an address anew, also one that differs in its hash alone."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Value of an expression."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"not true: {script}; {self.complaints}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Visible text of an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector: str) -> list[str]:
        """Visible texts of all elements."""
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.run(f"{elements}.map((one) => one.innerText)")

    def focused(self) -> str:
        """Id of what has the focus."""
        return self.run("document.activeElement.id")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, *names: str) -> None:
        """Press keys."""
        for name in names:
            key, code, text = KEYS[name]
            event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def shoot(self, path: Path) -> None:
        """Write a picture of the window."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def open_page(profile: Path) -> Iterator[Page]:
    """Start Chromium with a directory for its profile."""
    assert CHROMIUM is not None
    to_read, write = os.pipe()
    read, to_write = os.pipe()

    process = subprocess.Popen(
        [
            *[sys.executable, "-c", START, str(to_read), str(to_write), CHROMIUM],
            *[*OPTIONS, *QUIET, f"--user-data-dir={profile}"],
        ],
        stderr=subprocess.DEVNULL,
        pass_fds=(to_read, to_write),
    )
    os.close(to_read)
    os.close(to_write)
    page = Page(write, read)
    try:
        page.attach()
        yield page
    finally:
        process.terminate()
        process.wait(20)
        os.close(write)
        os.close(read)
