import json

import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.settings.layouts import LAYOUTS


def test_default_path_is_data_slash_name_of_raw(cli, workspace, tmp_path):
    result = cli("prepare", "--raw", workspace.raw)
    assert result.code == 0
    assert "written to data/raw" in result.out
    assert Dataset.open(tmp_path / "data" / "raw").shape[0] > 0


def test_summary_names_counts_splits_and_modalities(cli, workspace):
    result = cli("prepare", "--raw", workspace.raw)
    schema = Dataset.open(workspace.data).schema
    assert f"{schema.n_users:,} users" in result.out
    assert f"{schema.n_items:,} items" in result.out
    for word in ("train", "valid", "test", "image", "text", "coverage", "density"):
        assert word in result.out


def test_flags_reach_the_dataset(cli, workspace, tmp_path):
    cli(
        "prepare",
        "--raw",
        workspace.raw,
        "--out",
        "d",
        "--split",
        "temporal",
        "--k-core",
        "3",
        "--seed",
        "9",
    )
    schema = Dataset.open(tmp_path / "d").schema
    assert schema.split_method == "temporal"
    assert schema.provenance["options"]["k_core"] == 3
    assert schema.provenance["options"]["seed"] == 9


def test_set_reaches_the_dataset(cli, workspace, tmp_path):
    cli("prepare", "--raw", workspace.raw, "--out", "d", "--set", "prepare.text_dim=7")
    assert Dataset.open(tmp_path / "d").schema.modalities["text"].dim == 7


SHOP = "customer,sku,stars,when\n" + "".join(
    f"c{user},s{item},{1 + (user + item) % 5},{user + item}\n"
    for user in range(9)
    for item in range(9)
)


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "interactions.csv").write_text(SHOP)
    (tmp_path / "shop" / "items.csv").write_text(
        "sku,title,maker\n"
        + "".join(f"s{n},red hat kind{n % 2},acme{n % 3} works\n" for n in range(9))
    )
    return ["prepare", "--raw", tmp_path / "shop", "--out", "d", "--k-core", "0"]


def test_columns_rating_and_text_fields_are_flags(cli, shop, tmp_path):
    flags = ["--column", "user=customer", "--column", "item=sku", "--column", "timestamp=when"]
    result = cli(
        *shop, *flags, "--min-rating", "3", "--text-field", "maker", "--text-field", "title"
    )
    assert result.code == 0, result.err
    assert "left out: 32 interactions rated below 3" in result.out
    dataset = Dataset.open(tmp_path / "d")
    options = dataset.schema.provenance["options"]
    assert options["columns"] == {"user": "customer", "item": "sku", "timestamp": "when"}
    assert options["text_fields"] == ["maker", "title"]
    assert options["min_rating"] == 3
    assert dataset.users.ids[0] == "c0"
    assert dataset.schema.modalities["text"].dim >= 1


def test_column_flags_go_on_top_of_the_configuration(cli, shop, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "prepare: {columns: {user: customer, item: nothing, timestamp: when}}\n"
    )
    assert cli(*shop, "--config", "c.yaml", "--column", "item=sku").code == 0
    options = Dataset.open(tmp_path / "d").schema.provenance["options"]
    assert options["columns"] == {"user": "customer", "item": "sku", "timestamp": "when"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--column", "usr=customer"], "unknown column 'usr'. Did you mean 'user'?"),
        (["--column", "a.b=customer"], "unknown column 'a'"),
        (["--column", "user"], "--column 'user' is not of the form NAME=COLUMN"),
        (["--column", "user="], "not of the form NAME=COLUMN"),
        (
            ["--column", "user=customer", "--column", "user=sku"],
            "--column names user twice: 'customer' and 'sku'",
        ),
        (["--column", "user=sku", "--column", "item=sku"], "user and item are both 'sku'"),
        (
            ["--column", "user=costumer"],
            "interactions.csv: has no column 'costumer'. Did you mean 'customer'?",
        ),
        (
            ["--column", "item=sku", "--text-field", "mkaer"],
            "items.csv: has no text field 'mkaer'. Did you mean 'maker'?",
        ),
        (["--min-rating", "nan"], "prepare.min_rating"),
    ],
)
def test_wrong_columns_give_one_line(fails, shop, tmp_path, flags, message):
    assert message in fails(*shop, *flags)
    assert not (tmp_path / "d").exists()


@pytest.fixture
def orders(tmp_path):
    """A table of orders and one of products, of names and columns that nobody expects."""
    rows = [
        f"k{user},a{(user + item) % 9},{1 + item:02d}.11.2023 10:{user:02d}"
        for user in range(9)
        for item in range(8)
    ]
    (tmp_path / "orders.csv").write_text("kunde,artikel,gekauft\n" + "\n".join(rows) + "\n")
    products = "".join(f"a{n},red hat kind{n % 2},made of warm wool\n" for n in range(8))
    (tmp_path / "products.csv").write_text("sku,bezeichnung,text\n" + products)
    return ["prepare", "--interactions", "orders.csv", "--column", "user=kunde"]


def test_tables_of_any_names_are_prepared(cli, orders, tmp_path):
    columns = ["interactions.item=artikel", "items.item=sku", "timestamp=gekauft"]
    columns += ["title=bezeichnung"]
    flags = [part for column in columns for part in ("--column", column)]
    result = cli(
        *orders, "--items", "products.csv", *flags, "--date-format", "%d.%m.%Y %H:%M",
        "--split", "leave-one-out",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "written to data/orders" in result.out
    assert "products.csv has 8 of the 9 items; without title or text: 1" in result.out
    assert "column 'text' of products.csv looks like text and is not used" in result.out
    assert "looks like a time" not in result.out
    dataset = Dataset.open(tmp_path / "data" / "orders")
    rows = dataset.interactions("test").select("user", "item", "timestamp").rows()
    assert {(dataset.users[user], dataset.items[item]) for user, item, _ in rows} == {
        (f"k{user}", f"a{(user + 7) % 9}") for user in range(9)
    }
    assert rows[0][2] == 1699437600
    assert dataset.titles[0] == "red hat kind0"


def test_what_prepare_leaves_aside_is_printed(cli, orders, tmp_path):
    result = cli(*orders, "--column", "item=artikel")
    assert result.code == 0, result.err
    assert (
        "5-core (the default; --k-core 0 keeps all): 0 of 9 users and 0 of 9 items are left out"
    ) in result.out
    assert (
        "column 'gekauft' of orders.csv looks like a time and is not used; name it with "
        "--column timestamp=gekauft --date-format '%d.%m.%Y %H:%M'"
    ) in result.out


def test_a_table_may_stand_for_the_raw_directory(cli, orders):
    result = cli("prepare", "--raw", "orders.csv", *orders[3:], "--column", "item=artikel")
    assert result.code == 0, result.err
    assert "written to data/orders" in result.out


def test_tables_and_columns_can_be_set_in_a_file(cli, orders, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "prepare:\n  interactions: orders.csv\n  items: products.csv\n"
        "  columns: {user: kunde, interactions: {item: nothing}, items: {item: sku}}\n"
    )
    result = cli("prepare", "--config", "c.yaml", "--column", "interactions.item=artikel")
    assert result.code == 0, result.err
    options = Dataset.open(tmp_path / "data" / "orders").schema.provenance["options"]
    assert options["columns"] == {
        "user": "kunde",
        "interactions.item": "artikel",
        "items.item": "sku",
    }


def test_a_command_without_raw_data_is_refused(fails):
    assert "no raw data is named. Give --raw DIR, or --interactions FILE" in fails("prepare")


def test_movielens_is_prepared(cli, tmp_path):
    (tmp_path / "ml").mkdir()
    ratings = "".join(f"{user}::{item}::4::{item}\n" for user in range(6) for item in range(6))
    (tmp_path / "ml" / "ratings.dat").write_text(ratings)
    movies = "".join(f"{item}::Film {item} (1999)::War|Drama\n" for item in range(6))
    (tmp_path / "ml" / "movies.dat").write_text(movies)
    result = cli("prepare", "--raw", "ml", "--out", "d", "--format", "movielens")
    assert result.code == 0, result.err
    assert "random split, movielens layout" in result.out
    assert Dataset.open(tmp_path / "d").titles[3] == "Film 3 (1999)"


def test_the_help_names_every_layout(cli):
    for command in ("prepare", "inspect"):
        text = " ".join(cli(command, "--help").out.split())
        assert all(layout in text for layout in LAYOUTS), command


def test_malformed_lines_are_an_error_or_left_out(cli, fails, shop, tmp_path):
    (tmp_path / "shop" / "interactions.csv").write_text(SHOP + "c1\nc2,s3,x,4\n")
    shop += ["--column", "item=sku"]
    assert "interactions.csv:83: 1 fields where the header has 4" in fails(*shop)
    assert "more than 1 malformed lines" in fails(*shop, "--on-error", "skip", "--max-errors", "1")
    result = cli(*shop, "--on-error", "skip")
    assert result.code == 0
    assert "left out: 2 malformed lines" in result.out
    assert "interactions.csv:84: 'x' in column 'stars' is not a finite number" in result.err
    assert Dataset.open(tmp_path / "d").schema.provenance["left_out"] == {"malformed lines": 2}


def test_recbole_files_are_prepared(cli, tmp_path):
    (tmp_path / "ml").mkdir()
    for split, items in (("train", range(4)), ("valid", [4]), ("test", [5])):
        lines = "".join(f"u{user}\ti{(user + item) % 7}\n" for user in range(7) for item in items)
        (tmp_path / "ml" / f"ml.{split}.inter").write_text("user_id:token\titem_id:token\n" + lines)
    vectors = "".join(f"i{item}\t{item} 1\n" for item in range(6))
    (tmp_path / "ml" / "ml.item").write_text("item_id:token\timage:float_seq\n" + vectors)
    result = cli("prepare", "--raw", "ml", "--out", "d")
    assert result.code == 0, result.err
    assert "given split, recbole layout" in result.out
    assert Dataset.open(tmp_path / "d").schema.modalities["image"].items_with_feature == 6


def test_existing_output_is_kept_unless_overwrite(cli, fails, workspace, tmp_path):
    cli("prepare", "--raw", workspace.raw, "--out", "d")
    before = (tmp_path / "d" / "schema.json").read_bytes()
    assert "--overwrite" in fails("prepare", "--raw", workspace.raw, "--out", "d", "--seed", "5")
    assert (tmp_path / "d" / "schema.json").read_bytes() == before
    assert (
        cli("prepare", "--raw", workspace.raw, "--out", "d", "--seed", "5", "--overwrite").code == 0
    )
    assert (tmp_path / "d" / "schema.json").read_bytes() != before


def test_overwrite_does_not_replace_a_foreign_directory(fails, workspace, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    assert "not written by ld4mrec" in fails(
        "prepare", "--raw", workspace.raw, "--out", "d", "--overwrite"
    )
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
    result = cli(
        "inject-noise",
        "--data",
        workspace.data,
        "--out",
        "noisy",
        "--type",
        "flip",
        "--ratio",
        "0.2",
    )
    schema = Dataset.open(tmp_path / "noisy").schema
    step = schema.provenance["noise"][-1]
    n_train = Dataset.open(workspace.data).schema.splits["train"].interactions
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
