"""`ld4mrec serve` as a process: its start, its end, and what it refuses."""

from __future__ import annotations

import http.client
import importlib.util
import json
import re
import signal
import socket
import threading
import time

import pytest
from cli_shell import shell

from ld4mrec_cli.cli import serve
from ld4mrec_cli.cli.app import run as run_command


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run that starts fast."""
    root = tmp_path_factory.mktemp("serve")
    rows = [f"u{user},i{(user * 3 + step) % 12}" for user in range(20) for step in range(5)]
    (root / "log.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    data, run = root / "data", root / "run"
    raw = ["--raw", str(root / "log.csv"), "--k-core", "0"]
    assert run_command(["prepare", *raw, "--out", str(data)]) == 0
    assert run_command(["train", "--data", str(data), "--model", "ease", "--run", str(run)]) == 0
    return run


class Process:
    """A server process that has started."""

    def __init__(self, run, *options):
        self.process = shell("serve", "--run", run, "--port", 0, *options, cwd=run.parent)
        self.first = self.process.stderr.readline()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.first)[1])

    def ask(self, body, path="/recommend"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_it_answers_and_ends_well_at_a_signal(small_run, number):
    server = Process(small_run, "--log-format", "json")
    status, answer = server.ask({"users": ["u1"], "k": 3})
    assert status == 200
    assert len(answer["lists"][0]["items"]) == 3
    code, out, err = server.end(getattr(signal, number))
    assert (code, out) == (0, "")
    lines = [json.loads(line) for line in [server.first, *err.splitlines()]]
    assert lines[0]["event"].startswith("serves ")
    assert lines[-1]["event"] == "has ended"
    (request,) = [line for line in lines if "route" in line]
    assert (request["method"], request["route"], request["status"]) == ("POST", "/recommend", 200)
    assert "u1" not in err


@pytest.mark.slow
def test_a_request_in_progress_ends_before_the_server_does(small_run):
    """The body comes in two parts, the second after the signal."""
    server = Process(small_run, "--no-log-requests")
    body = json.dumps({"users": ["u1"], "k": 3}).encode()
    head = (
        "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head.encode() + body[:10])
        time.sleep(0.3)
        ended = []
        thread = threading.Thread(target=lambda: ended.append(server.end()))
        thread.start()
        time.sleep(0.3)
        assert not ended
        connection.sendall(body[10:])
        connection.settimeout(10)
        answer = connection.recv(100_000)
        thread.join(30)
    assert answer.startswith(b"HTTP/1.1 200")
    assert ended[0][0] == 0


def test_a_port_in_use_is_one_line(small_run, fails):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert fails("serve", "--run", small_run, "--port", port) == (
            f"error: port {port} of 127.0.0.1 is in use. Choose another --port\n"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "no-such-host.invalid"], "the host 'no-such-host.invalid' cannot be found"),
        (["--host", "192.0.2.1"], "192.0.2.1:0 cannot be used"),
        (["--token-file", "nothing"], "nothing: no such file. Make one with `openssl"),
        (["--images", "nowhere"], "nowhere: has no pictures. Name the directory that has"),
        (["--max-k", "0"], "Invalid value for '--max-k'"),
        (["--device", "cuda:99"], ""),
    ],
    ids=["host", "address", "token", "images", "max-k", "device"],
)
def test_wrong_options_are_one_line(small_run, fails, options, message):
    assert message in fails("serve", "--run", small_run, "--port", 0, *options)


def test_a_missing_run_is_one_line(fails, tmp_path):
    assert "no such run directory" in fails("serve", "--run", tmp_path / "run", "--port", 0)
    assert "there is no last run" in fails("serve", "--port", 0)


def test_a_missing_extra_is_one_line(small_run, fails, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        serve.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    assert fails("serve", "--run", small_run) == (
        "error: `serve` needs uvicorn. Install the extra: pip install 'ld4mrec[serve]'\n"
    )
