import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_shell import TINY

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty working directory, in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def fails(cli):
    """Run a command that must fail with exit code 2 and one line on stderr; return the line."""

    def call(*arguments, code=2):
        result = cli(*arguments)
        assert result.code == code, result.err
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1, result.err
        return result.err

    return call


@dataclass(frozen=True)
class Workspace:
    raw: Path
    data: Path
    run: Path


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """Raw planted files, prepared, and a small model trained on them."""
    root = tmp_path_factory.mktemp("workspace")
    raw, data, trained = root / "raw", root / "data", root / "run"
    raw.mkdir()
    write_synthetic(raw, seed=3, size=SyntheticSize(users=120, items=60, interactions_per_user=9))
    assert run(["prepare", "--raw", str(raw), "--out", str(data)]) == 0
    assert run(["train", "--data", str(data), "--run", str(trained), "--device", "cpu", *TINY]) == 0
    return Workspace(raw, data, trained)
