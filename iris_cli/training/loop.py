"""The training loop: epochs of steps, validation after each, checkpoints and the log.

A run stops between steps only, so that resuming it repeats no sample and misses none.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from iris_cli import signals
from iris_cli.config.train import METRICS
from iris_cli.console import clock, log, plural, progress, warn
from iris_cli.errors import DataError, IrisError
from iris_cli.evaluation.out_of_distribution import TrainingInputs, summarize_inputs
from iris_cli.metrics_log import read_lines
from iris_cli.pairs.stream import PairBatch, PairStream, bad_litter_over_ranks
from iris_cli.plots.terminal import curves
from iris_cli.signals import StopFlag, Stopped
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress
from iris_cli.training.optimizer import step_scheduler
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.step import STEPS_AHEAD, Learner, input_key, seed_torch
from iris_cli.training.task import Scores, Validation
from iris_cli.training.tensorboard import Board
from iris_cli.training.throughput import Throughput
from shards.errors import ShardError
from shards.owner import Held

#: Fresh galaxies of which the statistics of the inputs are computed.
MOST_FRESH = 300
#: A longer training logs an estimate of its time, after its first steps.
SHORT_S = 30.0
#: Steps between two lines of metrics.jsonl.
LOG_EVERY = 10


@dataclass
class Trainer:
    """A training run, or a later stage of one, which has a `name`. Without a `folder` nothing is saved."""

    learner: Learner
    validation: PairStream
    stop_flag: StopFlag
    data: DataDescription
    folder: RunFolder | None = None
    board: Board | None = None
    quiet: bool = False
    name: str = ""
    #: The folder, while this rank writes it.
    held: Held | None = None
    throughput: Throughput = field(default_factory=Throughput)
    _last_save_s: float = field(default_factory=time.monotonic)
    #: When this process began to train, and the epochs that were done then.
    _began: tuple[float, float] = (0.0, 0.0)
    _estimated: bool = False
    #: (epochs, loss) of what is logged, for the curve on a terminal.
    _losses: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"training": [], "validation": []})

    def __post_init__(self) -> None:
        self.hyper, self.world = self.learner.hyper, self.learner.world

    @property
    def progress(self) -> Progress:
        return self.learner.progress

    def own(self, held: Held) -> None:
        self.held = held

    def run(self) -> None:
        """Train to the last epoch. Stopped when a signal was received and everything is saved."""
        signals.write_note(signals.BEGUN)
        self._began = time.monotonic(), self._epochs_done()
        if not self.quiet:
            self._announce()
            self._remember()
        try:
            while self.progress.epoch < self.hyper.epochs and not self._out_of_patience():
                self._train_epoch()
                self._finish_epoch()
        except Stopped:
            self._save()
            self.world.on_rank_0(lambda: signals.write_note(signals.STOPPED))
            raise

    def _title(self, what: str) -> str:
        return f"{self.name}: {what}" if self.name else what

    def _epochs_done(self) -> float:
        return self.progress.epoch + self.progress.position / max(1, self.learner.train.count)

    def _seconds_left(self) -> float | None:
        """Until the last epoch, as fast as since the start of this process."""
        (began, before), done = self._began, self._epochs_done()
        if done == before:
            return None
        return (self.hyper.epochs - done) / (done - before) * (time.monotonic() - began)

    def _announce(self) -> None:
        """What is trained, on what, and where its log is."""
        learner = self.learner
        weights = sum(weight.numel() for weight in learner.module.parameters())
        where = str(self.world.device) + (f", {self.world.size} ranks" if self.world.size > 1 else "")
        pairs = f"{plural(learner.train.count, 'pair')}, {self.validation.count} to validate"
        steps = -(-learner.train.count // (learner.global_batch * self.hyper.batches_per_update))
        epochs = f"{plural(self.hyper.epochs, 'epoch')} of {plural(steps, 'step')}"
        log(self._title(f"{weights / 1e6:.3g} M parameters on {where}; {pairs}; {epochs}"))
        if self.folder and not self.name:
            log(f"log: {self.folder.path / METRICS}; from another terminal: iris runs {self.folder.path} --watch")

    def _remember(self) -> None:
        """The losses that a resumed run has logged before."""
        for line in read_lines(self.folder.path / METRICS) if self.folder else ():
            if line["loss"] is not None and line["kind"] == "step":
                place = line["epoch"] + line.get("position", 0) / max(1, self.learner.train.count)
                self._losses["training"].append((place, line["loss"]))
            elif line["loss"] is not None:
                self._losses["validation"].append((line["epoch"] + 1, line["loss"]))

    def _estimate(self) -> None:
        """Once, after the first logged steps of this process: how long all of it takes, if that is long."""
        left, (began, before) = self._seconds_left(), self._began
        if left is not None and left > SHORT_S and not self._estimated:
            each = (time.monotonic() - began) / (self._epochs_done() - before)
            log(self._title(f"about {clock(left)} in all, {clock(each)} an epoch, without validation"))
        self._estimated = True

    def _train_epoch(self) -> None:
        self.learner.module.train()
        epoch, train = self.progress.epoch, self.learner.train
        windows, throughput = self.learner.windows(), self.throughput
        throughput.start_clock()
        bars = progress(
            self._title(f"epoch {epoch + 1}/{self.hyper.epochs}"),
            len(windows),
            quiet=self.quiet,
            left=self._seconds_left,
            below=lambda width: curves(self._losses, width),
            last_line=False,
        )
        with closing(train.epoch(epoch, self.progress.position, self._while_waiting)) as batches, bars as bar:
            for begin, end in windows:
                self._step(batches, begin, end, throughput)
                due = self.progress.step % LOG_EVERY == 0 or end == train.count
                bar.advance(1, self._log_steps(throughput) if due else "")
                if due and not self.quiet:
                    self._estimate()
                if end < train.count and self._checkpoint_due():
                    self._save()

    def _step(self, batches: Iterator[PairBatch], begin: int, end: int, throughput: Throughput) -> None:
        with self.learner.step(begin, end) as step:
            for _ in range(step.batches):
                with throughput.waiting():
                    batch = next(batches)
                self._check_signals()
                step.backward(batch)
        throughput.count(step.loss, step.samples, step.skip)
        self.learner.wait(ahead=STEPS_AHEAD[self.world.device.type])

    def _finish_epoch(self) -> None:
        """Validate, log and save; then the next epoch begins."""
        self._check_any_read()
        scores, epoch = self._validate(), self.progress.epoch
        loss, best = scores["loss"], self.progress.best_loss
        is_best = loss is not None and (best is None or loss < best)
        if is_best:
            self.learner.progress = replace(self.progress, best_loss=loss, best_epoch=epoch)
        self._log(kind="epoch", epoch=epoch, **scores, bad_samples=self._count_bad_samples())
        if loss is not None:
            self._losses["validation"].append((epoch + 1, loss))
        if not self.quiet:
            log(self._title(f"epoch {epoch + 1}/{self.hyper.epochs}: {self._epoch_in_words(scores)}"))
        if self.learner.scheduler:
            step_scheduler(self.learner.scheduler, loss)
        self.learner.progress = replace(self.progress, epoch=epoch + 1, position=0)
        self._save(best=is_best)

    def _epoch_in_words(self, scores: Scores) -> str:
        trained, loss, skill = self._losses["training"][-1:], scores["loss"], scores.get("skill")
        left = self._seconds_left()  # unknown where a run resumes between an epoch and its validation
        said = [f"loss {y:.4g}" for _, y in trained]
        said += [] if loss is None else [f"validation {loss:.4g}"]
        said += [] if skill is None else [f"skill {skill:.3f}"]
        return ", ".join([*said, *([] if left is None else [f"{clock(left)} left"])])

    def _validate(self) -> Scores:
        if self.validation.count == 0:
            return {"loss": None}
        learner, stream, world, seed = self.learner, self.validation, self.world, self.hyper.seed
        mean, key = learner.mean_image.over_ranks(world).mean(), input_key(seed, stream.name, 0)
        bars = progress(self._title("validating"), stream.steps, quiet=self.quiet, last_line=False)
        seed_torch(seed, world.rank, "validation", self.progress.epoch)
        with bars as bar, learner.precision.eager(), torch.no_grad():
            checks = self._check_signals, self._while_waiting
            validation = Validation(stream, world, mean, key, bar, *checks)
            return learner.task.validate(learner.trained.eval(), validation)

    def _out_of_patience(self) -> bool:
        patience, best = self.hyper.patience_epochs, self.progress.best_epoch
        if patience == 0 or best is None or self.progress.epoch - 1 - best < patience:
            return False
        log(f"no better validation loss in {plural(patience, 'epoch')}: stopping after epoch {self.progress.epoch}")
        return True

    def _check_signals(self) -> None:
        """Stopped on all ranks if any of them received a signal; a collective."""
        if self.world.max(int(self.stop_flag.is_set)):
            raise self._stopped()

    def _stopped(self) -> Stopped:
        where = f" in {self.folder.path}" if self.folder else ""
        return Stopped(f"stopped by a signal after step {self.progress.step}, saved{where}", "resume it: resume='auto'")

    def _while_waiting(self) -> None:
        """Respond to a signal although data are late, by hours perhaps. The other ranks check or wait as well."""
        if self.stop_flag.is_set:
            self._check_signals()

    def _check_any_read(self) -> None:
        """DataError when every training sample was left out."""
        count = self.learner.train.count
        if self.hyper.on_bad_sample == "skip" and len(self.learner.train.bad_over_ranks(self.world)) >= count:
            raise DataError(f"none of the {count} training samples could be read", "check them: iris shards verify")

    def _count_bad_samples(self) -> int:
        """Unreadable samples left out so far, over all ranks. DataError when they are more than allowed."""
        if self.hyper.on_bad_sample == "stop":
            return 0
        bad = sum(map(len, self._bad_samples().values()))
        unread = f"{plural(bad, 'sample')} could not be read"
        if bad > self.hyper.max_bad:
            allowed = f"more than the {self.hyper.max_bad} allowed (--max-bad)"
            raise DataError(f"{unread}, {allowed}", "check the data: iris shards verify")
        if bad:
            warn(f"{unread}: left out so far")
        return bad

    def _bad_samples(self) -> dict[str, list[int]]:
        """Numbers of unreadable items so far, over all ranks; a collective."""
        if self.hyper.on_bad_sample == "stop":
            return {}
        train, validation = self.learner.train, self.validation
        litter = bad_litter_over_ranks((train, validation), self.world)
        found = (stream.bad_over_ranks(self.world) for stream in (train, validation))
        return dict(zip(("train", "validation", "litter"), (*found, litter), strict=True))

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint, also its counts."""
        self.learner.resume(checkpoint)
        self.throughput = Throughput(checkpoint.unlogged)
        if self.world.is_main and self.hyper.on_bad_sample == "skip":
            train, validation = self.learner.train, self.validation
            counts = {"train": train.bad, "validation": validation.bad, "litter": train.bad_litter}
            for name, numbers in checkpoint.bad.items():
                counts[name].found.update(dict.fromkeys(numbers, "could not be read before the run was resumed"))

    def _log_steps(self, throughput: Throughput) -> str:
        """Log the steps since the last line; returns the text beside the progress bar."""
        self.learner.wait()
        rates = throughput.report(self.world)
        throughput.restart()
        learning_rate = self.learner.optimizer.param_groups[0]["lr"]
        position = {"epoch": self.progress.epoch, "position": self.progress.position}
        self._log(kind="step", **position, learning_rate=learning_rate, **vars(rates))
        if rates.loss is not None:
            self._losses["training"].append((self._epochs_done(), rates.loss))
        return str(rates)

    def _log(self, **line: Any) -> None:
        if self.folder and self.world.is_main:
            self.folder.log(step=self.progress.step, **line)
            if self.board:
                self.board.log(self.progress.step, line)

    def save_training_inputs(self) -> None:
        """Write the statistics of the inputs into the run folder, by rank 0 alone. A failure is only a warning.

        Not of pairs that are observed on the fly: observing them once more would take too long.
        """
        train, validation, folder = self.learner.train, self.validation, self.folder
        held_out = np.concatenate([validation.numbers, validation.pairs.own_split("test")])
        if folder is None or train.pairs.on_the_fly or not len(held_out):
            return
        if train.pairs.fresh:  # they are made once more
            train = replace(train, numbers=train.numbers[:MOST_FRESH])

        def check() -> None:
            if self.stop_flag.is_set:
                raise self._stopped()

        try:
            if TrainingInputs.load(folder.training_inputs, self.data.key) is None:
                found = summarize_inputs(train, replace(validation, numbers=held_out), self.quiet, check)
                found.save(folder.training_inputs, self.data.key)
        except Stopped:
            signals.write_note(signals.STOPPED)
            raise
        except (IrisError, ShardError, OSError) as error:
            warn(f"no statistics of the training's inputs, with which `iris revert` compares: {error}")

    def _checkpoint_due(self) -> bool:
        """Whether to save within the epoch; minutes are those of rank 0."""
        steps, minutes = self.hyper.checkpoint_every_steps, self.hyper.checkpoint_every_minutes
        by_steps = steps > 0 and self.progress.step % steps == 0
        by_time = minutes > 0 and self.world.is_main and time.monotonic() - self._last_save_s >= 60.0 * minutes
        return bool(self.world.max(int(by_steps or by_time)))

    def _save(self, *, best: bool = False) -> None:
        """Rank 0 writes a checkpoint, and the others wait for it; a collective."""
        self.learner.wait()
        self._last_save_s = time.monotonic()
        if self.folder:
            folder, mean_image = self.folder, self.learner.mean_image.over_ranks(self.world)
            counts = {"unlogged": self.throughput.unlogged(self.world), "bad": self._bad_samples()}
            self.world.on_rank_0(
                lambda: self._write(folder, self.learner.checkpoint(self.data, mean_image, **counts), best)
            )

    def _write(self, folder: RunFolder, checkpoint: Checkpoint, best: bool) -> None:
        if self.held:
            self.held.check()
        folder.save(checkpoint, best=best)
