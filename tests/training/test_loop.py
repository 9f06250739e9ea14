from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from iris_cli.config.train import Noise, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import (
    InfiniteDataset,
    PreObservedDataset,
    ScaledDensityLoss,
    Stopped,
    test_reverter,
    train_reverter,
)
from iris_cli.training.checkpoint import Checkpoint, load
from iris_cli.training.loop import Trainer
from iris_cli.training.run_folder import RunFolder
from tests.training.makers import small_reverter, without_batch_norm

HYPER = TrainConfig(epochs=2, batch_size=4, batches_per_update=2, seed=1, noise=Noise(sigma_K=0.1))


class DisturbedLoss(ScaledDensityLoss):
    """Calls for a signal, or turns to NaN, when it has been asked so many times."""

    signal_at: ClassVar[int] = -1
    stopping: ClassVar[signal.Signals] = signal.SIGTERM
    nan_at: ClassVar[int] = -1
    calls: ClassVar[int] = 0

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        DisturbedLoss.calls += 1
        if DisturbedLoss.calls == DisturbedLoss.signal_at:
            os.kill(os.getpid(), DisturbedLoss.stopping)
        values = super().per_sample(pred, true)
        return values * float("nan") if DisturbedLoss.calls == DisturbedLoss.nan_at else values


@pytest.fixture(autouse=True)
def undisturbed() -> None:
    DisturbedLoss.signal_at = DisturbedLoss.nan_at = -1
    DisturbedLoss.calls = 0


def train(
    shards: Path, hyper: TrainConfig, run: Path | None = None, reverter: Reverter | None = None, **how: Any
) -> nn.Module:
    where = {"checkpoint_directory": run.parent, "checkpoint_name": run.name} if run else {}
    module, rank = train_reverter(
        reverter or small_reverter(), PreObservedDataset(shards), hyper=hyper, quiet=True, **where, **how
    )
    assert rank == 0 and not module.training
    return module


def newest(run: Path) -> Checkpoint:
    return RunFolder(run).newest()


def assert_equal(a: Any, b: Any) -> None:
    """Bit by bit, through nested dicts."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 6), (5, 5), (1, 22), (8, 4)])
def test_accumulated_batches_step_as_one_big_batch(shards: Path, batch: int, accumulate: int) -> None:
    plain = replace(HYPER, epochs=1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))
    whole = train(shards, replace(plain, batch_size=22, batches_per_update=1), reverter=without_batch_norm())
    parts = train(
        shards, replace(plain, batch_size=batch, batches_per_update=accumulate), reverter=without_batch_norm()
    )
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_short_last_window_is_the_mean_over_its_own_samples(shards: Path) -> None:
    """22 samples in windows of 16: the second step's 6 samples weigh as a batch of 6."""
    plain = replace(HYPER, epochs=1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))
    windows = train(shards, replace(plain, batch_size=4, batches_per_update=4), reverter=without_batch_norm())
    batches = train(shards, replace(plain, batch_size=16, batches_per_update=1), reverter=without_batch_norm())
    for a, b in zip(windows.parameters(), batches.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_training_learns_what_it_is_shown(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=12, batches_per_update=1, schedule=ScheduleConfig("cosine")), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < 0.7 * losses[0]
    assert {"loss", "loss_zero", "loss_mean_image", "skill"} <= lines[-1].keys()


def test_two_runs_of_one_seed_end_in_the_same_bits(shards: Path, litter: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(shards, HYPER, tmp_path / name, litter=InfiniteDataset(PreObservedDataset(litter), 2))
    assert_equal(vars(newest(tmp_path / "a"))["model"], newest(tmp_path / "b").model)
    assert_equal(newest(tmp_path / "a").optimizer, newest(tmp_path / "b").optimizer)


# 22 samples: 6 batches and 3 steps an epoch, 2 validation batches of which each asks for the loss three times
@pytest.mark.parametrize("call", [1, 2, 3, 6, 7, 10, 13, 14, 18])
def test_a_run_stopped_anywhere_and_resumed_is_as_if_never_stopped(shards: Path, tmp_path: Path, call: int) -> None:
    hyper = replace(HYPER, physical_loss="DisturbedLoss")
    train(shards, hyper, tmp_path / "whole")
    DisturbedLoss.calls, DisturbedLoss.signal_at = 0, call
    with pytest.raises(Stopped):
        train(shards, hyper, tmp_path / "torn")
    assert newest(tmp_path / "torn").progress.epoch < 2
    train(shards, hyper, tmp_path / "torn", resume="auto")
    whole, torn = newest(tmp_path / "whole"), newest(tmp_path / "torn")
    for name in ("model", "optimizer", "progress", "mean_image", "density_sum", "config"):
        assert_equal(getattr(torn, name), getattr(whole, name))
    assert _noted(tmp_path / "torn") == _noted(tmp_path / "whole")


def _noted(run: Path) -> tuple[list[float], int, Any]:
    """Validation losses to the bit; how many samples the noted steps have seen, and the sum of their losses."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    samples = sum(line["samples"] for line in steps)
    total = sum(line["samples"] * line["loss"] for line in steps)
    return [line["loss"] for line in lines if line["kind"] == "epoch"], samples, pytest.approx(total, rel=1e-6)


class DrawingLoss(DisturbedLoss):
    """Weighs at random, as a loss of one's own may."""

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        return super().per_sample(pred, true) * torch.rand(len(pred))


def test_random_numbers_of_a_loss_of_one_s_own_go_on_where_they_were(shards: Path, tmp_path: Path) -> None:
    hyper = replace(HYPER, epochs=1, physical_loss="DrawingLoss", checkpoint_every_steps=1)
    train(shards, hyper, tmp_path / "whole")
    middle = tmp_path / "whole" / "checkpoints" / "step-000000001.pt"
    train(shards, hyper, tmp_path / "again", resume=str(middle))
    assert_equal(newest(tmp_path / "again").model, newest(tmp_path / "whole").model)


@pytest.mark.parametrize("call", [1, 3, 7])  # within the first step, the second, and the first validation
def test_random_numbers_of_what_was_stopped_half_way_are_drawn_again(shards: Path, tmp_path: Path, call: int) -> None:
    hyper = replace(HYPER, physical_loss="DrawingLoss")
    torch.manual_seed(0)
    train(shards, hyper, tmp_path / "whole")
    DisturbedLoss.calls, DisturbedLoss.signal_at = 0, call
    torch.manual_seed(0)
    with pytest.raises(Stopped):
        train(shards, hyper, tmp_path / "torn")
    train(shards, hyper, tmp_path / "torn", resume="auto")
    assert_equal(newest(tmp_path / "torn").model, newest(tmp_path / "whole").model)
    assert newest(tmp_path / "torn").progress == newest(tmp_path / "whole").progress


def test_a_signal_is_answered_while_the_data_hang(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads, hanging, forever = PreObservedDataset.read, itertools.count(), threading.Event(), threading.Event()
    when_waiting, waits = Trainer._while_waiting, itertools.count()

    def hang(self: PreObservedDataset, number: int, rows: Any) -> None:
        if next(reads) == 12:
            hanging.set()
            forever.wait()
        read(self, number, rows)

    def waiting(self: Trainer) -> None:
        if hanging.is_set():
            os.kill(os.getpid(), signal.SIGUSR2)
            assert next(waits) < 20, "nobody answers"
        when_waiting(self)

    monkeypatch.setattr(Trainer, "_while_waiting", waiting)
    train(shards, HYPER, tmp_path / "whole")
    monkeypatch.setattr(PreObservedDataset, "read", hang)
    with pytest.raises(Stopped):
        train(shards, HYPER, tmp_path / "torn")
    forever.set()
    train(shards, HYPER, tmp_path / "torn", resume="auto")
    assert_equal(newest(tmp_path / "torn").model, newest(tmp_path / "whole").model)


def test_a_finished_run_resumed_changes_nothing_and_a_longer_one_goes_on(shards: Path, tmp_path: Path) -> None:
    train(shards, HYPER, tmp_path / "run")
    before = newest(tmp_path / "run")
    train(shards, HYPER, tmp_path / "run", resume="auto")
    assert_equal(newest(tmp_path / "run").model, before.model)
    train(shards, replace(HYPER, epochs=3), tmp_path / "run", resume="auto")
    train(shards, replace(HYPER, epochs=3), tmp_path / "whole")
    assert_equal(newest(tmp_path / "run").model, newest(tmp_path / "whole").model)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_samples(shards: Path, tmp_path: Path) -> None:
    DisturbedLoss.nan_at = 4
    with pytest.raises(DataError, match=r"step 2 is not finite; its samples: g\d{4}_v\d, g"):
        train(shards, replace(HYPER, physical_loss="DisturbedLoss"), tmp_path / "run")


def test_a_step_that_is_not_finite_can_be_skipped(shards: Path, tmp_path: Path) -> None:
    DisturbedLoss.nan_at = 4
    module = train(shards, replace(HYPER, physical_loss="DisturbedLoss", on_nan="skip"), tmp_path / "run")
    assert all(value.isfinite().all() for value in module.state_dict().values())
    assert newest(tmp_path / "run").progress.step == 6


def test_the_mean_image_is_the_mean_of_the_training_densities(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=1), tmp_path / "run")
    data = PreObservedDataset(shards, "train")
    mean = torch.stack([data[i][1] for i in range(len(data))]).double().mean(dim=0)
    image = newest(tmp_path / "run").mean_image
    assert image is not None
    torch.testing.assert_close(image.double(), mean, rtol=1e-6, atol=1e-6)


def test_validation_repeats_to_the_last_bit_and_batches_do_not_matter(shards: Path) -> None:
    reverter, data = small_reverter().eval(), PreObservedDataset(shards, "test")
    losses = [
        test_reverter(reverter, data, noise=Noise(sigma_K=1.0), hyper=replace(HYPER, batch_size=b), quiet=True).loss
        for b in (2, 2, 3, 7)
    ]
    assert losses[0] == losses[1]
    assert losses[2:] == pytest.approx([losses[0]] * 2, rel=1e-6)


def test_gradients_are_clipped_to_the_length_asked_for(shards: Path) -> None:
    hyper = replace(
        HYPER,
        epochs=1,
        batch_size=22,
        batches_per_update=1,
        gradient_clip=1e-3,
        optimizer=OptimizerConfig("sgd", 1.0, momentum=0.0),
    )
    before = [p.detach().clone() for p in small_reverter().parameters()]
    after = train(shards, hyper)
    moved = torch.cat([(a - b).flatten() for a, b in zip(after.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


# --- the run's folder -------------------------------------------------------------------------------------------------


def test_a_run_in_the_way_is_kept_unless_it_may_be_replaced(shards: Path, tmp_path: Path) -> None:
    short = replace(HYPER, epochs=1)
    train(shards, short, tmp_path / "run")
    with pytest.raises(UsageError, match="exists"):
        train(shards, short, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(shards, short, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_checkpoint_of_another_configuration_or_other_data_is_refused_unless_forced(
    shards: Path, litter: Path, tmp_path: Path
) -> None:
    train(shards, HYPER, tmp_path / "run")
    other = replace(HYPER, epochs=3, noise=Noise(sigma_K=0.2))
    with pytest.raises(DataError, match=r"noise: .*0\.1.* in the checkpoint, .*0\.2.* now"):
        train(shards, other, tmp_path / "run", resume="auto")
    drawn = InfiniteDataset(PreObservedDataset(litter))
    with pytest.raises(DataError, match="litter is another"):
        train(shards, replace(HYPER, epochs=3), tmp_path / "run", resume="auto", litter=drawn)
    train(shards, other, tmp_path / "run", resume="auto", force=True)
    assert newest(tmp_path / "run").progress.epoch == 3


def test_the_newest_whole_checkpoint_is_found_whatever_lies_beside_it(shards: Path, tmp_path: Path) -> None:
    train(shards, HYPER, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    last = sorted(folder.glob("step-*.pt"))[-1]
    last.write_bytes(last.read_bytes()[:-500])
    (folder / "step-999999999.pt").write_bytes(b"")
    assert newest(tmp_path / "run").progress.step == 3
    with pytest.raises(DataError, match="not a complete checkpoint"):
        load(last)


def test_only_the_last_checkpoints_and_the_best_are_kept(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=5), tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.pt", "step-000000009.pt", "step-000000012.pt", "step-000000015.pt"]
    path, best = RunFolder(tmp_path / "run").best()
    assert path.name == "best.pt" and best.progress.epoch == (best.progress.best_epoch or 0) + 1


def test_checkpoints_within_an_epoch_can_be_gone_on_with(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, checkpoint_every_steps=1, keep_checkpoints=9), tmp_path / "run")
    train(shards, HYPER, tmp_path / "whole")
    middle = tmp_path / "run" / "checkpoints" / "step-000000002.pt"
    assert (load(middle).progress.epoch, load(middle).progress.position) == (0, 16)
    train(shards, HYPER, tmp_path / "again", resume=str(middle))
    assert_equal(newest(tmp_path / "again").model, newest(tmp_path / "whole").model)


def test_the_clock_makes_checkpoints_too(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=1, checkpoint_every_minutes=1e-9), tmp_path / "run")
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*.pt"))) == 3


def test_minutes_between_checkpoints_count_from_the_last_one(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that goes on by 25 s whenever somebody looks: after a step, and as a checkpoint is written."""
    start = time.monotonic()
    looks = itertools.count()
    monkeypatch.setattr("iris_cli.training.loop.time", SimpleNamespace(monotonic=lambda: start + 25.0 * next(looks)))
    hyper = replace(HYPER, epochs=1, batch_size=1, batches_per_update=1, keep_checkpoints=99)
    train(shards, replace(hyper, checkpoint_every_minutes=1.0), tmp_path / "run")
    steps = sorted(int(path.stem[5:]) for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    assert steps == [4, 7, 10, 13, 16, 19, 22]


def test_a_full_disk_leaves_the_checkpoint_before(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(shards, replace(HYPER, epochs=1), tmp_path / "run")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match=r"No space.*config\.toml"):
        train(shards, HYPER, tmp_path / "run", resume="auto")
    monkeypatch.undo()
    assert newest(tmp_path / "run").progress.epoch == 1
    assert not list((tmp_path / "run").rglob(".*.part"))


def _full(file: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_that_goes_back_forgets_the_course_that_it_leaves(shards: Path, tmp_path: Path) -> None:
    """Its checkpoints are not deleted for the left ones, and best.pt is the best of its own."""
    run, kept = tmp_path / "run", replace(HYPER, keep_checkpoints=3)
    train(shards, replace(kept, epochs=4, keep_checkpoints=9), run, without_batch_norm())
    first = run / "checkpoints" / "step-000000003.pt"
    assert load(first).progress.epoch == 1 and RunFolder(run).best()[1].progress.epoch > 1
    train(shards, replace(kept, epochs=1), run, without_batch_norm(), resume=str(first))
    assert RunFolder(run).best()[1].progress.epoch == 1
    train(shards, replace(kept, epochs=2), run, without_batch_norm(), resume=str(first))
    assert newest(run).progress.epoch == 2
    assert len(list((run / "checkpoints").glob("step-*.pt"))) == 2


def test_a_run_that_goes_on_elsewhere_takes_its_best_along(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=1), tmp_path / "run")
    one = tmp_path / "run" / "checkpoints" / "step-000000003.pt"
    train(shards, replace(HYPER, epochs=1), tmp_path / "other", resume=str(one))
    assert_equal(RunFolder(tmp_path / "other").best()[1].model, load(one).model)


def test_forced_settings_of_an_optimizer_count(shards: Path, tmp_path: Path) -> None:
    train(shards, replace(HYPER, epochs=1), tmp_path / "run")
    heavy = replace(HYPER, optimizer=OptimizerConfig(weight_decay=0.5, momentum=0.5))
    train(shards, heavy, tmp_path / "run", resume="auto", force=True)
    (group,) = newest(tmp_path / "run").optimizer["param_groups"]
    assert group["weight_decay"] == 0.5 and tuple(group["betas"]) == (0.5, 0.999)


def test_a_second_ctrl_c_ends_a_run_even_while_it_puts_its_readers_away(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = threading.Thread.join
    again = iter([True])

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        if threading.current_thread() is threading.main_thread() and next(again, False):
            os.kill(os.getpid(), signal.SIGINT)
        join(self, timeout)

    monkeypatch.setattr(DisturbedLoss, "stopping", signal.SIGINT)
    DisturbedLoss.signal_at = 2
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(shards, replace(HYPER, physical_loss="DisturbedLoss"), tmp_path / "run")
