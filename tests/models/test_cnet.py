"""C-Net and the reverse chain against the formulas of docs/model.md, written out on dense rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ld4mrec_cli.models.ld4mrec.cnet import TimeEmbedding
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

NAMES = ("collaborative", "image", "text")


def trained(world, **changed) -> LD4MRec:
    with torch.enable_grad():
        return world.trained(world.config(**changed))[0]


def dense(world) -> Tensor:
    return torch.from_numpy(world.train.toarray())


def guidance_by_hand(model: LD4MRec, x: Tensor, degree: Tensor) -> dict[str, Tensor]:
    scale = torch.where(degree > 0, degree.clamp_min(1).rsqrt(), 0.0)
    return {
        name: F.normalize((x * scale) @ model.cnet.signals.basis(name), dim=1) for name in NAMES
    }


def block_by_hand(block, h: Tensor, condition: Tensor) -> Tensor:
    inner = block.widen(
        torch.cat([F.layer_norm(h, h.shape[1:], block.norm.weight, block.norm.bias), condition], 1)
    )
    return h + block.narrow(F.silu(inner))


def cnet_by_hand(model: LD4MRec, x: Tensor, t: Tensor, guides: dict[str, Tensor]) -> Tensor:
    """Encoder, one BD-Block, one BG-Block, decoder with item-side guidance and item weights."""
    net = model.cnet
    h = F.normalize(x, dim=1) @ net.encoder + net.encoder_bias
    h = block_by_hand(net.bd_blocks[0], h, net.time(t))
    h = block_by_hand(net.bg_blocks[0], h, torch.cat([guides[name] for name in NAMES], dim=1))
    scores = h @ net.decoder.T + net.decoder_bias
    if net.ease is not None:
        scores = scores + net.ease_scale * (x @ net.ease.weights)
    for layer, scale, name in zip(
        net.item_side_maps.values(), net.item_side_scales.values(), NAMES, strict=True
    ):
        scores = scores + (h @ layer.weight.T + scale * guides[name]) @ net.signals.basis(name).T
    return scores


@pytest.fixture
def degree(world) -> Tensor:
    return dense(world).sum(dim=0)


@pytest.mark.parametrize("loss", ["multinomial", "mse"])
@pytest.mark.parametrize("noisy", [False, True])
@torch.no_grad()
def test_cnet_computes_its_formula(world, degree, noisy, loss):
    model = trained(world, training__loss=loss)
    assert (model.cnet.ease is not None) == (loss == "mse")
    x, t = dense(world), torch.arange(world.train.shape[0]) % 4
    rows = SparseRows.from_csr(world.train)
    if noisy:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        rows, x = SparseRows(rows.items, rows.values, rows.counts, rows.n_items, noise), x + noise
    expected = cnet_by_hand(model, x, t, guidance_by_hand(model, x, degree))
    torch.testing.assert_close(model.cnet.scores(rows, t), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_guidance_can_come_from_other_rows(world, degree):
    model = trained(world)
    x, t = dense(world), torch.zeros(world.train.shape[0], dtype=torch.int64)
    others = world.train[::-1].tocsr()
    guides = guidance_by_hand(model, x.flip(0), degree)
    actual = model.cnet.scores(SparseRows.from_csr(world.train), t, SparseRows.from_csr(others))
    torch.testing.assert_close(actual, cnet_by_hand(model, x, t, guides), atol=1e-4, rtol=1e-4)


def test_one_step_inference_is_one_pass_at_the_input_time(world):
    model = trained(world, model__ease=False)
    t_in = torch.zeros(world.train.shape[0], dtype=torch.int64)
    with torch.no_grad():
        expected = model.cnet.scores(SparseRows.from_csr(world.train), t_in)
    assert torch.equal(model.score(world.train), expected)


def mixed(model: LD4MRec, scores: Tensor, x: Tensor) -> Tensor:
    """The softmax and the item weights' estimate, by hand; with `mse` the scores are final."""
    if not model.objective.is_softmax:
        return scores
    return scores.softmax(dim=1) + 0.7 * (x @ model.mixture.ease.weights).clamp_min(0)


@pytest.mark.parametrize("loss", ["multinomial", "mse"])
@torch.no_grad()
def test_one_step_scores_mix_the_softmax_with_the_item_weights(world, loss):
    model = trained(world, model__ease_scale=0.7, training__loss=loss)
    t_in = torch.zeros(world.train.shape[0], dtype=torch.int64)
    expected = mixed(model, model.cnet.scores(SparseRows.from_csr(world.train), t_in), dense(world))
    torch.testing.assert_close(model.score(world.train), expected)


def test_the_mixture_plays_no_part_in_training(world):
    """C-Net is trained alone: its weights depend neither on those of EASE nor on their scale."""
    with_weights, without = trained(world), trained(world, model__ease=False)
    for (name, first), (_, second) in zip(
        with_weights.named_parameters(), without.named_parameters(), strict=True
    ):
        assert torch.equal(first, second), name


@pytest.mark.parametrize("loss", ["multinomial", "mse"])
@torch.no_grad()
def test_the_reverse_chain_steps_by_bayes_rule_from_a_noised_row(world, degree, loss):
    noisy = {"diffusion__noise_scale": 20.0, "diffusion__inference_steps": 2}
    model = trained(world, training__loss=loss, model__ease_scale=0.7, **noisy)
    x = dense(world)
    guides, alpha_bar = guidance_by_hand(model, x, degree), model.forward_process.schedule.alpha_bar
    noise = torch.randn(1, x.shape[1], generator=torch.Generator().manual_seed(0))
    state = alpha_bar[2].sqrt() * x + (1 - alpha_bar[2]).sqrt() * noise
    for step in (2, 1):
        scores = cnet_by_hand(model, state, torch.full((len(x),), step), guides)
        x_0 = (
            scores.softmax(dim=1) * x.sum(dim=1, keepdim=True) if loss == "multinomial" else scores
        )
        before, now = alpha_bar[step - 1], alpha_bar[step]
        alpha = now / before
        state = (alpha.sqrt() * (1 - before) * state + before.sqrt() * (1 - alpha) * x_0) / (
            1 - now
        )
    torch.testing.assert_close(
        model.score(world.train), mixed(model, scores, x), atol=1e-3, rtol=1e-3
    )


@torch.no_grad()
def test_time_zero_is_the_learnable_input_time_and_other_steps_are_sinusoids():
    embedding = TimeEmbedding(4)
    embedding.input_time.fill_(7.0)
    actual = embedding(torch.tensor([0, 3]))
    assert actual[0].tolist() == [7.0] * 4
    angles = torch.tensor([3.0, 3.0 * 10_000.0**-0.5])
    torch.testing.assert_close(
        actual[1], F.silu(embedding.layer(torch.cat([angles.sin(), angles.cos()])))
    )
