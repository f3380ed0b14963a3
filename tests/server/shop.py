"""A small shop with awkward ids and titles, and a server of a run of it in a thread."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from ld4mrec_cli.config import config_from_mapping
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.server.app import create_app
from ld4mrec_cli.server.logs import ServerLog
from ld4mrec_cli.server.process import bind
from ld4mrec_cli.server.run_source import RunSource
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.server.settings import ServerSettings
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.training.session import Callbacks, train

SLASHED, UMLAUT = "a/b c?d#e", "stühle"
ATTACK = "<img src=x onerror=document.title='hacked'><b id=hacked>bold</b>"
"""An id that would run code, were it put into a page as it stands. `prepare` cleans titles."""
ITEMS = [SLASHED, UMLAUT, ATTACK, *(f"item{n}" for n in range(17))]
TITLES = {SLASHED: "Lamp of glass", UMLAUT: "Stühle für die Küche", ATTACK: ""}
CATEGORIES = ("lamps", "chairs")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090"
    "7753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
"""A red pixel."""


def category(item: str) -> str:
    return CATEGORIES[ITEMS.index(item) % 2]


def write_raw(raw: Path) -> None:
    """Users of two tastes: the even items and the odd ones."""
    raw.mkdir()
    rows = [
        f"user{user},{ITEMS[(2 * step * (1 + user // 20) + 2 * user + user % 2) % 20]}"
        for user in range(40)
        for step in range(5)
    ]
    quoted = sorted({f'"{row.split(",")[0]}","{row.split(",")[1]}"' for row in rows})
    (raw / "interactions.csv").write_text("user,item\n" + "\n".join(quoted) + "\n")
    lines = [
        '"{}","{}",{}'.format(item, TITLES.get(item, f"a {item}").replace('"', '""'), kind)
        for item, kind in ((item, category(item)) for item in ITEMS)
    ]
    (raw / "items.csv").write_text("item,title,category\n" + "\n".join(lines) + "\n")
    (raw / "images").mkdir()
    for item in (SLASHED, UMLAUT, "item0"):
        (raw / "images" / f"{quote(item, safe='')}.png").write_bytes(PNG)
    (raw / "images" / "item1.png").write_text("<svg>no picture</svg>")
    (raw.parent / "secret.png").write_bytes(PNG)
    (raw / "images" / "item2.png").symlink_to(raw.parent / "secret.png")


def prepare_shop(directory: Path) -> Path:
    """Raw files and a dataset in a directory; returns the dataset."""
    write_raw(directory / "raw")
    prepare(directory / "raw", directory / "data", PrepareConfig(k_core=0))
    return directory / "data"


def train_model(data: Path, run: Path, name: str = "ease", **sections: Any) -> Path:
    values = {"model_name": name, "data": {"path": str(data)}, **sections}
    train(config_from_mapping(values), run, Callbacks())
    return run


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        assert list(self.json) == ["error"]
        assert "\n" not in self.json["error"]
        return self.json["error"]


class Client:
    """Speaks HTTP to a server."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.port = port
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def recommend(self, **body: Any) -> Answer:
        return self.ask(
            "POST", "/recommend", json.dumps(body), {"Content-Type": "application/json"}
        )


@dataclass
class RunningServer:
    client: Client
    source: RunSource
    app: Any
    server: uvicorn.Server


@contextmanager
def running(
    run: Path, settings: ServerSettings | None = None, source: RunSource | None = None
) -> Iterator[RunningServer]:
    """Serve a run in a thread."""
    settings = settings or ServerSettings(reload_seconds=0)
    log = ServerLog(requests=False)
    source = source or RunSource(run, lambda path: ServedRun(path, "cpu", settings.images), log)
    app = create_app(source, settings, log)
    with bind("127.0.0.1", 0) as bound:
        config = uvicorn.Config(app, log_config=None, lifespan="on", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            port = bound.getsockname()[1]
            yield RunningServer(Client(port, settings.token), source, app, server)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_until(is_done: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
