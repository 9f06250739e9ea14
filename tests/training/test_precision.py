"""Precision, compilation, EMA, patience and the log of a run."""

import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from iris_cli.config.train import OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.pairs.divide import divide
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import PreObservedDataset, ScaledDensityLoss, test_reverter
from iris_cli.training.precision import Precision, compile_in_place
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.tensorboard import event_files
from tests.training import makers
from tests.training.makers import pairs_in, without_batch_norm, write_pairs

CPU = torch.device("cpu")
HYPER = TrainConfig(epochs=2, batch_size=4, batches_per_update=2, seed=1, network="paper", ema_decay=0.0)
HYPER = replace(HYPER, schedule=ScheduleConfig("constant", warmup_epochs=0.0))
LEARNING = replace(HYPER, epochs=4, batches_per_update=1, schedule=ScheduleConfig("cosine"))


def train(shards, hyper, run, **options):
    makers.train(shards, hyper, run, Reverter(32, "v_density", seed=hyper.seed, network=hyper.network), **options)
    return RunFolder(run)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """A run of HYPER; tests only read it, or copy it."""
    return train(shards, HYPER, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


def logged(run, kind, name):
    return [line[name] for line in makers.logged(run.path, kind)]


def weights(run):
    return torch.cat([v.flatten().double() for v in run.newest().model.values()])


def test_steps_are_those_of_gradient_descent_written_by_hand(shards):
    """Three of them: w <- w - 0.1 dL/dw, where L is the mean over a step's samples."""
    hyper = replace(HYPER, epochs=1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))
    trained = makers.train(shards, hyper, reverter=without_batch_norm())
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


@pytest.fixture(scope="module")
def full(shards, tmp_path_factory):
    """A run in float32 that lowers the loss."""
    return train(shards, LEARNING, tmp_path_factory.mktemp("full") / "run")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_but_for_rounding(full, shards, tmp_path, precision):
    half = train(shards, replace(LEARNING, precision=precision), tmp_path / "half")
    expected, losses = logged(full, "step", "loss"), logged(half, "step", "loss")
    assert losses[-1] < 0.9 * losses[0] and losses == pytest.approx(expected, rel=0.15)
    assert not torch.equal(weights(full), weights(half))
    assert all(v.dtype != torch.bfloat16 and v.dtype != torch.float16 for v in half.newest().model.values())


def test_a_resumed_run_continues_the_ema_and_the_scale_of_half_precision(shards, tmp_path):
    hyper = replace(HYPER, precision="fp16", ema_decay=0.7)
    whole = train(shards, hyper, tmp_path / "whole")
    train(shards, replace(hyper, epochs=1), tmp_path / "stopped")
    resumed = train(shards, hyper, tmp_path / "stopped", resume="auto")
    assert whole.newest().scaler and resumed.newest().scaler == whole.newest().scaler
    assert torch.equal(weights(resumed), weights(whole))
    assert logged(resumed, "epoch", "loss") == logged(whole, "epoch", "loss")


@pytest.mark.parametrize(("slope", "clip", "moved"), [(torch.inf, 0.0, 0.0), (7.0, 0.5, -0.5)])
def test_a_step_in_half_precision_is_clipped_after_unscaling_and_skipped_at_an_overflow(slope, clip, moved):
    precision, weight = Precision("fp16", CPU), nn.Parameter(torch.zeros(1))
    scale = precision.scaler.get_scale()
    precision.backward(weight.sum() * slope)
    precision.update(torch.optim.SGD([weight], 1.0), clip=clip, skip=torch.zeros(()))
    assert weight.item() == pytest.approx(moved, rel=1e-4) and (precision.scaler.get_scale() < scale) == (moved == 0)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The private cache folder, which torch does not use yet."""
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    return tmp_path


def test_compiling_uses_a_private_cache_and_static_shapes(cache):
    module = Mock(spec=nn.Module)
    compile_in_place(module, torch.device("cuda"))
    module.compile.assert_called_once_with(dynamic=False)
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(cache)
    with Precision("fp32", CPU, compiled=True).eager():
        assert torch.compile(lambda x: x + 1)(torch.ones(1)) == 2


class Small(nn.Module):
    """A module of its own: torch.compile passes over an nn.Sequential without compiling it."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4)

    def forward(self, image):
        return torch.nn.functional.leaky_relu(self.norm(self.convolution(image)))


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_compiled_network_is_the_same_network():
    reverter = Small()
    plain = deepcopy(reverter)
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


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match="compiler"):
        compile_in_place(nn.Identity(), CPU)


def test_the_ema_of_the_weights_follows_its_formula(shards, tmp_path):
    """One step an epoch, 4 steps: m <- m + weight (w - m), whose weight falls from 1 to 1 - decay."""
    hyper = replace(HYPER, epochs=4, batches_per_update=6, keep_checkpoints=9, optimizer=OptimizerConfig("sgd", 0.1))
    plain = train(shards, hyper, tmp_path / "plain")
    mean = train(shards, replace(hyper, ema_decay=0.2), tmp_path / "mean")
    name = next(n for n in plain.newest().model if n.endswith("convolution.weight"))
    steps = [torch.load(p, weights_only=True)["model"][name] for p in sorted(plain.checkpoints.glob("step-*.pt"))]
    expected, newest = torch.zeros_like(steps[0]), mean.newest()
    for step, weight in zip(steps, (1.0, 10 / 11, 10 / 12, 0.8), strict=True):
        expected = expected.lerp(step, weight)
    torch.testing.assert_close(newest.model[name], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(newest.last_model[name], steps[-1]) and newest.ema_steps == 4


def test_the_ema_is_validated_and_returned(shards, tmp_path):
    reverter = Reverter(32, "v_density", seed=HYPER.seed, network=HYPER.network)
    returned = makers.train(shards, replace(HYPER, epochs=1, ema_decay=0.9), tmp_path / "run", reverter)
    run = RunFolder(tmp_path / "run")
    assert returned is reverter
    for name, value in returned.state_dict().items():
        assert torch.equal(value, run.newest().model[name])
    newest, validation = run.newest(), PreObservedDataset(shards, "validation")
    mean, learning = newest.make_reverter(), replace(newest, model=newest.last_model).make_reverter()
    losses = [test_reverter(network, validation, hyper=HYPER, quiet=True).loss for network in (mean, learning)]
    assert not learning.training and logged(run, "epoch", "loss")[-1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[1] != pytest.approx(losses[0], rel=1e-3)


class SameLoss(ScaledDensityLoss):
    """1, whatever is predicted."""

    def per_sample(self, pred, true):
        return 0.0 * super().per_sample(pred, true) + 1.0


def test_an_equal_loss_is_no_improvement_and_a_run_out_of_patience_stays_stopped(shards, tmp_path):
    hyper = replace(HYPER, epochs=9, patience_epochs=2, physical_loss="SameLoss")
    run = train(shards, hyper, tmp_path / "run")
    assert logged(run, "epoch", "loss") == [1.0, 1.0, 1.0]
    assert run.newest().progress.best_epoch == 0
    train(shards, hyper, tmp_path / "run", resume="auto")
    assert len(logged(run, "epoch", "loss")) == 3
    alone = write_pairs(tmp_path / "alone", {"train": range(8)})
    with pytest.raises(UsageError, match="patience needs validation"):
        train(alone, replace(HYPER, patience_epochs=1), tmp_path / "other")


def test_a_checkpoint_of_another_network_is_refused_even_with_force(copy, shards):
    with pytest.raises(DataError, match="another network"):
        train(shards, replace(HYPER, network="columns"), copy, resume="auto", force=True)


def test_the_log_contains_time_waiting_speed_and_memory(whole):
    limits = {"step_s": (0, 60), "data_wait": (0, 1), "samples_per_s": (0, 1e6), "memory_GiB": (0.05, 64)}
    for name, (low, high) in limits.items():
        assert all(low <= value <= high for value in logged(whole, "step", name)), name


def test_tensorboard_gets_the_numbers_of_the_log(shards, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(shards, replace(HYPER, log="tensorboard"), tmp_path / "run")
    events = accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("epoch/loss")] == pytest.approx(logged(run, "epoch", "loss"), rel=1e-6)
    assert [e.step for e in events.Scalars("step/loss")] == logged(run, "step", "step")
    before = event_files(run.path)
    run.prepare(resume=False, overwrite=True)
    assert before and not event_files(run.path)  # TensorBoard would show two runs as one


def test_without_tensorboard_no_run_is_overwritten(copy, shards, monkeypatch):
    monkeypatch.setattr("iris_cli.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package tensorboard"):
        train(shards, replace(HYPER, log="tensorboard"), copy, overwrite=True)
    assert (copy / "checkpoints" / "best.pt").exists()


def test_the_validation_galaxies_do_not_depend_on_the_seed(tmp_path):
    pairs = pairs_in(write_pairs(tmp_path / "whole", {"all": range(40)}))
    splits = [divide(pairs, replace(HYPER, seed=s, split_seed=t))[1].tolist() for s, t in ((0, 0), (5, 0), (0, 1))]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("make", [torch.optim.RMSprop, torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_that_is_not_fused_skips_a_step_as_well(make):
    precision, weight = Precision("fp32", CPU), nn.Parameter(torch.ones(1))
    optimizer = make([weight], lr=0.1)
    precision.backward(weight.sum() * torch.nan)
    precision.update(optimizer, clip=0.0, skip=torch.ones(()))
    assert weight.item() == 1.0 and not optimizer.state
    optimizer.zero_grad()
    precision.backward(weight.sum())
    precision.update(optimizer, clip=0.0, skip=torch.zeros(()))
    assert weight.item() < 1.0
