"""LD4MRec: a light diffusion model for multimedia recommendation (arXiv 2309.15363).

The Python API is :mod:`ld4mrec_cli.api`, whose names can be imported from here. They are loaded on
first use, so that importing the package is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ld4mrec_cli.api import (
        Dataset,
        Pairs,
        Recommender,
        add_items,
        evaluate,
        export,
        prepare,
        refit,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Pairs",
    "Recommender",
    "__version__",
    "add_items",
    "evaluate",
    "export",
    "prepare",
    "refit",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a name of the API on first use (PEP 562)."""
    if name in __all__:
        from ld4mrec_cli import api

        return getattr(api, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
