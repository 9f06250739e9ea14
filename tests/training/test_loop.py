"""The training loop: steps, resumption to the same bits, checkpoints, and the run folder."""

import itertools
import json
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from iris_cli.config.train import Noise, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import DataError
from iris_cli.training import InfiniteDataset, PreObservedDataset, ScaledDensityLoss, Stopped, test_reverter
from iris_cli.training.checkpoint import load
from iris_cli.training.loop import Trainer
from iris_cli.training.run_folder import RunFolder
from tests.training.makers import assert_equal, logged, newest, small_reverter, train, without_batch_norm

# 22 samples: 6 batches and 3 steps an epoch; 2 validation batches, each of which asks for the loss three times
HYPER = TrainConfig(epochs=2, batch_size=4, batches_per_update=2, seed=1, noise=Noise(sigma_K=0.1))
HYPER = replace(HYPER, physical_loss="InterruptedLoss", checkpoint_every_steps=1, keep_checkpoints=9)
#: A step follows the gradient of its samples alone.
PLAIN = replace(HYPER, epochs=1, optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))
RANDOM = replace(HYPER, physical_loss="RandomLoss")
slow = pytest.mark.slow


class InterruptedLoss(ScaledDensityLoss):
    """Raises a signal at a call of that number."""

    signal_at = -1
    number = signal.SIGTERM
    calls = 0

    def per_sample(self, pred, true):
        InterruptedLoss.calls += 1
        if InterruptedLoss.calls == InterruptedLoss.signal_at:
            signal.raise_signal(InterruptedLoss.number)
        return super().per_sample(pred, true)


class RandomLoss(InterruptedLoss):
    """Weighs samples at random, as a user's loss may."""

    def per_sample(self, pred, true):
        return super().per_sample(pred, true) * torch.rand(len(pred))


@pytest.fixture(autouse=True)
def uninterrupted():
    interrupt_at(-1)


def interrupt_at(call, number=signal.SIGTERM):
    InterruptedLoss.calls, InterruptedLoss.signal_at, InterruptedLoss.number = 0, call, number


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """A run of HYPER that was not interrupted; tests only read it, or copy it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(shards, HYPER, run)
    return run


@pytest.fixture(scope="module")
def whole_random(shards, tmp_path_factory):
    """The same with RandomLoss, from torch's seed 0."""
    run = tmp_path_factory.mktemp("whole") / "random"
    torch.manual_seed(0)
    train(shards, RANDOM, run)
    return run


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def after_step(run, step):
    return run / "checkpoints" / f"step-{step:09d}.pt"


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "accumulate", "size"),
    [(4, 6, 22), (5, 5, 22), pytest.param(1, 22, 22, marks=slow), (8, 4, 22), (4, 4, 16)],
)
def test_accumulated_batches_step_as_one_big_batch(shards, batch, accumulate, size):
    """Also in a short last window: of 22 samples in windows of 16, the second step's 6 weigh as a batch of 6."""
    parts, big = (
        train(shards, replace(PLAIN, batch_size=b, batches_per_update=n), reverter=without_batch_norm())
        for b, n in ((batch, accumulate), (size, 1))
    )
    for a, b in zip(parts.parameters(), big.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_gradients_are_clipped_to_the_configured_length(shards):
    sgd = OptimizerConfig("sgd", 1.0, momentum=0.0)
    after = train(shards, replace(PLAIN, batch_size=22, batches_per_update=1, gradient_clip=1e-3, optimizer=sgd))
    before = small_reverter().parameters()
    moved = torch.cat([(a - b).flatten() for a, b in zip(after.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_training_lowers_the_loss(shards, tmp_path):
    hyper = replace(HYPER, epochs=10, batches_per_update=1, schedule=ScheduleConfig("cosine"), keep_checkpoints=3)
    train(shards, replace(hyper, checkpoint_every_steps=0), tmp_path / "run")
    losses = [line["loss"] for line in logged(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    assert {"loss", "loss_zero", "loss_mean_image", "skill"} <= logged(tmp_path / "run", "epoch")[-1].keys()
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.pt", "step-000000048.pt", "step-000000054.pt", "step-000000060.pt"]
    path, best = RunFolder(tmp_path / "run").best()
    assert path.name == "best.pt" and best.progress.epoch == (best.progress.best_epoch or 0) + 1


def test_the_same_seed_gives_the_same_bits(shards, litter, tmp_path):
    for name in ("a", "b"):
        torch.rand(1)  # the random state of the caller has no influence
        train(shards, replace(HYPER, epochs=1), tmp_path / name, litter=InfiniteDataset(PreObservedDataset(litter), 2))
    assert newest_file(tmp_path / "a").read_bytes() == newest_file(tmp_path / "b").read_bytes()
    assert_same_metrics(tmp_path / "a", tmp_path / "b")


def test_the_mean_image_is_the_mean_of_the_training_densities(whole, shards):
    data = PreObservedDataset(shards, "train")
    mean = torch.stack([data[i][1] for i in range(len(data))]).double().mean(dim=0)
    image = newest(whole).mean_image
    assert image is not None
    torch.testing.assert_close(image.double(), mean, rtol=1e-6, atol=1e-6)


def test_validation_repeats_to_the_last_bit_and_batches_do_not_matter(shards):
    data, hypers = PreObservedDataset(shards, "test"), (replace(HYPER, batch_size=b) for b in (2, 2, 3, 7))
    noise = Noise(sigma_K=1.0)
    losses = [test_reverter(small_reverter(), data, noise, hyper=hyper, quiet=True).loss for hyper in hypers]
    assert losses[0] == losses[1]
    assert losses[2:] == pytest.approx([losses[0]] * 2, rel=1e-6)


# --- stop and resume --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [2, 3, 7, 14, *(pytest.param(call, marks=slow) for call in (1, 6, 10, 13, 18))])
def test_a_stopped_run_resumed_equals_a_whole_one(whole, shards, tmp_path, call):
    interrupt_at(call)
    with pytest.raises(Stopped):
        train(shards, HYPER, tmp_path / "run")
    assert newest(tmp_path / "run").progress.epoch < 2
    train(shards, HYPER, tmp_path / "run", resume="auto", quiet=False)  # also the time left of an epoch without steps
    expected, resumed = newest(whole), newest(tmp_path / "run")
    for name in ("model", "optimizer", "progress", "mean_image", "density_sum", "config"):
        assert_equal(getattr(resumed, name), getattr(expected, name))
    assert_same_metrics(tmp_path / "run", whole)
    assert newest_file(tmp_path / "run").read_bytes() == newest_file(whole).read_bytes()


#: Numbers that a clock measured.
MEASURED = {"step_s", "samples_per_s", "data_wait", "memory_GiB"}


def assert_same_metrics(run, whole):
    """Line by line, to the last bit."""
    lines = ([json.loads(line) for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, whole))
    found, expected = ([{k: v for k, v in line.items() if k not in MEASURED} for line in of] for of in lines)
    assert found == expected


def newest_file(run):
    return max((run / "checkpoints").glob("step-*.pt"))


@pytest.mark.parametrize("call", [pytest.param(1, marks=slow), 3, 7])  # in the first step, the second, validation
def test_random_numbers_are_drawn_again_on_resuming(whole_random, shards, tmp_path, call):
    interrupt_at(call)
    torch.manual_seed(0)
    with pytest.raises(Stopped):
        train(shards, RANDOM, tmp_path / "run")
    train(shards, RANDOM, tmp_path / "run", resume="auto")
    assert_equal(newest(tmp_path / "run").model, newest(whole_random).model)
    assert newest(tmp_path / "run").progress == newest(whole_random).progress


@pytest.mark.parametrize(("run", "hyper", "step", "at"), [("whole", HYPER, 2, 16), ("whole_random", RANDOM, 4, 8)])
def test_a_run_resumed_within_an_epoch_equals_the_whole_one(shards, tmp_path, request, run, hyper, step, at):
    whole = request.getfixturevalue(run)
    assert load(after_step(whole, step)).progress.position == at
    train(shards, hyper, tmp_path / "constant", resume=str(after_step(whole, step)))
    assert_equal(newest(tmp_path / "constant").model, newest(whole).model)


def test_a_finished_run_is_unchanged_or_trained_longer(whole, copy, shards, tmp_path):
    train(shards, HYPER, copy, resume="auto")
    assert_equal(newest(copy).model, newest(whole).model)
    hyper = replace(HYPER, schedule=ScheduleConfig("constant"))  # a cosine is stretched by further epochs
    train(shards, hyper, tmp_path / "constant")
    for run in (tmp_path / "constant", tmp_path / "longer"):
        train(shards, replace(hyper, epochs=3), run, resume="auto")
    assert_equal(newest(tmp_path / "constant").model, newest(tmp_path / "longer").model)


def test_a_signal_is_handled_while_reading_hangs(whole, shards, tmp_path, monkeypatch):
    read, reads, hanging, released = PreObservedDataset.read, itertools.count(), threading.Event(), threading.Event()
    while_waiting, waits = Trainer._while_waiting, itertools.count()

    def hang(self, number, rows):
        if threading.current_thread() is not threading.main_thread() and next(reads) == 12:
            hanging.set()
            released.wait()
        read(self, number, rows)

    def waiting(self):
        if hanging.is_set():
            signal.raise_signal(signal.SIGUSR2)
            assert next(waits) < 20, "the signal was ignored"
        while_waiting(self)

    monkeypatch.setattr(Trainer, "_while_waiting", waiting)
    monkeypatch.setattr(PreObservedDataset, "read", hang)
    with pytest.raises(Stopped):
        train(shards, HYPER, tmp_path / "run")
    released.set()
    train(shards, HYPER, tmp_path / "run", resume="auto")
    assert_equal(newest(tmp_path / "run").model, newest(whole).model)


def test_a_second_ctrl_c_ends_a_run_that_waits_for_readers(shards, tmp_path, monkeypatch):
    join, again = threading.Thread.join, iter([True])

    def interrupted(self, timeout=None):
        if threading.current_thread() is threading.main_thread() and next(again, False):
            signal.raise_signal(signal.SIGINT)
        join(self, timeout)

    interrupt_at(2, signal.SIGINT)
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(shards, HYPER, tmp_path / "run")


# --- the run folder ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_run_is_refused_unless_forced(copy, shards, litter):
    optimizer = OptimizerConfig(weight_decay=0.5, momentum=0.5)
    other = replace(HYPER, epochs=3, noise=Noise(sigma_K=0.2), optimizer=optimizer)
    with pytest.raises(DataError, match=r"noise: .*0\.1.* in the checkpoint, .*0\.2.* now"):
        train(shards, other, copy, resume="auto")
    with pytest.raises(DataError, match=r"litter: .* \(other pieces\)"):
        train(shards, HYPER, copy, resume="auto", litter=InfiniteDataset(PreObservedDataset(litter)))
    train(shards, other, copy, resume="auto", force=True)
    assert newest(copy).progress.epoch == 3
    (group,) = newest(copy).optimizer["param_groups"]
    assert group["weight_decay"] == 0.5 and tuple(group["betas"]) == (0.5, 0.999)


def test_minutes_are_counted_from_the_last_checkpoint(shards, tmp_path, monkeypatch):
    """With a clock that advances by 25 s whenever it is read: at the start, after a step, and when a checkpoint is
    written."""
    start, reads = time.monotonic(), itertools.count()
    clock = SimpleNamespace(monotonic=lambda: start + 25.0 * next(reads))
    monkeypatch.setattr("iris_cli.training.loop.time", clock)
    hyper = replace(HYPER, epochs=1, batch_size=1, batches_per_update=1, keep_checkpoints=99, checkpoint_every_steps=0)
    train(shards, replace(hyper, checkpoint_every_minutes=1.0), tmp_path / "run")
    steps = sorted(int(path.stem[5:]) for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    assert steps == [3, 6, 9, 12, 15, 18, 21, 22]


def test_a_run_resumed_from_an_older_checkpoint_drops_later_ones(shards, tmp_path):
    """Its checkpoints are not deleted in favour of the abandoned ones, and best.pt is its own best."""
    run, hyper = tmp_path / "run", replace(HYPER, keep_checkpoints=3, checkpoint_every_steps=0)
    train(shards, replace(hyper, epochs=4, keep_checkpoints=9), run, without_batch_norm())
    first = after_step(run, 3)
    assert load(first).progress.epoch == 1 and RunFolder(run).best()[1].progress.epoch > 1
    train(shards, replace(hyper, epochs=1), run, without_batch_norm(), resume=str(first))
    assert RunFolder(run).best()[1].progress.epoch == 1
    train(shards, replace(hyper, epochs=2), run, without_batch_norm(), resume=str(first))
    assert newest(run).progress.epoch == 2
    assert len(list((run / "checkpoints").glob("step-*.pt"))) == 2


def test_a_run_resumed_in_another_folder_has_its_best_there(whole, shards, tmp_path):
    first = after_step(whole, 3)
    train(shards, replace(HYPER, epochs=1), tmp_path / "other", resume=str(first))
    assert_equal(RunFolder(tmp_path / "other").best()[1].model, load(first).model)
