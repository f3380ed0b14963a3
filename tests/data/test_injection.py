from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from raw_files import assert_rejected, snapshot

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.data.noise.noise_types import NOISE_TYPES
from ld4mrec_cli.utils.errors import DatasetError, OutputError

CHANGED = {"train.parquet", "schema.json"}


def pairs(directory: Path, split: str = "train") -> set[tuple[int, int]]:
    return set(Dataset.open(directory).interactions(split).select("user", "item").rows())


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_only_the_training_split_changes(prepared, tmp_path, noise_type):
    before = snapshot(prepared)
    report = inject_noise(prepared, tmp_path / "noisy", noise_type, 0.2, seed=4)
    after = snapshot(tmp_path / "noisy")
    assert snapshot(prepared) == before
    assert {name for name in before if before[name] != after[name]} == CHANGED
    assert before.keys() == after.keys()

    old, new = pairs(prepared), pairs(tmp_path / "noisy")
    assert len(new - old) == report["added"]
    assert len(old - new) == report["removed"]
    assert report["added"] + report["removed"] >= round(0.2 * len(old))
    assert (
        len(new)
        == report["train_after"]
        == report["train_before"] + report["added"] - report["removed"]
    )
    assert not new & (pairs(prepared, "valid") | pairs(prepared, "test"))


def test_the_schema_records_each_step(prepared, tmp_path):
    inject_noise(prepared, tmp_path / "one", "random", 0.1, seed=1)
    inject_noise(tmp_path / "one", tmp_path / "two", "drop", 0.3, seed=2)
    original, one, two = (
        Dataset.open(path) for path in (prepared, tmp_path / "one", tmp_path / "two")
    )
    steps = two.schema.provenance["noise"]
    assert [(step["type"], step["ratio"], step["seed"]) for step in steps] == [
        ("random", 0.1, 1),
        ("drop", 0.3, 2),
    ]
    assert [step["from_hash"] for step in steps] == [original.hash, one.hash]
    assert two.name == "two"
    assert two.schema.splits["train"].interactions == len(two.interactions("train"))
    assert two.schema.provenance["files"] == original.schema.provenance["files"]


def test_added_interactions_have_a_time_of_their_user(prepared, tmp_path):
    report = inject_noise(prepared, tmp_path / "noisy", "random", 0.2, seed=0)
    clean = Dataset.open(prepared).interactions("train")
    table = Dataset.open(tmp_path / "noisy").interactions("train")
    added = table.join(clean, on=["user", "item"], how="anti")
    assert len(added) == report["added"] > 0
    assert added.join(clean, on=["user", "timestamp"], how="anti").is_empty()
    assert table.equals(table.sort("user", "item"))


def test_a_seed_determines_the_result(prepared, tmp_path):
    for name, seed in (("a/noisy", 5), ("b/noisy", 5), ("c/noisy", 6)):
        inject_noise(prepared, tmp_path / name, "flip", 0.3, seed=seed)
    first, again, other = (snapshot(tmp_path / name / "noisy") for name in "abc")
    assert first == again
    assert first["train.parquet"] != other["train.parquet"]


@pytest.mark.parametrize(
    ("noise_type", "ratio", "what"),
    [
        ("randm", 0.1, "Did you mean 'random'"),
        ("random", 0.0, "not a positive number"),
        ("random", -1.0, "not a positive number"),
        ("random", float("nan"), "not a positive number"),
        ("random", float("inf"), "not a positive number"),
        ("drop", 0.99, "--ratio 0.99 is too much"),
        ("random", 50.0, "--ratio 50 is too much"),
    ],
)
def test_a_bad_request_is_refused_and_leaves_nothing(prepared, tmp_path, noise_type, ratio, what):
    assert_rejected(
        lambda: inject_noise(prepared, tmp_path / "noisy", noise_type, ratio, seed=0), what
    )
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_kept_without_overwrite(prepared, tmp_path):
    out = tmp_path / "noisy"
    inject_noise(prepared, out, "random", 0.1, seed=0)
    before = snapshot(out)
    with pytest.raises(OutputError, match="--overwrite"):
        inject_noise(prepared, out, "drop", 0.1, seed=0)
    assert snapshot(out) == before
    inject_noise(prepared, out, "drop", 0.1, seed=0, overwrite=True)
    assert snapshot(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ["noisy"]


def test_a_dataset_cannot_replace_itself(prepared):
    assert_rejected(
        lambda: inject_noise(prepared, prepared / ".", "drop", 0.1, 0, overwrite=True),
        "the dataset itself",
    )


def test_a_damaged_dataset_is_refused_and_leaves_nothing(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "copy")
    schema = json.loads((copy / "schema.json").read_text())
    (copy / "features" / "image.npy").write_bytes(b"other")
    with pytest.raises(DatasetError, match="was changed"):
        inject_noise(copy, tmp_path / "noisy", "drop", 0.1, seed=0)
    schema["provenance"]["noise"] = "some"
    (copy / "schema.json").write_text(json.dumps(schema))
    shutil.copyfile(prepared / "features" / "image.npy", copy / "features" / "image.npy")
    with pytest.raises(DatasetError, match="damaged provenance"):
        inject_noise(copy, tmp_path / "noisy", "drop", 0.1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
