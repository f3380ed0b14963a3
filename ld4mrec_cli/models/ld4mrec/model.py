"""LD4MRec (arXiv 2309.15363): the training objective, and one-step inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.batches import RowBatches
from ld4mrec_cli.models.ld4mrec.build import (
    initial_bias,
    make_cnet,
    make_forward_process,
    make_mixture,
    make_soft_reconstruction,
    make_step_sampler,
)
from ld4mrec_cli.models.ld4mrec.cnet import INPUT_TIME, ItemTables
from ld4mrec_cli.models.ld4mrec.content_head import ContentHead, fit_content_head
from ld4mrec_cli.models.ld4mrec.losses import Targets, make_loss
from ld4mrec_cli.models.ld4mrec.mixture import BLOCK_SIZE, MixedScores
from ld4mrec_cli.models.ld4mrec.new_items import score_new_items
from ld4mrec_cli.models.ld4mrec.row_weights import RowWeights
from ld4mrec_cli.models.ld4mrec.sampled_softmax import Candidates, CandidateSampler, reindex
from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.ld4mrec.shares import split_by_history
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows, l2_normalize
from ld4mrec_cli.models.transfer import DataAxis
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group


@dataclass(frozen=True)
class CorruptedBatch:
    """A corrupted batch: input and targets of C-Net."""

    rows: SparseRows
    """Corrupted rows, input of the encoder."""
    guidance_rows: SparseRows
    """Rows that guidance is computed from."""
    targets: Targets
    """Entries to predict."""
    tables: ItemTables | None = None
    """Items of the rows and of the scores; None: all items."""

    def __getitem__(self, rows: slice) -> CorruptedBatch:
        """Consecutive rows: a slice without a step."""
        return CorruptedBatch(
            self.rows[rows], self.guidance_rows[rows], self.targets[rows], self.tables
        )


class LD4MRec(TrainableRecommender):
    """``score(rows)`` is one-step inference; ``loss(rows)`` is the training objective."""

    def __init__(
        self,
        model: ModelConfig,
        diffusion: DiffusionConfig,
        training: TrainingConfig,
        signals: ItemSignals,
    ) -> None:
        """Build C-Net around ``signals``; the weights are drawn from ``training.seed``.

        Raises:
            ValueError: ``model.guidance`` names a signal that does not exist.
        """
        super().__init__()
        self.n_items = len(signals.degree)
        self.target = training.target
        self.inference_steps = diffusion.inference_steps
        self.inference_start = diffusion.inference_start
        self.uses_clean_guidance = model.guidance_source == "clean"
        self.forward_process = make_forward_process(diffusion)
        self.sampler = make_step_sampler(diffusion, self.forward_process.schedule)
        soft = make_soft_reconstruction(diffusion)
        self.objective = make_loss(training, soft, self.n_items)
        self.row_weights = RowWeights(self.objective.row_weight_exponent)
        is_softmax = self.objective.is_softmax
        self.mixture = make_mixture(model, signals, with_ease=is_softmax)
        self.cnet = make_cnet(model, signals, with_ease=not is_softmax)
        self._candidate_sampler: CandidateSampler | None = None
        self._new_content: tuple[ContentHead, Tensor] | None = None
        bias = initial_bias(model, training.loss, signals.degree)
        self.cnet.reset(torch.Generator().manual_seed(training.seed), bias)

    def batches(self, train: csr_matrix, batch_size: int) -> RowBatches:
        """Rows of users; prepares the sampling and the row weights for ``train``.

        ``train``: ``(n_users, n_items)``.
        """
        if self.objective.n_sampled:
            degree, n_rows = train.getnnz(axis=0), int((np.diff(train.indptr) > 0).sum())
            self._candidate_sampler = CandidateSampler(self.objective.n_sampled, degree, n_rows)
        self.row_weights.fit(train, self._target_rate)
        return RowBatches(train, batch_size)

    @property
    def _target_rate(self) -> float:
        """Probability that a behavior is a target."""
        return 1.0 if self.target == "all" else self.forward_process.mask_rate

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Importance-weighted mean loss of a batch of clean rows, a scalar."""
        return self.sharded_loss(batch, generator, SINGLE_PROCESS)

    def sharded_loss(self, batch: SparseRows, generator: torch.Generator, group: Group) -> Tensor:
        """See :class:`TrainableRecommender`.

        Each process corrupts the whole batch and predicts its own rows.
        """
        t, importance = self.sampler.sample(len(batch), generator)
        first, last = group.shard_bounds(len(batch))
        is_idle = first == last  # it predicts one row, so that all processes have gradients
        shard = slice(0, 1) if is_idle else slice(first, last)
        losses, n_targets = self._row_losses(batch, t, generator, shard)
        is_counted = n_targets > 0.0
        if len(self.sampler) > 1:
            own_losses = losses.detach()[: last - first]
            all_losses = group.gather(own_losses, group.shard_sizes(len(batch)))
            self.sampler.update(t[is_counted], all_losses[is_counted])
        weight = self.row_weights.apply(importance, n_targets) * is_counted
        weighted = losses * weight[shard] * (0.0 if is_idle else 1.0)
        return weighted.sum() / is_counted.sum().clamp_min(1)

    def _row_losses(
        self, batch: SparseRows, t: Tensor, generator: torch.Generator, shard: slice
    ) -> tuple[Tensor, Tensor]:
        """Losses of the rows of ``shard``, and the sum of the targets of all rows ``(n,)``.

        That is their number, or the sum of their weights. A row without targets must not count.
        """
        if self._candidate_sampler is None:
            corrupted = self._corrupt(batch, t, generator)
        else:
            corrupted = self._corrupt_sampled(batch, t, generator, self._candidate_sampler)
        rng = BatchRNG(generator, len(batch), shard.start)
        own = corrupted[shard]
        scores = self.cnet(own.rows, t[shard], own.guidance_rows, rng, own.tables)
        ease = self.cnet.ease_scores(own.rows)
        losses = self.objective(scores, ease, own.targets, rng)
        behaviors = corrupted.targets.behaviors
        return losses, behaviors.sum_by_row(behaviors.values)

    def _corrupt(self, batch: SparseRows, t: Tensor, generator: torch.Generator) -> CorruptedBatch:
        """Corrupt the batch; the scores are over the whole catalog."""
        corrupted = self.forward_process(batch, t, generator)
        guidance_rows = batch if self.uses_clean_guidance else corrupted.rows
        targets = Targets(*corrupted.targets(batch, self.target))
        return CorruptedBatch(corrupted.rows, guidance_rows, targets)

    def _corrupt_sampled(
        self,
        batch: SparseRows,
        t: Tensor,
        generator: torch.Generator,
        sampler: CandidateSampler,
    ) -> CorruptedBatch:
        """Corrupt the batch; the scores are over candidates, and no tensor is over the catalog."""
        masked = self.forward_process.mask(batch, generator)
        behaviors, ignored = masked.targets(batch, self.target)
        if self.forward_process.schedule.is_noisy:  # noise reaches every candidate
            candidates = sampler.sample(batch, generator)
            row_items = guidance_items = candidates.items
            clean = reindex(batch, row_items)
            rows = self.forward_process.add_noise_over_candidates(
                reindex(masked.unmasked, row_items), clean, t, generator, candidates.log_inclusion
            )
            guidance_rows = clean if self.uses_clean_guidance else rows
        else:  # the rows are over their own items alone
            candidates = sampler.sample(behaviors, generator, self._target_rate)
            row_items, guidance_items = torch.unique(masked.unmasked.items), None
            rows = reindex(masked.unmasked, row_items)
            guidance_rows = batch if self.uses_clean_guidance else masked.unmasked
        targets = self._sampled_targets(behaviors, ignored, candidates)
        tables = self.cnet.tables(row_items, candidates.items, guidance_items)
        return CorruptedBatch(rows, guidance_rows, targets, tables)

    def _sampled_targets(
        self, behaviors: SparseRows, ignored: SparseRows | None, candidates: Candidates
    ) -> Targets:
        """Targets over the candidates in place of the catalog."""
        behaviors = reindex(behaviors, candidates.items)
        if ignored is None:
            return Targets(behaviors, None, self.n_items, candidates.log_inclusion)
        n_counted = self.n_items - ignored.counts
        return Targets(behaviors, candidates.select(ignored), n_counted, candidates.log_inclusion)

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """See :attr:`TrainableRecommender.fitted_parts`."""
        return self.mixture.fitted

    @property
    def scales(self) -> dict[str, float]:
        """See :attr:`TrainableRecommender.scales`."""
        return self.mixture.scales

    @property
    def takes_trend(self) -> bool:
        """See :attr:`TrainableRecommender.takes_trend`: where estimates are mixed."""
        return not self.mixture.is_empty

    def set_trend(self, logarithms: np.ndarray | None) -> None:
        """See :meth:`TrainableRecommender.set_trend`."""
        self.mixture.set_trend(logarithms)

    def fit_scales(self, evaluate: Callable[[], float]) -> dict[str, float]:
        """See :meth:`TrainableRecommender.fit_scales`."""
        return self.mixture.fit_scales(evaluate)

    def set_scales(self, scales: Mapping[str, float]) -> None:
        """See :meth:`TrainableRecommender.set_scales`."""
        self.mixture.set_scales(scales)

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores of all items for observed ``rows`` ``(n, n_items)``.

        Returns:
            ``(n, n_items)`` float32 on the model's device.
        """
        observed = SparseRows.from_csr(rows, self.device)
        mixture: Tensor = self.mixture(self.cnet_scores(observed), observed, rows)
        return mixture

    @property
    def part_weights(self) -> dict[str, float] | None:
        """See :class:`PartScorer`: C-Net's softmax and what is mixed with it, without a trend."""
        return self.mixture.part_weights

    @torch.inference_mode()
    def score_parts(self, rows: csr_matrix) -> Iterator[dict[str, Tensor]]:
        """See :class:`PartScorer`. Raises ValueError where nothing is mixed."""
        if self.mixture.is_empty:
            raise ValueError("the scores have no parts")
        blocks = self.factored_scores(rows)
        if isinstance(blocks, MixedScores):
            for start in range(0, blocks.n_items, BLOCK_SIZE):
                stop = min(start + BLOCK_SIZE, blocks.n_items)
                yield blocks.block(start, stop).estimates()
            return
        observed = SparseRows.from_csr(rows, self.device)
        yield self.mixture.estimates(self.cnet_scores(observed), observed, rows)

    @torch.inference_mode()
    def score_items(
        self, rows: csr_matrix, items: np.ndarray, users: np.ndarray | None = None
    ) -> Tensor:
        """Scores of :meth:`score` of ``items`` ``(m,)`` alone, ``(n, m)``.

        The reverse chain and the softmax of the mixture need C-Net's scores of all items; the parts
        of the mixture are computed for ``items``.
        """
        observed = SparseRows.from_csr(rows, self.device)
        chosen = torch.from_numpy(items).to(self.device)
        if self.is_linear_beside_cnet:
            ease = self.cnet.ease_scores(observed, chosen)
            scores = self.factors(observed).of_items(chosen).scores()
            return scores if ease is None else scores + ease
        mixture: Tensor = self.mixture(self.cnet_scores(observed), observed, rows, chosen)
        return mixture

    @torch.inference_mode()
    def inner_products(
        self, rows: csr_matrix, users: np.ndarray | None = None
    ) -> FactoredScores | None:
        """See :meth:`Recommender.inner_products`: those of one step, without EASE and iALS."""
        if not self.is_linear_beside_cnet or self.cnet.ease is not None:
            return None
        return self.factors(SparseRows.from_csr(rows, self.device))

    @property
    def is_linear_beside_cnet(self) -> bool:
        """Whether one step gives the scores, to which at most those of EASE are added."""
        return not self.is_chain and self.mixture.is_empty

    @property
    def is_chain(self) -> bool:
        """Whether inference starts from noise or takes several steps."""
        return self.inference_steps > 1 or bool(self.inference_start)

    def cnet_scores(self, observed: SparseRows) -> Tensor:
        """C-Net's scores of all items ``(n, n_items)``, after one step or the reverse chain."""
        if self.is_chain:
            return self._reverse_chain(observed)
        return self.cnet.scores(observed, self._input_times(observed))

    def factors(self, observed: SparseRows) -> FactoredScores:
        """C-Net's one-step scores in factors, without EASE."""
        factors: FactoredScores = self.cnet(observed, self._input_times(observed))
        return factors

    def score_new_items(
        self, rows: csr_matrix, users: np.ndarray | None, neighbors: csr_matrix
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Recommender.score_new_items`; popularity is not part of the means."""
        return score_new_items(self, rows, neighbors)

    def learn_content(
        self, train: csr_matrix, content: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """See :meth:`Recommender.learn_content`: a head, where C-Net's scores are logits."""
        if not self.objective.is_softmax:
            return {}
        head = fit_content_head(self._content_queries, train, content, self.device, seed)
        return {} if head is None else head.to_arrays()

    def use_content(self, learned: Mapping[str, np.ndarray], new: np.ndarray) -> None:
        """See :meth:`Recommender.use_content`."""
        if learned:
            head = ContentHead.from_arrays(learned).to(self.device)
            with torch.no_grad():
                vectors = head.embed_content(torch.from_numpy(new).to(self.device))
            self._new_content = head, vectors

    def log_content_probabilities(self, observed: SparseRows) -> Tensor | None:
        """Log of the probabilities of new items by their content ``(n, n_new)``; None without."""
        if self._new_content is None:
            return None
        head, vectors = self._new_content
        return head.log_probabilities(self._content_queries(observed), vectors)

    @torch.no_grad()
    def _content_queries(self, rows: SparseRows) -> Tensor:
        """C-Net's hidden state and the guidance, side by side ``(n, q)``."""
        guides = self.cnet.signals(rows)
        return torch.cat([l2_normalize(self.factors(rows).queries[0]), *guides.values()], dim=1)

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> np.ndarray:
        """See :meth:`Recommender.history_shares`; the parts of the mixture are split exactly."""
        return split_by_history(self, row, items).cpu().numpy()

    @torch.inference_mode()
    def factored_scores(
        self, rows: csr_matrix, users: np.ndarray | None = None
    ) -> FactoredScores | MixedScores | None:
        """One-step scores by blocks of items; None where they are computed all at once."""
        is_blockwise = self.mixture.is_blockwise(self.n_items)
        if self.cnet.ease is not None or self.is_chain or not is_blockwise:
            return None
        observed = SparseRows.from_csr(rows, self.device)
        return self.mixture.blockwise(self.factors(observed), observed, rows)

    def _input_times(self, observed: SparseRows) -> Tensor:
        return torch.full_like(observed.counts, INPUT_TIME)

    def _reverse_chain(self, observed: SparseRows) -> Tensor:
        """Scores after ``inference_steps`` reverse steps, ``(n, n_items)``.

        They start from the row with the noise of step ``inference_start``; at 0, from the row
        itself, which then passes for one of step ``inference_steps``. Guidance comes from the
        observed row. All rows start from the same noise, so that a row has the same scores at any
        position of a batch.
        """
        steps, schedule = self.inference_steps, self.forward_process.schedule
        generator = torch.Generator(self.device).manual_seed(0)
        start = steps if self.inference_start is None else self.inference_start
        first = start or steps
        t = torch.full_like(observed.counts, start)
        state = observed
        if start:
            state = self.forward_process.add_noise(observed, t, generator, shared=True)
        n_behaviors = observed.sum_by_row(observed.values).unsqueeze(1)
        for step in range(first, first - steps, -1):
            scores = self.cnet.scores(state, t.fill_(step), observed)
            x_0 = self.objective.reconstruct(scores, n_behaviors)
            x_t = schedule.posterior_mean(state.dense(), x_0, step)
            state = SparseRows.from_dense(x_t)
        return scores

    @property
    def sparse_parameters(self) -> tuple[Tensor, ...]:
        """The item embeddings, where a batch reaches only some of their rows."""
        return (self.cnet.encoder, self.cnet.decoder) if self.objective.n_sampled else ()

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Separate weight decay for the item embeddings and the blocks; none for vectors."""
        embeddings = [self.cnet.encoder, self.cnet.decoder]
        others = [p for p in self.parameters() if all(p is not e for e in embeddings)]
        blocks = [p for p in others if p.ndim >= 2]
        vectors = [p for p in others if p.ndim < 2]
        return [
            {"params": embeddings, "weight_decay": config.embedding_weight_decay},
            {"params": blocks, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`TrainableRecommender`."""
        return {f"cnet.{name}": axis for name, axis in self.cnet.data_axes().items()}

    def signals(self) -> Mapping[str, Tensor]:
        """The bases of the guidance."""
        return {name: self.cnet.signals.basis(name) for name in self.cnet.signals.names}

    def training_state(self) -> dict[str, Tensor]:
        """Losses stored for importance sampling."""
        return {f"sampler.{name}": value for name, value in self.sampler.named_buffers()}
