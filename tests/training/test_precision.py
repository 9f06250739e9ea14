"""Precision, compilation, running means, patience: what changes how a run learns, and what it must leave alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iris_cli.config.train import OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import PreObservedDataset, ScaledDensityLoss, test_reverter, train_reverter
from iris_cli.training.precision import Precision, compile_in_place
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.tensorboard import event_files
from tests.training.makers import pairs_in, without_batch_norm

CPU = torch.device("cpu")
HYPER = TrainConfig(epochs=2, batch_size=4, batches_per_update=2, seed=1, schedule=ScheduleConfig("constant"))


def train(shards: Path, hyper: TrainConfig, run: Path, **how: object) -> RunFolder:
    reverter = Reverter(32, "v_density", seed=hyper.seed, network=hyper.network)
    train_reverter(
        reverter,
        PreObservedDataset(shards),
        hyper=hyper,
        quiet=True,
        checkpoint_directory=run.parent,
        checkpoint_name=run.name,
        **how,
    )  # type: ignore[arg-type]
    return RunFolder(run)


def noted(run: RunFolder, kind: str, name: str) -> list[float]:
    lines = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if line["kind"] == kind]


def weights(run: RunFolder) -> torch.Tensor:
    return torch.cat([v.flatten().double() for v in run.newest().model.values()])


def test_steps_are_those_of_gradient_descent_written_by_hand(shards: Path, tmp_path: Path) -> None:
    """Three of them: w <- w - 0.1 dL/dw, where L is the mean over a step's samples."""
    hyper = replace(HYPER, epochs=1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))
    trained = without_batch_norm()
    train_reverter(trained, PreObservedDataset(shards), hyper=hyper, quiet=True)
    pairs = pairs_in(shards, "train")
    feed = PairStream("train", pairs, np.arange(22), hyper.seed, batch=8, shuffle=True)
    reverter, loss = without_batch_norm(), ScaledDensityLoss()
    for batch in feed.epoch():
        mean = loss.per_sample(reverter(batch.observation), batch.density).mean()
        with torch.no_grad():
            parameters = list(reverter.parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(mean, parameters), strict=True):
                parameter -= 0.1 * gradient
    for one, other in zip(trained.parameters(), reverter.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_half_precision_learns_as_in_full_but_for_rounding(
    shards: Path, tmp_path: Path, precision: str
) -> None:
    hyper = replace(HYPER, epochs=8, batches_per_update=1, schedule=ScheduleConfig("cosine"))
    full, half = (train(shards, replace(hyper, precision=p), tmp_path / p) for p in ("fp32", precision))
    there, here = noted(full, "step", "loss"), noted(half, "step", "loss")
    assert here[-1] < 0.8 * here[0] and here == pytest.approx(there, rel=0.15)
    assert not torch.equal(weights(full), weights(half))
    assert all(v.dtype != torch.bfloat16 and v.dtype != torch.float16 for v in half.newest().model.values())


def test_the_scale_of_half_precision_is_gone_on_with(shards: Path, tmp_path: Path) -> None:
    hyper = replace(HYPER, precision="fp16")
    whole = train(shards, hyper, tmp_path / "whole")
    train(shards, replace(hyper, epochs=1), tmp_path / "torn")
    torn = train(shards, hyper, tmp_path / "torn", resume="auto")
    assert whole.newest().scaler and torn.newest().scaler == whole.newest().scaler
    assert torch.equal(weights(torn), weights(whole))


def test_an_overflowing_half_precision_step_is_left_out_and_the_scale_lowered() -> None:
    precision = Precision("fp16", CPU)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    scale = precision.scaler.get_scale()
    precision.backward(weight.sum() * float("inf"))
    precision.update(optimizer, clip=0.0, skip=torch.zeros(()))
    assert weight.item() == 1.0 and precision.scaler.get_scale() < scale


def test_gradients_are_clipped_after_their_scale_is_taken_off() -> None:
    precision = Precision("fp16", CPU)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    precision.backward((weight * 7.0).sum())
    precision.update(optimizer, clip=0.5, skip=torch.zeros(()))
    assert weight.item() == pytest.approx(-0.5, rel=1e-4)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def test_a_compiled_network_is_the_same_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    reverter, plain = Small(), Small()
    plain.load_state_dict(reverter.state_dict())
    names = list(reverter.state_dict())
    compile_in_place(reverter, CPU)
    precision, images = Precision("fp32", CPU, compiled=True), torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        usual = precision.forward(reverter, images, usual_size=True)
        torch.testing.assert_close(usual, plain(images), rtol=1e-4, atol=1e-5)
        frames = torch._dynamo.utils.counters["frames"]["ok"]
        short = precision.forward(reverter, images[:3], usual_size=False)
        torch.testing.assert_close(short, plain(images[:3]), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] == frames > 0
    assert list(reverter.state_dict()) == names


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match="compiler"):
        compile_in_place(nn.Identity(), CPU)


def test_the_running_mean_of_the_weights_is_what_its_formula_says(shards: Path, tmp_path: Path) -> None:
    """One step an epoch, 4 steps: m1 = w1, then m <- 0.5 m + 0.5 w."""
    hyper = replace(HYPER, epochs=4, batches_per_update=6, keep_checkpoints=9, optimizer=OptimizerConfig("sgd", 0.1))
    plain = train(shards, hyper, tmp_path / "plain")
    mean = train(shards, replace(hyper, ema_decay=0.5), tmp_path / "mean")
    name = next(n for n in plain.newest().model if n.endswith("convolution.weight"))
    steps = [torch.load(p, weights_only=True)["model"][name] for p in sorted(plain.checkpoints.glob("step-*.pt"))]
    expected = steps[0]
    for step in steps[1:]:
        expected = 0.5 * expected + 0.5 * step
    newest = mean.newest()
    torch.testing.assert_close(newest.model[name], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(newest.last_model[name], steps[-1]) and newest.ema_steps == 4


def test_what_is_validated_is_the_running_mean(shards: Path, tmp_path: Path) -> None:
    run = train(shards, replace(HYPER, ema_decay=0.9, physical_loss="ScaledDensityLoss"), tmp_path / "run")
    newest = run.newest()
    validation = PreObservedDataset(shards, "validation")
    mean = test_reverter(newest.make_reverter(), validation, hyper=HYPER, quiet=True).loss
    learning = replace(newest, model=newest.last_model).make_reverter()
    assert not learning.training
    assert noted(run, "epoch", "loss")[-1] == pytest.approx(mean, rel=1e-6)
    assert test_reverter(learning, validation, hyper=HYPER, quiet=True).loss != pytest.approx(mean, rel=1e-3)


def test_a_run_with_a_running_mean_resumes_to_the_bit(shards: Path, tmp_path: Path) -> None:
    hyper = replace(HYPER, ema_decay=0.7)
    whole = train(shards, hyper, tmp_path / "whole")
    train(shards, replace(hyper, epochs=1), tmp_path / "torn")
    torn = train(shards, hyper, tmp_path / "torn", resume="auto")
    assert torch.equal(weights(torn), weights(whole))
    assert noted(torn, "epoch", "loss") == noted(whole, "epoch", "loss")


def test_a_run_out_of_patience_stops_and_stays_stopped(shards: Path, tmp_path: Path) -> None:
    hyper = replace(HYPER, epochs=30, patience_epochs=2, optimizer=OptimizerConfig("sgd", 1e-12, momentum=0.0))
    run = train(shards, hyper, tmp_path / "run")
    losses = noted(run, "epoch", "loss")
    best = min(range(len(losses)), key=losses.__getitem__)
    assert len(losses) == best + 3 < 30
    train(shards, hyper, tmp_path / "run", resume="auto")
    assert noted(run, "epoch", "loss") == losses


class SameLoss(ScaledDensityLoss):
    """1, whatever is predicted."""

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        return 0.0 * super().per_sample(pred, true) + 1.0


def test_the_same_loss_again_is_no_better_one(shards: Path, tmp_path: Path) -> None:
    run = train(shards, replace(HYPER, epochs=9, patience_epochs=2, physical_loss="SameLoss"), tmp_path / "run")
    assert noted(run, "epoch", "loss") == [1.0, 1.0, 1.0]
    assert run.newest().progress.best_epoch == 0


def test_another_network_s_checkpoint_is_refused_even_by_force(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=1), tmp_path / "run")
    with pytest.raises(DataError, match="another network"):
        train(shards, replace(HYPER, network="columns"), tmp_path / "run", resume="auto", force=True)


def test_patience_without_validation_is_refused(shards: Path, tmp_path: Path) -> None:
    from tests.training.makers import write_pairs

    alone = write_pairs(tmp_path / "alone", {"train": range(8)})
    with pytest.raises(UsageError, match="patience"):
        train(alone, replace(HYPER, patience_epochs=1), tmp_path / "run")


def test_the_log_tells_time_waiting_speed_and_memory(shards: Path, tmp_path: Path) -> None:
    run = train(shards, HYPER, tmp_path / "run")
    for name, low, high in (
        ("step_s", 0, 60),
        ("data_wait", 0, 1),
        ("samples_per_s", 0, 1e6),
        ("memory_GiB", 0.05, 64),
    ):
        assert all(low <= value <= high for value in noted(run, "step", name)), name


def test_tensorboard_gets_the_numbers_of_the_log(shards: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(shards, replace(HYPER, log="tensorboard"), tmp_path / "run")
    events = accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("epoch/loss")] == pytest.approx(noted(run, "epoch", "loss"), rel=1e-6)
    assert [e.step for e in events.Scalars("step/loss")] == noted(run, "step", "step")
    before = event_files(run.path)
    train(shards, HYPER, tmp_path / "run", overwrite=True)
    assert before and not event_files(run.path)  # two runs would be drawn over each other


def test_tensorboard_that_is_not_there_is_missed_before_anything_goes(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(shards, HYPER, tmp_path / "run")
    monkeypatch.setattr("iris_cli.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package tensorboard"):
        train(shards, replace(HYPER, log="tensorboard"), tmp_path / "run", overwrite=True)
    assert (run.path / "checkpoints" / "best.pt").exists()


def test_reading_threads_and_depth_change_nothing(shards: Path, tmp_path: Path) -> None:
    one = train(shards, HYPER, tmp_path / "one")
    many = train(shards, replace(HYPER, read_threads=5, read_ahead_batches=1), tmp_path / "many")
    assert torch.equal(weights(one), weights(many))


def test_the_validation_galaxies_stay_when_the_seed_changes(tmp_path: Path) -> None:
    from iris_cli.pairs.datasets import divide
    from tests.training.makers import pairs_in, write_pairs

    pairs = pairs_in(write_pairs(tmp_path / "whole", {"all": range(40)}))
    splits = [divide(pairs, replace(HYPER, seed=s, split_seed=t))[1].tolist() for s, t in ((0, 0), (5, 0), (0, 1))]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("make", [torch.optim.RMSprop, torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_that_is_not_fused_leaves_a_void_step_out_as_well(make: type[torch.optim.Optimizer]) -> None:
    precision, weight = Precision("fp32", CPU), nn.Parameter(torch.ones(1))
    optimizer = make([weight], lr=0.1)  # type: ignore[call-arg]
    precision.backward(weight.sum() * torch.nan)
    precision.update(optimizer, clip=0.0, skip=torch.ones(()))
    assert weight.item() == 1.0 and not optimizer.state
    optimizer.zero_grad()
    precision.backward(weight.sum())
    precision.update(optimizer, clip=0.0, skip=torch.zeros(()))
    assert weight.item() < 1.0
