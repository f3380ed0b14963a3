"""The campaigns of ``examples/robustness`` are importable, and their artifacts are shared."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "robustness"))
