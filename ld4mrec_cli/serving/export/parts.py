"""What a model's scores are made of: inner products of vectors, and item-item weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.ld4mrec.guidance import AnyItemItemWeights, SparseItemItemWeights
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank, SparseLowRankProduct
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.utils.errors import UserError

VECTOR, CNET, EASE, IALS = "vector", "cnet", "ease", "ials"
FACTOR = "factor"

Factors = Callable[[csr_matrix, np.ndarray], FactoredScores]
"""Factors of the scores of rows ``(n, n_items)`` of users ``(n,)``."""


@dataclass(frozen=True)
class Weights:
    """Item-item weights as they act on the scores; row = item of the history."""

    matrix: csr_matrix | np.ndarray
    """``(n_items, n_items)`` float32."""
    left: np.ndarray | None = None
    """Where there is a low rank ``left @ right.T`` beside the matrix: ``(n_items, d)``."""
    right: np.ndarray | None = None

    @property
    def is_dense(self) -> bool:
        """Whether every pair of items has a weight."""
        return isinstance(self.matrix, np.ndarray)


@dataclass(frozen=True)
class Parts:
    """The parts of a model's scores."""

    vectors: dict[str, Factors]
    """Inner products, by name."""
    weights: Weights | None
    """Item-item weights, or None."""
    formula: str
    """How a score is computed from the parts, for a reader."""
    is_mixture: bool = False
    """Scores are ``softmax(cnet) + max(0, ease) + max(0, ials)``; otherwise the plain sum."""
    factor: np.ndarray | None = None
    """Of the whole score of each item ``(n_items,)``; None: 1."""

    @property
    def is_inner_product(self) -> bool:
        """Whether a score is one inner product."""
        return tuple(self.vectors) == (VECTOR,) and self.weights is None


def split_parts(model: Recommender, n_items: int) -> Parts:
    """The parts of a model's scores.

    Raises:
        UserError: they are neither inner products nor item-item weights.
    """
    if isinstance(model, ItemItemRecommender):
        vectors, weights, text = _item_item(plain_weights(model.weights))
        return Parts(vectors, weights, text)
    if isinstance(model, LD4MRec):
        check_one_step(model)
        if not model.mixture.is_empty or model.cnet.ease is not None:
            return _split_ld4mrec(model)
    nobody = csr_matrix((1, n_items), dtype=np.float32), np.zeros(1, dtype=np.int64)
    if model.inner_products(*nobody) is None:
        raise UserError("the scores of this model are neither inner products nor item weights")

    def factors(rows: csr_matrix, users: np.ndarray) -> FactoredScores:
        products = model.inner_products(rows, users)
        assert products is not None
        return products

    return Parts({VECTOR: factors}, None, f"user.{VECTOR} · item.{VECTOR}")


def check_one_step(model: LD4MRec) -> None:
    """Raise UserError where scores are those of a reverse chain."""
    if model.inference_steps > 1:
        what = f"the scores of this run are those of {model.inference_steps} reverse steps"
        hint = "Only one-step inference is exported: train with diffusion.inference_steps=1"
        raise UserError(what, hint=hint)


def _split_ld4mrec(model: LD4MRec) -> Parts:
    """C-Net's inner products beside those of EASE and iALS."""

    def cnet(rows: csr_matrix, users: np.ndarray) -> FactoredScores:
        return model.factors(SparseRows.from_csr(rows, model.device))

    is_mixture = not model.mixture.is_empty
    vectors: dict[str, Factors] = {CNET: cnet}
    product = f"user.{CNET} · item.{CNET}"
    terms = [f"softmax over the items of ({product})" if is_mixture else product]
    weights = ease_weights(model)
    if weights is not None:
        queries, weights, text = _item_item(weights)
        vectors |= queries
        terms.append(f"max(0, {text})" if is_mixture else text)
    ials = model.mixture.ials
    if ials is not None:

        def by_ials(rows: csr_matrix, users: np.ndarray) -> FactoredScores:
            items = ials.items.cpu()
            vectors = ials.vectors(rows) * ials.scale
            return FactoredScores((vectors,), (items,), items.new_zeros(len(items)))

        vectors[IALS] = by_ials
        terms.append(f"max(0, user.{IALS} · item.{IALS})")
    formula, factor = " + ".join(terms), model.mixture.trend_factor(torch.device("cpu"))
    if not is_mixture or factor is None:
        return Parts(vectors, weights, formula, is_mixture)
    return Parts(vectors, weights, f"item.{FACTOR} · ({formula})", is_mixture, factor.numpy())


def ease_weights(model: LD4MRec) -> Weights | None:
    """EASE weights of LD4MRec times their scale, or None."""
    ease = model.mixture.ease if model.mixture.ease is not None else model.cnet.ease
    if ease is None:
        return None
    is_learned = model.mixture.ease is None
    scale = float(model.cnet.ease_scale.detach()) if is_learned else ease.scale
    return _scaled(_module_weights(ease), scale)


def plain_weights(weights: np.ndarray | csr_matrix | SparseLowRank) -> Weights:
    """Weights in any of their three forms."""
    if not isinstance(weights, SparseLowRank):
        return Weights(weights)
    product = SparseLowRankProduct(weights)
    return Weights(product.sparse, weights.left, weights.right)


def _module_weights(ease: AnyItemItemWeights) -> Weights:
    if isinstance(ease, SparseItemItemWeights):
        return Weights(ease.sparse, ease.left.cpu().numpy(), ease.right.cpu().numpy())
    return Weights(ease.weights.cpu().numpy())


def _scaled(weights: Weights, scale: float) -> Weights:
    factor = np.float32(scale)
    left = None if weights.left is None else weights.left * factor
    return Weights(weights.matrix * factor, left, weights.right)


def _item_item(weights: Weights) -> tuple[dict[str, Factors], Weights, str]:
    """Vectors of the low rank, if any, the weights, and the formula of their scores."""
    text = "(sum of weight over the history)"
    left, right = weights.left, weights.right
    if left is None or right is None or not left.shape[1]:
        return {}, Weights(weights.matrix), text
    queries, catalog = (np.ascontiguousarray(one) for one in (left, right))

    def by_low_rank(rows: csr_matrix, users: np.ndarray) -> FactoredScores:
        vectors = SparseRows.from_csr(rows).with_root_weights().matmul(torch.from_numpy(queries))
        items = torch.from_numpy(catalog)
        return FactoredScores((vectors,), (items,), items.new_zeros(len(items)))

    return {EASE: by_low_rank}, weights, f"({text[1:-1]} + user.{EASE} · item.{EASE})"
