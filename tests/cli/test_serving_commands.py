import csv
import io
import json
import shutil
import subprocess
import sys
import tracemalloc

import polars as pl
import pytest
from cli_shell import shell
from run_files import edit_manifest

from ld4mrec_cli.cli import list_writer
from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.serving.recommender import RecommendationList, RecommendedItem
from ld4mrec_cli.utils.files import sha256


@pytest.fixture(scope="module")
def dataset(workspace):
    return Dataset.open(workspace.data)


@pytest.fixture
def recommend(cli, workspace):
    return lambda *arguments: cli("recommend", "--run", workspace.run, *arguments)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_evaluate_json_has_the_contract_keys(cli, workspace, dataset):
    result = cli("evaluate", "--run", workspace.run, "--k", "10,20", "--format", "json").json
    assert set(result) == {"split", "n_users", "metrics", "mask", "run"}
    assert result["split"] == "test"
    assert result["mask"] == "train"
    assert result["n_users"] == dataset.schema.splits["test"].users
    assert {"recall@10", "recall@20", "ndcg@20", "map@10", "coverage@20"} <= set(result["metrics"])


def test_evaluate_table_and_split(cli, workspace):
    table = cli("evaluate", "--run", workspace.run, "--split", "valid").out
    assert "valid split" in table
    assert "@50" in table
    values = cli("evaluate", "--run", workspace.run, "--split", "valid", "--format", "json").json[
        "metrics"
    ]
    manifest = json.loads((workspace.run / "manifest.json").read_text())
    assert values["ndcg@20"] == pytest.approx(manifest["best"]["value"], abs=1e-6)
    assert f"{values['recall@20']:.4f}" in table


def test_masking_validation_items_changes_the_test_ranking(cli, workspace):
    values = [
        cli("evaluate", "--run", workspace.run, "--mask", mask, "--format", "json").json
        for mask in ("train", "train+valid")
    ]
    assert [value["mask"] for value in values] == ["train", "train+valid"]
    assert values[1]["metrics"]["recall@20"] >= values[0]["metrics"]["recall@20"]
    assert values[0]["metrics"] != values[1]["metrics"]


def test_the_mask_reported_is_the_one_applied(cli, fails, workspace, tmp_path):
    assert "--mask" in fails(
        "evaluate", "--run", workspace.run, "--split", "valid", "--mask", "train+valid"
    )
    shutil.copytree(workspace.run, tmp_path / "run")
    edit_manifest(
        tmp_path / "run", lambda values: values["config"]["evaluation"].update(mask="train+valid")
    )
    arguments = ("evaluate", "--run", "run", "--format", "json", "--split")
    assert cli(*arguments, "test").json["mask"] == "train+valid"
    assert cli(*arguments, "test", "--mask", "train").json["mask"] == "train"
    found = cli(*arguments, "valid").json
    assert found["mask"] == "train"
    assert found["metrics"] == cli(*arguments, "valid", "--mask", "train").json["metrics"]
    assert "masked: train\n" in cli("evaluate", "--run", "run", "--split", "valid").out


def test_a_k_far_beyond_the_catalog_is_the_catalog(cli, recommend, workspace, dataset):
    user, huge = "user-0001", 10**15
    assert (
        recommend("--user", user, "--k", huge).out
        == recommend("--user", user, "--k", len(dataset.items)).out
    )
    found = cli("evaluate", "--run", workspace.run, "--k", f"20,{huge}", "--format", "json").json[
        "metrics"
    ]
    assert found[f"hit@{huge}"] == found[f"coverage@{huge}"] == 1.0
    assert found[f"precision@{huge}"] < 1e-12


def test_exported_lists_give_the_metrics_that_evaluate_prints(cli, recommend, workspace, dataset):
    lists = {}
    for row in rows(recommend("--all", "--k", "20", "--format", "csv").out):
        lists.setdefault(row["user"], []).append(row["item"])
    targets, seen = {}, {}
    for split, found in (("test", targets), ("train", seen)):
        for user, item in dataset.interactions(split).select("user", "item").iter_rows():
            found.setdefault(dataset.users[user], set()).add(dataset.items[item])
    assert all(not seen.get(user, set()) & set(items) for user, items in lists.items())
    recall = sum(
        len(set(lists[user]) & wanted) / len(wanted) for user, wanted in targets.items()
    ) / len(targets)
    values = cli("evaluate", "--run", workspace.run, "--format", "json").json["metrics"]
    assert recall == pytest.approx(values["recall@20"], abs=1e-6)


def test_formats_agree(recommend, tmp_path):
    arguments = ("--user", "user-0001", "--user", "user-0002", "--k", "4")
    as_json = [
        json.loads(line) for line in recommend(*arguments, "--format", "json").out.splitlines()
    ]
    as_csv = rows(recommend(*arguments, "--format", "csv").out)
    assert recommend(*arguments, "--out", "lists.parquet").code == 0
    as_parquet = pl.read_parquet(tmp_path / "lists.parquet")
    expected = [(one["user"], entry["item"]) for one in as_json for entry in one["items"]]
    assert [(row["user"], row["item"]) for row in as_csv] == expected
    assert as_parquet.select("user", "item").rows() == expected
    assert [row["rank"] for row in as_csv] == ["1", "2", "3", "4"] * 2
    assert as_json[0]["items"][0]["title"] == as_parquet["title"][0]
    table = recommend(*arguments).out
    assert all(entry["title"] in table for one in as_json for entry in one["items"])


def test_ways_to_name_users(recommend, tmp_path, dataset):
    (tmp_path / "users.txt").write_text("user-0002\n\nuser-0001\nuser-0002\n")
    from_file = recommend("--users-file", "users.txt", "--k", "2", "--format", "csv").out
    repeated = recommend(
        "--user", "user-0002", "--user", "user-0001", "--k", "2", "--format", "csv"
    ).out
    trailing = recommend("--user", "user-0002", "user-0001", "--k", "2", "--format", "csv").out
    assert from_file == repeated == trailing
    everyone = rows(recommend("--all", "--k", "1", "--format", "csv").out)
    assert [row["user"] for row in everyone] == dataset.users.ids


def test_history_of_a_training_user_gives_that_users_list(recommend, dataset):
    train = dataset.matrix("train")
    user = dataset.users.index("user-0005")
    history = ",".join(reversed([dataset.items[item] for item in train[user].indices]))
    by_history = recommend("--history", history, "--format", "json").json
    by_user = recommend("--user", "user-0005", "--format", "json").json
    assert by_history["items"] == by_user["items"]
    assert by_history["user"] is None


def test_include_seen(recommend, dataset):
    count = len(dataset.items)
    everything = recommend(
        "--user", "user-0001", "--k", count, "--include-seen", "--format", "json"
    ).json["items"]
    unseen = recommend("--user", "user-0001", "--k", count, "--format", "json").json["items"]
    had = dataset.matrix("train")[dataset.users.index("user-0001")].nnz
    assert len(everything) == count
    assert len(unseen) == count - had


ODD_USERS = ["plain", " spaced ", "line\u2028break", "both", " both ", "two\nlines", "car\rriage"]
ODD_ITEMS = [" i1", "i2\x1b[2J", "i3\nx", "i4", "i5"]


@pytest.fixture(scope="module")
def odd_run(workspace, tmp_path_factory):
    """A run whose first ids, and all titles, hold spaces, line separators and control characters."""
    path = tmp_path_factory.mktemp("odd") / "run"
    shutil.copytree(workspace.run, path)
    hashes = {}
    for name, column, odd in (
        ("users.parquet", "user", ODD_USERS),
        ("items.parquet", "item", ODD_ITEMS),
    ):
        table = pl.read_parquet(path / name)
        table = table.with_columns(pl.Series(column, odd + table[column].to_list()[len(odd) :]))
        if "title" in table.columns:
            table = table.with_columns(title=pl.lit("a\x1b[31mred\ntitle"))
        table.write_parquet(path / name)
        hashes[name] = sha256(path / name)
    edit_manifest(path, lambda values: values["files"].update(hashes))
    return path


def users_of(result):
    assert result.code == 0, result.err
    return [json.loads(line)["user"] for line in result.out.split("\n") if line]


def test_ids_are_taken_literally_and_then_without_the_spaces_around(cli, odd_run, tmp_path):
    given = [" plain ", " spaced ", "line\u2028break", "both", " both ", "  both"]
    expected = ["plain", " spaced ", "line\u2028break", "both", " both "]
    one_by_one = [argument for user in given for argument in ("--user", user)]
    assert users_of(cli("recommend", "--run", odd_run, "--format", "json", *one_by_one)) == expected
    for ending in ("\n", "\r\n"):
        (tmp_path / "users.txt").write_bytes(
            ("\ufeff" + ending.join(["", *given, "  ", "car\rriage", ""])).encode()
        )
        result = cli("recommend", "--run", odd_run, "--format", "json", "--users-file", "users.txt")
        assert users_of(result) == [*expected, "car\rriage"]


def test_items_of_a_history_are_taken_literally_first(cli, fails, odd_run):
    for history in ('" i1",i4', "i4, i5 "):
        assert cli("recommend", "--run", odd_run, "--history", history).code == 0
    assert "--history cannot be read" in fails(
        "recommend", "--run", odd_run, "--history", "i4\ni5,i6"
    )


def test_ids_and_titles_cannot_steer_the_terminal(cli, odd_run, dataset):
    result = cli(
        "recommend", "--run", odd_run, "--user", "two\nlines", "--include-seen", "--k", "1000"
    )
    lines = result.out.removesuffix("\n").split("\n")
    assert lines[0] == "user two\N{REPLACEMENT CHARACTER}lines"
    assert len(lines) == 1 + len(dataset.items)
    assert all(line.isprintable() for line in lines)
    assert "i2\N{REPLACEMENT CHARACTER}[2J" in result.out
    assert "a\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}title" in result.out


def lists_of(n, k, title="a title"):
    entries = [RecommendedItem(f"item-{i}", i / 7, title if i % 2 else None) for i in range(k)]
    return (RecommendationList(f"user-{user}", entries) for user in range(n))


def write_parquet(lists, path):
    list_writer.write_lists(lists, Output(Format.PARQUET, path))


def test_parquet_is_the_lists_row_by_row_whatever_the_frames(tmp_path, monkeypatch):
    expected = [
        (one.user, rank, entry.item, entry.score, entry.title)
        for one in lists_of(7, 5)
        for rank, entry in enumerate(one.items, start=1)
    ]
    schema = {
        "user": pl.String,
        "rank": pl.UInt32,
        "item": pl.String,
        "score": pl.Float32,
        "title": pl.String,
    }
    for size in (1, 10, 12, 1000):
        monkeypatch.setattr(list_writer, "ENTRIES_PER_FRAME", size)
        write_parquet(lists_of(7, 5), tmp_path / "lists.parquet")
        found = pl.read_parquet(tmp_path / "lists.parquet")
        assert found.equals(pl.DataFrame(expected, schema=schema, orient="row"))
        assert found.schema == schema
    write_parquet([], tmp_path / "none.parquet")
    assert pl.read_parquet(tmp_path / "none.parquet").schema == schema
    write_parquet(lists_of(3, 1, None), tmp_path / "untitled.parquet")
    assert pl.read_parquet(tmp_path / "untitled.parquet")["title"].to_list() == [None] * 3


def test_a_parquet_export_holds_few_entries_as_python_values(tmp_path, monkeypatch):
    monkeypatch.setattr(list_writer, "ENTRIES_PER_FRAME", 10_000)
    tracemalloc.start()
    try:
        write_parquet(lists_of(400, 200), tmp_path / "lists.parquet")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * 2**20  # a dict per row, 80,000 of them, takes several times that


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no users given"),
        (["--user", "user-0001", "--all"], "several ways"),
        (["--user", "user-00001"], "Did you mean 'user-0001'?"),
        (["--users-file", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--users-file", "users.txt"], "users.txt:2: unknown user 'stranger'"),
        (["--users-file", "blank.txt"], "names no user"),
        (["--history", "item-9999"], "unknown item 'item-9999'"),
        (["--history", ","], "names no item"),
        (["--user", "user-0001", "--k", "0"], "--k"),
        (["--user", "user-0001", "--format", "parquet"], "--out"),
        (["--user", "user-0001", "--format", "xml"], "xml"),
        (["--user", "user-0001", "--out", "nowhere/lists.csv"], "cannot be written"),
        (["user-0001"], "--user"),
    ],
)
def test_recommend_refuses(fails, workspace, tmp_path, arguments, message):
    (tmp_path / "users.txt").write_text("user-0001\nstranger\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    before = sorted(tmp_path.iterdir())
    assert message in fails("recommend", "--run", workspace.run, *arguments)
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_run_there_is_a_hint(fails):
    assert "ld4mrec train" in fails("recommend", "--user", "1")
    assert "ld4mrec train" in fails("evaluate")


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "signals.safetensors", "manifest.json", "train.parquet"]
)
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_runs_are_refused(fails, workspace, tmp_path, name, damage):
    shutil.copytree(workspace.run, tmp_path / "run")
    path = tmp_path / "run" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:40] + b"#" + content[41:])
    assert "run" in fails("recommend", "--run", "run", "--user", "user-0001")


def test_evaluate_refuses_another_dataset(fails, cli, workspace):
    cli("prepare", "--raw", workspace.raw, "--out", "other", "--seed", "8")
    assert "is not the dataset" in fails("evaluate", "--run", workspace.run, "--data", "other")


def test_help_of_every_command_has_an_example(cli):
    for command in ("prepare", "train", "evaluate", "recommend", "inject-noise", "config", "demo"):
        result = cli(command, "--help")
        assert result.code == 0
        assert f"Example: ld4mrec {command}" in " ".join(result.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recomend"], "Did you mean 'recommend'?"),
        (["evaluate", "--spilt", "test"], "--split"),
        (["evaluate", "--k", "ten"], "not a list of whole numbers"),
        (["prepare"], "--raw"),
    ],
)
def test_wrong_usage(fails, arguments, message):
    assert message in fails(*arguments)


def test_output_on_a_pipe_is_plain_and_results_are_on_stdout(workspace):
    process = shell("evaluate", "--run", workspace.run, cwd=workspace.run.parent)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "\x1b" not in out + err
    assert "recall" in out
    assert err == ""


def test_a_reader_that_goes_away_is_no_traceback(workspace):
    command = f"{sys.executable} -m ld4mrec_cli recommend --run {workspace.run} --all --format csv | head -1"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout == "user,rank,item,score\n"
    assert result.stderr == ""
