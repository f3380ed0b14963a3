"""C-Net: encoder, BD-Blocks, BG-Blocks and a decoder with item-side guidance (docs/model.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.models.ld4mrec.guidance import AnyItemItemWeights, GuidanceSignals
from ld4mrec_cli.models.ops.factored_scores import FactoredScores, matmul_dtype
from ld4mrec_cli.models.ops.rng import BatchRNG, dropout
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.ops.time_embedding import SinusoidalEmbedding
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, DataAxis, signal

INPUT_TIME = 0
"""Step of a row without Gaussian noise; its embedding is the learnable ``t_in``."""


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
    """Parameters and bases of items: of all, or of those that a batch needs.

    The rows are over l items, their guidance is over g items, and m items are scored.
    """

    encoder: Tensor
    """W_e ``(l, d)``."""
    basis: Tensor
    """Bases of the signals side by side, for the guidance, ``(g, Σ r_k)``."""
    item_scale: Tensor
    """``1/√d_i`` ``(g,)``."""
    decoder: Tensor
    """W_d ``(m, d)``."""
    bias: Tensor
    """b_d ``(m,)``."""
    side: Tensor
    """Bases of the signals side by side, for the scores, in their dtype ``(m, Σ r_k)``."""


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of t ≥ 1 through one layer; t = 0 has the learnable embedding t_in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sinusoidal = SinusoidalEmbedding(dim)
        self.layer = nn.Linear(dim, dim)
        self.input_time = nn.Parameter(torch.zeros(dim))

    def forward(self, t: Tensor) -> Tensor:
        """Embed steps ``t`` ``(n,)`` as ``(n, dim)``."""
        embedded = F.silu(self.layer(self.sinusoidal(t)))
        return torch.where((t == INPUT_TIME).unsqueeze(1), self.input_time, embedded)


class ResidualBlock(nn.Module):
    """``h + MLP(LayerNorm(h) ⊕ condition)``.

    The condition of a BD-Block is the time embedding, that of a BG-Block is guidance.
    """

    def __init__(self, dim: int, condition_dim: int, expansion: float, dropout: float) -> None:
        super().__init__()
        width = max(1, round(dim * expansion))
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim + condition_dim, width)
        self.narrow = nn.Linear(width, dim)
        self.dropout = dropout

    def forward(self, h: Tensor, condition: Tensor, rng: BatchRNG | None) -> Tensor:
        """``h`` ``(n, dim)``, ``condition`` ``(n, condition_dim)``; no dropout without ``rng``."""
        inner = F.silu(self.widen(torch.cat([self.norm(h), condition], dim=1)))
        return h + self.narrow(dropout(inner, self.dropout, rng))


class CNet(nn.Module):
    """Predicts the scores of all items from a (corrupted) row, its step t and its guidance."""

    def __init__(
        self, shape: CNetShape, signals: GuidanceSignals, ease: AnyItemItemWeights | None
    ) -> None:
        """``ease``: item-item weights that are added to the scores with a learned scale."""
        super().__init__()
        self.shape = shape
        self.signals = signals
        self.ease = ease
        dim = shape.hidden_dim
        self.encoder = nn.Parameter(torch.empty(shape.n_items, dim))
        self.encoder_bias = nn.Parameter(torch.zeros(dim))
        self.time = TimeEmbedding(shape.time_dim) if shape.bd_blocks else None
        guidance_dim = sum(signals.widths[name] for name in shape.guidance)
        self.bd_blocks = _make_blocks(shape, shape.bd_blocks, shape.time_dim)
        self.bg_blocks = _make_blocks(shape, shape.bg_blocks, guidance_dim)
        self.decoder = nn.Parameter(torch.empty(shape.n_items, dim))
        self.decoder_bias = nn.Parameter(torch.zeros(shape.n_items))
        self.side = signals.names if shape.item_side else ()
        self.item_side_maps = nn.ModuleDict(
            {_key(name): nn.Linear(dim, signals.widths[name], bias=False) for name in self.side}
        )
        self.item_side_scales = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.ones(())) for name in self.side}
        )
        if ease is not None:
            self.ease_scale = nn.Parameter(torch.tensor(ease.scale))

    @torch.no_grad()
    def reset(self, generator: torch.Generator, bias: Tensor | None) -> None:
        """Draw the initial weights from ``generator``.

        The output bias starts at ``bias`` ``(n_items,)``, or at zero.
        """
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

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        guidance = tuple(signal(name) for name in self.shape.guidance)
        blocks = (f"bg_blocks.{n}.widen.weight" for n in range(len(self.bg_blocks)))
        maps = {
            f"item_side_maps.{_key(name)}.weight": DataAxis(0, (signal(name),))
            for name in self.side
        }
        return {
            **dict.fromkeys(("encoder", "decoder", "decoder_bias"), ROWS_OF_ITEMS),
            **dict.fromkeys(blocks, DataAxis(1, (self.shape.hidden_dim, *guidance))),
            **maps,
        }

    def tables(
        self,
        row_items: Tensor | None = None,
        scored_items: Tensor | None = None,
        guidance_items: Tensor | None = None,
    ) -> ItemTables:
        """Tables of all items, or of some. The gradients of the embeddings are sparse for some.

        Args:
            row_items: distinct items that the rows are over ``(l,)`` int64; None: all.
            scored_items: distinct items that are scored ``(m,)`` int64; None: all.
            guidance_items: items that the guidance rows are over ``(g,)`` int64; None: all.
        """
        basis, scale = self.signals.joined, self.signals.inverse_sqrt_degree
        side = self.signals.joined_as(matmul_dtype(basis))
        if row_items is None or scored_items is None:
            return ItemTables(self.encoder, basis, scale, self.decoder, self.decoder_bias, side)
        return ItemTables(
            encoder=F.embedding(row_items, self.encoder, sparse=True),
            basis=basis if guidance_items is None else basis.index_select(0, guidance_items),
            item_scale=scale if guidance_items is None else scale[guidance_items],
            decoder=F.embedding(scored_items, self.decoder, sparse=True),
            bias=self.decoder_bias[scored_items],
            side=side.index_select(0, scored_items),
        )

    def forward(
        self,
        rows: SparseRows,
        t: Tensor,
        guidance_rows: SparseRows | None = None,
        rng: BatchRNG | None = None,
        tables: ItemTables | None = None,
    ) -> FactoredScores:
        """Factors of the scores, without the EASE part.

        Args:
            rows: n (corrupted) rows.
            t: step of each row ``(n,)``; 0 means no Gaussian noise.
            guidance_rows: rows that guidance is computed from; None: ``rows``.
            rng: draws the dropout masks; None: no dropout.
            tables: items of the rows and of the scores; None: all items.
        """
        tables = tables or self.tables()
        guides = self.signals(
            rows if guidance_rows is None else guidance_rows, tables.basis, tables.item_scale
        )
        h = rows.matmul(tables.encoder) / rows.norm().clamp_min(1e-12) + self.encoder_bias
        h = dropout(h, self.shape.dropout, rng)
        if self.time is not None:
            time = self.time(t)
            for block in self.bd_blocks:
                h = block(h, time, rng)
        condition = _concatenate([guides[name] for name in self.shape.guidance], h)
        for block in self.bg_blocks:
            h = block(h, condition, rng)
        return self._decode(dropout(h, self.shape.dropout, rng), guides, tables)

    def _decode(self, h: Tensor, guides: dict[str, Tensor], tables: ItemTables) -> FactoredScores:
        if not self.side:
            return FactoredScores((h,), (tables.decoder,), tables.bias)
        # The queries of all signals in one product: many small ones take longer.
        maps = torch.cat(list(self.item_side_maps.parameters()))
        scaled = [self.side_scale(name) * guides[name] for name in self.side]
        queries = F.linear(h, maps) + torch.cat(scaled, dim=1)
        return FactoredScores((h, queries), (tables.decoder, tables.side), tables.bias)

    def side_scale(self, name: str) -> Tensor:
        """Learned scale of a signal in the item-side guidance, a scalar."""
        return self.item_side_scales[_key(name)]

    def ease_scores(self, rows: SparseRows, items: Tensor | None = None) -> Tensor | None:
        """EASE part of the scores ``(n, n_items)`` with its learned scale, or None.

        ``items`` ``(m,)``: of these items alone.
        """
        return None if self.ease is None else self.ease_scale * self.ease(rows, items)

    def scores(
        self,
        rows: SparseRows,
        t: Tensor,
        guidance_rows: SparseRows | None = None,
        rng: BatchRNG | None = None,
    ) -> Tensor:
        """Scores of all items ``(n, n_items)``, EASE included; arguments as of :meth:`forward`."""
        scores = self(rows, t, guidance_rows, rng).scores()
        ease = self.ease_scores(rows)
        return scores if ease is None else scores + ease


def _make_blocks(shape: CNetShape, n: int, condition_dim: int) -> nn.ModuleList:
    return nn.ModuleList(
        ResidualBlock(shape.hidden_dim, condition_dim, shape.expansion, shape.dropout)
        for _ in range(n)
    )


def _key(signal: str) -> str:
    """Name of a signal's parameters; ``items`` or ``type`` are methods of nn.ModuleDict."""
    return f"of_{signal}"


def _concatenate(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat(list(parts), dim=1) if parts else like.new_zeros(len(like), 0)
