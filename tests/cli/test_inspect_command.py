import json

import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.inspect.summary import Inspection

KEYS = {
    "name": str,
    "kind": str,
    "layout": str,
    "split_method": (str, type(None)),
    "provenance": str,
    "hash": (str, type(None)),
    "counts": dict,
    "splits": list,
    "cold": (dict, type(None)),
    "user_degrees": dict,
    "item_degrees": dict,
    "core": (dict, type(None)),
    "ratings": (dict, type(None)),
    "weights": (dict, type(None)),
    "events": list,
    "times": (dict, type(None)),
    "modalities": list,
    "texts": list,
    "popular_items": list,
    "sample_items": list,
    "notes": dict,
}


@pytest.mark.parametrize("which", ["raw", "data"])
def test_json_contract(cli, workspace, which):
    result = cli("inspect", getattr(workspace, which), "--format", "json")
    assert result.code == 0
    assert result.err == ""
    assert result.out.count("\n") == 1
    found = json.loads(result.out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert list(found) == list(KEYS)
    for key, kinds in KEYS.items():
        assert isinstance(found[key], kinds), key
    assert Inspection.model_validate(found).kind == {"raw": "raw", "data": "dataset"}[which]


def test_table_of_raw_files(cli, workspace):
    out = cli("inspect", workspace.raw).out
    for word in (
        "raw files",
        "120 users",
        "5-core",
        "per user",
        "Gini",
        "image",
        "title",
        "most popular items:",
    ):
        assert word in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 120


def test_table_of_a_dataset(cli, workspace):
    out = cli("inspect", workspace.data).out
    assert Dataset.open(workspace.data).hash in out
    for word in ("random split", "train", "valid", "test", "cold", "text"):
        assert word in out


def test_out_names_the_format(cli, workspace, tmp_path):
    for name in ("a.json", "a.html", "a.txt"):
        result = cli("inspect", workspace.raw, "--out", name)
        assert (result.code, result.out) == (0, "")
    assert json.loads((tmp_path / "a.json").read_text())["kind"] == "raw"
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "a.txt").read_text() == cli("inspect", workspace.raw).out
    cli("inspect", workspace.raw, "--out", "b.html", "--format", "json")
    assert json.loads((tmp_path / "b.html").read_text())["kind"] == "raw"


def test_a_title_cannot_steer_the_terminal_or_the_page(cli, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text("user,item\na,x\n")
    (tmp_path / "raw" / "items.csv").write_text(
        'item,title\nx,"\x1b[31m<script>x</script><3[red]"\n'
    )
    out = cli("inspect", "raw").out
    assert "\x1b" not in out
    assert "<3[red]" in out
    assert cli("inspect", "raw", "--out", "page.html").code == 0
    html = (tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "&lt;3[red]" in html


def test_settings_say_how_raw_files_are_read(cli, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text("customer_no,sku\na,x\n")
    (tmp_path / "raw" / "more.inter").write_text("userID\titemID\n1\t2\n3\t2\n")
    columns = "prepare.columns={user: customer_no, item: sku}"
    result = cli("inspect", "raw", "--format", "json", "--raw-format", "table", "--set", columns)
    assert (result.json["layout"], result.json["counts"]["users"]) == ("table", 1)
    result = cli("inspect", "raw", "--format", "json", "--set", "prepare.format=mmrec")
    assert (result.json["layout"], result.json["counts"]["users"]) == ("mmrec", 2)


def test_malformed_lines_can_be_left_out_and_are_counted(cli, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text("user,item\n1,2\n3\n4,2\n")
    found = cli("inspect", "raw", "--format", "json", "--set", "prepare.on_error=skip").json
    assert found["counts"]["interactions"] == 2
    assert list(found["notes"].values()) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["file"], "file: is a file"),
        (["empty"], "empty: the directory is empty"),
        (["broken"], "broken/interactions.csv:3: 1 fields where the header has 2"),
        (["broken", "--format", "html"], "--out"),
        (["broken", "--format", "xml"], "xml"),
        (["broken", "--raw-format", "csv"], "prepare.format"),
        (["broken", "--set", "prepare.k_core=3"], "prepare.k_core does not act on inspect"),
        (["broken", "--set", "prepare.formt=mmrec"], "Did you mean 'format'?"),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing(fails, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "interactions.csv").write_text("user,item\n1,2\n3\n")
    before = sorted(tmp_path.rglob("*"))
    assert message in fails("inspect", *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dataset_takes_no_settings_and_a_missing_directory_no_file(fails, workspace):
    assert "is a dataset directory" in fails("inspect", workspace.data, "--raw-format", "table")
    assert "cannot be written" in fails("inspect", workspace.data, "--out", "nowhere/page.html")
