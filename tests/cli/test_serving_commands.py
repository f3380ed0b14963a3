import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
import torch
from cli_shell import shell
from run_files import edit_manifest
from threadpoolctl import threadpool_info, threadpool_limits

from ld4mrec_cli.cli import list_writer
from ld4mrec_cli.cli.app import COMMANDS, run
from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.serving.lists import RecommendationList, RecommendedItem
from ld4mrec_cli.utils.files import sha256
from ld4mrec_cli.utils.threads import THREAD_VARIABLES


@pytest.fixture(scope="module")
def dataset(workspace):
    return Dataset.open(workspace.data)


@pytest.fixture
def recommend(cli, workspace):
    return lambda *arguments: cli("recommend", "--run", workspace.run, *arguments)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_evaluate_json_has_the_documented_keys(cli, workspace, dataset):
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
    valid = cli(*arguments, "valid").json
    assert valid["mask"] == "train"
    assert valid["metrics"] == cli(*arguments, "valid", "--mask", "train").json["metrics"]
    assert "masked: train\n" in cli("evaluate", "--run", "run", "--split", "valid").out


def test_a_k_far_beyond_the_catalog_is_the_catalog(cli, recommend, workspace, dataset):
    user, huge = "user-0001", 10**15
    assert (
        recommend("--user", user, "--k", huge).out
        == recommend("--user", user, "--k", len(dataset.items)).out
    )
    metrics = cli("evaluate", "--run", workspace.run, "--k", f"20,{huge}", "--format", "json").json[
        "metrics"
    ]
    assert metrics[f"hit@{huge}"] == metrics[f"coverage@{huge}"] == 1.0
    assert metrics[f"precision@{huge}"] < 1e-12


def test_exported_lists_give_the_metrics_that_evaluate_prints(cli, recommend, workspace, dataset):
    lists = {}
    for row in rows(recommend("--all", "--splits", "train", "--k", 20, "--format", "csv").out):
        lists.setdefault(row["user"], []).append(row["item"])
    targets, seen = {}, {}
    for split, items_of in (("test", targets), ("train", seen)):
        for user, item in dataset.interactions(split).select("user", "item").iter_rows():
            items_of.setdefault(dataset.users[user], set()).add(dataset.items[item])
    assert all(not seen.get(user, set()) & set(items) for user, items in lists.items())
    recall = sum(
        len(set(lists[user]) & items) / len(items) for user, items in targets.items()
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
    user = dataset.users.index("user-0005")
    lists = []
    for splits in ("train", "train+valid", "all"):
        known = dataset.matrix(*(SPLITS if splits == "all" else splits.split("+")))[user].indices
        history = ",".join(reversed([dataset.items[item] for item in known]))
        by_history = recommend("--history", history, "--format", "json").json
        by_user = recommend("--user", "user-0005", "--splits", splits, "--format", "json").json
        assert by_history["items"] == by_user["items"]
        assert by_history["user"] is None
        lists.append(by_user["items"])
    assert lists[0] != lists[1] != lists[2]
    assert lists[2] == recommend("--user", "user-0005", "--format", "json").json["items"]


def test_include_seen(recommend, dataset):
    count = len(dataset.items)
    everything = recommend(
        "--user", "user-0001", "--k", count, "--include-seen", "--format", "json"
    ).json["items"]
    unseen = recommend("--user", "user-0001", "--k", count, "--format", "json").json["items"]
    had = dataset.matrix(*SPLITS)[dataset.users.index("user-0001")].nnz
    assert len(everything) == count
    assert len(unseen) == count - had


ODD_USERS = ["plain", " spaced ", "line\u2028break", "both", " both ", "two\nlines", "car\rriage"]
ODD_ITEMS = [" i1", "i2\x1b[2J", "i3\nx", "i4", "i5"]


@pytest.fixture(scope="module")
def odd_run(workspace, tmp_path_factory):
    """A run whose first ids, and all titles, have spaces, line breaks and control characters."""
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
    ids = [" plain ", " spaced ", "line\u2028break", "both", " both ", "  both"]
    expected = ["plain", " spaced ", "line\u2028break", "both", " both "]
    one_by_one = [argument for user in ids for argument in ("--user", user)]
    assert users_of(cli("recommend", "--run", odd_run, "--format", "json", *one_by_one)) == expected
    for ending in ("\n", "\r\n"):
        (tmp_path / "users.txt").write_bytes(
            ("\ufeff" + ending.join(["", *ids, "  ", "car\rriage", ""])).encode()
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


def test_the_suffix_of_out_is_the_format(recommend, tmp_path):
    arguments = ("--user", "user-0001", "--user", "user-0002", "--k", "3")
    expected = {
        format: recommend(*arguments, "--format", format).out
        for format in ("csv", "tsv", "json", "table")
    }
    files = {"a.csv": "csv", "a.CSV": "csv", "a.tsv": "tsv", "a.txt": "table"}
    files |= {"a.json": "json", "a.jsonl": "json"}
    for name, format in files.items():
        result = recommend(*arguments, "--out", name)
        assert (result.code, result.out) == (0, "")
        assert (tmp_path / name).read_text() == expected[format]
        assert recommend(*arguments, "--out", f"packed-{name}.gz").code == 0
        packed = (tmp_path / f"packed-{name}.gz").read_bytes()
        assert gzip.decompress(packed).decode() == expected[format]
    assert recommend(*arguments, "--out", "lists", "--format", "csv").code == 0
    assert (tmp_path / "lists").read_text() == expected["csv"]
    assert expected["tsv"] == expected["csv"].replace(",", "\t")


@pytest.mark.parametrize("name", ["a.xls", "a.csv.bz2", "a", "a.html", "csv", "a.gz", ".csv"])
def test_a_suffix_that_names_no_format_is_refused(fails, workspace, tmp_path, name):
    arguments = ("recommend", "--run", workspace.run, "--user", "user-0001")
    error = fails(*arguments, "--out", name)
    assert f"--out {name}: the suffix names no format" in error
    assert ".csv, .tsv, .parquet" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_out_may_be_standard_output(cli, recommend, workspace, out):
    arguments = ("--user", "user-0001", "--k", "3", "--format", "csv")
    assert recommend(*arguments, "--out", out).out == recommend(*arguments).out
    inspection = cli("inspect", workspace.data, "--out", out, "--format", "json")
    assert inspection.json["kind"] == "dataset"


@pytest.mark.slow
@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_in_a_file_is_not_truncated(workspace, tmp_path, out):
    log = tmp_path / "log"
    log.write_text("kept\n")
    arguments = f"recommend --run {workspace.run} --user user-0001 --k 1 --format csv --out {out}"
    command = f"{{ echo first; {sys.executable} -m ld4mrec_cli {arguments}; echo last; }} >> {log}"
    subprocess.run(["sh", "-c", command], timeout=120, check=True)
    lines = log.read_text().splitlines()
    assert lines[:3] == ["kept", "first", "user,rank,item,score"]
    assert lines[3].startswith("user-0001,1,")
    assert lines[4:] == ["last"]


@pytest.mark.parametrize("odd", ["car\rriage", "new\nline", "com,ma", 'quo"te', "tab\tbed"])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_odd_ids_come_back_from_csv_and_tsv(tmp_path, odd, delimiter):
    path, format = tmp_path / "lists", Format.CSV if delimiter == "," else Format.TSV
    ranked = RecommendationList(odd, [RecommendedItem(f"i{odd}", 0.5, None)])
    list_writer.write_lists([ranked], Output(format, path))
    with path.open(newline="", encoding="utf-8") as stream:
        text = stream.read()
    table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    assert table == [["user", "rank", "item", "score"], [odd, "1", f"i{odd}", "0.5"]]
    assert "\r\n" not in text
    frame = pl.read_csv(path, separator=delimiter, schema_overrides={"user": pl.String})
    assert frame.row(0) == (odd, 1, f"i{odd}", 0.5)


@pytest.fixture(scope="module")
def island_run(tmp_path_factory):
    """EASE and ItemKNN where the items x1 and x2 occur alone, so that nothing relates to them."""
    root = tmp_path_factory.mktemp("island")
    (root / "raw").mkdir()
    pairs = [(f"u{n}", f"i{(n + step) % 9}") for n in range(40) for step in range(3 + n % 3)]
    pairs += [(f"v{n}", f"x{n}") for n in (1, 2)]
    lines = "".join(f"{user},{item},0\n" for user, item in pairs)
    lines += "u0,i5,1\nu1,i7,2\n"
    (root / "raw" / "interactions.csv").write_text("user,item,split\n" + lines)
    assert run(["prepare", "--raw", str(root / "raw"), "--out", str(root / "data")]) == 0
    for model in ("ease", "itemknn"):
        command = ["train", "--data", str(root / "data"), "--model", model]
        assert run([*command, "--run", str(root / model)]) == 0
    return root


@pytest.mark.parametrize("model", ["ease", "itemknn"])
def test_a_history_without_relations_gets_the_most_popular_items(cli, island_run, model):
    train = Dataset.open(island_run / "data").matrix(*SPLITS)
    items = Dataset.open(island_run / "data").items.ids
    degree = dict(zip(items, train.sum(axis=0).A1.tolist(), strict=True))
    arguments = ("recommend", "--run", island_run / model, "--k", "4", "--format", "json")
    popular = sorted(items, key=lambda item: (-degree[item], items.index(item)))[:4]
    for ways in (("--history", "x1,x2"), ("--user", "v1")):
        result = cli(*arguments, *ways)
        assert [entry["item"] for entry in result.json["items"]] == popular
        assert {entry["score"] for entry in result.json["items"]} == {0.0}
        assert result.err.count("\n") == 1
        assert "the list is the most popular items" in result.err
    several = cli(*arguments, "--user", "v1", "--user", "u3")
    assert "1 of 2 lists are the most popular items" in several.err
    assert cli(*arguments, "--user", "u3").err == ""


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
        table = pl.read_parquet(tmp_path / "lists.parquet")
        assert table.equals(pl.DataFrame(expected, schema=schema, orient="row"))
        assert table.schema == schema
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


def test_evaluate_refuses_what_the_run_was_trained_on(fails, cli, workspace):
    cli("prepare", "--raw", workspace.raw, "--out", "other", "--seed", "8")
    assert "of the test split were training data before" in fails(
        "evaluate", "--run", workspace.run, "--data", "other"
    )


def test_evaluate_says_how_to_name_a_dataset_that_was_moved(fails, cli, workspace):
    cli("prepare", "--raw", workspace.raw, "--out", "first")
    cli("train", "--data", "first", "--model", "popularity", "--run", "run")
    Path("first").rename("second")
    assert "If the dataset was moved, name it with --data DIR" in fails("evaluate", "--run", "run")
    assert cli("evaluate", "--run", "run", "--data", "second").code == 0


def test_the_help_lists_every_command_by_group_and_cuts_no_summary(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("--help").out.splitlines()
    groups = {line.removesuffix(":"): n for n, line in enumerate(lines) if line.endswith(":")}
    assert [name for name in groups if name != "Options"] == list(COMMANDS)
    assert max(map(len, lines)) <= 80
    for group, functions in COMMANDS.items():
        section = lines[groups[group] + 1 :][: len(functions)]
        assert [line.split()[0] for line in section] == list(functions)
        for line, function in zip(section, functions.values(), strict=True):
            summary = " ".join(function.__doc__.split("\n\n")[0].split())
            assert line.split(maxsplit=1)[1] == summary


def test_help_of_every_command_has_an_example(cli):
    for command in (name for functions in COMMANDS.values() for name in functions):
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


def test_threads_is_for_this_command_and_its_children(cli, workspace, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    before = torch.get_num_threads()
    try:
        assert cli("evaluate", "--run", workspace.run, "--threads", "2").code == 0
        assert torch.get_num_threads() == 2
        assert {os.environ[name] for name in THREAD_VARIABLES} == {"2"}
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1, 2}
    finally:
        torch.set_num_threads(before)
        threadpool_limits(1)


def test_threads_must_be_positive(fails, workspace):
    assert "--threads" in fails("evaluate", "--run", workspace.run, "--threads", "0")


@pytest.mark.slow
def test_output_on_a_pipe_is_plain_and_results_are_on_stdout(workspace):
    process = shell("evaluate", "--run", workspace.run, cwd=workspace.run.parent)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "\x1b" not in out + err
    assert "recall" in out
    assert err == ""


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(workspace):
    arguments = f"recommend --run {workspace.run} --all --format csv"
    command = f"{sys.executable} -m ld4mrec_cli {arguments} | head -1"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout == "user,rank,item,score\n"
    assert result.stderr == ""
