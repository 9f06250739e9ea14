"""A step whose loss is not finite changes nothing, and no step waits for its own loss."""

import signal
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from iris_cli.config.train import Noise, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.training import ScaledDensityLoss, Stopped
from iris_cli.training.checkpoint import load
from iris_cli.training.loop import Trainer
from iris_cli.training.optimizer import OPTIMIZERS
from iris_cli.training.step import STEPS_AHEAD, FiniteCheck
from iris_cli.training.train import train_run
from tests.training.makers import assert_equal, logged, newest, set_nan, small_reverter, train, write_pairs

# 22 samples: 3 steps an epoch, of 8, 8 and 6 samples in two batches each
HYPER = TrainConfig(epochs=1, batch_size=4, batches_per_update=2, seed=1, noise=Noise(sigma_K=0.1), ema_decay=0.9)
HYPER = replace(HYPER, physical_loss="NaNLoss", on_nan="skip", gradient_clip=10.0)
EACH_STEP = replace(HYPER, checkpoint_every_steps=1, keep_checkpoints=9)
slow = pytest.mark.slow
#: AdamW takes the same path as Adam.
EACH_OPTIMIZER = pytest.mark.parametrize("name", ["adam", "sgd", pytest.param("adamw", marks=slow)])
_SLOW_PAIRS = [pytest.param(*both, marks=slow) for both in (("adamw", "fp32"), ("adamw", "fp16"), ("sgd", "fp16"))]
OPTIMIZERS_AND_PRECISIONS = pytest.mark.parametrize(
    ("name", "precision"), [("adam", "fp32"), ("sgd", "fp32"), ("adam", "fp16"), *_SLOW_PAIRS]
)


class NaNLoss(ScaledDensityLoss):
    """NaN in the batches with these numbers, counted from 1, and a signal in one."""

    nan_in: frozenset[int] = frozenset()
    signal_at = -1
    calls = -1

    def per_sample(self, pred, true):
        NaNLoss.calls += 1
        if NaNLoss.calls == NaNLoss.signal_at:
            signal.raise_signal(signal.SIGTERM)
        values = super().per_sample(pred, true)
        return values * float("nan") if NaNLoss.calls in NaNLoss.nan_in else values


@pytest.fixture(autouse=True)
def finite():
    nan_in()


def nan_in(*batches, signal_at=-1):
    """A training first calls a loss once to check its results: batch 0."""
    NaNLoss.calls, NaNLoss.nan_in, NaNLoss.signal_at = -1, frozenset(batches), signal_at


@pytest.fixture
def ahead(monkeypatch):
    """As on a GPU: finite checks are read two steps later."""
    monkeypatch.setitem(STEPS_AHEAD, "cpu", 2)
    return monkeypatch


def changeable(checkpoint):
    """Every tensor that a step may change, by name."""
    found = {f"mean {k}": v for k, v in checkpoint.model.items()}
    found |= {f"learning {k}": v for k, v in checkpoint.last_model.items()}
    for number, state in checkpoint.optimizer["state"].items():
        found |= {f"optimizer {number} {k}": v for k, v in state.items()}
    assert checkpoint.density_sum is not None
    counts = torch.tensor([checkpoint.ema_steps, checkpoint.density_count])
    return {**found, "density sum": checkpoint.density_sum, "counts": counts}


class CountReads(TorchDispatchMode):
    """Counts what would make the host wait for a device: tensors converted to Python numbers."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@OPTIMIZERS_AND_PRECISIONS
def test_no_step_reads_a_number(shards, tmp_path, ahead, name, precision):
    step, counts = Trainer._step, []
    with CountReads() as two:
        float(torch.ones(()))
        assert not torch.zeros(1)
    assert two.count == 2

    def counted(self, *arguments):
        with CountReads() as reads:
            step(self, *arguments)
        counts.append(reads.count)

    ahead.setattr(Trainer, "_step", counted)
    train(shards, replace(HYPER, precision=precision, optimizer=OptimizerConfig(name)), tmp_path / "run")
    assert counts == [0] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_no_step_waits_for_the_gpu(shards, tmp_path, monkeypatch, name):
    """torch raises an error for anything that waits, from the second step on."""
    step, steps = Trainer._step, []

    def guarded(self, *arguments):
        torch.cuda.set_sync_debug_mode("error" if steps else "default")
        try:
            steps.append(step(self, *arguments))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return steps[-1]

    monkeypatch.setattr(Trainer, "_step", guarded)
    nan_in(8)
    train(shards, replace(HYPER, epochs=2, optimizer=OptimizerConfig(name)), tmp_path / "run", device="cuda")
    assert len(steps) == 6 and newest(tmp_path / "run").ema_steps == 5


def test_finite_checks_are_read_two_steps_later_or_at_a_log_line(shards, tmp_path, ahead):
    of, read, made, lags = FiniteCheck.of, FiniteCheck.read, [], []

    def making(loss, world):
        made.append(of(loss, world))
        return made[-1]

    def reading(self):
        lags.append(len(made) - 1 - made.index(self))
        return read(self)

    ahead.setattr(FiniteCheck, "of", making)
    ahead.setattr(FiniteCheck, "read", reading)
    hyper = replace(HYPER, batch_size=2, batches_per_update=1)  # 11 steps; a line after the tenth, and at the end
    train(shards, hyper, tmp_path / "run")
    assert lags == [2] * 8 + [1, 0] + [0]


@OPTIMIZERS_AND_PRECISIONS
def test_a_step_that_is_not_finite_changes_no_bit(shards, tmp_path, name, precision):
    """The second of three steps: its second batch is NaN, the first is finite."""
    nan_in(4)
    optimizer = OptimizerConfig(name, weight_decay=0.01)
    train(shards, replace(EACH_STEP, precision=precision, optimizer=optimizer), tmp_path / "run")
    first, skipped, last = (changeable(load(path)) for path in sorted((tmp_path / "run/checkpoints").glob("step-*.pt")))
    assert_equal(skipped, first)
    assert {"mean", "learning", "optimizer", "density", "counts"} <= {name.split()[0] for name in first}
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert any(name.endswith("running_mean") for name in changed) and "counts" in changed


@EACH_OPTIMIZER
def test_a_first_step_that_is_not_finite_leaves_the_initial_state(shards, tmp_path, name):
    nan_in(1)
    train(shards, replace(EACH_STEP, optimizer=OptimizerConfig(name)), tmp_path / "run")
    first = load(tmp_path / "run" / "checkpoints" / "step-000000001.pt")
    start = dict(small_reverter().state_dict())
    assert_equal(first.model, start)
    assert_equal(first.last_model, start)
    assert (first.ema_steps, first.density_count) == (0, 0)
    states = [value for state in first.optimizer["state"].values() for value in state.values()]
    assert states and not any(value.any() for value in states)


def test_a_check_covers_the_losses_of_all_ranks():
    class TwoRanks(World):
        def max_tensor(self, values):
            return values.fill_(1.0)  # the loss of the other rank is not finite

    check = FiniteCheck.of(torch.tensor(3.0), TwoRanks(0, 2))
    assert check.read() == (False, True) and check.skip.item() == 1.0
    assert FiniteCheck.of(torch.tensor(float("inf")), World()).read() == (True, True)


def test_the_result_does_not_depend_on_when_checks_are_read(shards, tmp_path, monkeypatch):
    for name, steps in (("late", 2), ("at once", 0)):
        monkeypatch.setitem(STEPS_AHEAD, "cpu", steps)
        nan_in(1, 5)
        train(shards, replace(HYPER, epochs=2), tmp_path / name)
    late, at_once = (newest(tmp_path / name) for name in ("late", "at once"))
    assert_equal(changeable(late), changeable(at_once))
    assert late.ema_steps == 4 and late.density_count == 8


@pytest.mark.usefixtures("ahead")
def test_a_run_that_skips_a_step_continues_with_one_warning(shards, tmp_path, capsys):
    nan_in(3)
    reverter = train(shards, HYPER, tmp_path / "run")
    assert all(value.isfinite().all() for value in reverter.state_dict().values())
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("is not finite") == 1 and "step 2 is not finite; its samples: g" in said


@pytest.mark.parametrize(("steps", "batches"), [(0, 2), (2, 6)])
def test_a_run_that_stops_names_the_samples_and_saves_no_later_checkpoint(
    shards, tmp_path, monkeypatch, steps, batches
):
    monkeypatch.setitem(STEPS_AHEAD, "cpu", steps)
    nan_in(2)
    with pytest.raises(DataError, match=r"rank 0: the loss of step 1 is not finite; its samples: g\d{4}_v\d, g"):
        train(shards, replace(HYPER, on_nan="stop"), tmp_path / "run")
    assert NaNLoss.calls == batches
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.usefixtures("ahead")
def test_a_checkpoint_waits_for_all_checks(shards, tmp_path):
    nan_in(4)
    with pytest.raises(DataError, match="step 2"):
        train(shards, replace(EACH_STEP, on_nan="stop"), tmp_path / "run")
    assert newest(tmp_path / "run").progress.step == 1


@pytest.mark.usefixtures("ahead")
def test_a_run_stopped_before_its_checks_are_read_resumes_correctly(shards, tmp_path):
    nan_in(2)
    train(shards, HYPER, tmp_path / "whole")
    nan_in(2, signal_at=5)
    with pytest.raises(Stopped):
        train(shards, HYPER, tmp_path / "stopped")
    train(shards, HYPER, tmp_path / "stopped", resume="auto")
    assert_equal(changeable(newest(tmp_path / "stopped")), changeable(newest(tmp_path / "whole")))
    nan_in(2, signal_at=4)  # the step is still an error
    with pytest.raises(DataError, match="step 1"):
        train(shards, replace(HYPER, on_nan="stop"), tmp_path / "run")


def test_pairs_that_are_not_finite_are_left_out_of_the_statistics_of_the_inputs(tmp_path):
    folder = write_pairs(tmp_path / "shards", {"train": range(6), "validation": range(100, 103)})
    set_nan(folder, "g0001_v1")
    train_run(replace(HYPER, data=(str(folder),), checksums=False), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "training_inputs.npz").exists()


def test_the_logged_loss_is_the_mean_over_finite_steps(shards, tmp_path):
    """At a negligible learning rate, the losses of the other steps equal those of a run without NaN."""
    hyper = replace(HYPER, optimizer=OptimizerConfig("sgd", 1e-30), batches_per_update=1)
    train(shards, hyper, tmp_path / "finite")
    whole = logged(tmp_path / "finite")[0]
    nan_in(3)
    train(shards, hyper, tmp_path / "nan")
    without = logged(tmp_path / "nan")[0]
    assert (whole["samples"], without["samples"]) == (22, 18)
    assert 0 < without["loss"] * 18 < whole["loss"] * 22


def test_a_line_without_a_finite_step_has_no_loss(shards, tmp_path):
    nan_in(*range(1, 7))
    train(shards, HYPER, tmp_path / "run")
    assert [(line["loss"], line["samples"], line["step"]) for line in logged(tmp_path / "run")] == [(None, 0, 3)]


def test_a_line_is_logged_every_ten_steps_and_at_the_end_of_an_epoch(shards, tmp_path):
    train(shards, replace(HYPER, epochs=2, batch_size=1, batches_per_update=1), tmp_path / "run")
    expected = {"step": [10, 20, 22, 30, 40, 44], "epoch": [0, 0, 0, 1, 1, 1], "position": [10, 20, 22, 8, 18, 22]}
    expected["samples"] = [10, 10, 2, 8, 10, 4]
    assert {name: [line[name] for line in logged(tmp_path / "run")] for name in expected} == expected


def test_the_learning_rate_of_a_step_is_that_of_its_middle(shards, tmp_path):
    """Warm-up to 0.1 over two epochs of 22 samples: the last step of the first epoch has samples 16 to 22."""
    warmup = ScheduleConfig("constant", warmup_epochs=2)
    train(shards, replace(HYPER, optimizer=OptimizerConfig("sgd", 0.1), schedule=warmup, epochs=2), tmp_path / "run")
    rates = [line["learning_rate"] for line in logged(tmp_path / "run")]
    assert rates == pytest.approx([0.1 * 19 / 44, 0.1 * (22 + 19) / 44])


def test_the_start_and_each_epoch_are_printed_unless_quiet(shards, tmp_path, capsys):
    for quiet in (False, True):
        train(shards, HYPER, tmp_path / f"{quiet}", quiet=quiet)
        printed = " ".join(capsys.readouterr().err.split())
        (epoch,) = logged(tmp_path / f"{quiet}", "epoch")
        line = f"validation {epoch['loss']:.4g}, skill {epoch['skill']:.3f}, 0:00:0"
        for words in (
            line,
            "epoch 1/1: loss ",
            "M parameters on cpu; 22 pairs",
            f"iris runs {tmp_path / str(quiet)} --watch",
        ):
            assert (words in printed) != quiet, words
