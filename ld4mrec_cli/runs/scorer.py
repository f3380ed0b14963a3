"""From a run directory to a model that scores."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.models.base import TrainableRecommender, load_parameters
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.registry import build_baseline, is_pairwise, restore_baseline
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.run_directory import WEIGHTS, RunDirectory
from ld4mrec_cli.utils.errors import RunError


def load_scorer(run: RunDirectory, device: torch.device) -> Scorer:
    """Load what a run trained. Raises RunError where its files are missing, damaged or do not fit."""
    name, config = run.manifest.model, run.config
    weights = run.load_tensors(WEIGHTS)
    try:
        model: TrainableRecommender
        if name == "ld4mrec":
            model = LD4MRec(config.model, config.diffusion, config.training, run.load_signals())
        elif MODELS[name].closed_form or is_pairwise(name):
            return restore_baseline(name, weights, config.model_settings, device)
        else:
            no_rows = csr_matrix((0, run.manifest.dataset.n_items), dtype=np.float32)
            model = build_baseline(name, no_rows, config.model_settings, {}, config.training.seed)
        load_parameters(model, weights)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"the weights do not fit the configuration ({reason})", where=run.path
        ) from None
    return model.to(device).eval()
