"""LD4MRec: C-Net, the diffusion process around it, and one-step inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.batches import RowBatches
from ld4mrec_cli.models.ld4mrec.cnet import CNet, CNetShape
from ld4mrec_cli.models.ld4mrec.diffusion import ForwardProcess, SoftReconstruction, StepSampler
from ld4mrec_cli.models.ld4mrec.guidance import GuidanceSignals, ItemItemWeights
from ld4mrec_cli.models.ld4mrec.losses import (
    multinomial,
    reconstruction_loss,
    squared_in_closed_form,
)
from ld4mrec_cli.models.ld4mrec.sampled_softmax import CandidateSampler, reindex
from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.ld4mrec.signals import IALSScores, ItemSignals, ials_settings
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group

LARGE_CATALOGUE = 20_000
"""Above this many items the loss does not compute the scores of all of them, unless it is asked to."""
CANDIDATES_DRAWN = 8_192
"""Items drawn per batch, beside those targets in it, for the multinomial loss over a large catalog."""


class LD4MRec(TrainableRecommender):
    """The whole model. ``score(rows)`` is one-step inference; ``loss(rows)`` is the training objective."""

    def __init__(
        self,
        model: ModelConfig,
        diffusion: DiffusionConfig,
        training: TrainingConfig,
        signals: ItemSignals,
    ) -> None:
        """Build C-Net around ``signals``; the weights are drawn from ``training.seed``.

        Raises:
            ValueError: ``model.guidance`` names a signal that there is not.
        """
        super().__init__()
        names = tuple(signals.bases)
        guidance = names if model.guidance is None else model.guidance
        unknown = [name for name in guidance if name not in names]
        if unknown:
            raise ValueError(
                f"model.guidance names '{unknown[0]}', but the signals are {', '.join(names)}"
            )
        self.diffusion = diffusion
        self.loss_kind = training.loss
        self.target = training.target
        self.row_weight_exponent = (
            training.row_weight_exponent if training.loss == "multinomial" else 0.0
        )
        self._mean_row_weight = 1.0
        self.n_items = len(signals.degree)
        shape = CNetShape(
            n_items=self.n_items,
            hidden_dim=model.hidden_dim,
            bd_blocks=model.bd_blocks,
            bg_blocks=model.bg_blocks,
            expansion=model.expansion,
            time_dim=model.time_dim,
            dropout=model.dropout,
            guidance=tuple(guidance),
            item_side=model.item_side,
        )
        weights = None
        if signals.ease_weights is not None:
            weights = ItemItemWeights(signals.ease_weights, model.ease_scale)
        is_mixture = training.loss == "multinomial"
        self.mixed_in = weights if is_mixture else None
        """Item weights that are mixed with C-Net's softmax when scoring."""
        self.ials: IALSScores | None = None
        """Least-squares scores that are mixed in, too."""
        if signals.ials_items is not None:
            self.ials = IALSScores(signals.ials_items, ials_settings(model), model.ials_scale)
        self.cnet = CNet(
            shape, GuidanceSignals(signals.bases, signals.degree), None if is_mixture else weights
        )
        self.clean_guidance = model.guidance_source == "clean"
        schedule = LinearSchedule(
            diffusion.steps, diffusion.noise_scale, diffusion.noise_min, diffusion.noise_max
        )
        self.forward_process = ForwardProcess(schedule, diffusion.mask_rate)
        self.soft = SoftReconstruction(
            diffusion.soft_probability if diffusion.soft_reconstruction else 0.0,
            diffusion.smoothing_intensity,
            diffusion.soft_labels == "drawn",
        )
        n_steps = diffusion.steps + 1 if schedule.is_noisy else 1
        self.sampler = StepSampler(n_steps, diffusion.importance_sampling)
        self.n_drawn = self._candidates_drawn(training)
        """Items drawn per batch as candidates; 0: the loss is over the whole catalog."""
        self.in_closed_form = (
            training.loss == "mse"
            and self.n_items > LARGE_CATALOGUE
            and self.cnet.ease is None
            and not self.soft.is_drawn
        )
        self._candidates: CandidateSampler | None = None
        generator = torch.Generator().manual_seed(training.seed)
        bias = (
            log_popularity(signals.degree)
            if model.popularity_bias and training.loss == "multinomial"
            else None
        )
        self.cnet.reset(generator, bias)

    def _candidates_drawn(self, training: TrainingConfig) -> int:
        if training.loss == "mse" or self.soft.is_drawn:
            return 0
        wanted = training.sampled_items
        if wanted is None:
            wanted = CANDIDATES_DRAWN if self.n_items > LARGE_CATALOGUE else 0
        return wanted if wanted < self.n_items else 0

    def batches(self, train: csr_matrix, batch_size: int) -> RowBatches:
        """Rows of users; candidates are drawn, and rows weighed, as befits ``train`` ``(n_users, n_items)``."""
        length = np.diff(train.indptr)
        length = length[length > 0]
        if self.n_drawn:
            self._candidates = CandidateSampler(self.n_drawn, train.getnnz(axis=0), len(length))
        if self.row_weight_exponent and len(length):
            self._mean_row_weight = mean_row_weight(
                length, self._target_rate, self.row_weight_exponent
            )
        return RowBatches(train, batch_size)

    @property
    def _target_rate(self) -> float:
        """Probability that a behavior of a row is to be found."""
        return 1.0 if self.target == "all" else self.forward_process.mask_rate

    @property
    def sparse_parameters(self) -> tuple[Tensor, ...]:
        """The item embeddings, where a batch reaches W_d at the candidates and W_e at the unmasked items alone."""
        return (self.cnet.encoder, self.cnet.decoder) if self.n_drawn else ()

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """The item embeddings W_e and W_d decay on their own, the blocks together, the rest not at all."""
        embeddings = [self.cnet.encoder, self.cnet.decoder]
        blocks = [
            p for p in self.parameters() if p.ndim >= 2 and all(p is not e for e in embeddings)
        ]
        rest = [p for p in self.parameters() if p.ndim < 2]
        return [
            {"params": embeddings, "weight_decay": config.embedding_weight_decay},
            {"params": blocks, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]

    def training_state(self) -> dict[str, Tensor]:
        """The losses that importance sampling remembers."""
        return {f"sampler.{name}": value for name, value in self.sampler.named_buffers()}

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Training objective of a batch of clean rows: the importance-weighted mean loss, a scalar."""
        return self.sharded_loss(batch, generator, SINGLE_PROCESS)

    def sharded_loss(self, batch: SparseRows, generator: torch.Generator, group: Group) -> Tensor:
        """See :class:`TrainableRecommender`: every process corrupts the whole batch and reconstructs its rows."""
        t, weight = self.sampler.sample(len(batch), generator)
        sizes, (first, last) = group.shard_sizes(len(batch)), group.shard_bounds(len(batch))
        idle = (
            first == last
        )  # more processes than rows: one is computed for nothing, so that all have gradients
        part = (0, 1) if idle else (first, last)
        losses, n_targets = self._row_losses(batch, t, generator, *part)
        counts = n_targets > 0
        if len(self.sampler.filled) > 1:
            known = group.gather(losses.detach()[: last - first], sizes)
            self.sampler.update(t[counts], known[counts])
        if self.row_weight_exponent:
            weight = (
                weight * n_targets.float().pow(self.row_weight_exponent) / self._mean_row_weight
            )
        weighed = losses * (weight * counts)[slice(*part)] * (0.0 if idle else 1.0)
        return weighed.sum() / counts.sum().clamp_min(1)

    def _row_losses(
        self, batch: SparseRows, t: Tensor, generator: torch.Generator, first: int, last: int
    ) -> tuple[Tensor, Tensor]:
        """Losses of the rows from ``first`` to before ``last``, and behaviors targets in all rows ``(n,)`` int64.

        A row in which none is targets does not count.
        """
        if self._candidates is not None:
            return self._sampled_losses(batch, t, generator, first, last, self._candidates)
        corrupted = self.forward_process(batch, t, generator)
        n_targets = corrupted.targets(batch, self.target)[0].counts
        rng = BatchRNG(generator, len(batch), first)
        batch, corrupted, t = batch[first:last], corrupted[first:last], t[first:last]
        guidance = batch if self.clean_guidance else None
        if self.in_closed_form:
            targets, ignored = corrupted.targets(batch, self.target)
            products = self.cnet(corrupted.rows, t, guidance, rng)
            return squared_in_closed_form(products, targets, ignored, self.soft.expected), n_targets
        if self.loss_kind == "multinomial" and not self.soft.is_drawn:
            targets, ignored = corrupted.targets(batch, self.target)
            products = self.cnet(corrupted.rows, t, guidance, rng)
            return self._multinomial(products, targets, ignored), n_targets
        scores = self.cnet.scores(corrupted.rows, t, guidance, rng)
        losses = reconstruction_loss(
            scores, batch, corrupted, self.soft, self.loss_kind, self.target, rng
        )
        return losses, n_targets

    def _sampled_losses(
        self,
        batch: SparseRows,
        t: Tensor,
        generator: torch.Generator,
        first: int,
        last: int,
        sampler: CandidateSampler,
    ) -> tuple[Tensor, Tensor]:
        """The same with candidates in the place of the catalog: nothing here is as long as the catalog."""
        masked = self.forward_process.mask(batch, generator)
        targets, ignored = masked.targets(batch, self.target)
        if self.forward_process.schedule.is_noisy:  # noise reaches every candidate
            candidates = sampler.draw(batch, generator)
            of_rows = of_guidance = candidates.items
            own, rows = (reindex(part, candidates.items) for part in (batch, masked.unmasked))
            rows = self.forward_process.add_noise_over_candidates(
                rows, own, t, generator, candidates.log_inclusion
            )
            guidance = own if self.clean_guidance else rows
        else:  # the rows are over their own items alone
            candidates = sampler.draw(targets, generator, self._target_rate)
            of_rows, of_guidance = torch.unique(masked.unmasked.items), None
            rows = reindex(masked.unmasked, of_rows)
            guidance = batch if self.clean_guidance else masked.unmasked
        tables = self.cnet.tables(of_rows, candidates.items, of_guidance)
        rng, n_targets = BatchRNG(generator, len(batch), first), targets.counts
        products = self.cnet(rows[first:last], t[first:last], guidance[first:last], rng, tables)
        targets = targets[first:last]
        n_counted: Tensor | int = self.n_items
        if ignored is not None:
            ignored = ignored[first:last]
            n_counted = self.n_items - ignored.counts
            ignored = candidates.among(ignored)
        targets = reindex(targets, candidates.items)
        return self._multinomial(
            products, targets, ignored, candidates.log_inclusion, n_counted
        ), n_targets

    def _multinomial(
        self,
        products: FactoredScores,
        targets: SparseRows,
        ignored: SparseRows | None,
        log_inclusion: Tensor | None = None,
        n_counted: Tensor | int | None = None,
    ) -> Tensor:
        scores, smoothing = products.products(), self.soft.expected
        return multinomial(
            scores, targets, ignored, smoothing, log_inclusion, n_counted, products.bias
        )

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores of all items ``(n, n_items)`` float32 for observed rows ``(n, n_items)``, on the model's device."""
        observed = SparseRows.from_csr(rows, self.device)
        if self.diffusion.inference_steps > 1:
            return self._mixture(self._reverse_chain(observed), observed, rows)
        return self._mixture(self.cnet.scores(observed, self._t_in(observed)), observed, rows)

    @torch.inference_mode()
    def factored_scores(
        self, rows: csr_matrix, users: np.ndarray | None = None
    ) -> FactoredScores | None:
        """One-step scores not yet multiplied out; None with a mixture or a reverse chain."""
        if (
            self.mixed_in is not None
            or self.ials is not None
            or self.cnet.ease is not None
            or self.diffusion.inference_steps > 1
        ):
            return None
        observed = SparseRows.from_csr(rows, self.device)
        products: FactoredScores = self.cnet(observed, self._t_in(observed))
        return products

    def _t_in(self, observed: SparseRows) -> Tensor:
        return torch.zeros(len(observed), dtype=torch.int64, device=self.device)

    def _mixture(self, scores: Tensor, observed: SparseRows, rows: csr_matrix) -> Tensor:
        """``softmax(scores) + w [x B]₊ + …``, estimates of the next behavior; without others, the scores."""
        if self.mixed_in is None and self.ials is None:
            return scores
        mixture = scores.softmax(dim=1)
        if self.mixed_in is not None:
            mixture = self.mixed_in(observed).clamp_min(0.0).mul(self.mixed_in.scale).add(mixture)
        if self.ials is not None:
            mixture = mixture + self.ials(rows, self.device)
        return mixture

    def _reverse_chain(self, observed: SparseRows) -> Tensor:
        """``inference_steps`` reverse steps from a noised row; guidance comes from the observed row.

        All rows start from the same noise, so that a row scores the same wherever it stands in a batch.
        """
        steps = self.diffusion.inference_steps
        generator = torch.Generator(self.device).manual_seed(0)
        t = torch.full((len(observed),), steps, dtype=torch.int64, device=self.device)
        state = self.forward_process.add_noise(observed, t, generator, shared=True)
        length = observed.counts.unsqueeze(1)
        for step in range(steps, 0, -1):
            scores = self.cnet.scores(state, t.fill_(step), observed)
            x_0 = scores.softmax(dim=1) * length if self.loss_kind == "multinomial" else scores
            x_t = self.forward_process.schedule.posterior_mean(state.dense(), x_0, step)
            state = _dense_rows(x_t)
        return scores


def mean_row_weight(length: np.ndarray, share: float, exponent: float) -> float:
    """Mean of n^``exponent`` over the rows that count, those with n ≥ 1.

    n is the number of behaviors targets in a row of ``length`` ``(n_rows,)``, each with probability ``share``.
    """
    from scipy.stats import binom  # slow to import, needed in training alone

    total, counted = 0.0, 0.0
    for size, n_rows in zip(*np.unique(length, return_counts=True), strict=True):
        n = np.arange(1, size + 1)
        chance = binom.pmf(n, size, share)
        total, counted = (
            total + n_rows * float(chance @ n**exponent),
            counted + n_rows * float(chance.sum()),
        )
    return total / counted


def log_popularity(degree: np.ndarray) -> Tensor:
    """Log of the add-one smoothed share of each item in the interactions, ``(n_items,)``."""
    smoothed = torch.from_numpy(degree.astype(np.float64)) + 1.0
    return (smoothed / smoothed.sum()).log().float()


def _dense_rows(x: Tensor) -> SparseRows:
    empty = torch.empty(0, dtype=torch.int64, device=x.device)
    counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return SparseRows(empty, x.new_empty(0), counts, x.shape[1], noise=x)
