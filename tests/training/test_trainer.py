from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ld4mrec_cli.training.ema import EMA
from ld4mrec_cli.training.trainer import EpochReport, Trainer, epoch_generator
from ld4mrec_cli.utils.errors import TrainingDiverged


def quiet(report: EpochReport) -> None:
    pass


def timeless(history: list[EpochReport]) -> list[dict]:
    return [
        {key: value for key, value in report.as_dict().items() if "seconds" not in key}
        for report in history
    ]


def planned(values: list[float], name: str = "ndcg@20"):
    """A ``validate`` that returns the given values one after the other."""
    remaining: Iterator[float] = iter(values)
    return lambda model: {name: next(remaining)}


def assert_same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_one_seed_gives_one_result_and_another_seed_another(world):
    results = []
    for seed in (0, 0, 1):
        trainer = world.trainer(world.config(training__seed=seed))
        results.append((trainer.run(quiet), timeless(trainer.progress.history)))
    assert_same_weights(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert results[0][1] != results[2][1]
    assert not torch.equal(results[0][0]["cnet.encoder"], results[2][0]["cnet.encoder"])


def test_training_leaves_the_global_random_state_alone(world):
    trainer = world.trainer(world.config(diffusion__noise_scale=1.0))
    before = torch.random.get_rng_state()
    np_before = np.random.get_state()[1].copy()  # noqa: NPY002
    trainer.run(quiet)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == np_before).all()  # noqa: NPY002


@pytest.mark.parametrize("loss", ["multinomial", "mse"])
def test_the_loss_falls_and_the_metric_rises_on_planted_data(world, loss):
    config = world.config(training__loss=loss, training__max_epochs=15, model__ease=False)
    untrained = world.validate(world.model(config))
    history = world.trained(config)[1]
    assert history[-1].loss < 0.9 * history[0].loss
    assert max(report.valid["ndcg@20"] for report in history) > untrained["ndcg@20"] + 0.05


def test_early_stopping_honors_patience(world):
    values = [0.1, 0.3, 0.2, 0.3, 0.25, 0.9]  # equal is no better: epochs 3, 4 and 5 are stale
    config = world.config(training__patience=3, training__max_epochs=50)
    trainer = world.trainer(config, planned(values))
    trainer.run(quiet)
    assert trainer.progress.epoch == 5
    assert (trainer.progress.best_epoch, trainer.progress.best_value) == (2, 0.3)
    assert [report.is_best for report in trainer.progress.history] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_weights_of_the_best_epoch_are_returned(world):
    config = world.config(training__max_epochs=3)
    trainer = world.trainer(config, planned([0.1, 0.3, 0.2]))
    averages: list[dict[str, torch.Tensor]] = []
    best = trainer.run(
        lambda report: averages.append(
            {k[8:]: v.clone() for k, v in trainer.state()[0].items() if k.startswith("average.")}
        )
    )
    assert_same_weights(best, averages[1])
    assert not torch.equal(best["cnet.encoder"], averages[2]["cnet.encoder"])


def test_validate_every_spaces_the_validations(world):
    config = world.config(training__validate_every=2, training__max_epochs=5)
    trainer = world.trainer(config, planned([0.1, 0.2, 0.3]))
    trainer.run(quiet)
    # The last epoch is always validated.
    assert [report.valid is not None for report in trainer.progress.history] == [
        False,
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("metric", "epoch"), [("ndcg@20", 3), ("recall@5", 1)])
def test_the_metric_selects_the_epoch(world, metric, epoch):
    values = iter(
        [
            {"ndcg@20": 0.1, "recall@5": 0.9},
            {"ndcg@20": 0.2, "recall@5": 0.8},
            {"ndcg@20": 0.3, "recall@5": 0.7},
        ]
    )
    trainer = world.trainer(
        world.config(training__metric=metric, training__max_epochs=3), lambda model: next(values)
    )
    trainer.run(quiet)
    assert trainer.progress.best_epoch == epoch


def test_an_epoch_has_a_step_for_each_batch_of_users_with_interactions(world):
    trainer = world.trainer(world.config(training__batch_size=20, training__max_epochs=1))
    steps: list[int] = []
    trainer.run(quiet, lambda: steps.append(1))
    users = int((np.diff(world.train.indptr) > 0).sum())
    assert len(steps) == trainer.n_batches == math.ceil(users / 20)


def test_a_huge_learning_rate_is_reported_as_divergence(world):
    trainer = world.trainer(
        world.config(training__learning_rate=1e30, training__max_epochs=20), planned([0.1] * 20)
    )
    with pytest.raises(TrainingDiverged, match="loss became"):
        trainer.run(quiet)


@pytest.mark.parametrize("where", ["weights", "validation"])
def test_divergence_keeps_the_best_weights_so_far(world, where):
    values = [0.1, math.nan if where == "validation" else 0.2, 0.3]
    trainer = world.trainer(world.config(training__max_epochs=3), planned(values))

    def spoil(report: EpochReport) -> None:
        if where == "weights":
            with torch.no_grad():
                trainer.model.cnet.decoder_bias.fill_(math.nan)

    with pytest.raises(TrainingDiverged, match="nan in epoch 2"):
        trainer.run(spoil)
    assert trainer.progress.best_epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in trainer.best.values())


def test_weights_are_not_touched_by_a_step_whose_loss_is_not_finite(world):
    trainer = world.trainer(world.config(training__max_epochs=1))
    with torch.no_grad():
        trainer.model.cnet.decoder_bias[0] = math.nan
    before = trainer.model.cnet.encoder.detach().clone()
    with pytest.raises(TrainingDiverged):
        trainer.run(quiet)
    assert torch.equal(trainer.model.cnet.encoder, before)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize(
    "changed",
    [{}, {"diffusion.noise_scale": 20.0, "diffusion.steps": 1}, {"training.sampled_items": 8}],
)
def test_a_restored_trainer_ends_where_the_uninterrupted_one_does(world, stop_after, changed):
    config = world.config_of({"training.max_epochs": 5, **changed})
    whole = world.trainer(config)
    expected = whole.run(quiet)
    first, saved = world.trainer(config), {}

    def stop(report: EpochReport) -> None:
        if report.epoch == stop_after:
            tensors, values = first.state()
            saved.update(
                tensors={name: tensor.clone() for name, tensor in tensors.items()}, values=values
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    second: Trainer = world.trainer(config)
    second.restore(**saved)
    assert_same_weights(second.run(quiet), expected)
    assert timeless(second.progress.history) == timeless(whole.progress.history)
    assert_same_weights(dict(second.model.named_parameters()), dict(whole.model.named_parameters()))


def test_restoring_an_incomplete_state_is_refused(world):
    trainer = world.trainer(world.config())
    trainer.run(quiet)
    tensors, values = trainer.state()
    del tensors["adam.exp_avg.cnet.encoder"]
    with pytest.raises(KeyError, match="exp_avg"):
        world.trainer(world.config()).restore(tensors, values)


def test_epoch_generators_depend_on_seed_and_epoch():
    samples = [
        torch.rand(3, generator=epoch_generator(seed, epoch, torch.device("cpu"))).tolist()
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert samples[0] == samples[1]
    assert len({tuple(sample) for sample in samples}) == 3


def weight_of(model: torch.nn.Module) -> float:
    return model.weight.item()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_the_average_follows_its_formula(decay):
    model = torch.nn.Linear(1, 1, bias=False)
    average, expected = EMA(model, decay), weight_of(model)
    for n, value in enumerate([3.0, -1.0, 2.0, 7.0], start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update()
        used = min(decay, (1 + n) / (10 + n)) if decay else 0.0
        expected = used * expected + (1 - used) * value
        assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sampled", [0, 6])
def test_what_is_served_is_the_average_of_the_weights_after_each_step(world, sampled):
    """Also of embeddings that a step does not reach."""
    trainer = world.trainer(world.config(training__sampled_items=sampled, training__max_epochs=1))
    expected = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    steps = 0

    def follow() -> None:
        nonlocal steps
        steps += 1
        decay = min(trainer.config.ema_decay, (1 + steps) / (10 + steps))
        for name, parameter in trainer.model.named_parameters():
            expected[name].lerp_(parameter.detach(), 1.0 - decay)

    best = trainer.run(lambda report: None, follow)
    assert steps > 2
    for name, average in expected.items():
        torch.testing.assert_close(best[name], average, rtol=1e-4, atol=1e-6, msg=name)


def test_the_average_is_in_the_model_only_for_the_time_of_the_block():
    model = torch.nn.Linear(1, 1, bias=False)
    average = EMA(model, 0.9)
    start = weight_of(model)
    with torch.no_grad():
        model.weight.fill_(5.0)
    inside: list[float] = []

    def fail() -> None:
        with average.applied():
            inside.append(weight_of(model))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert inside == [start]
    assert weight_of(model) == 5.0
