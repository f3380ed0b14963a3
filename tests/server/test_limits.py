"""What is too much or malformed is refused in one line, and the server goes on."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from shop import running, wait_until

from ld4mrec_cli.server import answers
from ld4mrec_cli.server.settings import Limits, ServerSettings

LIMITS = Limits(
    max_k=5, max_lists=3, max_reasons=2, max_body=2000, timeout=0.5, workers=1, max_waiting=2
)


@pytest.fixture(scope="module")
def server(run):
    with running(run, ServerSettings(LIMITS, reload_seconds=0)) as started:
        yield started


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "no users given. Give users, or histories"),
        ({"users": ["user1"], "k": 6}, 400, "k: 6 is above this server's limit of 5"),
        ({"users": ["user1"], "reasons": 3}, 400, "reasons: 3 is above this server's limit of 2"),
        (
            {"users": ["user1", "user2"], "histories": [{"items": []}, {"items": []}]},
            400,
            "users and histories: 4 is above this server's limit of 3",
        ),
        (
            {"histories": [{"user": "a", "items": []}, {"user": "a", "items": []}]},
            400,
            "user 'a' has two histories. Join them",
        ),
        ({"users": ["user1"], "k": 0}, 422, "k: input should be greater than or equal to 1"),
        ({"users": [1]}, 422, "users.0: input should be a valid string"),
        ({"user": ["user1"]}, 422, "user: extra inputs are not permitted"),
        (
            {"users": ["user1"], "filters": {"where": {"category": []}}},
            400,
            "filters.where: column 'category' has no value",
        ),
        (
            {"users": ["user1"], "filters": {"where": {"colour": ["red"]}}},
            400,
            "the items have no column 'colour'. Known: category",
        ),
        (
            {"users": ["user1"], "filters": {"items": ["nothing"]}},
            400,
            "none of the 1 items is known",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:20].strip(),
)
def test_a_wrong_body_is_refused(client, body, status, message):
    answer = client.recommend(**body)
    assert (answer.status, answer.error) == (status, message)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/similar/item1?k=6", 400, "k: 6 is above this server's limit of 5"),
        ("/similar/item1?k=x", 422, "k: input should be a valid integer"),
        ("/similar/item1?where=category", 400, "where 'category' is not of that form"),
        ("/items?limit=1000", 422, "limit: input should be less than or equal to 100"),
        ("/similar/item%1B1", 404, "unknown item 'item\N{REPLACEMENT CHARACTER}1'"),
        ("/nowhere", 404, "Not Found"),
    ],
    ids=["k", "number", "where", "limit", "control", "path"],
)
def test_a_wrong_address_is_refused(client, path, status, message):
    answer = client.get(path)
    assert answer.status == status
    assert answer.error.startswith(message)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"users": ["\\ud800"]}', "\xff"])
def test_a_body_that_is_not_of_the_form_is_refused(client, text):
    headers = {"Content-Type": "application/json"}
    answer = client.ask("POST", "/recommend", text.encode("latin-1"), headers)
    assert answer.status in (400, 422)
    assert answer.error
    assert client.recommend(users=["user1"]).status in (200, 400)


def test_a_long_body_is_refused_before_it_has_come(server):
    port = server.client.port
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2001\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_long_body_in_chunks_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.client.port), 5) as connection:
        head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"7d1\r\n" + b"x" * 2001 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.client.port), 5) as connection:
        head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_slow_answer_is_refused_and_its_worker_comes_back(server, client, monkeypatch):
    may_go_on, find = threading.Event(), answers.find_similar

    def wait(*arguments):
        may_go_on.wait(10)
        return find(*arguments)

    monkeypatch.setattr(answers, "find_similar", wait)
    with ThreadPoolExecutor(5) as clients:
        found = list(clients.map(client.get, ["/similar/item1?k=2"] * 5))
    assert sorted(answer.status for answer in found) == [503, 503, 504, 504, 504]
    busy = next(answer for answer in found if answer.status == 503)
    assert busy.headers["retry-after"] == "1"
    assert busy.error == "too many requests wait; try again later"
    may_go_on.set()
    wait_until(lambda: server.app.state.server.pool.n_open == 0)
    assert client.get("/similar/item1?k=2").status == 200


def test_a_bug_is_said_to_the_log_and_not_to_the_client(client, monkeypatch, capsys):
    def fail(*arguments):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(answers, "find_similar", fail)
    answer = client.get("/similar/item1?k=2")
    assert (answer.status, answer.error) == (
        500,
        "this is a bug in ld4mrec; the log of the server says more",
    )
    assert "ZeroDivisionError: secret" in capsys.readouterr().err
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_error_messages_are_bounded(client):
    answer = client.recommend(users=["x" * 900])
    assert answer.status == 404
    assert len(json.dumps(answer.json)) < 600
