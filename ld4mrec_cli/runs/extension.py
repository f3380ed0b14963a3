"""What a run keeps of new items: the known items that stand for them, and their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, vstack

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.new_items import ExtendedRecommender
from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.runs.run_directory import NEW_ITEMS, RunDirectory
from ld4mrec_cli.utils.errors import RunError

PARTS = ("data", "indices", "indptr")
CONTENT = "content"
HEAD = "head."
"""Before the names of what the model learned."""


@dataclass(frozen=True)
class Extension:
    """New items of a run."""

    neighbors: csr_matrix
    """Known items that stand for the new ones ``(n_new, n_known)``."""
    content: np.ndarray | None
    """Content of the new items ``(n_new, dim)``; None where the model learned nothing of it."""
    learned: Mapping[str, np.ndarray]
    """What the model learned of content, by name."""

    def extend(self, model: Recommender, weight: float) -> ExtendedRecommender:
        """A recommender of the known and the new items, whose scores have the factor ``weight``."""
        if self.content is not None:
            model.use_content(self.learned, self.content)
        return ExtendedRecommender(model, self.neighbors, weight)

    def append(self, neighbors: csr_matrix, content: np.ndarray) -> Self:
        """With further new items, which have what the model learned before."""
        both = None if self.content is None else np.concatenate([self.content, content])
        rows = csr_matrix(vstack([self.neighbors, neighbors], format="csr"))
        return type(self)(rows, both, self.learned)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays of a file."""
        types = dict(zip(PARTS, (np.float32, np.int64, np.int64), strict=True))
        arrays = {name: getattr(self.neighbors, name).astype(t) for name, t in types.items()}
        if self.content is not None:
            arrays[CONTENT] = self.content
        return arrays | {f"{HEAD}{name}": value for name, value in self.learned.items()}


def load_extension(run: RunDirectory) -> Extension:
    """The new items of an extended run. Raises RunError where they are damaged."""
    path, new = run.path / NEW_ITEMS, run.manifest.new_items
    assert new is not None
    tensors = run.load_tensors(NEW_ITEMS)
    check_numbers(tensors, path)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    learned = {n.removeprefix(HEAD): a for n, a in arrays.items() if n.startswith(HEAD)}
    content = arrays.get(CONTENT)
    try:
        parts = tuple(arrays[name] for name in PARTS)
        neighbors = csr_matrix(parts, shape=(new.count, run.manifest.dataset.n_items))
        neighbors.check_format(full_check=True)  # a product with a bad index reads foreign memory
    except (KeyError, ValueError, TypeError):
        raise RunError("does not hold the new items of this run", where=path) from None
    is_whole = not learned if content is None else content.ndim == 2 and len(content) == new.count
    if not is_whole:
        raise RunError("does not hold the content of the new items of this run", where=path)
    return Extension(neighbors, content, learned)
