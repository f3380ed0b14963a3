"""`evaluate --per-user`, `--groups`, `--beyond`, `--categories` and `--lists-from`."""

import csv
import io
import json
import shutil

import polars as pl
import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A dataset with genres, and a closed-form run on it."""
    root = tmp_path_factory.mktemp("shop")
    raw = root / "raw"
    raw.mkdir()
    write_synthetic(raw, seed=2, size=SyntheticSize(users=90, items=50, interactions_per_user=9))
    table = next(raw.glob("items.*"))
    items = pl.read_csv(table, separator="\t" if table.suffix == ".tsv" else ",")
    kinds = pl.Series("genres", [("a|b", "a", "c")[n % 3] for n in range(len(items))])
    items.with_columns(kinds).write_csv(table, separator="\t" if table.suffix == ".tsv" else ",")
    assert run(["prepare", "--raw", str(raw), "--out", str(root / "data")]) == 0
    assert (
        run(["train", "--data", str(root / "data"), "--model", "ease", "--run", str(root / "run")])
        == 0
    )
    return root


@pytest.fixture
def evaluate(cli, shop):
    return lambda *arguments: cli("evaluate", "--run", shop / "run", *arguments)


def read_csv(path, delimiter=","):
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))


@pytest.mark.slow
def test_the_file_per_user_has_the_means_that_are_printed(evaluate, shop, tmp_path):
    dataset = Dataset.open(shop / "data")
    metrics = evaluate("--k", "5,10", "--beyond", "--per-user", "u.csv", "--format", "json").json[
        "metrics"
    ]
    rows = read_csv(tmp_path / "u.csv")
    train, test = dataset.matrix("train"), dataset.matrix("test")
    assert len(rows) == dataset.schema.splits["test"].users
    assert list(rows[0])[:4] == ["user", "history", "targets", "recall@5"]
    for row in rows:
        user = dataset.users.index(row["user"])
        assert int(row["history"]) == train[user].nnz
        assert int(row["targets"]) == test[user].nnz
    for name in ("recall@5", "ndcg@10", "novelty@10", "diversity_cooccurrence@5"):
        values = [float(row[name]) for row in rows if row[name]]
        assert sum(values) / len(values) == pytest.approx(metrics[name], abs=1e-12)
    evaluate("--k", "5,10", "--beyond", "--per-user", "u.parquet")
    evaluate("--k", "5,10", "--beyond", "--per-user", "u.tsv.gz")
    table = pl.read_parquet(tmp_path / "u.parquet")
    assert table.columns == list(rows[0])
    assert table["ndcg@10"].to_list() == [float(row["ndcg@10"]) for row in rows]
    assert (tmp_path / "u.tsv.gz").read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.slow
def test_values_that_are_not_defined_are_empty(evaluate, tmp_path):
    found = evaluate("--k", "1", "--beyond", "--per-user", "u.csv", "--format", "json").json
    assert "diversity_cooccurrence@1" not in found["metrics"]  # one item has no pair
    assert {row["diversity_cooccurrence@1"] for row in read_csv(tmp_path / "u.csv")} == {""}
    assert "–" in evaluate("--k", "1,5", "--beyond").out


@pytest.mark.slow
def test_groups_in_table_json_and_run(evaluate, shop, tmp_path):
    shutil.copytree(shop / "run", tmp_path / "own")
    genders = [
        f"{user},{'fm'[n % 2]}" for n, user in enumerate(Dataset.open(shop / "data").users.ids)
    ]
    (tmp_path / "who.csv").write_text("\n".join(["user,gender", *genders[:-3]]))
    arguments = ("--run", "own", "--k", "5,20", "--user-groups", "who.csv")
    found = evaluate(*arguments, "--format", "json").json
    assert [one["by"] for one in found["groups"]] == [
        "history",
        "activity",
        "gender",
        "target items",
    ]
    for one in found["groups"][:3]:
        total = sum(group["n_users"] * group["metrics"]["recall@5"] for group in one["groups"])
        assert total / found["n_users"] == pytest.approx(found["metrics"]["recall@5"])
        values = [group["metrics"]["ndcg@20"] for group in one["groups"]]
        assert one["gap"]["ndcg@20"]["difference"] == pytest.approx(max(values) - min(values))
    items = found["groups"][3]["groups"]
    assert [one["group"].split(" ")[0] for one in items] == ["head", "mid", "tail"]
    assert sum(one["metrics"]["share@20"] for one in items) == pytest.approx(1.0)
    noted = json.loads((tmp_path / "own" / "evaluation.json").read_text())["splits"]["test"]["20"]
    assert noted["groups"][2]["by"] == "gender"
    assert (
        noted["groups"][2]["groups"][0]["metrics"]["recall"]
        == (found["groups"][2]["groups"][0]["metrics"]["recall@20"])
    )
    table = evaluate(*arguments).out
    assert "max - min" in table
    assert "share@20" in table
    assert "groups" not in evaluate("--run", "own", "--format", "json").json


def test_calibration_by_a_column_of_the_item_table(evaluate, fails, shop):
    found = evaluate("--categories", "genres", "--k", "10", "--format", "json").json["metrics"]
    assert 0.0 < found["miscalibration@10"] < 3.0
    assert "novelty@10" not in found
    whole = evaluate(
        *("--categories", "genres", "--category-separator", ";", "--k", "10", "--format", "json")
    ).json["metrics"]
    assert whole["miscalibration@10"] != pytest.approx(found["miscalibration@10"])
    message = fails("evaluate", "--run", shop / "run", "--categories", "genre")
    assert "has no item column 'genre'. Did you mean 'genres'?" in message


@pytest.mark.slow
def test_own_lists_measured_as_foreign_ones_give_the_same(cli, evaluate, shop, tmp_path):
    wanted = ("--k", "5,10", "--beyond", "--groups", "--categories", "genres", "--format", "json")
    own = evaluate("--lists", "own.csv", *wanted).json
    lists = pl.read_csv(tmp_path / "own.csv")
    lists.drop("score").sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        tmp_path / "ranks.parquet"
    )
    lists.drop("rank").rename({"score": "prediction"}).write_csv(
        tmp_path / "scores.tsv", separator="\t"
    )
    for file in ("own.csv", "ranks.parquet", "scores.tsv"):
        found = cli("evaluate", "--lists-from", file, "--data", shop / "data", *wanted).json
        assert found["metrics"] == pytest.approx(own["metrics"], abs=1e-9), file
        for theirs, ours in zip(found["groups"], own["groups"], strict=True):
            assert [one["metrics"] for one in theirs["groups"]] == [
                pytest.approx(one["metrics"]) for one in ours["groups"]
            ]
        assert (found["lists"], found["n_users"], found["mask"]) == (
            file,
            own["n_users"],
            own["mask"],
        )
        assert "run" not in found


@pytest.mark.slow
def test_masked_entries_do_not_count_and_users_without_a_list_find_nothing(
    cli, evaluate, shop, tmp_path
):
    own = evaluate("--lists", "own.csv", "--per-user", "u.csv", "--k", "5", "--format", "json").json
    dataset = Dataset.open(shop / "data")
    lists = pl.read_csv(tmp_path / "own.csv").select("user", "item", "rank")
    train = dataset.interactions("train")
    seen = pl.DataFrame(
        {
            "user": [dataset.users[user] for user in train["user"]],
            "item": [dataset.items[item] for item in train["item"]],
        }
    ).with_columns(pl.int_range(pl.len()).over("user").cast(pl.Int64).alias("rank"))
    moved = lists.with_columns(pl.col("rank") + 1000)
    (first, *_) = lists["user"].unique(maintain_order=True)
    with_seen = pl.concat([seen, moved]).filter(pl.col("user") != first)
    with_seen.write_csv(tmp_path / "seen.csv")
    found = cli(
        *("evaluate", "--lists-from", "seen.csv", "--data", shop / "data", "--k", "5"),
        *("--per-user", "theirs.csv", "--format", "json"),
    )
    theirs, ours = read_csv(tmp_path / "theirs.csv"), read_csv(tmp_path / "u.csv")
    assert [row for row in theirs if row["user"] != first] == [
        row for row in ours if row["user"] != first
    ]
    (lost,) = (row for row in theirs if row["user"] == first)
    assert float(lost["recall@5"]) == float(lost["ndcg@5"]) == 0.0
    assert found.json["n_users"] == own["n_users"]
    assert "which are train items of theirs; the entries below move up" in found.err
    assert "1 of the" in found.err
    assert "have no list and count as 0" in found.err


def test_unknown_ids_are_an_error_or_are_skipped_and_said(cli, fails, evaluate, shop, tmp_path):
    own = evaluate("--lists", "own.csv", "--k", "5", "--format", "json").json
    lines = (tmp_path / "own.csv").read_text().splitlines()
    user = lines[1].split(",")[0]
    more = [f"{user},0,not-sold-yet,9", "stranger,1,not-sold-yet,1"]
    (tmp_path / "more.csv").write_text("\n".join([*lines, *more]))
    arguments = ("evaluate", "--lists-from", "more.csv", "--data", shop / "data", "--k", "5")
    message = fails(*arguments)
    assert "more.csv: unknown user 'stranger'" in message
    assert "--on-unknown skip" in message
    found = cli(*arguments, "--on-unknown", "skip", "--format", "json")
    assert found.json["metrics"] == pytest.approx(own["metrics"])
    assert "1 unknown user is skipped: 'stranger'" in found.err
    assert "1 unknown item is skipped: 'not-sold-yet'" in found.err


ONE = "user-0001"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["user,item"], "has neither a column 'rank' nor a column 'score'"),
        (["user,rank", f"{ONE},1"], "has no item column"),
        (["user,item,rank"], "holds no list"),
        (["user,item,rank", f"{ONE},I,first"], "row 1: the rank 'first' is not a whole number"),
        (["user,item,rank", f"{ONE},I,1.5"], "row 1: the rank '1.5' is not a whole number"),
        (["user,item,score", f"{ONE},I,nan"], "row 1: the score 'nan' is not a number"),
        (["user,item,score", f"{ONE},I,"], "row 1: the score 'None' is not a number"),
        (["user,item,score", f"{ONE},,3"], "row 1 has no item"),
        (["user,item,rank", f"{ONE},I,1", f"{ONE},J,1"], f"user '{ONE}' has two entries at rank 1"),
        (["user,item,rank", f"{ONE},I,1", f"{ONE},I,2"], "holds item 'I' twice"),
    ],
)
def test_malformed_lists_are_one_clear_line(fails, shop, tmp_path, lines, message):
    names = Dataset.open(shop / "data").items.ids
    text = "\n".join([*lines, ""]) if len(lines) > 1 else lines[0] + "\n"
    text = text.replace(",I,", f",{names[0]},").replace(",J,", f",{names[1]},")
    if "neither" in message:
        text += f"{ONE},{names[0]}\n"
    (tmp_path / "lists.csv").write_text(text)
    found = fails("evaluate", "--lists-from", "lists.csv", "--data", shop / "data")
    assert message.replace("'I'", f"'{names[0]}'") in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lists-from", "own.csv"], "--lists-from needs the dataset"),
        (["--lists-from", "own.csv", "--data", "D", "--run", "R"], "--run does not go with"),
        (["--lists-from", "own.csv", "--data", "D", "--lists", "l.csv"], "--lists does not go"),
        (["--lists-from", "own.csv", "--data", "D"], "no such file"),
        (["--run", "R", "--per-user", "u.json"], "--per-user u.json: the suffix names no format"),
        (["--run", "R", "--per-user", "-"], "--per-user needs a file"),
        (["--run", "R", "--category-separator", " "], "--category-separator is for --categories"),
        (["--run", "R", "--categories", "x", "--category-separator", ""], "is empty"),
        (["--run", "R", "--user-groups", "nobody.csv"], "no such file"),
        (["--run", "R", "--user-groups", "ages.csv"], "has 60 values, and groups have at most 50"),
        (["--run", "R", "--user-groups", "twice.csv"], "names user 'u1' twice"),
        (["--run", "R", "--user-groups", "bare.csv"], "has no column beside the users"),
        (["--run", "R", "--user-groups", "others.csv"], "has no user of the column 'age'"),
    ],
)
def test_wrong_usage(fails, shop, tmp_path, arguments, message):
    ages = "\n".join(f"u{n},{n}" for n in range(60))
    (tmp_path / "ages.csv").write_text(f"user,age\n{ages}\n")
    (tmp_path / "twice.csv").write_text("user,age\nu1,3\nu1,4\n")
    (tmp_path / "others.csv").write_text("user,age\nnobody,old\n")
    (tmp_path / "bare.csv").write_text("user\nu1\nu2\n")
    places = {"D": shop / "data", "R": shop / "run"}
    assert message in fails("evaluate", *(places.get(one, one) for one in arguments))
