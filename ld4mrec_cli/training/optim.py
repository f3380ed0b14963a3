"""AdamW for dense gradients, lazy AdamW for the item embeddings of a large catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.settings.training import TrainingConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")
ROWS_CHUNK_SIZE = 2048
"""Rows that are updated at a time, so that they stay in the processor's cache."""

Observer = Callable[[Tensor, Tensor, Tensor], None]
"""Called with a parameter, rows ``(m,)`` int64 that are about to change, and their values."""


class LazyAdamW(torch.optim.Optimizer):
    """AdamW of parameters ``(n_rows, width)`` with sparse gradients, each row at most once.

    Moments, decay and step touch the rows of the gradient alone.
    :class:`torch.optim.SparseAdam`, without decay, took more than twice the time.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        weight_decay: float,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._observer = observer

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the present gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group["lr"], group["weight_decay"])

    def _step(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state.update(
                step=torch.zeros(()), **{key: torch.zeros_like(parameter) for key in MOMENTS}
            )
        state["step"] += 1
        assert parameter.grad is not None
        rows_of_batch, gradients = parameter.grad._indices()[0], parameter.grad._values()
        n = float(state["step"])
        size, root = lr / (1.0 - BETAS[0] ** n), (1.0 - BETAS[1] ** n) ** 0.5
        for rows, gradient in zip(split_rows(rows_of_batch), split_rows(gradients), strict=True):
            mean, square = (state[key].index_select(0, rows) for key in MOMENTS)
            mean.lerp_(gradient, 1.0 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
            for key, moment in zip(MOMENTS, (mean, square), strict=True):
                state[key].index_copy_(0, rows, moment)
            scale = square.sqrt_().add_(EPSILON * root)
            weights = parameter.index_select(0, rows)
            if self._observer is not None:
                self._observer(parameter, rows, weights)
            weights.mul_(1.0 - lr * weight_decay).addcdiv_(mean, scale, value=-size * root)
            parameter.index_copy_(0, rows, weights)


def split_rows(rows: Tensor) -> Sequence[Tensor]:
    """Split ``rows`` ``(m, …)`` into parts that fit a CPU's cache; not on other devices."""
    return rows.split(ROWS_CHUNK_SIZE) if rows.device.type == "cpu" else (rows,)


class Optimizers:
    """Steps all parameters of a model, those with sparse gradients lazily."""

    def __init__(
        self, model: TrainableRecommender, config: TrainingConfig, observer: Observer | None = None
    ) -> None:
        """``observer`` is called before sparse parameters of the model change."""
        self._model = model
        self._parameters = list(model.parameters())
        self._grad_clip = config.grad_clip
        self._sparse = list(model.sparse_parameters)
        self._optimizers: list[torch.optim.Optimizer] = []
        dense: list[dict[str, Any]] = []
        for group in model.parameter_groups(config):
            lazy = [p for p in group["params"] if self._is_sparse(p)]
            if lazy:
                self._optimizers.append(
                    LazyAdamW(lazy, config.learning_rate, group["weight_decay"], observer)
                )
            rest = [p for p in group["params"] if not self._is_sparse(p)]
            dense += [group | {"params": rest}] if rest else []
        adam = torch.optim.AdamW(
            dense, lr=config.learning_rate, betas=BETAS, eps=EPSILON, fused=True
        )
        self._optimizers.append(adam)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def gradients(self) -> list[Tensor]:
        """The present gradients, in the order of the parameters; of a sparse one the values."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]

    def step(self) -> None:
        """Take one step along the present gradients."""
        if self._grad_clip:
            _clip(self.gradients(), self._grad_clip)
        for optimizer in self._optimizers:
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Moments and steps by parameter name, as ``KEY.NAME``."""
        states = {
            id(p): state for optimizer in self._optimizers for p, state in optimizer.state.items()
        }
        return {
            f"{key}.{name}": value
            for name, parameter in self._model.named_parameters()
            for key, value in states.get(id(parameter), {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a :meth:`state`. Raises KeyError where something is missing."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        for optimizer in self._optimizers:
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                name = names[id(parameter)]
                optimizer.state[parameter] = {
                    key: state[f"{key}.{name}"] for key in ("step", *MOMENTS)
                }

    def _is_sparse(self, parameter: Tensor) -> bool:
        return any(parameter is other for other in self._sparse)


@torch.no_grad()
def _clip(gradients: Sequence[Tensor], bound: float) -> None:
    """Scale ``gradients`` so that their joint length is at most ``bound``."""
    scale = (bound / (torch.nn.utils.get_total_norm(gradients) + 1e-6)).clamp_max(1.0)
    torch._foreach_mul_(list(gradients), scale)
