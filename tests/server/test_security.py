"""Who may ask, and what a browser may do with the answers."""

from __future__ import annotations

import re
from importlib.resources import files
from urllib.parse import quote

import pytest
from shop import PNG, SLASHED, UMLAUT, running

from ld4mrec_cli.server.pages import FILES
from ld4mrec_cli.server.pictures import Pictures
from ld4mrec_cli.server.settings import ServerSettings, allowed_hosts, read_token
from ld4mrec_cli.utils.errors import UserError

TOKEN = "a-token-of-some-length"
DATA = [
    "/info",
    "/metrics",
    "/items",
    "/items/item1",
    "/users",
    "/users/user1",
    "/similar/item1",
    "/images/item0",
    "/nowhere",
]


@pytest.fixture(scope="module")
def guarded(run):
    with running(run, ServerSettings(token=TOKEN, reload_seconds=0)) as started:
        yield started.client


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"],
)
def test_data_needs_the_token(guarded, value):
    headers = {"Authorization": value.encode("latin-1")}
    for path in DATA:
        answer = guarded.ask("GET", path, headers=headers)
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.error in ("wrong token", "a token is needed")
    assert guarded.ask("POST", "/recommend", b"{}", headers).status == 401


def test_with_the_token_all_is_answered(guarded, run):
    assert [guarded.get(path).status for path in DATA] == [200] * 7 + [404, 404]
    assert guarded.recommend(users=["user1"]).status == 200
    assert guarded.get("/health").json["run"] == run.name


def test_what_holds_no_data_needs_no_token(guarded):
    none = {"Authorization": ""}
    for path in [*FILES, "/openapi.json"]:
        assert guarded.ask("GET", path, headers=none).status == 200
    assert guarded.ask("GET", "/health", headers=none).json == {
        "status": "ok",
        "run": None,
        "reload_error": None,
    }


@pytest.mark.parametrize("path", ["/", "/info", "/nowhere", "/images/item0", "/recommend"])
def test_every_answer_has_safe_headers(client, path):
    headers = {name.lower(): value for name, value in client.get(path).headers.items()}
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    stored = {"/": "no-cache", "/images/item0": "private, max-age=86400"}
    assert headers["cache-control"] == stored.get(path, "no-store")
    assert "access-control-allow-origin" not in headers


def test_only_names_of_this_machine_are_answered(run):
    hosts = allowed_hosts("127.0.0.1", None, ())
    with running(run, ServerSettings(hosts=hosts, reload_seconds=0)) as started:
        get = started.client.get
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LocalHost"):
            assert get("/info", Host=host).status == 200, host
        for host in ("evil.example", "localhost.evil.example", "", "[::2]", "127.0.0.1.evil"):
            assert get("/info", Host=host).status == 421, host


def test_hosts_are_free_with_a_token_or_another_address():
    assert allowed_hosts("127.0.0.1", TOKEN, ()) is None
    assert allowed_hosts("0.0.0.0", None, ()) is None
    assert allowed_hosts("0.0.0.0", None, ["shop.example"])[-1] == "shop.example"


def test_pictures_come_from_the_folder_alone(client):
    for item in (SLASHED, UMLAUT, "item0"):
        address = client.get(f"/items/{quote(item, safe='')}").json["image"]
        answer = client.get(f"/{address}")
        assert (answer.status, answer.content) == (200, PNG)
        assert answer.headers["content-type"] == "image/png"
    assert client.get("/images/item1").status == 404  # text that is named .png
    assert client.get("/images/item2").status == 404  # a link out of the folder
    assert client.get("/images/item3").status == 404  # none
    for path in ("..%2Fsecret", "%2E%2E%2Fsecret.png", "../secret.png", "%2Fetc%2Fpasswd"):
        assert client.get(f"/images/{path}").status == 404, path


def test_a_folder_without_pictures_is_an_error(shop, recommender, tmp_path):
    items = recommender.items
    assert len(Pictures(shop / "raw" / "images", items)) == 5
    with pytest.raises(UserError, match="has no pictures"):
        Pictures(tmp_path, items)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "other.png").write_bytes(PNG)
    with pytest.raises(UserError, match="has no picture of an item of the run"):
        Pictures(tmp_path, items)


def test_the_pages_name_no_other_host():
    static = files("ld4mrec_cli.server") / "static"
    names = {entry.name for entry in static.iterdir()}
    assert names == set(FILES.values())
    for name in names:
        text = (static / name).read_text(encoding="utf-8")
        found = re.findall(r"(?:https?:)?//[\w.]+", text.replace("http://www.w3.org/2000/svg", ""))
        assert not [address for address in found if "." in address], name
        assert "innerHTML" not in text
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", text), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the token has 0 characters"),
        ("short", "the token has 5 characters"),
        ("a token with spaces in it", "characters that no HTTP header may have"),
        ("ein-schlüssel-mit-umlaut", "characters that no HTTP header may have"),
    ],
    ids=["empty", "short", "spaces", "umlaut"],
)
def test_a_bad_token_is_refused(tmp_path, monkeypatch, text, message):
    path = tmp_path / "token.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_token(path)
    monkeypatch.setenv("LD4MREC_TOKEN", text)
    with pytest.raises(UserError, match=f"LD4MREC_TOKEN.*{message}"):
        read_token(None)


def test_the_token_of_a_file_goes_before_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LD4MREC_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"
    path = tmp_path / "token.txt"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    with pytest.raises(UserError, match="no such file"):
        read_token(tmp_path / "other")
