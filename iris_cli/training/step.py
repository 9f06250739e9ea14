"""An optimizer step as a transaction: everything that it changes is changed together, or not at all.

A step takes a *window* of `batches_per_update` global batches. Its gradient is the mean over exactly the samples of the
window, on any number of ranks and however short the last window of an epoch is. `Learner.step` is the transaction:

    with learner.step(begin, end) as step:
        for _ in range(step.batches):
            step.backward(next(batches))

- When the block ends, weights, optimizer, running statistics, EMA and position are updated.
- When an exception leaves it (a signal, a sample that cannot be read), nothing is.
- When no sample of the window could be read, only the position moves on.
- When the loss is not finite, only the position moves on as well. The device knows this at once, so that no step waits
  for its loss; the host finds out in `Learner.wait`, which also adds the densities of a finite step to the mean image.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from iris_cli.config.toml import to_dict
from iris_cli.config.train import OptimizerConfig, TrainConfig
from iris_cli.console import warn
from iris_cli.distributed import World, no_sync, unwrap
from iris_cli.errors import EXIT_FAILURE, DataError
from iris_cli.pairs.overlap import Seen
from iris_cli.pairs.stream import PairBatch, PairStream
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress
from iris_cli.training.ema import EMA
from iris_cli.training.optimizer import learning_rate, resume_optimizer
from iris_cli.training.precision import Precision
from iris_cli.training.task import Task
from shards.order import stream_key

#: Steps after which the host reads a check. On the CPU the loss is there at once; a GPU works two steps ahead.
STEPS_AHEAD = {"cpu": 0, "cuda": 2}


@dataclass
class MeanImage:
    """The training set's mean density, from the first epoch: the sum on this rank, (1, R', L) float64, and a count."""

    total: Tensor
    count: int = 0

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "MeanImage":
        return cls(torch.zeros(shape, dtype=torch.float64))

    def add(self, density: Tensor) -> None:
        """Add a batch (n, 1, R', L)."""
        self.total += density.double().sum(dim=0)
        self.count += len(density)

    def merge(self, other: "MeanImage") -> None:
        if other.count:
            self.total += other.total
            self.count += other.count

    def over_ranks(self, world: World) -> "MeanImage":
        """The sum over all ranks; a collective."""
        joined = world.sum(torch.cat([self.total.flatten(), torch.tensor([float(self.count)], dtype=torch.float64)]))
        return MeanImage(joined[:-1].view_as(self.total), int(joined[-1]))

    def mean(self) -> Tensor | None:
        """(1, R', L) float32, or None before the first sample."""
        return (self.total / self.count).float() if self.count else None


@dataclass(frozen=True, eq=False)
class FiniteCheck:
    """`skip` () float32 is on the loss's device: 1 when the loss of any rank is not finite, 0 otherwise."""

    skip: Tensor
    _on_host: Tensor
    _copied: torch.cuda.Event | None

    @classmethod
    def of(cls, loss: Tensor, world: World) -> "FiniteCheck":
        """Check this rank's summed `loss` (). A collective over all ranks; on CUDA none waits for its device."""
        own = (~torch.isfinite(loss)).float()
        skip = world.max_tensor(own.clone())
        on_host = torch.stack([own, skip]).to("cpu", non_blocking=True)  # from a GPU into page-locked memory
        copied = torch.cuda.Event() if loss.is_cuda else None
        if copied:
            copied.record()
        return cls(skip, on_host, copied)

    def read(self) -> tuple[bool, bool]:
        """Whether this rank's loss, and that of any rank, is not finite. Waits for that step, not for later ones."""
        if self._copied:
            self._copied.synchronize()
        own, any_rank = self._on_host.tolist()
        return own > 0, any_rank > 0


@torch.no_grad()
def restore_buffers(module: nn.Module, before: list[Tensor], skip: Tensor | None = None) -> None:
    """Set the running statistics to `before`; with `skip`, only where that is 1, decided on the device."""
    for buffer, value in zip(module.buffers(), before, strict=True):
        if skip is None:
            buffer.copy_(value)
        else:
            torch.where(skip > 0, value, buffer, out=buffer)


@dataclass
class Learner:
    """A network in training and everything that a step changes. `module` is the network, perhaps wrapped in DDP."""

    hyper: TrainConfig
    world: World
    module: nn.Module
    task: Task
    optimizer: Optimizer
    precision: Precision
    train: PairStream
    ema: EMA | None = None
    #: Of the caller, with its own optimizer; stepped after each epoch.
    scheduler: Any = None
    seen: Seen = field(default_factory=Seen)
    progress: Progress = field(default_factory=Progress)
    mean_image: MeanImage = field(init=False)
    #: Finished steps whose finite check the host has not read, the oldest first.
    _unread: "deque[Step]" = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.mean_image = MeanImage.zeros(self.train.pairs.grid.density_shape)

    @property
    def trained(self) -> Any:
        """The network to validate: the EMA, if there is one."""
        return self.ema.module if self.ema else unwrap(self.module)

    @property
    def global_batch(self) -> int:
        """Samples of a batch, over all ranks."""
        return self.train.share().step

    def windows(self) -> list[tuple[int, int]]:
        """The positions [begin, end) of each step that is left in this epoch."""
        size = self.global_batch * self.hyper.batches_per_update
        starts = range(self.progress.position, self.train.count, size)
        return [(begin, min(begin + size, self.train.count)) for begin in starts]

    @contextmanager
    def step(self, begin: int, end: int) -> "Iterator[Step]":
        """One step from the samples at the positions [begin, end) of the epoch; see the module's docstring."""
        buffers = [buffer.clone() for buffer in self.module.buffers()]  # running statistics change with each batch
        self.optimizer.zero_grad(set_to_none=True)
        step = Step(self, begin, end)
        seed_torch(self.hyper.seed, self.world.rank, "step", self.progress.step)
        try:
            yield step
        except BaseException:
            restore_buffers(self.module, buffers)
            raise
        step.samples = end - begin
        if self.hyper.on_bad_sample == "skip":  # all ranks together may have read fewer
            step.samples = int(self.world.sum(torch.tensor([float(len(step.ids))], dtype=torch.float64)))
        self.progress = replace(self.progress, position=end, step=self.progress.step + 1)
        step.number = self.progress.step
        if step.samples == 0:
            restore_buffers(self.module, buffers)
            return
        step.check = FiniteCheck.of(step.loss, self.world)
        self._update(step, buffers)
        self._unread.append(step)

    def _update(self, step: "Step", buffers: list[Tensor]) -> None:
        """Weights, optimizer, running statistics and EMA; none of them where `step.skip` is 1."""
        if (factor := (step.end - step.begin) / step.samples) != 1.0:  # fewer were read: the mean is over those
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    parameter.grad *= factor
        if isinstance(self.hyper.optimizer, OptimizerConfig):
            done = self.progress.epoch + 0.5 * (step.begin + step.end) / self.train.count
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(done, self.hyper)
        self.precision.update(self.optimizer, self.hyper.gradient_clip, step.skip)
        self.world.average_buffers(unwrap(self.module))
        restore_buffers(self.module, buffers, step.skip)
        if self.ema:
            self.ema.update(unwrap(self.module), step.skip)

    def wait(self, ahead: int = 0) -> None:
        """Wait for all steps but the last `ahead`, and add the densities of finite ones to the mean image.

        DataError names the samples of a step whose loss is not finite, unless `on_nan` is "skip".
        """
        while len(self._unread) > ahead:
            step = self._unread.popleft()
            own, any_rank = step.check.read()
            if any_rank:
                self._report_nonfinite(step, own)
            else:
                self.mean_image.merge(step.densities)

    def _report_nonfinite(self, step: "Step", own: bool) -> None:
        what, stop = f"the loss of step {step.number} is not finite; its samples", self.hyper.on_nan == "stop"
        if stop and not own:
            raise SystemExit(EXIT_FAILURE)  # the rank whose loss it is reports it
        marks = torch.zeros(len(self.train.pairs), dtype=torch.float64)
        marks[step.ids if own else []] = 1.0
        if not stop:
            marks = self.world.sum(marks)  # the samples of all ranks
        keys = ", ".join(map(self.train.pairs.key, marks.nonzero().flatten().tolist()))
        if stop:
            hint = "look at them, lower the learning rate, or --on-nan skip"
            raise DataError(f"rank {self.world.rank}: {what}: {keys}", hint)
        warn(f"{what}: {keys}; the step is skipped")

    def checkpoint(self, data: DataDescription, mean_image: MeanImage, **of_all_ranks: Any) -> Checkpoint:
        """The state after the last step; `of_all_ranks` are the fields that the loop gathers."""
        network: Any = unwrap(self.module)
        return Checkpoint(
            reverter=network.table(),
            model=_state_of(self.trained),
            last_model=_state_of(network) if self.ema else {},
            ema_steps=self.ema.steps if self.ema else 0,
            scaler=self.precision.scaler.state_dict(),
            progress=self.progress,
            config=to_dict(self.hyper),
            data=data,
            seen=self.seen,
            mean_image=mean_image.mean(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict() if self.scheduler else {},
            density_sum=mean_image.total,
            density_count=mean_image.count,
            **of_all_ranks,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint, on this world's number of ranks."""
        with checkpoint.of_this_version():
            unwrap(self.module).load_state_dict(checkpoint.last_model or checkpoint.model)
            if self.ema:
                self.ema.load(checkpoint.model, checkpoint.ema_steps)
        if checkpoint.scaler:
            self.precision.scaler.load_state_dict(checkpoint.scaler)
        if isinstance(self.hyper.optimizer, OptimizerConfig):
            resume_optimizer(self.optimizer, checkpoint.optimizer)
        else:
            self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.scheduler and checkpoint.scheduler:
            self.scheduler.load_state_dict(checkpoint.scheduler)
        self.progress = checkpoint.progress
        self.seen = self.seen | (checkpoint.seen or Seen())
        if checkpoint.density_sum is not None and self.world.is_main:
            self.mean_image = MeanImage(checkpoint.density_sum, checkpoint.density_count)


@dataclass
class Step:
    """A window's gradient: accumulated batch by batch within the `with` block, complete after it."""

    learner: Learner
    begin: int
    end: int
    #: () on the device: the sum of this rank's losses.
    loss: Tensor = field(init=False)
    #: Samples of this rank, and the sum of their densities (first epoch only).
    ids: list[int] = field(default_factory=list)
    densities: MeanImage = field(init=False)
    #: Known after the block: the samples of all ranks, the step's number, and whether its loss is finite.
    samples: int = 0
    number: int = 0
    check: FiniteCheck = field(init=False)

    def __post_init__(self) -> None:
        self.batches = self._left = -(-(self.end - self.begin) // self.learner.global_batch)
        self.loss = torch.zeros((), device=self.learner.world.device)
        self.densities = MeanImage.zeros(self.learner.train.pairs.grid.density_shape)

    @property
    def skip(self) -> Tensor:
        """() float32 on the device: 1 when the loss of any rank is not finite."""
        return self.check.skip if self.samples else torch.zeros_like(self.loss)

    def backward(self, batch: PairBatch) -> None:
        """Add the gradient of a batch; the last batch of a window averages the gradients over the ranks."""
        self._left -= 1
        with nullcontext() if self._left == 0 else no_sync(self.learner.module):
            if len(batch) or self.learner.world.device.type == "cuda":  # SyncBatchNorm waits for every rank
                self._backward(batch)
            elif self._left == 0:
                self._backward_without_samples()
        self.ids.extend(batch.ids.tolist())
        if self.learner.progress.epoch == 0:
            self.densities.add(batch.density)

    def _backward(self, batch: PairBatch) -> None:
        learner = self.learner
        full, batch = len(batch) == learner.train.rows, batch.to(learner.world.device)
        pred = learner.precision.forward(learner.module, *self._inputs(batch), usual_size=full)
        loss = learner.task.per_sample(pred, batch).sum()
        learner.precision.backward(loss * (learner.world.size / (self.end - self.begin)))
        self.loss += loss.detach()

    def _inputs(self, batch: PairBatch) -> tuple[Tensor, ...]:
        learner = self.learner
        return learner.task.inputs(batch, input_key(learner.hyper.seed, learner.train.name, learner.progress.epoch))

    def _backward_without_samples(self) -> None:
        """Contribute zeros: this rank has no sample left, but the others wait for its gradients."""
        learner = self.learner
        norms = [layer for layer in learner.module.modules() if isinstance(layer, _BatchNorm) and layer.training]
        for layer in norms:
            layer.eval()  # running statistics are used, and not updated
        inputs = self._inputs(PairBatch.blank(learner.train.pairs, learner.train.further).to(learner.world.device))
        pred = learner.precision.forward(learner.module, *inputs, usual_size=False)
        learner.precision.backward(pred.sum() * 0.0)
        for layer in norms:
            layer.train()


def _state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def input_key(seed: int, stream: str, epoch: int) -> int:
    """64 bits for the random inputs of a network in one epoch of one stream."""
    return stream_key("inputs", stream, seed, epoch)


def seed_torch(seed: int, rank: int, *position: Any) -> None:
    """The random numbers of layers (dropout) and losses depend on the position alone, as the order of samples does."""
    torch.manual_seed(stream_key("torch", seed, rank, *position))
