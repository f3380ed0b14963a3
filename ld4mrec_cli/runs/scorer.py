"""From a run directory to a model that scores."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config, apply_choice
from ld4mrec_cli.models.base import Recommender, TrainableRecommender, load_parameters
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.registry import build_baseline, is_pairwise, restore_baseline
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.checks import check_numbers, check_scores
from ld4mrec_cli.runs.extension import load_extension
from ld4mrec_cli.runs.run_directory import TREND, WEIGHTS, RunDirectory
from ld4mrec_cli.utils.errors import RunError, UserError


def load_scorer(
    run: RunDirectory, device: torch.device, config: Config | None = None
) -> Recommender:
    """Load the model of a run, ready to score.

    Args:
        run: the run.
        device: where it scores.
        config: settings in place of the run's, which may differ in those that act at inference.

    Raises:
        RunError: files are missing, damaged or do not fit together.
    """
    try:
        settled = apply_choice(config or run.config, run.manifest.chosen or {})
        scorer = _extend(run, _restore(run, device, settled))
    except UserError:
        raise
    except Exception as error:  # shapes and dtypes that do not fit raise nearly anything
        reason = (str(error).splitlines() or [""])[0]
        raise RunError(
            f"the weights do not fit the configuration ({reason})", where=run.path
        ) from None
    check_scores(scorer, (run.manifest.dataset.n_users, run.n_items), run.path)
    return scorer


def _extend(run: RunDirectory, model: Recommender) -> Recommender:
    """The model of a run with the new items, if it was extended by some."""
    new = run.manifest.new_items
    if new is None:
        return model
    return load_extension(run).extend(model, new.weight)


def _load_trend(run: RunDirectory) -> np.ndarray:
    """The trend of the items ``(n_items,)``. Raises RunError where it is damaged."""
    tensors, path = run.load_tensors(TREND), run.path / TREND
    check_numbers(tensors, path)
    trend = tensors.get("trend")
    if trend is None or tuple(trend.shape) != (run.manifest.dataset.n_items,):
        raise RunError("does not hold the trend of the items", where=path)
    return trend.float().numpy()


def _restore(run: RunDirectory, device: torch.device, config: Config) -> Recommender:
    """Build the model of a run and give it the weights."""
    name = run.manifest.model
    if name != config.model_name:
        raise RunError(
            f"is of '{name}', its configuration of '{config.model_name}'", where=run.path
        )
    weights = run.load_tensors(WEIGHTS)
    check_numbers(weights, run.path / WEIGHTS)
    model: TrainableRecommender
    if name == "ld4mrec":
        signals = run.load_signals()
        model = LD4MRec(config.model, config.diffusion, config.training, signals)
    elif MODELS[name].closed_form or is_pairwise(name):
        return restore_baseline(name, weights, config.model_settings, device)
    else:
        no_rows = csr_matrix((0, run.manifest.dataset.n_items), dtype=np.float32)
        model = build_baseline(name, no_rows, config.model_settings, {}, config.training.seed)
    load_parameters(model, weights)
    if run.manifest.trend_half_life is not None:
        model.set_trend(_load_trend(run))
    model.set_scales(run.manifest.mixture)
    return model.to(device).eval()
