"""Features stay with their items, and splits with the catalog."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

N_ITEMS = 12


@pytest.fixture
def shop(tmp_path):
    """A table directory whose image features hold the number of their item."""
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        (f"u{user}", f"i{item}", 100 * item + user)
        for user in range(9)
        for item in range(user % 3, N_ITEMS)
    ]
    pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row").write_csv(
        raw / "interactions.csv"
    )
    (raw / "items.csv").write_text(
        "item,title\n" + "".join(f"i{n},Item {n}\n" for n in range(N_ITEMS))
    )
    np.save(raw / "image_feat.npy", np.arange(N_ITEMS, dtype=np.float32)[:, None])
    return raw


def prepared(raw, **options):
    out = raw.parent / "out"
    prepare(raw, out, PrepareConfig(k_core=0, **options))
    return Dataset.open(out)


def test_rows_follow_the_items_table(shop):
    dataset = prepared(shop)
    numbers = [float(item.removeprefix("i")) for item in dataset.items.ids]
    assert dataset.modality("image").values[:, 0].tolist() == numbers


@pytest.mark.parametrize("line", ["i3,Item 3,more", ",Item 3"])
def test_rows_after_a_left_out_item_line_are_not_shifted(shop, line):
    lines = (shop / "items.csv").read_text().splitlines()
    lines[4] = line
    (shop / "items.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(SourceError, match=r"image_feat\.npy.*without repeated or malformed items"):
        prepared(shop, on_error="skip")


def test_more_rows_than_listed_items_are_refused(shop):
    lines = (shop / "items.csv").read_text().splitlines()
    (shop / "items.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(
        SourceError, match=rf"has {N_ITEMS} rows, but items\.csv names {N_ITEMS - 1} items"
    ):
        prepared(shop)


def test_every_listed_user_and_item_has_an_interaction(shop):
    late = "".join(f"late{n},only{n},99999\n" for n in range(4))
    (shop / "interactions.csv").write_text((shop / "interactions.csv").read_text() + late)
    dataset = prepared(shop, split="global-time")
    table = pl.concat(
        [dataset.interactions(split).select("user", "item") for split in ("train", "valid", "test")]
    )
    assert set(table["user"].to_list()) == set(range(dataset.shape[0]))
    assert set(table["item"].to_list()) == set(range(dataset.shape[1]))
    assert not [user for user in dataset.users.ids if user.startswith("late")]


def test_given_labels_do_not_choose_among_repeated_pairs_of_another_split(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = [f"u{user},i{item},{1000 + item},train" for user in range(5) for item in range(8)]
    (raw / "interactions.csv").write_text(
        "\n".join(["user,item,timestamp,split", *lines, "u0,i7,1,test"]) + "\n"
    )
    dataset = prepared(raw, split="temporal")
    user, item = dataset.users.index("u0"), dataset.items.index("i7")
    train = dataset.interactions("train").filter(
        (pl.col("user") == user) & (pl.col("item") == item)
    )
    assert train["timestamp"].to_list() == [1]


def test_a_text_field_that_nothing_has_is_refused(shop):
    (shop / "items.csv").unlink()
    (shop / "image_feat.npy").unlink()
    with pytest.raises(SourceError, match="no item has text in field 'maker'"):
        prepared(shop, text_fields=("maker",))


def test_tables_may_name_their_item_columns_differently(shop):
    path = shop / "interactions.csv"
    path.write_text(path.read_text().replace("user,item,", "user,sku,", 1))
    assert prepared(shop, columns={"item": "sku"}).titles is not None


def test_columns_do_not_act_on_amazon_files(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "reviews_5.json").write_text(
        '{"reviewerID": "u", "asin": "B1", "overall": 5, "unixReviewTime": 1}\n'
    )
    with pytest.raises(SourceError, match="names user, which does not act on this layout"):
        prepared(raw, columns={"user": "nonsense"})


def test_a_named_layout_is_not_held_up_by_foreign_files(shop):
    (shop / "other.csv.gz").write_bytes(b"\x1f\x8bbroken")
    assert prepared(shop, format="table").shape[1] == N_ITEMS


@pytest.mark.slow
def test_text_features_do_not_depend_on_the_number_of_threads(tmp_path):
    code = (
        "import hashlib, random; from ld4mrec_cli.data.text_vectorizer import TextVectorizer\n"
        "rng = random.Random(0)\n"
        "texts = [' '.join(f'w{rng.randrange(900)}' for _ in range(20)) for _ in range(4000)]\n"
        "values, _ = TextVectorizer.fit(texts, 64, 0).transform(texts)\n"
        "print(hashlib.sha256(values.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
