from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from iris_cli.config.train import OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import UsageError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.optimizer import OPTIMIZERS, learning_rate, make_optimizer


def test_the_paper_halves_its_rate_after_epochs_16_17_and_18() -> None:
    rates = [learning_rate(done, TrainConfig()) for done in (0.0, 15.99, 16.01, 17.01, 18.01, 31.9)]
    assert rates == [1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4, 1.25e-4]


def test_a_cosine_falls_from_the_full_rate_to_nothing() -> None:
    hyper = TrainConfig(epochs=10, schedule=ScheduleConfig("cosine"))
    rates = [learning_rate(done, hyper) for done in (0.0, 5.0, 10.0)]
    assert rates == pytest.approx([1e-3, 5e-4, 0.0])


def test_a_cosine_starts_to_fall_where_the_warm_up_ends() -> None:
    hyper = TrainConfig(epochs=10, schedule=ScheduleConfig("cosine", warmup_epochs=2.0))
    rates = [learning_rate(done, hyper) for done in (1.0, 2.0, 6.0, 10.0)]
    assert rates == pytest.approx([5e-4, 1e-3, 5e-4, 0.0])


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(UsageError, match=r"warmup_epochs = 11.0; it must be within the 10 epochs"):
        TrainConfig(epochs=10, schedule=ScheduleConfig("cosine", warmup_epochs=11.0))


def test_a_warm_up_is_linear() -> None:
    hyper = TrainConfig(schedule=ScheduleConfig("constant", warmup_epochs=2.0))
    assert [learning_rate(done, hyper) for done in (0.5, 1.0, 2.0, 9.0)] == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3])


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_can_be_made(name: str) -> None:
    made = make_optimizer(Reverter(32).parameters(), OptimizerConfig(name, learning_rate=0.5))
    assert made.param_groups[0]["lr"] == 0.5


def test_the_momentum_of_sgd_can_be_set_and_starts_at_zero() -> None:
    usual = make_optimizer(Reverter(32).parameters(), OptimizerConfig("sgd"))
    chosen = make_optimizer(Reverter(32).parameters(), OptimizerConfig("sgd", momentum=0.5))
    assert (usual.param_groups[0]["momentum"], chosen.param_groups[0]["momentum"]) == (0.9, 0.5)
    assert not any(state["momentum_buffer"].any() for state in usual.state.values())


def test_momentum_that_starts_at_zero_gives_the_steps_of_torch() -> None:
    """torch takes the first momentum from the first gradient: the steps are equal to the bit."""
    weights = nn.Parameter(torch.linspace(-1.0, 1.0, 50))
    expected = nn.Parameter(weights.detach().clone())
    steps = (
        make_optimizer([weights], OptimizerConfig("sgd", 0.1)),
        torch.optim.SGD([expected], 0.1, momentum=0.9, nesterov=True, fused=True),
    )
    for _ in range(4):
        for parameter, optimizer in zip((weights, expected), steps, strict=True):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
    assert torch.equal(weights, expected)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        make_optimizer(Reverter(32).parameters(), OptimizerConfig("adamm"))
    assert "adam" in refused.value.hint
    with pytest.raises(UsageError):
        learning_rate(0.0, replace(TrainConfig(), schedule=ScheduleConfig("cosin")))
