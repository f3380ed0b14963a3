"""Lines on stderr: what happens to the server, and each request."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from ld4mrec_cli.utils.text import printable

LogFormat = Literal["plain", "json"]


class ServerLog:
    """Writes a line per event, as text or as a JSON object."""

    def __init__(self, format: LogFormat = "plain", *, requests: bool = True) -> None:
        """``requests``: whether requests have lines of their own."""
        self._is_json = format == "json"
        self._has_requests = requests

    def __call__(self, text: str) -> None:
        """Say what happened."""
        self._write(printable(text), {"event": text})

    def request(self, client: str, method: str, route: str, status: int, seconds: float) -> None:
        """Say what was asked: the route, not the ids, which are about persons."""
        if not self._has_requests:
            return
        milliseconds = round(seconds * 1e3, 1)
        text = printable(f"{client} {method} {route} {status} {milliseconds} ms")
        fields = {"client": client, "method": method, "route": route, "status": status}
        self._write(text, {**fields, "milliseconds": milliseconds})

    def _write(self, text: str, fields: dict[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": time, **fields}) if self._is_json else f"{time} {text}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
