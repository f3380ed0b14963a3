"""Changes to run directories that tests need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ld4mrec_cli.runs.manifest import add_checksum


def edit_manifest(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a run and its checksum, as someone who knows the format would."""
    path = run / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(json.dumps(add_checksum(values)), encoding="utf-8")
