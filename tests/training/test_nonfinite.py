"""A step whose loss is not finite never was; and no step waits for its own loss."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from iris_cli.config.train import Noise, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import PreObservedDataset, ScaledDensityLoss, Stopped, train_reverter
from iris_cli.training.checkpoint import Checkpoint, load
from iris_cli.training.loop import Trainer
from iris_cli.training.nonfinite import STEPS_AHEAD, FiniteCheck
from iris_cli.training.optimizer import OPTIMIZERS
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.train import train_run
from tests.training.makers import set_nan, small_reverter, write_pairs

# 22 samples: 3 steps an epoch, of 8, 8 and 6 samples in two batches each
HYPER = TrainConfig(
    epochs=1,
    batch_size=4,
    batches_per_update=2,
    seed=1,
    noise=Noise(sigma_K=0.1),
    ema_decay=0.9,
    physical_loss="SpoiltLoss",
    on_nan="skip",
    gradient_clip=10.0,
)
OPTIMIZER_NAMES = sorted(OPTIMIZERS)


class SpoiltLoss(ScaledDensityLoss):
    """NaN in the batches of these numbers, counted from 1; a signal in that one."""

    spoilt: frozenset[int] = frozenset()
    signal_at = 0
    calls = 0

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        SpoiltLoss.calls += 1
        if SpoiltLoss.calls == SpoiltLoss.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        values = super().per_sample(pred, true)
        return values * float("nan") if SpoiltLoss.calls in SpoiltLoss.spoilt else values


@pytest.fixture(autouse=True)
def sound() -> None:
    spoil()


def spoil(*batches: int, signal_at: int = 0) -> None:
    SpoiltLoss.calls, SpoiltLoss.spoilt, SpoiltLoss.signal_at = 0, frozenset(batches), signal_at


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: verdicts are read two steps later."""
    monkeypatch.setitem(STEPS_AHEAD, "cpu", 2)


def train(shards: Path, hyper: TrainConfig, run: Path, **how: Any) -> Reverter:
    reverter = small_reverter()
    train_reverter(
        reverter,
        PreObservedDataset(shards),
        hyper=hyper,
        quiet=True,
        checkpoint_directory=run.parent,
        checkpoint_name=run.name,
        **how,
    )
    return reverter


def kept(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor that a step may change, by name."""
    found = {f"mean {k}": v for k, v in checkpoint.model.items()}
    found |= {f"learning {k}": v for k, v in checkpoint.last_model.items()}
    for number, state in checkpoint.optimizer["state"].items():
        found |= {f"optimizer {number} {k}": v for k, v in state.items()}
    assert checkpoint.density_sum is not None
    counts = torch.tensor([checkpoint.ema_steps, checkpoint.density_count])
    return {**found, "density sum": checkpoint.density_sum, "counts": counts}


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


class Watched(TorchDispatchMode):
    """Counts what would make the host wait for a device: tensors turned into Python numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.read_back = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read_back += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_a_number_that_is_read_back() -> None:
    with Watched() as watch:
        float(torch.ones(()))
        assert not torch.zeros(1)
    assert watch.read_back == 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
@pytest.mark.usefixtures("ahead")
def test_no_step_reads_a_number_back(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    step, counts = Trainer._step, []

    def watched(self: Trainer, *words: Any) -> Any:
        with Watched() as watch:
            taken = step(self, *words)
        counts.append(watch.read_back)
        return taken

    monkeypatch.setattr(Trainer, "_step", watched)
    train(shards, replace(HYPER, epochs=2, precision=precision, optimizer=OptimizerConfig(name)), tmp_path / "run")
    assert counts == [0] * 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_no_step_waits_for_the_gpu(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """torch itself refuses whatever would wait, from the second step on: the first sets things up."""
    step, steps = Trainer._step, []

    def guarded(self: Trainer, *words: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error" if steps else "default")
        try:
            steps.append(step(self, *words))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return steps[-1]

    monkeypatch.setattr(Trainer, "_step", guarded)
    spoil(8)
    train(shards, replace(HYPER, epochs=2, optimizer=OptimizerConfig(name)), tmp_path / "run", device="cuda")
    assert len(steps) == 6 and RunFolder(tmp_path / "run").newest().ema_steps == 5


@pytest.mark.usefixtures("ahead")
def test_verdicts_are_read_two_steps_later_and_all_at_a_line_of_the_log(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, read, made, lags = FiniteCheck.of, FiniteCheck.read, [], []

    def making(loss: Tensor, world: World) -> FiniteCheck:
        made.append(of(loss, world))
        return made[-1]

    def reading(self: FiniteCheck) -> tuple[bool, bool]:
        lags.append(len(made) - 1 - made.index(self))
        return read(self)

    monkeypatch.setattr(FiniteCheck, "of", making)
    monkeypatch.setattr(FiniteCheck, "read", reading)
    hyper = replace(HYPER, batch_size=2, batches_per_update=1)  # 11 steps; a line after the tenth, and at the end
    train(shards, hyper, tmp_path / "run")
    assert lags == [2] * 8 + [1, 0] + [0]


# --- a void step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_void_step_leaves_every_bit_as_it_was(shards: Path, tmp_path: Path, name: str, precision: str) -> None:
    """The second of three: its second batch is spoilt, the first is not."""
    spoil(4)
    hyper = replace(
        HYPER,
        precision=precision,
        optimizer=OptimizerConfig(name, weight_decay=0.01),
        checkpoint_every_steps=1,
        keep_checkpoints=9,
    )
    train(shards, hyper, tmp_path / "run")
    first, void, last = (kept(load(path)) for path in sorted((tmp_path / "run/checkpoints").glob("step-*.pt")))
    assert_same_bits(void, first)
    assert {"mean", "learning", "optimizer", "density", "counts"} <= {name.split()[0] for name in first}
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert any(name.endswith("running_mean") for name in changed) and "counts" in changed


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_first_step_that_is_void_leaves_a_run_at_its_beginning(shards: Path, tmp_path: Path, name: str) -> None:
    spoil(1)
    hyper = replace(HYPER, optimizer=OptimizerConfig(name), checkpoint_every_steps=1, keep_checkpoints=9)
    train(shards, hyper, tmp_path / "run")
    first = load(tmp_path / "run" / "checkpoints" / "step-000000001.pt")
    start = small_reverter().state_dict()
    assert_same_bits(first.model, start)
    assert_same_bits(first.last_model, start)
    assert (first.ema_steps, first.density_count) == (0, 0)
    states = [value for state in first.optimizer["state"].values() for value in state.values()]
    assert states and not any(value.any() for value in states)


def test_every_rank_s_loss_counts_and_each_knows_its_own() -> None:
    class Other(World):
        def max_tensor(self, values: Tensor) -> Tensor:
            return values.fill_(1.0)  # another rank's loss was not finite

    check = FiniteCheck.of(torch.tensor(3.0), Other(0, 2))
    assert check.read() == (False, True) and check.skip.item() == 1.0
    assert FiniteCheck.of(torch.tensor(float("inf")), World()).read() == (True, True)


@pytest.mark.usefixtures("ahead")
def test_when_it_is_read_changes_nothing(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hyper = replace(HYPER, epochs=2)
    for name, steps in (("late", 2), ("at once", 0)):
        monkeypatch.setitem(STEPS_AHEAD, "cpu", steps)
        spoil(1, 5)
        train(shards, hyper, tmp_path / name)
    late, at_once = (RunFolder(tmp_path / name).newest() for name in ("late", "at once"))
    assert_same_bits(kept(late), kept(at_once))
    assert late.ema_steps == 4 and late.density_count == 8


@pytest.mark.usefixtures("ahead")
def test_a_run_that_skips_goes_on_and_warns_once_a_step(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(3)
    reverter = train(shards, HYPER, tmp_path / "run")
    assert all(value.isfinite().all() for value in reverter.state_dict().values())
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("is not finite") == 1 and "step 2 is not finite; its samples: g" in said


@pytest.mark.parametrize(("steps", "batches"), [(0, 2), (2, 6)])
def test_a_run_that_stops_names_the_samples_however_late_and_saves_nothing_after(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, batches: int
) -> None:
    monkeypatch.setitem(STEPS_AHEAD, "cpu", steps)
    spoil(2)
    with pytest.raises(DataError, match=r"rank 0: the loss of step 1 is not finite; its samples: g\d{4}_v\d, g"):
        train(shards, replace(HYPER, on_nan="stop"), tmp_path / "run")
    assert SpoiltLoss.calls == batches
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.usefixtures("ahead")
def test_a_checkpoint_waits_for_all_verdicts(shards: Path, tmp_path: Path) -> None:
    spoil(4)
    hyper = replace(HYPER, on_nan="stop", checkpoint_every_steps=1)
    with pytest.raises(DataError, match="step 2"):
        train(shards, hyper, tmp_path / "run")
    assert RunFolder(tmp_path / "run").newest().progress.step == 1


@pytest.mark.usefixtures("ahead")
def test_a_signal_with_verdicts_pending_forgets_none(shards: Path, tmp_path: Path) -> None:
    spoil(2)
    train(shards, HYPER, tmp_path / "whole")
    spoil(2, signal_at=5)
    with pytest.raises(Stopped):
        train(shards, HYPER, tmp_path / "torn")
    train(shards, HYPER, tmp_path / "torn", resume="auto")
    assert_same_bits(kept(RunFolder(tmp_path / "torn").newest()), kept(RunFolder(tmp_path / "whole").newest()))


@pytest.mark.usefixtures("ahead")
def test_a_signal_does_not_hide_a_step_that_should_stop_the_run(shards: Path, tmp_path: Path) -> None:
    spoil(2, signal_at=4)
    with pytest.raises(DataError, match="step 1"):
        train(shards, replace(HYPER, on_nan="stop"), tmp_path / "run")


def test_pairs_that_are_not_finite_are_left_out_of_the_statistics_of_the_inputs(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "shards", {"train": range(6), "validation": range(100, 103)})
    set_nan(folder, "g0001_v1")
    train_run(replace(HYPER, data=(str(folder),), checksums=False), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "training_inputs.npz").exists()


# --- the log ----------------------------------------------------------------------------------------------------------


def lines(run: Path) -> list[dict[str, Any]]:
    noted = [json.loads(line, parse_constant=pytest.fail) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in noted if line["kind"] == "step"]


def test_the_noted_loss_is_the_mean_over_steps_that_count(shards: Path, tmp_path: Path) -> None:
    """At a rate of next to nothing, the other steps' losses are what they are in a sound run."""
    hyper = replace(HYPER, optimizer=OptimizerConfig("sgd", 1e-30), batches_per_update=1)
    train(shards, hyper, tmp_path / "sound")
    whole = lines(tmp_path / "sound")[0]
    spoil(3)
    train(shards, hyper, tmp_path / "spoilt")
    without = lines(tmp_path / "spoilt")[0]
    assert (whole["samples"], without["samples"]) == (22, 18)
    assert 0 < without["loss"] * 18 < whole["loss"] * 22


def test_a_line_without_a_step_that_counts_has_no_loss(shards: Path, tmp_path: Path) -> None:
    spoil(*range(1, 7))
    train(shards, HYPER, tmp_path / "run")
    told = lines(tmp_path / "run")
    assert [(line["loss"], line["samples"]) for line in told] == [(None, 0)]
    assert Counter(line["step"] for line in told) == {3: 1}


def test_a_line_comes_every_ten_steps_and_where_an_epoch_ends(shards: Path, tmp_path: Path) -> None:
    hyper = replace(HYPER, epochs=2, batch_size=1, batches_per_update=1)
    train(shards, hyper, tmp_path / "run")
    told = lines(tmp_path / "run")
    assert [(line["step"], line["epoch"], line["position"]) for line in told] == [
        (10, 0, 10),
        (20, 0, 20),
        (22, 0, 22),
        (30, 1, 8),
        (40, 1, 18),
        (44, 1, 22),
    ]
    assert [line["samples"] for line in told] == [10, 10, 2, 8, 10, 4]


def test_a_step_takes_the_rate_of_the_middle_of_its_share_of_the_epoch(shards: Path, tmp_path: Path) -> None:
    """A line rises to 0.1 over two epochs of 22 samples: the last step of the first holds samples 16 to 22."""
    hyper = replace(
        HYPER, optimizer=OptimizerConfig("sgd", 0.1), schedule=ScheduleConfig("constant", warmup_epochs=2), epochs=2
    )
    train(shards, hyper, tmp_path / "run")
    rates = [line["learning_rate"] for line in lines(tmp_path / "run")]
    assert rates == pytest.approx([0.1 * 19 / 44, 0.1 * (22 + 19) / 44])


def test_an_epoch_tells_people_its_validation_loss_unless_they_want_quiet(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for quiet in (False, True):
        train_reverter(
            small_reverter(),
            PreObservedDataset(shards),
            hyper=replace(HYPER, epochs=2),
            quiet=quiet,
            checkpoint_directory=tmp_path,
            checkpoint_name=f"{quiet}",
        )
        said = " ".join(capsys.readouterr().err.split())
        noted = [json.loads(line) for line in (tmp_path / f"{quiet}" / "metrics.jsonl").read_text().splitlines()]
        for number, epoch in enumerate((line for line in noted if line["kind"] == "epoch"), start=1):
            words = f"epoch {number}/2: validation loss {epoch['loss']:.5g}, skill {epoch['skill']:.3f}"
            assert (words in said) != quiet
