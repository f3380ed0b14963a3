"""The answers are those of the Python API, whatever the ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from shop import ATTACK, CATEGORIES, ITEMS, SLASHED, TITLES, UMLAUT, category, running, train_model

from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.server import schemas
from ld4mrec_cli.server.schemas import RecommendAnswer, RecommendRequest
from ld4mrec_cli.server.settings import Limits, ServerSettings


def entries(ranked):
    return [(entry.item, entry.title, pytest.approx(entry.score)) for entry in ranked.items]


def shown(one):
    return [(entry["item"], entry["title"], entry["score"]) for entry in one["items"]]


def test_users_and_histories_get_the_lists_of_the_python_api(client, recommender):
    histories = [
        {"items": [SLASHED, UMLAUT]},
        {"items": []},
        {"user": "user3", "items": ["item5"]},
        {"user": "new", "items": ["item4"]},
    ]
    answer = client.recommend(users=["user7", "user2"], histories=histories, k=4)
    RecommendAnswer.model_validate(answer.json)
    lists = answer.json["lists"]
    assert [one["user"] for one in lists] == ["user7", "user2", None, None, "user3", "new"]
    expected = [recommender.recommend("user7", k=4), recommender.recommend("user2", k=4)]
    expected += [recommender.recommend(history=items["items"], k=4) for items in histories[:2]]
    named = {"user3": ["item5"], "new": ["item4"]}
    expected += list(recommender.for_histories(named, 4))
    assert [shown(one) for one in lists] == [entries(ranked) for ranked in expected]
    assert [one["is_popular"] for one in lists] == [False, False, False, True, False, False]


def test_a_single_user_gets_the_same_list_as_among_others(client, recommender):
    alone = client.recommend(users=["user9"], k=5).json["lists"][0]
    together = client.recommend(users=["user8", "user9"], k=5).json["lists"][1]
    assert alone == together
    seen = client.recommend(users=["user9"], k=20, include_seen=True).json["lists"][0]
    assert len(seen["items"]) == len(ITEMS)


def test_reasons_add_up_and_have_titles(client, recommender):
    answer = client.recommend(users=["user1"], k=3, reasons=20).json["lists"][0]
    expected = recommender.recommend("user1", k=3, reasons=20)
    for found, entry in zip(answer["items"], expected.items, strict=True):
        assert [reason["item"] for reason in found["reasons"]] == [r.item for r in entry.reasons]
        total = sum(reason["share"] for reason in found["reasons"])
        assert total == pytest.approx(found["score"], rel=1e-4)
        assert all(reason["title"] for reason in found["reasons"])


def test_filters_hold(client):
    only = {"items": [*ITEMS[:12], "unheard-of"], "exclude": [ITEMS[1]]}
    where = {"where": {"category": ["chairs"]}, "exclude_for": {"user0": [ITEMS[3]]}}
    answer = client.recommend(users=["user0", "user2"], k=20, filters={**only, **where}).json
    for one in answer["lists"]:
        items = {entry["item"] for entry in one["items"]}
        assert items
        assert all(category(item) == "chairs" and item in ITEMS[:12] for item in items)
        assert ITEMS[1] not in items
        assert (ITEMS[3] in items) == (one["user"] == "user2")
    assert answer["notes"] == ["filters.items: 1 of 13 items are unknown and are ignored"]


def test_unknown_ids_are_skipped_only_where_asked(client):
    body = {"users": ["nobody", "user1"], "histories": [{"items": ["nothing", "item4"]}], "k": 2}
    answer = client.recommend(**body)
    assert (answer.status, answer.error) == (404, "unknown user 'nobody'")
    answer = client.recommend(histories=body["histories"])
    assert (answer.status, answer.error) == (404, "unknown item 'nothing'")
    answer = client.recommend(**body, skip_unknown=True).json
    assert [one["user"] for one in answer["lists"]] == ["user1", None]
    assert answer["notes"] == [
        "1 unknown user is skipped: 'nobody'",
        "1 unknown item is skipped: 'nothing'",
    ]


@pytest.mark.parametrize("item", [SLASHED, UMLAUT, ATTACK], ids=["slash", "umlaut", "markup"])
def test_items_of_any_name_are_found_by_address(client, recommender, item):
    address = quote(item, safe="")
    answer = client.get(f"/items/{address}").json
    schemas.ItemAnswer.model_validate(answer)
    assert (answer["item"], answer["title"]) == (item, TITLES[item] or None)
    assert answer["columns"]["category"] == category(item)
    n_users = int(recommender.known[:, recommender.items.index(item)].sum())
    assert answer["n_users"] == n_users > 0
    similar = client.get(f"/similar/{address}?k=3").json
    schemas.SimilarAnswer.model_validate(similar)
    assert shown(similar) == entries(recommender.similar(item, 3))
    kind = category(item)
    only = client.get(f"/similar/{address}?k=20&where=category={kind}&where=category=none").json
    assert only["items"]
    assert all(category(entry["item"]) == kind for entry in only["items"])
    other = next(one for one in CATEGORIES if one != kind)
    rest = client.get(f"/similar/{address}?k=20&where=category={other}").json["items"]
    assert not {entry["item"] for entry in rest} & {entry["item"] for entry in only["items"]}


def test_search_ignores_case_and_accents(client):
    found = client.get("/items?query=" + quote("KUCHE stuhle")).json
    schemas.ItemsAnswer.model_validate(found)
    assert [entry["item"] for entry in found["items"]] == [UMLAUT]
    by_id = client.get("/items?query=item1&limit=3").json["items"]
    assert len(by_id) == 3
    assert all("item1" in entry["item"] for entry in by_id)
    assert client.get("/items?query=.*").json == {"items": []}
    assert len(client.get("/items").json["items"]) == 20
    users = client.get("/users?query=USER1&limit=2").json
    schemas.UsersAnswer.model_validate(users)
    assert users == {"users": ["user1", "user10"]}


def test_a_user_has_a_history(client, recommender):
    answer = client.get("/users/user5").json
    schemas.UserAnswer.model_validate(answer)
    row = recommender.known[recommender.users.index("user5")]
    assert [entry["item"] for entry in answer["history"]] == [
        recommender.items[at] for at in row.indices
    ]
    assert client.get("/users/user5?limit=1").json["n_items"] == row.nnz > 1
    assert client.get("/users/nobody").error == "unknown user 'nobody'"


def test_info_and_health_describe_the_run(client, run):
    info = client.get("/info").json
    schemas.InfoAnswer.model_validate(info)
    assert (info["run"], info["model"], info["n_users"], info["n_items"]) == (
        run.name,
        "ease",
        40,
        20,
    )
    assert info["columns"] == [{"name": "category", "values": ["lamps", "chairs"]}] or info[
        "columns"
    ] == [{"name": "category", "values": ["chairs", "lamps"]}]
    assert client.get("/health").json == {"status": "ok", "run": run.name, "reload_error": None}


def test_metrics_count_requests_by_route(client):
    client.get(f"/items/{UMLAUT.encode('ascii', 'ignore').decode()}")
    text = client.get("/metrics").content.decode()
    assert 'route="/items/{item:path}",status="404"' in text
    assert 'ld4mrec_run_info{model="ease",run="run"} 1.0' in text
    assert "st" + "hle" not in text
    before = float(text.split("\nld4mrec_lists_total ")[1].split("\n")[0])
    client.recommend(users=["user1", "user2"])
    client.recommend(users=["user1"])
    text = client.get("/metrics").content.decode()
    assert float(text.split("\nld4mrec_lists_total ")[1].split("\n")[0]) == before + 3


def test_the_description_has_examples_that_are_valid(client):
    described = client.get("/openapi.json").json
    assert set(described["paths"]) == {
        "/recommend",
        "/similar/{item}",
        "/items",
        "/items/{item}",
        "/users",
        "/users/{user}",
        "/images/{item}",
        "/info",
        "/health",
        "/metrics",
    }
    models = described["components"]["schemas"]
    for example in models["RecommendRequest"]["examples"]:
        RecommendRequest.model_validate(example)
    errors = [
        operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
        for methods in described["paths"].values()
        for operation in methods.values()
    ]
    assert {error.rpartition("/")[2] for error in errors} == {"ErrorAnswer"}


@pytest.mark.slow
def test_a_model_without_reasons_says_so_in_a_line(shop, tmp_path):
    run = train_model(shop / "data", tmp_path / "run", "popularity")
    with running(run) as started:
        client = started.client
        info = client.get("/info").json
        assert not info["has_reasons"]
        assert not info["has_similar"]
        assert MODELS["popularity"].has_reasons is False
        answer = client.recommend(users=["user1"], reasons=2)
        assert answer.status == 400
        assert "has no reasons" in answer.error
        assert client.get("/similar/item1").status == 400
        assert client.recommend(users=["user1"], k=2).status == 200


@pytest.mark.slow
def test_answers_at_the_same_time_are_those_one_after_the_other(shop, tmp_path):
    tiny = {"model": {"hidden_dim": 16, "ials": True, "ials_dim": 8}}
    run = train_model(
        shop / "data", tmp_path / "run", "ld4mrec", training={"max_epochs": 1}, **tiny
    )
    bodies = [
        {"users": [f"user{n}"], "k": 5, "reasons": 2 if n % 3 == 0 else 0} for n in range(40)
    ] + [{"histories": [{"items": [item]}], "k": 5} for item in ITEMS]
    settings = ServerSettings(Limits(workers=3), reload_seconds=0)
    with running(run, settings) as started, ThreadPoolExecutor(8) as clients:
        client = started.client
        together = list(clients.map(lambda body: client.recommend(**body).json, bodies))
        alone = [client.recommend(**body).json for body in bodies]
    for first, second in zip(together, alone, strict=True):
        (one,), (other,) = first["lists"], second["lists"]
        assert [entry["score"] for entry in one["items"]] == pytest.approx(
            [entry["score"] for entry in other["items"]], rel=1e-4
        )
        assert [entry["reasons"] is None for entry in one["items"]] == [
            entry["reasons"] is None for entry in other["items"]
        ]
