"""Other estimates of the next behavior, mixed with C-Net's softmax at inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ld4mrec.guidance import AnyItemItemWeights, SparseItemItemWeights
from ld4mrec_cli.models.ops.als import LeastSquares
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.history_shares import split_row
from ld4mrec_cli.models.ops.sparse_low_rank import Columns
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

LARGE_CATALOG = 20_000
"""Items above which the scores of a mixture are computed block by block."""
BLOCK_SIZE = 4096
"""Items of a block, where a sum over the catalog is taken block by block."""

TREND = "trend"
"""Name of the correction by the trend, whose scale is a power."""

ScoreColumns = Callable[[Columns], Tensor]
"""Gives the scores ``(n, m)`` of some items, in memory of their own."""

CNET = "cnet"
"""Name of C-Net's part, whose weight is 1."""

SCALES = (0.0, *(2.0 ** (exponent / 2) for exponent in range(-10, 13)))
"""Weights of a part that are tried: 0, and 1/32 to 64 in steps of √2."""


def _nearest_scale(scale: float) -> float:
    return min(SCALES, key=lambda one: abs(one - scale))


def _step(scales: dict[str, float], name: str, direction: int) -> dict[str, float] | None:
    """``scales`` with the next lower or higher weight of a part; None past the end."""
    position = SCALES.index(scales[name]) + direction
    return {**scales, name: SCALES[position]} if 0 <= position < len(SCALES) else None


def _climb(
    scales: dict[str, float], value: Callable[[dict[str, float]], float]
) -> dict[str, float]:
    """Hill climbing from ``scales``, one part after the other, until no step is better."""
    best, is_better = scales, True
    while is_better:
        is_better = False
        for name in scales:
            for direction in (-1, 1):
                while (other := _step(best, name, direction)) and value(best) < value(other):
                    best, is_better = other, True
    return best


class IALSScores:
    """``[w vᵀ]₊`` with item vectors v and a row's vector w, solved from the row itself."""

    def __init__(self, items: np.ndarray, settings: IALSConfig, scale: float) -> None:
        """``items``: ``(n_items, dim)``; ``scale``: factor of the scores."""
        self._items = torch.from_numpy(items)
        """On the device of the last scores."""
        self.scale = scale
        self._users = LeastSquares(self._items, settings)

    @property
    def items(self) -> Tensor:
        """Item vectors ``(n_items, dim)``."""
        return self._items

    def vectors(self, rows: csr_matrix) -> Tensor:
        """Vectors of rows ``(n, dim)``, on the CPU."""
        return self._users.solve(rows)

    def terms(self, row: csr_matrix, items: Tensor) -> Tensor:
        """Terms ``(h, m)``, one for each item of a row, of the scores before the clamp, weighed."""
        parts = self._users.solve_parts(row).mul_(self.scale).to(items.device)
        return parts @ self._items.to(items.device)[items].T

    def columns(self, rows: csr_matrix, device: torch.device) -> ScoreColumns:
        """``w_x Iᵀ``, whose columns are computed when they are needed, on ``device``.

        The small systems are solved on the CPU.
        """
        if self._items.device != device:
            self._items = self._items.to(device)
        vectors, catalog = self.vectors(rows).to(device), self._items
        return lambda items: vectors @ catalog[items].T


def _clamp(columns: ScoreColumns) -> ScoreColumns:
    """The scores of ``columns``, 0 in place of negative ones."""
    return lambda items: columns(items).clamp_min_(0.0)


def _clamp_sum(terms: Tensor) -> Tensor:
    """Terms ``(h, m)`` of sums that are clamped at 0: all are 0 where the sum is not positive."""
    return terms * (terms.sum(dim=0, keepdim=True) > 0.0)


@dataclass(frozen=True)
class MixedScores:
    """Scores of a :class:`Mixture`, of which blocks of items are computed when they are needed."""

    cnet: FactoredScores
    """C-Net's scores of the items."""
    log_total: Tensor
    """Log of the sum of ``exp(score)`` over the catalog ``(n, 1)``."""
    parts: Mapping[str, ScoreColumns]
    """The other estimates by name."""
    weights: Mapping[str, float]
    """Weights of the other estimates."""
    items: Columns
    """The items that are scored."""
    factor: Tensor | None = None
    """Of the scores of each row ``(n_items,)``."""
    bias: Tensor | None = None
    """Added to the scores of each row ``(n_items,)``, after the factor."""

    @property
    def n_items(self) -> int:
        """Number of items that are scored."""
        return self.cnet.n_items

    @property
    def device(self) -> torch.device:
        """Where they are computed."""
        return self.log_total.device

    def block(self, start: int, stop: int) -> MixedScores:
        """Scores of the items from place ``start`` to before ``stop``."""
        if isinstance(self.items, slice):
            items: Columns = slice(self.items.start + start, self.items.start + stop)
        else:
            items = self.items[start:stop]
        return self._replace(self.cnet.block(start, stop), items, slice(start, stop))

    def of_items(self, item_ids: Tensor) -> MixedScores:
        """Scores of the places ``item_ids`` ``(m,)`` int64, in their order."""
        if isinstance(self.items, slice):
            items = item_ids + self.items.start
        else:
            items = self.items[item_ids]
        return self._replace(self.cnet.of_items(item_ids), items, item_ids)

    def _replace(self, cnet: FactoredScores, items: Columns, at: Columns) -> MixedScores:
        factor, bias = (None if one is None else one[at] for one in (self.factor, self.bias))
        return replace(self, cnet=cnet, items=items, factor=factor, bias=bias)

    def biased(self, bias: Tensor) -> MixedScores:
        """Add ``bias`` ``(n_items,)`` to the scores of each row."""
        return replace(self, bias=bias if self.bias is None else self.bias + bias)

    def estimates(self) -> dict[str, Tensor]:
        """The estimates by name, not weighed, ``(n, n_items)`` each."""
        cnet = self.cnet.scores().sub_(self.log_total).exp_()
        others = {name: part(self.items) for name, part in self.parts.items()}
        return {CNET: cnet, **others}

    def scores(self) -> Tensor:
        """All scores ``(n, n_items)`` float32, in memory of their own."""
        mixture = self.cnet.scores().sub_(self.log_total).exp_()
        for name, part in self.parts.items():
            mixture.add_(part(self.items), alpha=self.weights[name])
        if self.factor is not None:
            mixture *= self.factor
        return mixture if self.bias is None else mixture.add_(self.bias)


def log_sum_exp(scores: FactoredScores) -> Tensor:
    """``log Σ_j exp(s_j)`` of each row ``(n, 1)``, without all scores in memory."""
    starts = range(0, scores.n_items, BLOCK_SIZE)
    blocks = (scores.block(start, min(start + BLOCK_SIZE, scores.n_items)) for start in starts)
    totals = [block.scores().logsumexp(dim=1, keepdim=True) for block in blocks]
    return torch.cat(totals, dim=1).logsumexp(dim=1, keepdim=True)


class Mixture(nn.Module):
    """``softmax(scores) + w [x B]₊ + v [w_x Iᵀ]₊``: each part estimates the next behavior.

    With a trend, the sum is multiplied by ``ratio^p``, where the ratio is that of the recent
    popularity of an item to its popularity of all time.
    """

    def __init__(self, ease: AnyItemItemWeights | None, ials: IALSScores | None) -> None:
        """Both parts are optional; without them the scores stay as they are."""
        super().__init__()
        self.ease = ease
        self.ials = ials
        self.fitted: tuple[str, ...] = ()
        """Parts whose weight is chosen on validation."""
        self.trend_scale = 0.0
        """The power p."""
        self._trend: Tensor | None = None

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the parts that there are, by name."""
        parts = {"ease": self.ease, "ials": self.ials}
        return {name: part.scale for name, part in parts.items() if part is not None}

    @property
    def part_weights(self) -> dict[str, float] | None:
        """Weights of all estimates by name; None: the scores are no sum of them."""
        if self.is_empty or self._trend is not None:
            return None
        return {CNET: 1.0, **self.scales}

    def set_trend(self, logarithms: np.ndarray | None, power: float = 1.0) -> None:
        """Correct by a trend; None: no longer.

        Args:
            logarithms: of the ratios ``(n_items,)``, of
                :func:`ld4mrec_cli.data.trend.measure_trend`.
            power: of the ratios.
        """
        self._trend = None if logarithms is None else torch.from_numpy(logarithms)
        self.trend_scale = 0.0 if logarithms is None else power

    def trend_factor(self, device: torch.device) -> Tensor | None:
        """Factor of the scores of each row ``(n_items,)`` on ``device``; None: there is none."""
        if self._trend is None or not self.trend_scale:
            return None
        self._trend = self._trend.to(device)
        return (self.trend_scale * self._trend).exp()

    def set_scales(self, scales: Mapping[str, float]) -> None:
        """Set the weights of parts by name. Raises KeyError for a part that there is not."""
        for name, scale in scales.items():
            if name == TREND:
                if self._trend is None:
                    raise KeyError(name)
                self.trend_scale = scale
                continue
            part = {"ease": self.ease, "ials": self.ials}[name]
            if part is None:
                raise KeyError(name)
            part.scale = scale

    def fit_scales(self, evaluate: Callable[[], float]) -> dict[str, float]:
        """Choose the weights of the :attr:`fitted` parts, so that the scores are best.

        Hill climbing over SCALES, one part at a time, from where the weights are, from 1, and of
        several parts from each by itself: where one part outweighs the others, all weights are much
        the same, and a climb stays there.

        Args:
            evaluate: value of the scores with the present weights, higher is better.

        Returns:
            The chosen weights by name: of the best value, of equal ones the first evaluated.
        """
        values: dict[tuple[float, ...], float] = {}

        def value(scales: dict[str, float]) -> float:
            key = tuple(scales.values())
            if key not in values:
                self.set_scales(scales)
                values[key] = evaluate()
            return values[key]

        scales = {**self.scales, TREND: self.trend_scale}
        fitted = self.fitted if self._trend is None else (*self.fitted, TREND)
        if not fitted:
            return {}
        starts = [
            {name: _nearest_scale(scales[name]) for name in fitted},
            dict.fromkeys(fitted, 1.0),
        ]
        parts = [name for name in self.fitted if len(self.fitted) > 1]
        starts += [{**starts[1], **dict.fromkeys(parts, 0.0), name: 1.0} for name in parts]
        best = max((_climb(start, value) for start in starts), key=value)
        self.set_scales(best)
        return best

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to mix in."""
        return self.ease is None and self.ials is None

    def estimate(self, scores: Tensor, items: Tensor | None = None) -> Tensor:
        """C-Net's part: the softmax of its ``scores`` ``(n, n_items)``; alone, the scores.

        ``items`` ``(m,)`` int64: of these items alone.
        """
        estimate = scores if self.is_empty else scores.softmax(dim=1)
        return self._correct(estimate if items is None else estimate[:, items], items)

    def _correct(self, scores: Tensor, items: Tensor | None) -> Tensor:
        """Scores of all or of some items, times the factor of the trend where there is one."""
        factor = None if self.is_empty else self.trend_factor(scores.device)
        if factor is None:
            return scores
        return scores * (factor if items is None else factor[items])

    def linear_shares(self, row: csr_matrix, items: Tensor) -> Tensor:
        """Shares of a history in what the parts contribute to ``items`` ``(m,)``: ``(h, m)``.

        They are exact. Where the clamp of a part acts, they are 0.

        Args:
            row: the history ``(1, n_items)``, of h items, with sorted indices.
            items: int64, on the device of the scores.
        """
        shares = torch.zeros(row.nnz, len(items), device=items.device)
        if self.ease is not None:
            observed = SparseRows.from_csr(split_row(row), items.device)
            shares += _clamp_sum(self.ease(observed, items) * self.ease.scale)
        if self.ials is not None:
            shares += _clamp_sum(self.ials.terms(row, items))
        return self._correct(shares, items)

    def forward(
        self,
        scores: Tensor,
        observed: SparseRows,
        rows: csr_matrix,
        items: Tensor | None = None,
    ) -> Tensor:
        """Mix C-Net's ``scores`` ``(n, n_items)`` with the parts.

        Args:
            scores: of all items.
            observed: the rows, as tensors.
            rows: the same rows, as a CSR matrix.
            items: items to mix the scores of, ``(m,)`` int64; None: all.
        """
        if self.is_empty:
            return self.estimate(scores, items)
        chosen = slice(0, scores.shape[1]) if items is None else items
        mixture = scores.softmax(dim=1)[:, chosen]
        for name, part in self._parts(observed, rows, scores.device).items():
            mixture.add_(part(chosen), alpha=self.scales[name])
        return self._correct(mixture, items)

    def _parts(
        self, observed: SparseRows, rows: csr_matrix, device: torch.device
    ) -> dict[str, ScoreColumns]:
        """The other estimates by name, not weighed."""
        parts: dict[str, ScoreColumns] = {}
        if self.ease is not None:
            parts["ease"] = _clamp(self.ease.columns(observed))
        if self.ials is not None:
            parts["ials"] = _clamp(self.ials.columns(rows, device))
        return parts

    def estimates(
        self, scores: Tensor, observed: SparseRows, rows: csr_matrix
    ) -> dict[str, Tensor]:
        """The estimates by name, not weighed, ``(n, n_items)`` each; arguments as of a call."""
        parts = self._parts(observed, rows, scores.device)
        every = slice(0, scores.shape[1])
        others = {name: part(every) for name, part in parts.items()}
        return {CNET: scores.softmax(dim=1), **others}

    def is_blockwise(self, n_items: int) -> bool:
        """Whether :meth:`blockwise` is better than all scores at once, for ``n_items`` items.

        It is not for a mixture of a small catalog, or with dense item-item weights.
        """
        is_dense = self.ease is not None and not isinstance(self.ease, SparseItemItemWeights)
        return self.is_empty or (n_items > LARGE_CATALOG and not is_dense)

    def blockwise(
        self, scores: FactoredScores, observed: SparseRows, rows: csr_matrix
    ) -> FactoredScores | MixedScores:
        """:meth:`forward` block by block of items."""
        if self.is_empty:
            return scores
        device = scores.bias.device
        return MixedScores(
            scores,
            log_sum_exp(scores),
            self._parts(observed, rows, device),
            self.scales,
            slice(0, scores.n_items),
            self.trend_factor(device),
        )
