"""Which settings only one model reads."""

from __future__ import annotations

from typing import get_args

from ld4mrec_cli.config.types import ModelName

OF_LD4MREC = ("loss", "target", "row_weight_exponent", "sampled_items", "embedding_weight_decay")
"""Settings of the section ``training`` that no baseline reads."""

READ_BY: dict[str, str] = {
    "model": "ld4mrec",
    "diffusion": "ld4mrec",
    **{name: name for name in get_args(ModelName)},
    **{f"training.{key}": "ld4mrec" for key in OF_LD4MREC},
}
"""Section, or setting as ``section.key`` → the one model that reads it. What is not here is read by several."""


def reader(key: str) -> str | None:
    """The one model that reads the setting ``key``, None where there are several."""
    return READ_BY.get(key, READ_BY.get(key.split(".", maxsplit=1)[0]))
