import re

import pytest

from ld4mrec_cli.config import config_from_mapping
from ld4mrec_cli.config.reference import config_reference


@pytest.mark.slow
def test_demo_finds_the_planted_tastes(cli, tmp_path):
    result = cli("demo")
    assert result.code == 0, result.err
    for command in ("prepare", "train", "evaluate", "recommend"):
        assert f"$ ld4mrec {command}" in result.out
    recall = {
        name: float(value)
        for name, value in re.findall(
            r"^(popularity|no-content|ld4mrec) +([0-9.]+)", result.out, re.M
        )
    }
    assert recall["ld4mrec"] >= 2 * recall["popularity"]
    assert recall["ld4mrec"] > recall["no-content"]
    assert (tmp_path / "ld4mrec-demo" / "runs" / "ld4mrec" / "manifest.json").is_file()


def test_demo_does_not_overwrite(fails, tmp_path):
    (tmp_path / "ld4mrec-demo").mkdir()
    (tmp_path / "ld4mrec-demo" / "mine.txt").write_text("mine")
    assert "--overwrite" in fails("demo")
    assert "not an earlier demo" in fails("demo", "--overwrite")
    assert (tmp_path / "ld4mrec-demo" / "mine.txt").read_text() == "mine"


def test_config_command_prints_what_train_would_use(cli):
    import yaml

    text = cli("config", "--preset", "paper", "--set", "model.hidden_dim=99").out
    config = config_from_mapping(yaml.safe_load(text))
    assert config.model.hidden_dim == 99
    assert config.training.loss == "mse"
    assert cli("config", "--reference").out == config_reference()


def test_version(cli):
    assert re.fullmatch(r"ld4mrec \d+\.\d+\.\d+\n", cli("--version").out)
