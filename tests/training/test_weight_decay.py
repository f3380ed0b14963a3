"""What decays: with gradients of zero, a step of AdamW is the decay alone."""

from __future__ import annotations

import pytest
import torch

from ld4mrec_cli.models.ld4mrec.model import LD4MRec

RATE, DECAY = 0.1, 0.5
EMBEDDINGS = {"cnet.encoder", "cnet.decoder"}


def after_one_step(world, monkeypatch, **changed: float) -> dict[str, torch.Tensor]:
    """Parameters, all ones at the start, after one step of training without any gradient."""

    def no_gradient(model: LD4MRec, *arguments: object) -> torch.Tensor:
        return sum((0.0 * p).sum() for p in model.parameters())

    monkeypatch.setattr(LD4MRec, "loss", no_gradient)
    settings = {"training__weight_decay": 0.0, "training__embedding_weight_decay": 0.0, **changed}
    config = world.config(
        training__learning_rate=RATE, training__batch_size=1000, training__max_epochs=1, **settings
    )
    trainer = world.trainer(config, lambda model: {"ndcg@20": 0.0})
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.fill_(1.0)
    assert trainer.n_batches == 1
    trainer.run(lambda report: None)
    return {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}


def decayed(parameters: dict[str, torch.Tensor]) -> set[str]:
    """Names of those that decayed, by exactly one step; the others must be what they were."""
    names = {
        name
        for name, parameter in parameters.items()
        if not torch.equal(parameter, torch.ones_like(parameter))
    }
    for name in names:
        torch.testing.assert_close(
            parameters[name], torch.full_like(parameters[name], 1.0 - RATE * DECAY)
        )
    return names


def test_embedding_weight_decay_is_of_encoder_and_decoder_alone(world, monkeypatch):
    found = after_one_step(world, monkeypatch, training__embedding_weight_decay=DECAY)
    assert decayed(found) == EMBEDDINGS


def test_weight_decay_is_of_the_other_matrices_alone(world, monkeypatch):
    found = after_one_step(world, monkeypatch, training__weight_decay=DECAY)
    matrices = {name for name, parameter in found.items() if parameter.ndim >= 2}
    assert decayed(found) == matrices - EMBEDDINGS
    assert len(matrices - EMBEDDINGS) > 4


@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_biases_scales_and_other_vectors_never_decay(world, monkeypatch, decay):
    found = after_one_step(
        world, monkeypatch, training__weight_decay=decay, training__embedding_weight_decay=decay
    )
    vectors = {name for name, parameter in found.items() if parameter.ndim < 2}
    assert {"cnet.decoder_bias", "cnet.item_side_scales.of_collaborative"} <= vectors
    assert not decayed(found) & vectors
    assert decayed(found) == (set(found) - vectors if decay else set())
