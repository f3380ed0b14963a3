"""New items beside a dataset: their features, and catalogs with items without interactions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from raw_files import assert_rejected, snapshot
from taste_shop import N_NEW, N_OLD, write_shop

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.hold_out import hold_out_items
from ld4mrec_cli.data.item_columns import fit_columns
from ld4mrec_cli.data.new_items import read_new_items
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.data.text_vectorizer import TERMS_FILE
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def make(root):
    """Prepares the shop with some options."""

    def run(name: str, items: str = "items.csv", **options) -> Dataset:
        tables = {"interactions": root / "orders.csv", "items": root / items}
        prepare(root, root / name, PrepareConfig(**tables, **options), overwrite=True)
        return Dataset.open(root / name)

    return run


@pytest.fixture(scope="module")
def dataset(make):
    return make("data")


def test_the_same_text_gets_the_same_vector(root, dataset):
    known = pl.read_csv(root / "items.csv").sample(fraction=1.0, shuffle=True, seed=1)
    known.write_csv(root / "shuffled.csv")
    new = read_new_items(dataset, root / "shuffled.csv")
    rows = dataset.items.find(new.items["item"].to_list())
    prepared = dataset.modality("text")
    assert new.modalities["text"].values.tobytes() == prepared.values[rows].tobytes()
    assert new.modalities["text"].present.all()
    assert new.columns.equals(dataset.item_columns[rows])


def test_columns_have_the_types_of_the_dataset(root, dataset):
    table = pl.DataFrame({"item": ["a", "b"], "price": ["12", "cheap"], "color": ["red", "blue"]})
    table.write_csv(root / "odd.csv")
    new = read_new_items(dataset, root / "odd.csv")
    assert new.columns.schema == dataset.item_columns.schema
    assert new.columns["price"].to_list() == ["12", "cheap"]
    assert new.columns["category"].to_list() == [None, None]
    numbers = pl.DataFrame({"price": [1.5], "tags": [["a"]]})
    fitted = fit_columns(table.with_columns(tags=pl.lit("a")), numbers)
    assert fitted.rows() == [(12.0, None), (None, None)]
    assert fit_columns(table, None).width == 0
    assert "no item has a feature of 'text'" in new.notes[0]


def test_a_damaged_vectorizer_is_an_error(root, make):
    data = make("damaged")
    path = data.directory / TERMS_FILE
    path.write_bytes(path.read_bytes()[:-3])
    assert_rejected(lambda: data.text_vectorizer, "terms.parquet", "was changed")


@pytest.mark.parametrize("split", ["random", "none"])
def test_a_catalog_of_all_has_the_items_without_interactions(root, make, split):
    pl.concat([pl.read_csv(root / name) for name in ("new.csv", "items.csv")]).write_csv(
        root / "every.csv"
    )
    interacted = make("some", "every.csv", split=split)
    whole = make("all", "every.csv", split=split, catalog="all")
    assert (interacted.shape[1], whole.shape[1]) == (N_OLD, N_OLD + N_NEW)
    assert len(whole.modality("text").values) == len(whole.titles) == N_OLD + N_NEW
    for one in SPLITS:
        pairs = [
            sorted((d.users[u], d.items[i]) for u, i in d.interactions(one)["user", "item"].rows())
            for d in (interacted, whole)
        ]
        assert pairs[0] == pairs[1]
    cold = whole.items.find([f"i{n}" for n in range(N_OLD, N_OLD + N_NEW)])
    assert whole.matrix(*SPLITS)[:, cold].nnz == 0


def test_a_catalog_of_all_needs_an_item_table(tmp_path):
    (tmp_path / "orders.csv").write_text("user,item\n" + "a,x\nb,y\n" * 9)
    options = PrepareConfig(k_core=0, split="none", catalog="all")
    assert_rejected(
        lambda: prepare(tmp_path / "orders.csv", tmp_path / "out", options),
        "orders.csv: has no item table",
    )


def test_held_out_items_leave_every_split(dataset, tmp_path):
    held = np.array([3, 11, 12])
    hold_out_items(dataset, held, tmp_path / "rest")
    rest = Dataset.open(tmp_path / "rest")
    kept = np.setdiff1d(np.arange(N_OLD), held)
    assert rest.items.ids == [dataset.items[item] for item in kept.tolist()]
    assert rest.users.ids == dataset.users.ids
    for split in SPLITS:
        assert (rest.matrix(split) != dataset.matrix(split)[:, kept]).nnz == 0
    np.testing.assert_array_equal(
        rest.modality("text").values, dataset.modality("text").values[kept]
    )
    first = snapshot(tmp_path / "rest")
    hold_out_items(dataset, held, tmp_path / "rest", overwrite=True)
    assert snapshot(tmp_path / "rest") == first
    assert_rejected(lambda: hold_out_items(dataset, np.arange(N_OLD), tmp_path / "none"), "empty")
    assert_rejected(lambda: hold_out_items(dataset, held, dataset.directory), "the dataset itself")
    assert not (tmp_path / "none").exists()


def test_a_dataset_of_unknown_options_is_refused(root, dataset, monkeypatch):
    monkeypatch.setitem(dataset.schema.provenance, "options", None)
    with pytest.raises(DatasetError, match="with which options it was prepared"):
        read_new_items(dataset, root / "new.csv")
