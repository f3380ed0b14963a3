"""What must hold on a CUDA device; skipped where there is none."""

from __future__ import annotations

import pytest
import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.training.session import Callbacks, train

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no usable CUDA device"
)


SAMPLED = {"training__sampled_items": 32}


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"diffusion__noise_scale": 5.0},
        {"training__precision": "bf16"},
        SAMPLED,
        {**SAMPLED, "diffusion__noise_scale": 5.0, "diffusion__steps": 1},
    ],
)
def test_a_run_trained_on_cuda_scores_the_same_on_the_cpu(
    planted_config, planted_dataset, tmp_path, part
):
    config = planted_config(training__device="cuda", training__max_epochs=2, **part)
    run = train(config, tmp_path / "run", Callbacks())
    assert run.manifest.device.startswith("cuda")
    rows = Dataset.open(planted_dataset).matrix("train")[:20]
    on_cpu, on_cuda = (
        load_scorer(run, torch.device(name)).score(rows).cpu() for name in ("cpu", "cuda")
    )
    torch.testing.assert_close(on_cuda, on_cpu, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("part", [{}, SAMPLED])
def test_a_seed_gives_the_same_run_twice_on_cuda(planted_config, tmp_path, part):
    config = planted_config(training__device="cuda", training__max_epochs=2, **part)
    first, second = (train(config, tmp_path / name, Callbacks()) for name in ("a", "b"))
    assert (
        first.manifest.files["weights.safetensors"] == second.manifest.files["weights.safetensors"]
    )
