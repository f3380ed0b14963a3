"""The training loop: epochs, weight averaging, early stopping on validation.

The trainer reads no files and knows no metric. It gets the training matrix and a ``validate``
callable, and reports each epoch to a callback.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import TrainableRecommender, load_parameters
from ld4mrec_cli.models.batches import Batch
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.training.ema import EMA
from ld4mrec_cli.training.optim import Optimizers
from ld4mrec_cli.utils.device import in_bf16
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import TrainingDiverged

Validate = Callable[[TrainableRecommender], Mapping[str, float]]
ValueAlone = Callable[[], float | None]
"""Value in the last validation of the trained part of a mixture by itself, higher is better; None:
there is no mixture."""


@dataclass(frozen=True)
class EpochReport:
    """One line of ``metrics.jsonl``."""

    epoch: int
    loss: float
    seconds: float
    """Time of the epoch, its validation included."""
    valid: dict[str, float] | None = None
    """Validation metrics, None where this epoch was not validated."""
    is_best: bool = False
    validation_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass
class Progress:
    """State of a training, besides the tensors."""

    epoch: int = 0
    """Finished epochs."""
    best_epoch: int = 0
    best_value: float = -math.inf
    """Best validation value so far."""
    stale: int = 0
    """Validations since the best one."""
    scales: dict[str, float] = field(default_factory=dict)
    """Weights of the parts of a mixture, see :attr:`TrainableRecommender.scales`."""
    best_scales: dict[str, float] = field(default_factory=dict)
    """Those of the best epoch."""
    best_alone: float = -math.inf
    """Best value of the trained part of a mixture by itself."""
    history: list[EpochReport] = field(default_factory=list)


class Trainer:
    """Trains a recommender on a training matrix."""

    def __init__(
        self,
        model: TrainableRecommender,
        train: csr_matrix,
        config: TrainingConfig,
        validate: Validate | None,
        group: Group = SINGLE_PROCESS,
        value_alone: ValueAlone = lambda: None,
    ) -> None:
        """``train``: ``(n_users, n_items)``; ``validate`` returns metrics with ``config.metric``.

        With ``validate`` None, all ``config.max_epochs`` are trained and the last one is the best.
        As long as ``value_alone`` rises, the patience does not run out.

        Processes of a ``group`` have the same arguments and share every batch. ``validate`` returns
        the same metrics in all of them.
        """
        self.model = model
        self._group = group
        self.config = config
        self.progress = Progress()
        self._validate = validate
        self._value_alone = value_alone
        self._batches = model.batches(train, config.batch_size)
        self.progress.scales = self.progress.best_scales = model.scales
        self._average = EMA(model, config.ema_decay, model.sparse_parameters)
        self._optimizers = Optimizers(model, config, self._average.before_change)
        self._best = {name: tensor.clone() for name, tensor in self._average.tensors.items()}

    @property
    def n_batches(self) -> int:
        """Steps in an epoch."""
        return len(self._batches)

    @property
    def is_finished(self) -> bool:
        """Whether the maximum of epochs or the patience is reached."""
        return (
            self.progress.epoch >= self.config.max_epochs
            or self.progress.stale >= self.config.patience
        )

    def run(
        self, on_epoch: Callable[[EpochReport], None], on_batch: Callable[[], None] = lambda: None
    ) -> dict[str, Tensor]:
        """Train until finished and return the best averaged weights by name.

        ``on_epoch`` is called after every epoch, when :meth:`state` can be saved.

        Raises:
            TrainingDiverged: the loss or the weights stopped being finite; the best weights so far
                stay available as :attr:`best`.
        """
        while not self.is_finished:
            start = time.monotonic()
            loss = self._train_epoch(on_batch)
            validation_start = time.monotonic()
            metrics, grows = self._validate_epoch()
            end = time.monotonic()
            self.progress.epoch += 1
            is_best = self._update_best(metrics, grows)
            report = EpochReport(
                epoch=self.progress.epoch,
                loss=loss,
                seconds=time.monotonic() - start,
                valid=metrics,
                is_best=is_best,
                validation_seconds=end - validation_start,
            )
            self.progress.history.append(report)
            on_epoch(report)
        return self.best

    @property
    def best(self) -> dict[str, Tensor]:
        """Averaged weights of the best validated epoch, by name."""
        return self._best

    def _train_epoch(self, on_batch: Callable[[], None]) -> float:
        generator = epoch_generator(self.config.seed, self.progress.epoch, self.model.device)
        order = np.random.default_rng((self.config.seed, self.progress.epoch))
        total, n_seen = 0.0, 0
        for batch in self._batches.epoch(order, self.model.device):
            loss = self._step(batch, generator)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the loss became {loss} in epoch {self.progress.epoch + 1}",
                    hint="Lower training.learning_rate or set training.grad_clip",
                )
            total, n_seen = total + loss * len(batch), n_seen + len(batch)
            on_batch()
        return total / n_seen

    def _step(self, batch: Batch, generator: torch.Generator) -> float:
        with self._autocast():
            loss = self._loss(batch, generator)
        self._optimizers.zero_grad()
        loss.backward()
        total = loss.detach().clone()
        self._group.all_reduce([total, *self._optimizers.gradients()])
        value = float(total)
        if not math.isfinite(value):
            return value
        self._optimizers.step()
        self._average.update()
        return value

    def _loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        if self._group.size == 1:
            return self.model.loss(batch, generator)
        return self.model.sharded_loss(batch, generator, self._group)

    def _autocast(self) -> AbstractContextManager[Any]:
        if not in_bf16(self.config.precision, self.model.device):
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16)

    def _validate_epoch(self) -> tuple[dict[str, float] | None, bool]:
        """Metrics, or None, and whether the trained part of a mixture is better than ever."""
        epoch = self.progress.epoch + 1
        if self._validate is None:
            return None, False
        if epoch % self.config.validate_every and epoch < self.config.max_epochs:
            return None, False
        with self._average.applied():
            metrics = dict(self._validate(self.model))
        alone = self._value_alone()
        self.progress.scales = self.model.scales
        if not math.isfinite(metrics[self.config.metric]):
            raise TrainingDiverged(
                f"validation became {metrics[self.config.metric]} in epoch {epoch}"
            )
        if alone is None or alone <= self.progress.best_alone:
            return metrics, False
        self.progress.best_alone = alone
        return metrics, True

    def _update_best(self, metrics: Mapping[str, float] | None, grows: bool) -> bool:
        if metrics is None:
            if self._validate is None:
                self._keep_as_best()
            return False
        value = metrics[self.config.metric]
        if value <= self.progress.best_value:
            if not grows:
                self.progress.stale += 1
            return False
        self.progress.best_value, self.progress.stale = value, 0
        self._keep_as_best()
        return True

    def _keep_as_best(self) -> None:
        self.progress.best_epoch = self.progress.epoch
        self.progress.best_scales = self.progress.scales
        self._best = {name: tensor.clone() for name, tensor in self._average.tensors.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to continue exactly: tensors by name, and plain values."""
        tensors: dict[str, Tensor] = {}
        averages = self._average.tensors
        for name, parameter in self.model.named_parameters():
            tensors[f"weights.{name}"] = parameter.detach()
            tensors[f"average.{name}"] = averages[name]
            tensors[f"best.{name}"] = self._best[name]
        for name, value in self._optimizers.state().items():
            tensors[f"adam.{name}"] = value
        for name, value in self.model.training_state().items():
            tensors[f"state.{name}"] = value
        values = asdict(self.progress) | {"average_updates": self._average.updates}
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Continue from a :meth:`state`. Raises KeyError where something is missing."""
        device = self.model.device
        copies = {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        load_parameters(self.model, _select(copies, "weights."))
        self._average.restore(_select(copies, "average."), values["average_updates"])
        self._best = _select(copies, "best.")
        self._optimizers.restore(_select(copies, "adam."))
        for name, buffer in self.model.training_state().items():
            buffer.copy_(copies[f"state.{name}"])
        history = [EpochReport(**report) for report in values["history"]]
        plain = {one.name: values[one.name] for one in fields(Progress) if one.name != "history"}
        self.progress = Progress(history=history, **plain)
        self.model.set_scales(self.progress.scales)


def epoch_generator(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Generator of one epoch, from seed and epoch alone: an epoch can be repeated after a kill."""
    state = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 31 ^ int(state[1]))


def _select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
