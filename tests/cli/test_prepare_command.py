import json

import pytest

from ld4mrec_cli.data.dataset import PreparedDataset


def test_default_output_is_data_slash_name_of_raw(cli, workspace, tmp_path):
    result = cli("prepare", "--raw", workspace.raw)
    assert result.code == 0
    assert "written to data/raw" in result.out
    assert PreparedDataset.open(tmp_path / "data" / "raw").shape[0] > 0


def test_summary_names_counts_splits_and_modalities(cli, workspace):
    result = cli("prepare", "--raw", workspace.raw)
    schema = PreparedDataset.open(workspace.data).schema
    assert f"{schema.n_users:,} users" in result.out
    assert f"{schema.n_items:,} items" in result.out
    for word in ("train", "valid", "test", "image", "text", "coverage", "density"):
        assert word in result.out


def test_flags_reach_the_dataset(cli, workspace, tmp_path):
    cli("prepare", "--raw", workspace.raw, "--out", "d", "--split", "temporal", "--k-core", "3", "--seed", "9")
    schema = PreparedDataset.open(tmp_path / "d").schema
    assert schema.split_method == "temporal"
    assert schema.provenance["options"]["k_core"] == 3
    assert schema.provenance["options"]["seed"] == 9


def test_set_reaches_the_dataset(cli, workspace, tmp_path):
    cli("prepare", "--raw", workspace.raw, "--out", "d", "--set", "prepare.text_dim=7")
    assert PreparedDataset.open(tmp_path / "d").schema.modalities["text"].dim == 7


def test_existing_output_is_kept_unless_overwrite(cli, fails, workspace, tmp_path):
    cli("prepare", "--raw", workspace.raw, "--out", "d")
    before = (tmp_path / "d" / "schema.json").read_bytes()
    assert "--overwrite" in fails("prepare", "--raw", workspace.raw, "--out", "d", "--seed", "5")
    assert (tmp_path / "d" / "schema.json").read_bytes() == before
    assert cli("prepare", "--raw", workspace.raw, "--out", "d", "--seed", "5", "--overwrite").code == 0
    assert (tmp_path / "d" / "schema.json").read_bytes() != before


def test_overwrite_does_not_replace_a_foreign_directory(fails, workspace, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    assert "not written by ld4mrec" in fails("prepare", "--raw", workspace.raw, "--out", "d", "--overwrite")
    assert (tmp_path / "d" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--raw", "nowhere"], "nowhere: no such directory"),
        (["--raw", "empty"], "empty: the directory is empty"),
        (["--raw", "broken"], "broken/interactions.csv:3: 1 fields where the header has 2"),
        (["--raw", "broken", "--format", "csv"], "prepare.format"),
        (["--raw", "broken", "--split", "randm"], "prepare.split"),
        (["--raw", "broken", "--k-core", "-1"], "prepare.k_core"),
        (["--raw", "broken", "--set", "prepare.text_dimm=3"], "Did you mean 'text_dim'?"),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing(fails, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "interactions.csv").write_text("user,item\n1,2\n3\n")
    before = sorted(tmp_path.iterdir())
    assert message in fails("prepare", *arguments, "--out", "d")
    assert sorted(tmp_path.iterdir()) == before


def test_filtering_everything_away_is_an_error(fails, workspace, tmp_path):
    assert "filtering leaves no interaction" in fails(
        "prepare", "--raw", workspace.raw, "--out", "d", "--k-core", "500"
    )
    assert list(tmp_path.iterdir()) == []


def test_inject_noise_reports_and_leaves_held_out_data_alone(cli, workspace, tmp_path):
    result = cli("inject-noise", "--data", workspace.data, "--out", "noisy", "--type", "flip", "--ratio", "0.2")
    schema = PreparedDataset.open(tmp_path / "noisy").schema
    step = schema.provenance["noise"][-1]
    n_train = PreparedDataset.open(workspace.data).schema.splits["train"].interactions
    assert step["added"] == step["removed"] == round(0.2 * n_train)
    assert f"added {step['added']:,} and removed {step['removed']:,}" in result.out
    for name in ("valid.parquet", "test.parquet", "features/image.npy", "items.parquet"):
        assert (tmp_path / "noisy" / name).read_bytes() == (workspace.data / name).read_bytes()
    assert json.loads((tmp_path / "noisy" / "schema.json").read_text())["name"] == "noisy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ratio", "0"], "not a positive number"),
        (["--ratio", "nan"], "not a positive number"),
        (["--ratio", "0.1", "--type", "drp"], "Did you mean 'drop'?"),
        (["--ratio", "0.99", "--type", "drop"], "Lower --ratio"),
        (["--ratio", "1e6"], "is too much"),
    ],
)
def test_inject_noise_refuses(fails, workspace, tmp_path, arguments, message):
    assert message in fails("inject-noise", "--data", workspace.data, "--out", "noisy", *arguments)
    assert list(tmp_path.iterdir()) == []
