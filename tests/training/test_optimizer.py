import pytest
import torch
from torch import nn

from iris_cli.config.train import DistancesConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import UsageError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.optimizer import OPTIMIZERS, learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("epochs", "schedule", "rates"),
    [
        (
            32,
            ScheduleConfig("halvings", 0.0),
            {0: 1e-3, 15.99: 1e-3, 16.01: 5e-4, 17.01: 2.5e-4, 18.01: 1.25e-4, 31.9: 1.25e-4},
        ),
        (10, ScheduleConfig("cosine", 0.0), {0: 1e-3, 5: 5e-4, 10: 0.0}),
        (10, ScheduleConfig("cosine", warmup_epochs=2.0), {1: 5e-4, 2: 1e-3, 6: 5e-4, 10: 0.0}),
        (32, ScheduleConfig("constant", warmup_epochs=2.0), {0.5: 2.5e-4, 1: 5e-4, 2: 1e-3, 9: 1e-3}),
    ],
    ids=["the paper's halvings", "cosine", "cosine after a warm-up", "linear warm-up"],
)
def test_schedules_have_their_rates(epochs, schedule, rates):
    hyper = TrainConfig(epochs=epochs, optimizer=OptimizerConfig(learning_rate=1e-3), schedule=schedule)
    assert [learning_rate(done, hyper) for done in rates] == pytest.approx(list(rates.values()), abs=1e-15)


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(UsageError, match=r"warmup_epochs = 11.0; it must be within the 10 epochs"):
        TrainConfig(epochs=10, schedule=ScheduleConfig("cosine", warmup_epochs=11.0))
    with pytest.raises(UsageError, match=r"distances: warmup_epochs = 2.0; it must be within the 1 epochs"):
        TrainConfig(distances=DistancesConfig(epochs=1, warmup_epochs=2.0))


def test_every_optimizer_can_be_made_with_its_rate_and_momentum_that_starts_at_zero():
    for name in OPTIMIZERS:
        made = make_optimizer(Reverter(32).parameters(), OptimizerConfig(name, learning_rate=0.5))
        assert made.param_groups[0]["lr"] == 0.5
    usual, chosen = (
        make_optimizer(Reverter(32).parameters(), OptimizerConfig("sgd", **other)) for other in ({}, {"momentum": 0.5})
    )
    assert (usual.param_groups[0]["momentum"], chosen.param_groups[0]["momentum"]) == (0.9, 0.5)
    assert not any(state["momentum_buffer"].any() for state in usual.state.values())


def test_momentum_that_starts_at_zero_gives_the_steps_of_torch():
    """torch takes the first momentum from the first gradient: the steps are equal to the bit."""
    weights = nn.Parameter(torch.linspace(-1.0, 1.0, 50))
    expected = nn.Parameter(weights.detach().clone())
    ours = make_optimizer([weights], OptimizerConfig("sgd", 0.1))
    torchs = torch.optim.SGD([expected], 0.1, momentum=0.9, nesterov=True, fused=True)
    for _ in range(4):
        for parameter, optimizer in ((weights, ours), (expected, torchs)):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
    assert torch.equal(weights, expected)
