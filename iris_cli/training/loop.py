"""The training loop: batches in, a better reverter out.

An optimizer step is made of a *window* of `batches_per_update` global batches. Its gradient is the mean over exactly
the samples in the window, on however many ranks and however short the epoch's last window is. A step is also the unit
of everything that must not tear: a run stops between steps, so that going on repeats nothing and misses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import log, progress, warn
from iris_cli.errors import EXIT_FAILURE, EXIT_REQUEUE, DataError, IrisError
from iris_cli.training.batch import Feed, PairBatch
from iris_cli.training.checkpoint import Checkpoint, Progress
from iris_cli.training.distributed import World, bare, no_sync, note_stopped
from iris_cli.training.evaluation import evaluate
from iris_cli.training.interruption import Interruption
from iris_cli.training.loss import PhysicalLoss
from iris_cli.training.metrics import SCORES
from iris_cli.training.optimizer import learning_rate
from iris_cli.training.report import skill
from iris_cli.training.run_folder import RunFolder

#: Steps between two lines of metrics.jsonl.
LOG_EVERY = 10


class Stopped(IrisError):
    """A signal came; the run is saved and can go on."""

    exit_code = EXIT_REQUEUE


@dataclass
class MeanImage:
    """The training set's mean density, summed during the first epoch, when each sample comes by once."""

    total: Tensor
    count: int = 0

    def add(self, density: Tensor) -> None:
        self.total += density.double().sum(dim=0)
        self.count += len(density)

    def copy(self) -> MeanImage:
        return MeanImage(self.total.clone(), self.count)

    def over_ranks(self, world: World) -> MeanImage:
        joined = world.sum(torch.cat([self.total.flatten(), torch.tensor([float(self.count)], dtype=torch.float64)]))
        return MeanImage(joined[:-1].view_as(self.total), int(joined[-1]))

    def mean(self) -> Tensor | None:
        """(1, R', L) float32, or None before the first sample."""
        return (self.total / self.count).float() if self.count else None


@dataclass
class Trainer:
    """A run under way. `module` is the reverter, perhaps wrapped; without a `folder` nothing is kept."""

    hyper: TrainConfig
    world: World
    module: nn.Module
    loss: PhysicalLoss
    optimizer: Optimizer
    train: Feed
    validation: Feed
    interruption: Interruption
    data: dict[str, Any]
    folder: RunFolder | None = None
    quiet: bool = False
    progress: Progress = field(default_factory=Progress)
    seen: MeanImage = field(init=False)
    saved_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.seen = MeanImage(torch.zeros(self.train.pairs.grid.density_shape, dtype=torch.float64))

    # --- the whole run ---

    def run(self) -> None:
        """Train to the last epoch. Stopped when a signal came and everything is saved."""
        try:
            while self.progress.epoch < self.hyper.epochs:
                self._train_epoch()
                self._finish_epoch()
        except Stopped:
            self._save()
            self.world.alone(note_stopped)
            raise

    def _agree(self) -> None:
        """Stopped on all ranks if a signal reached any."""
        if self.world.most(int(self.interruption.asked)):
            where = f" in {self.folder.path}" if self.folder else ""
            raise Stopped(
                f"stopped by a signal after step {self.progress.step}, saved{where}", "go on with --resume auto"
            )

    def _when_waiting(self) -> None:
        """Data may hang for hours: a signal is answered all the same. The other ranks are at `_agree` or here."""
        if self.interruption.asked:
            self._agree()

    # --- an epoch ---

    def _train_epoch(self) -> None:
        self.module.train()
        epoch, start = self.progress.epoch, self.progress.position
        batches = self.train.epoch(epoch, start, self._when_waiting)
        windows = list(self._windows(start))
        clock = StepClock()
        with progress(f"epoch {epoch + 1}/{self.hyper.epochs}", len(windows), quiet=self.quiet) as bar:
            try:
                for begin, end in windows:
                    total = self._step(batches, begin, end, clock)
                    clock.count(total, end - begin)
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

    def _note_steps(self, clock: StepClock) -> str:
        told = clock.tell(self.world)
        clock.restart()
        rate = self.optimizer.param_groups[0]["lr"]
        self._note(kind="step", epoch=self.progress.epoch, position=self.progress.position, learning_rate=rate, **told)
        return f"loss {told['loss']:.4g}"

    # --- a step ---

    def _step(self, batches: Iterator[PairBatch], begin: int, end: int, clock: StepClock) -> Tensor:
        """One optimizer step from the samples at [begin, end); this rank's sum of losses."""
        before = self._bookmark()
        self.optimizer.zero_grad(set_to_none=True)
        total, met = torch.zeros((), device=self.world.device), []
        count = -(-(end - begin) // self.train.plan().share.step)
        try:
            for k in range(count):
                with clock.waiting():
                    batch = next(batches)
                self._agree()
                total += self._backward(batch, self.world.size / (end - begin), last=k == count - 1)
                met.extend(batch.ids.tolist())
                if self.progress.epoch == 0:
                    self.seen.add(batch.density)
        except Stopped:
            self._rewind(before)
            raise
        if self._finite(total, met):
            self._update(begin, end)
        else:
            self._rewind(before)
        self.progress.position, self.progress.step = end, self.progress.step + 1
        return total

    def _backward(self, batch: PairBatch, weight: float, *, last: bool) -> Tensor:
        """Add `weight` x the gradient of the batch's summed loss; the last of a window joins the ranks' gradients."""
        device = self.world.device
        with nullcontext() if last else no_sync(self.module):
            if len(batch) or device.type == "cuda":  # on CUDA, batch norm itself waits for every rank
                pred = self.module(batch.observation.to(device, non_blocking=True))
                total = self.loss.per_sample(pred, batch.density.to(device, non_blocking=True)).sum()
                (total * weight).backward()
                return total.detach()
            if last:
                self._join()
        return torch.zeros((), device=device)

    def _join(self) -> None:
        """This rank has no sample left, but the others wait for its gradients: it gives zeros."""
        shape = self.train.pairs.grid.observation_shape
        with still_statistics(self.module):
            (self.module(torch.zeros(1, *shape)).sum() * 0.0).backward()

    def _update(self, begin: int, end: int) -> None:
        done = self.progress.epoch + 0.5 * (begin + end) / self.train.count
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(done, self.hyper)
        if self.hyper.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.hyper.gradient_clip)
        self.optimizer.step()
        self.world.average_buffers(bare(self.module))

    def _finite(self, total: Tensor, met: list[int]) -> bool:
        """Whether the step may be taken. DataError names the samples of the rank whose loss is not finite."""
        guilty = not bool(torch.isfinite(total))
        if not self.world.most(int(guilty)):
            return True
        if self.hyper.on_nan == "stop" and not guilty:
            raise SystemExit(EXIT_FAILURE)  # the guilty rank tells it all
        keys = ", ".join(self.train.pairs.key(i) for i in met) if guilty else "those of another rank"
        message = f"the loss of step {self.progress.step + 1} is not finite; its samples: {keys}"
        if self.hyper.on_nan == "stop":
            raise DataError(
                f"rank {self.world.rank}: {message}", "look at them, lower the learning rate, or --on-nan skip"
            )
        warn(f"{message}; the step is skipped")
        return False

    def _bookmark(self) -> tuple[list[Tensor], MeanImage]:
        """What a step changes before its end: running statistics, and the sum for the mean image."""
        return [b.clone() for b in self.module.buffers()], self.seen.copy()

    def _rewind(self, before: tuple[list[Tensor], MeanImage]) -> None:
        buffers, self.seen = before
        for buffer, value in zip(self.module.buffers(), buffers, strict=True):
            buffer.copy_(value)

    # --- validation and saving ---

    def _finish_epoch(self) -> None:
        """Validate, note, save; then the next epoch begins."""
        scores = self._validate()
        loss, best = scores["loss"], self.progress.best_loss
        better = loss is not None and (best is None or loss < best)
        if better:
            self.progress.best_loss, self.progress.best_epoch = loss, self.progress.epoch
        self._note(kind="epoch", epoch=self.progress.epoch, **scores)
        self._tell(scores)
        self.progress.epoch, self.progress.position = self.progress.epoch + 1, 0
        self._save(best=better)

    def _validate(self) -> dict[str, float | None]:
        if self.validation.count == 0:
            return dict.fromkeys((*SCORES, "skill"))
        mean_image, steps = self.seen.over_ranks(self.world).mean(), self.validation.plan().steps
        with progress("validating", steps, quiet=self.quiet) as bar:
            totals = evaluate(
                bare(self.module), self.loss, self.validation, SCORES, self.world, mean_image, bar,
                self._agree, self._when_waiting,
            )  # fmt: skip
        self.loss.to(self.world.device)
        means = totals.means()
        return {**means, "skill": skill(means["loss"], means["loss_zero"], means["loss_mean_image"])}

    def _tell(self, scores: dict[str, float | None]) -> None:
        if scores["loss"] is not None and not self.quiet:
            gain = "" if scores["skill"] is None else f", skill {scores['skill']:.3f}"
            log(f"epoch {self.progress.epoch + 1}/{self.hyper.epochs}: validation loss {scores['loss']:.5g}{gain}")

    def _note(self, **line: Any) -> None:
        if self.folder and self.world.leads:
            self.folder.note(step=self.progress.step, **line)

    def _checkpoint_due(self) -> bool:
        """Within an epoch; by rank 0's clock."""
        steps, minutes = self.hyper.checkpoint_every_steps, self.hyper.checkpoint_every_minutes
        by_steps = steps > 0 and self.progress.step % steps == 0
        by_clock = minutes > 0 and self.world.leads and time.monotonic() - self.saved_s >= 60.0 * minutes
        return bool(self.world.most(int(by_steps or by_clock)))

    def _save(self, *, best: bool = False) -> None:
        """All ranks take part; rank 0 writes, and the others wait until it has."""
        self.saved_s = time.monotonic()
        if self.folder is None:
            return
        folder, seen = self.folder, self.seen.over_ranks(self.world)
        self.world.alone(lambda: folder.save(self.checkpoint(seen), best=best))

    def checkpoint(self, seen: MeanImage) -> Checkpoint:
        reverter: Any = bare(self.module)
        return Checkpoint(
            reverter={"image_size": reverter.image_size, "quantity": reverter.quantity},
            model={name: value.detach().cpu() for name, value in reverter.state_dict().items()},
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
        bare(self.module).load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.progress = checkpoint.progress
        if checkpoint.density_sum is not None and self.world.leads:
            self.seen = MeanImage(checkpoint.density_sum, checkpoint.density_count)
        if checkpoint.rng is not None:
            torch.set_rng_state(checkpoint.rng)


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


class StepClock:
    """Loss and time of the steps between two lines of the log; the losses stay on their device until then."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.start, self.wait_s, self.steps, self.samples = time.perf_counter(), 0.0, 0, 0
        self.losses: list[Tensor] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - start

    def count(self, total: Tensor, samples: int) -> None:
        self.losses.append(total)
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def tell(self, world: World) -> dict[str, float]:
        """Mean loss over the samples of all ranks, and where the time went."""
        total = float(world.sum(torch.stack(self.losses).double().sum().cpu()))
        seconds = time.perf_counter() - self.start
        return {
            "loss": total / self.samples,
            "samples": self.samples,
            "step_s": seconds / self.steps,
            "data_wait": self.wait_s / seconds,
            "samples_per_s": self.samples / seconds,
        }
