"""The training loop: batches in, a better reverter out.

An optimizer step is made of a *window* of `batches_per_update` global batches. Its gradient is the mean over exactly
the samples in the window, on however many ranks and however short the epoch's last window is. A step is also the unit
of everything that must not tear: a run stops between steps, so that going on repeats nothing and misses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from iris_cli import signals
from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import log, plural, progress, warn
from iris_cli.distributed import World, no_sync, unwrap
from iris_cli.errors import EXIT_FAILURE, DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import evaluate, mean_scores
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.evaluation.metrics import SCORES
from iris_cli.evaluation.report import skill
from iris_cli.pairs.batch import Feed, PairBatch, bad_litter_over_ranks
from iris_cli.signals import StopFlag, Stopped
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress
from iris_cli.training.ema import EMA
from iris_cli.training.mean_image import MeanImage
from iris_cli.training.nonfinite import STEPS_AHEAD, Pending, Verdict, take_back
from iris_cli.training.optimizer import learning_rate, resume_optimizer
from iris_cli.training.precision import Precision
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.tensorboard import Board
from iris_cli.training.throughput import Throughput, words

#: Steps between two lines of metrics.jsonl.
LOG_EVERY = 10

#: Of a step: this rank's sum of losses, how many samples all ranks took, and on the device 1 if it is void.
Taken = tuple[Tensor, int, Tensor]


@dataclass
class Trainer:
    """A run under way. `module` is the reverter, perhaps wrapped; without a `folder` nothing is kept."""

    hyper: TrainConfig
    world: World
    module: nn.Module
    loss: PhysicalLoss
    optimizer: Optimizer
    arithmetic: Precision
    train: Feed
    validation: Feed
    stop_flag: StopFlag
    data: DataDescription
    #: Of the weights, where one is kept: what is validated, and what a test takes.
    mean_weights: EMA | None = None
    folder: RunFolder | None = None
    board: Board | None = None
    quiet: bool = False
    progress: Progress = field(default_factory=Progress)
    seen: MeanImage = field(init=False)
    pending: Pending = field(default_factory=Pending)
    saved_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.seen = MeanImage(torch.zeros(self.train.pairs.grid.density_shape, dtype=torch.float64))

    # --- the whole run ---

    def run(self) -> None:
        """Train to the last epoch. Stopped when a signal came and everything is saved."""
        signals.write_note(signals.BEGUN)
        try:
            while self.progress.epoch < self.hyper.epochs and not self._out_of_patience():
                self._train_epoch()
                self._finish_epoch()
        except Stopped:
            self._save()
            self.world.on_rank_0(lambda: signals.write_note(signals.STOPPED))
            raise

    def _out_of_patience(self) -> bool:
        patience, best = self.hyper.patience_epochs, self.progress.best_epoch
        if patience == 0 or best is None or self.progress.epoch - 1 - best < patience:
            return False
        log(f"no better validation loss in {plural(patience, 'epoch')}: stopping after epoch {self.progress.epoch}")
        return True

    def _agree(self) -> None:
        """Stopped on all ranks if a signal reached any."""
        if self.world.max(int(self.stop_flag.is_set)):
            where = f" in {self.folder.path}" if self.folder else ""
            raise Stopped(
                f"stopped by a signal after step {self.progress.step}, saved{where}", "go on with --resume auto"
            )

    def _when_waiting(self) -> None:
        """Data may hang for hours: a signal is answered all the same. The other ranks are at `_agree` or here."""
        if self.stop_flag.is_set:
            self._agree()

    # --- an epoch ---

    def _train_epoch(self) -> None:
        self.module.train()
        epoch, start = self.progress.epoch, self.progress.position
        windows = list(self._windows(start))
        clock = Throughput()
        bars = progress(f"epoch {epoch + 1}/{self.hyper.epochs}", len(windows), quiet=self.quiet)
        with closing(self.train.epoch(epoch, start, self._when_waiting)) as batches, bars as bar:
            try:
                for begin, end in windows:
                    clock.count(*self._step(batches, begin, end, clock))
                    due = self.progress.step % LOG_EVERY == 0 or end == self.train.count
                    bar.advance(1, self._note_steps(clock) if due else "")
                    if end < self.train.count and self._checkpoint_due():
                        self._save()
            except Stopped:
                if clock.steps:
                    self._note_steps(clock)
                raise

    def _windows(self, start: int) -> Iterator[tuple[int, int]]:
        """The positions [begin, end) of each optimizer step."""
        size = self.train.plan().share.step * self.hyper.batches_per_update
        for begin in range(start, self.train.count, size):
            yield begin, min(begin + size, self.train.count)

    def _note_steps(self, clock: Throughput) -> str:
        self._settle()
        told = clock.tell(self.world)
        clock.restart()
        rate = self.optimizer.param_groups[0]["lr"]
        self._note(kind="step", epoch=self.progress.epoch, position=self.progress.position, learning_rate=rate, **told)
        return words(told)

    # --- a step ---

    def _step(self, batches: Iterator[PairBatch], begin: int, end: int, clock: Throughput) -> Taken:
        """One optimizer step from the samples at [begin, end).

        Samples that could not be read are fewer gradients in the sum, and the mean is over those that were. A step
        whose loss is not finite leaves everything as it was; its verdict is read some steps later.
        """
        before = [buffer.clone() for buffer in self.module.buffers()]  # running statistics change with each batch
        self.optimizer.zero_grad(set_to_none=True)
        total, met, seen = torch.zeros((), device=self.world.device), [], self.seen.empty()
        count = -(-(end - begin) // self.train.plan().share.step)
        try:
            with rng_restored_if_stopped():
                for k in range(count):
                    with clock.waiting():
                        batch = next(batches)
                    self._agree()
                    total += self._backward(batch, self.world.size / (end - begin), last=k == count - 1)
                    met.extend(batch.ids.tolist())
                    if self.progress.epoch == 0:
                        seen.add(batch.density)
        except Stopped:
            self._rewind(before)
            raise
        samples = self._samples(len(met), end - begin)
        self.progress.position, self.progress.step = end, self.progress.step + 1
        if not samples:
            self._rewind(before)
            return total, 0, torch.zeros_like(total)
        verdict = Verdict.on(total, self.world, self.progress.step, met, seen)
        self._rescale((end - begin) / samples)
        self._update(begin, end, before, verdict.void)
        self.pending.add(verdict)
        self._settle(STEPS_AHEAD[self.world.device.type])
        return total, samples, verdict.void

    def _samples(self, met: int, expected: int) -> int:
        """The samples of a window that all ranks together could read."""
        if self.hyper.on_bad_sample == "stop":
            return expected
        return int(self.world.sum(torch.tensor([float(met)], dtype=torch.float64)))

    def _rescale(self, factor: float) -> None:
        if factor != 1.0:
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    parameter.grad *= factor

    def _backward(self, batch: PairBatch, weight: float, *, last: bool) -> Tensor:
        """Add `weight` x the gradient of the batch's summed loss; the last of a window joins the ranks' gradients."""
        device, full = self.world.device, len(batch) == self.train.rows
        with nullcontext() if last else no_sync(self.module):
            if len(batch) or device.type == "cuda":  # on CUDA, batch norm itself waits for every rank
                observation = batch.observation.to(device, non_blocking=True)
                pred = self.arithmetic.forward(self.module, observation, usual_size=full)
                total = self.loss.per_sample(pred, batch.density.to(device, non_blocking=True)).sum()
                self.arithmetic.backward(total * weight)
                return total.detach()
            if last:
                self._join()
        return torch.zeros((), device=device)

    def _join(self) -> None:
        """This rank has no sample left, but the others wait for its gradients: it gives zeros."""
        shape = self.train.pairs.grid.observation_shape
        with still_statistics(self.module):
            pred = self.arithmetic.forward(self.module, torch.zeros(1, *shape), usual_size=False)
            self.arithmetic.backward(pred.sum() * 0.0)

    def _update(self, begin: int, end: int, before: list[Tensor], void: Tensor) -> None:
        """Weights, optimizer, running statistics and running mean; where `void` is 1, none of them."""
        done = self.progress.epoch + 0.5 * (begin + end) / self.train.count
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(done, self.hyper)
        self.arithmetic.update(self.optimizer, self.hyper.gradient_clip, void)
        self.world.average_buffers(unwrap(self.module))
        take_back(self.module, before, void)
        if self.mean_weights:
            self.mean_weights.add(unwrap(self.module), void)

    # --- steps that are void ---

    def _settle(self, ahead: int = 0) -> None:
        """Read the verdicts on all steps but the last `ahead`. DataError names the samples of a void one if it may not
        be skipped."""
        for verdict in self.pending.due(ahead):
            guilty, void = verdict.read()
            if void:
                self._tell_void(verdict, guilty)
            else:
                self.seen.join(verdict.seen)

    def _tell_void(self, verdict: Verdict, guilty: bool) -> None:
        what, stops = f"the loss of step {verdict.step} is not finite; its samples", self.hyper.on_nan == "stop"
        if stops and not guilty:
            raise SystemExit(EXIT_FAILURE)  # the guilty rank tells it all
        ids = sorted(verdict.ids) if stops else self._of_guilty_ranks(verdict.ids if guilty else [])
        keys = ", ".join(map(self.train.pairs.key, ids))
        if stops:
            raise DataError(
                f"rank {self.world.rank}: {what}: {keys}", "look at them, lower the learning rate, or --on-nan skip"
            )
        warn(f"{what}: {keys}; the step is skipped")

    def _of_guilty_ranks(self, ids: list[int]) -> list[int]:
        """The samples of all ranks whose loss was not finite, so that rank 0 can tell."""
        marks = torch.zeros(len(self.train.pairs), dtype=torch.float64)
        marks[ids] = 1.0
        return self.world.sum(marks).nonzero().flatten().tolist()

    def _rewind(self, before: list[Tensor]) -> None:
        for buffer, value in zip(self.module.buffers(), before, strict=True):
            buffer.copy_(value)

    # --- validation and saving ---

    def _finish_epoch(self) -> None:
        """Validate, note, save; then the next epoch begins."""
        self._check_read()
        scores = self._validate()
        loss, best = scores["loss"], self.progress.best_loss
        better = loss is not None and (best is None or loss < best)
        if better:
            self.progress.best_loss, self.progress.best_epoch = loss, self.progress.epoch
        self._note(kind="epoch", epoch=self.progress.epoch, **scores, bad_samples=self._bad_samples())
        self._tell(scores)
        self.progress.epoch, self.progress.position = self.progress.epoch + 1, 0
        self._save(best=better)

    def _validate(self) -> dict[str, float | None]:
        if self.validation.count == 0:
            return dict.fromkeys((*SCORES, "skill"))
        mean_image, steps = self.seen.over_ranks(self.world).mean(), self.validation.plan().steps
        reverter: Any = self.mean_weights.module if self.mean_weights else unwrap(self.module)
        with progress("validating", steps, quiet=self.quiet) as bar, self.arithmetic.eager(), rng_restored_if_stopped():
            batches = evaluate(
                Ensemble([reverter]),
                self.loss,
                self.validation,
                self.world,
                mean_image,
                bar,
                self._agree,
                self._when_waiting,
            )
            totals = mean_scores(batches, SCORES, self.validation, self.world)
        means = totals.means()
        return {**means, "skill": skill(means["loss"], means["loss_zero"], means["loss_mean_image"])}

    def _check_read(self) -> None:
        """DataError when every training sample was left out, so that there was nothing to learn from."""
        if self.hyper.on_bad_sample == "skip" and self.train.bad_over_ranks(self.world) >= self.train.count:
            raise DataError(
                f"none of the {self.train.count} training samples could be read", "check them: iris shards verify"
            )

    def _tell(self, scores: dict[str, float | None]) -> None:
        if scores["loss"] is not None and not self.quiet:
            gain = "" if scores["skill"] is None else f", skill {scores['skill']:.3f}"
            log(f"epoch {self.progress.epoch + 1}/{self.hyper.epochs}: validation loss {scores['loss']:.5g}{gain}")

    def _bad_samples(self) -> int:
        """Unreadable samples that all ranks have left out so far. DataError when they are more than allowed."""
        if self.hyper.on_bad_sample == "stop":
            return 0
        feeds = (self.train, self.validation)
        bad = sum(feed.bad_over_ranks(self.world) for feed in feeds) + bad_litter_over_ranks(feeds, self.world)
        if bad > self.hyper.max_bad:
            unread = plural(bad, "sample")
            raise DataError(
                f"{unread} could not be read, more than the {self.hyper.max_bad} allowed (--max-bad)",
                "check the data: iris shards verify",
            )
        if bad:
            warn(f"{plural(bad, 'sample')} could not be read: left out so far")
        return bad

    def _note(self, **line: Any) -> None:
        if self.folder and self.world.is_main:
            self.folder.note(step=self.progress.step, **line)
            if self.board:
                self.board.note(self.progress.step, line)

    def _checkpoint_due(self) -> bool:
        """Within an epoch; by rank 0's clock."""
        steps, minutes = self.hyper.checkpoint_every_steps, self.hyper.checkpoint_every_minutes
        by_steps = steps > 0 and self.progress.step % steps == 0
        by_clock = minutes > 0 and self.world.is_main and time.monotonic() - self.saved_s >= 60.0 * minutes
        return bool(self.world.max(int(by_steps or by_clock)))

    def _save(self, *, best: bool = False) -> None:
        """All ranks take part; rank 0 writes, and the others wait until it has."""
        self._settle()
        self.saved_s = time.monotonic()
        if self.folder is None:
            return
        folder, seen = self.folder, self.seen.over_ranks(self.world)
        self.world.on_rank_0(lambda: folder.save(self.checkpoint(seen), best=best))

    def checkpoint(self, seen: MeanImage) -> Checkpoint:
        learning: Any = unwrap(self.module)
        mean = self.mean_weights
        return Checkpoint(
            reverter=learning.table(),
            model=weights_of(mean.module if mean else learning),
            learning_model=weights_of(learning) if mean else {},
            learning_steps=mean.steps if mean else 0,
            scaler=self.arithmetic.scaler.state_dict(),
            progress=Progress(**asdict(self.progress)),
            config=to_dict(self.hyper),
            data=self.data,
            mean_image=seen.mean(),
            optimizer=self.optimizer.state_dict(),
            density_sum=seen.total,
            density_count=seen.count,
            rng=torch.get_rng_state(),
        )

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Take up a run where it was saved, on this world's number of ranks."""
        unwrap(self.module).load_state_dict(checkpoint.learning_model or checkpoint.model)
        if self.mean_weights:
            self.mean_weights.go_on(checkpoint.model, checkpoint.learning_steps)
        if checkpoint.scaler:
            self.arithmetic.scaler.load_state_dict(checkpoint.scaler)
        resume_optimizer(self.optimizer, checkpoint.optimizer)
        self.progress = checkpoint.progress
        if checkpoint.density_sum is not None and self.world.is_main:
            self.seen = MeanImage(checkpoint.density_sum, checkpoint.density_count)
        if checkpoint.rng is not None:
            torch.set_rng_state(checkpoint.rng)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm neither learns from what passes nor depends on it."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    were = [layer.training for layer in norms]
    for layer in norms:
        layer.eval()
    try:
        yield
    finally:
        for layer, training in zip(norms, were, strict=True):
            layer.train(training)


@contextmanager
def rng_restored_if_stopped() -> Iterator[None]:
    """Put torch's random state back when a stop ends the block: the block runs again from its start on resume."""
    before = torch.get_rng_state()
    try:
        yield
    except Stopped:
        torch.set_rng_state(before)
        raise
