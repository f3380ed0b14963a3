"""``--overwrite`` replaces a dataset alone, and a replacement that was killed is undone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ld4mrec_cli.data.dataset import Dataset, is_replaceable
from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.files import check_output_directory


@pytest.fixture
def data(planted_dataset, tmp_path) -> Path:
    return Path(shutil.copytree(planted_dataset, tmp_path / "data"))


def check(path: Path) -> None:
    check_output_directory(path, overwrite=True, is_replaceable=is_replaceable)


@pytest.mark.parametrize("name", ["notes.txt", "features/mine.npy", "sub/x", ".hidden"])
def test_a_dataset_with_a_file_of_the_user_is_not_replaced(data, name):
    check(data)
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).write_text("precious")
    with pytest.raises(OutputError, match=f"holds '{name}', which is no file of the dataset"):
        check(data)


def test_a_dataset_with_a_link_is_not_replaced(data, tmp_path):
    (data / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="holds 'elsewhere'"):
        check(data)


def test_a_directory_with_a_damaged_schema_is_not_replaced(data):
    (data / "schema.json").write_text('{"format": "ld4mrec-dataset"}')
    with pytest.raises(OutputError, match="was not written by ld4mrec"):
        check(data)


def test_opening_a_dataset_undoes_a_replacement_that_was_killed(data):
    expected = Dataset.open(data).hash
    workspace = data.parent / ".data.ab12cd34.tmp"
    (workspace / "old").mkdir(parents=True)
    (workspace / ".lock").touch()
    data.rename(workspace / "old" / "data")
    assert Dataset.open(data).hash == expected
    assert [path.name for path in data.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J"])
def test_a_directory_whose_name_cannot_be_shown_is_refused_at_once(tmp_path, name):
    with pytest.raises(OutputError, match="unusable characters"):
        check(tmp_path / name)
