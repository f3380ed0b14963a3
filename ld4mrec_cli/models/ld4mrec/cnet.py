"""C-Net: encoder, BD-Blocks, BG-Blocks and a decoder with item-side guidance (docs/model.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.models.ld4mrec.guidance import GuidanceSignals, ItemItemWeights
from ld4mrec_cli.models.ops.factored_scores import FactoredScores, matmul_dtype
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

INPUT_TIME = 0
"""The time index of a row without Gaussian noise: it is embedded by the learnable ``t_in``."""


@dataclass(frozen=True)
class CNetShape:
    """Sizes of a C-Net."""

    n_items: int
    hidden_dim: int
    bd_blocks: int
    bg_blocks: int
    expansion: float
    time_dim: int
    dropout: float
    guidance: tuple[str, ...]
    """Signals that guide the BG-Blocks."""
    item_side: bool


@dataclass(frozen=True)
class ItemTables:
    """What C-Net holds of items: of all, or of the l that the rows are over and the m that are scored."""

    encoder: Tensor
    """W_e ``(l, d)``."""
    basis: Tensor
    """Bases of the signals side by side, of the g items that the guidance rows are over, ``(g, Σ r_k)``."""
    item_scale: Tensor
    """``1/√d_i`` ``(g,)``."""
    decoder: Tensor
    """W_d ``(m, d)``."""
    bias: Tensor
    """b_d ``(m,)``."""
    side: Tensor
    """Bases of the signals side by side, in the type that the scores are computed in, ``(m, Σ r_k)``."""


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of t ≥ 1 through one layer; t = 0 is the learnable input-time representation t_in."""

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        frequencies = torch.exp(
            -math.log(10_000.0) * torch.arange(half, dtype=torch.float64) / half
        )
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.layer = nn.Linear(dim, dim)
        self.input_time = nn.Parameter(torch.zeros(dim))

    def forward(self, t: Tensor) -> Tensor:
        """Embed steps ``t`` ``(n,)`` as ``(n, dim)``."""
        angles = t.unsqueeze(1).float() * self.frequencies
        embedded = F.silu(self.layer(torch.cat([angles.sin(), angles.cos()], dim=1)))
        return torch.where((t == INPUT_TIME).unsqueeze(1), self.input_time, embedded)


class ResidualBlock(nn.Module):
    """``h + MLP(LayerNorm(h) ⊕ condition)``: a BD-Block with the time embedding, a BG-Block with guidance."""

    def __init__(self, dim: int, condition_dim: int, expansion: float, dropout: float) -> None:
        super().__init__()
        width = max(1, round(dim * expansion))
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim + condition_dim, width)
        self.narrow = nn.Linear(width, dim)
        self.dropout = dropout

    def forward(self, h: Tensor, condition: Tensor, rng: BatchRNG | None) -> Tensor:
        """``h`` ``(n, dim)``, ``condition`` ``(n, condition_dim)``; dropout only with rng."""
        inner = F.silu(self.widen(torch.cat([self.norm(h), condition], dim=1)))
        return h + self.narrow(drop(inner, self.dropout, rng))


class CNet(nn.Module):
    """Predicts the scores of all items from a (corrupted) row, a step t and the guidance of a row."""

    def __init__(
        self, shape: CNetShape, signals: GuidanceSignals, ease: ItemItemWeights | None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.signals = signals
        self.ease = ease
        dim, dropout = shape.hidden_dim, shape.dropout
        self.encoder = nn.Parameter(torch.empty(shape.n_items, dim))
        self.encoder_bias = nn.Parameter(torch.zeros(dim))
        self.time = TimeEmbedding(shape.time_dim) if shape.bd_blocks else None
        self.bd_blocks = nn.ModuleList(
            ResidualBlock(dim, shape.time_dim, shape.expansion, dropout)
            for _ in range(shape.bd_blocks)
        )
        guidance_dim = sum(signals.basis(name).shape[1] for name in shape.guidance)
        self.bg_blocks = nn.ModuleList(
            ResidualBlock(dim, guidance_dim, shape.expansion, dropout)
            for _ in range(shape.bg_blocks)
        )
        self.decoder = nn.Parameter(torch.empty(shape.n_items, dim))
        self.decoder_bias = nn.Parameter(torch.zeros(shape.n_items))
        self.side = side = signals.names if shape.item_side else ()
        self.item_side_maps = nn.ModuleDict(
            {_key(name): nn.Linear(dim, signals.basis(name).shape[1], bias=False) for name in side}
        )
        self.item_side_scales = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.ones(())) for name in side}
        )
        if ease is not None:
            self.ease_scale = nn.Parameter(torch.tensor(ease.scale))

    @torch.no_grad()
    def reset(self, generator: torch.Generator, bias: Tensor | None) -> None:
        """Draw the initial weights from ``generator``; the output bias starts at ``bias`` ``(n_items,)``."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embedding in (self.encoder, self.decoder):
            nn.init.normal_(embedding, std=self.shape.hidden_dim**-0.5, generator=generator)
        self.decoder.mul_(0.1)
        if self.time is not None:
            nn.init.normal_(self.time.input_time, std=0.02, generator=generator)
        if bias is not None:
            self.decoder_bias.copy_(bias)

    def tables(
        self,
        of_rows: Tensor | None = None,
        scored: Tensor | None = None,
        of_guidance: Tensor | None = None,
    ) -> ItemTables:
        """What is held of all items, or of those that the rows are over and those that are scored, each distinct.

        For some items, ``of_rows`` ``(l,)`` and ``scored`` ``(m,)`` int64, the gradients of the embeddings are sparse:
        they name these items and no others. The guidance rows are over ``of_guidance`` ``(g,)``, or all items.
        """
        basis, scale = self.signals.joined, self.signals.inverse_sqrt_degree
        side = self.signals.joined_as(matmul_dtype(basis))
        if of_rows is None or scored is None:
            return ItemTables(self.encoder, basis, scale, self.decoder, self.decoder_bias, side)
        return ItemTables(
            encoder=F.embedding(of_rows, self.encoder, sparse=True),
            basis=basis if of_guidance is None else basis.index_select(0, of_guidance),
            item_scale=scale if of_guidance is None else scale[of_guidance],
            decoder=F.embedding(scored, self.decoder, sparse=True),
            bias=self.decoder_bias[scored],
            side=side.index_select(0, scored),
        )

    def forward(
        self,
        rows: SparseRows,
        t: Tensor,
        guidance_rows: SparseRows | None = None,
        rng: BatchRNG | None = None,
        tables: ItemTables | None = None,
    ) -> FactoredScores:
        """Scores but for the item weights, not yet multiplied out.

        Args:
            rows: the (corrupted) rows, n of them.
            t: step of each row ``(n,)``; 0 means no Gaussian noise.
            guidance_rows: rows to take guidance from; ``rows`` themselves where None.
            rng: of the dropout masks; None means no dropout.
            tables: the items that the rows are over and those that are scored; all where None.
        """
        tables = tables or self.tables()
        guides = self.signals(
            rows if guidance_rows is None else guidance_rows, tables.basis, tables.item_scale
        )
        h = rows.matmul(tables.encoder) / rows.norm().clamp_min(1e-12) + self.encoder_bias
        h = drop(h, self.shape.dropout, rng)
        if self.time is not None:
            time = self.time(t)
            for block in self.bd_blocks:
                h = block(h, time, rng)
        condition = _concatenate([guides[name] for name in self.shape.guidance], h)
        for block in self.bg_blocks:
            h = block(h, condition, rng)
        return self._decode(drop(h, self.shape.dropout, rng), guides, tables)

    def _decode(self, h: Tensor, guides: dict[str, Tensor], tables: ItemTables) -> FactoredScores:
        if not self.side:
            return FactoredScores((h,), (tables.decoder,), tables.bias)
        # Queries of all signals at once: many small products take longer than one.
        maps = torch.cat(list(self.item_side_maps.parameters()))
        own = torch.cat(
            [self.item_side_scales[_key(name)] * guides[name] for name in self.side], dim=1
        )
        return FactoredScores(
            (h, F.linear(h, maps) + own), (tables.decoder, tables.side), tables.bias
        )

    def scores(
        self,
        rows: SparseRows,
        t: Tensor,
        guidance_rows: SparseRows | None = None,
        rng: BatchRNG | None = None,
    ) -> Tensor:
        """Scores of all items ``(n, n_items)``, item weights included; arguments as of :meth:`forward`."""
        scores = self(rows, t, guidance_rows, rng).scores()
        if self.ease is not None:
            scores = scores + self.ease_scale * self.ease(rows)
        return scores


def drop(x: Tensor, rate: float, rng: BatchRNG | None) -> Tensor:
    """Inverted dropout of ``x`` ``(n, width)`` whose mask comes from ``draws``; None or a rate of 0 returns ``x``."""
    if rng is None or rate == 0.0:
        return x
    kept = rng.bernoulli(1.0 - rate, *x.shape).to(x.dtype)
    return (x * kept).mul_(1.0 / (1.0 - rate))  # in this order: in bf16 the factor would be rounded


def _key(signal: str) -> str:
    """Name of a signal's weights; a bare ``items`` or ``type`` would clash with the methods of nn.ModuleDict."""
    return f"of_{signal}"


def _concatenate(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat(list(parts), dim=1) if parts else like.new_zeros(len(like), 0)
