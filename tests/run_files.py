"""Changes to run directories and outputs that tests need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from ld4mrec_cli.runs.manifest import add_checksum
from ld4mrec_cli.utils.files import sha256
from ld4mrec_cli.utils.workspace import LOCK


def leave_workspace(target: Path) -> None:
    """Leave in place what a process leaves that was killed while it wrote ``target``."""
    workspace = target.parent / f".{target.name}.ab12cd34.tmp"
    workspace.mkdir()
    (workspace / LOCK).touch()
    (workspace / target.name).write_bytes(b"half")


def edit_manifest(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a run and its checksum, as someone who knows the format would."""
    path = run / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(json.dumps(add_checksum(values)), encoding="utf-8")


def change_test_split(dataset: Path) -> None:
    """Give a dataset directory other test interactions, with fitting checksums."""
    path, schema_path = dataset / "test.parquet", dataset / "schema.json"
    test = pl.read_parquet(path, glob=False)
    other = test.with_columns(item=test["item"].reverse()).unique(["user", "item"])
    other.sort("user", "item").write_parquet(path)
    schema = json.loads(schema_path.read_text())
    schema["files"][path.name] = sha256(path)
    schema["splits"]["test"]["interactions"] = len(other)
    schema_path.write_text(json.dumps(schema))
