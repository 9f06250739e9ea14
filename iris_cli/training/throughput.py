"""Loss, time and memory of the steps between two lines of the log."""

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.distributed import World


@dataclass(frozen=True)
class Rates:
    """Some steps together: their mean loss (None if no loss was finite), and where the time went.

    `samples` are those of finite losses, `data_wait` is the share of the time that waits for data, `memory_GiB` the
    peak of this rank so far.
    """

    loss: float | None
    samples: int
    step_s: float
    data_wait: float
    samples_per_s: float
    memory_GiB: float

    def __str__(self) -> str:
        loss = "none" if self.loss is None else f"{self.loss:.4g}"
        speed = f"{self.step_s:.3g} s/step, {100 * self.data_wait:.0f} % waiting, {self.samples_per_s:.3g}/s"
        return f"loss {loss}, {speed}, {self.memory_GiB:.1f} GiB"


class Throughput:
    """Counts steps. Their losses stay on the device until `report`.

    `unlogged` are the steps since the last line that this process has not taken itself, but its run before it was
    resumed: (sum of the losses, samples) each. They count for the loss, not for the times.
    """

    def __init__(self, unlogged: Sequence[tuple[float, int]] = ()) -> None:
        self.restart(unlogged)

    def restart(self, unlogged: Sequence[tuple[float, int]] = ()) -> None:
        self._before = list(unlogged)
        self.start_clock()
        self.steps = self.samples = 0
        self._losses: list[Tensor] = []
        self._skipped: list[Tensor] = []

    def start_clock(self) -> None:
        self.start, self.wait_s = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits for data."""
        start = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - start

    def count(self, loss: Tensor, samples: int, skip: Tensor) -> None:
        """Count a step: this rank's summed loss, the samples of all ranks, and on the device 1 if it is skipped."""
        self._losses.append(loss)
        self._skipped.append(torch.stack([skip, skip.new_tensor(samples)]))
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def unlogged(self, world: World) -> list[tuple[float, int]]:
        """Of each step since the last restart, over all ranks: sum of the losses and samples; a collective.

        Both are 0 of a skipped step.
        """
        if not self._losses:
            return self._before
        skipped, samples = torch.stack(self._skipped).double().cpu().T
        losses = torch.where(skipped > 0, 0.0, torch.stack(self._losses).double().cpu())
        kept = torch.where(skipped > 0, 0.0, samples)
        return [*self._before, *zip(world.sum(losses).tolist(), kept.long().tolist(), strict=True)]

    def report(self, world: World) -> Rates:
        """The steps since the last restart, over all ranks; a collective."""
        losses, counts = zip(*self.unlogged(world), strict=True)
        seconds, samples = time.perf_counter() - self.start, sum(counts)
        speed = {"step_s": seconds / self.steps, "samples_per_s": self.samples / seconds}
        data_wait, memory = self.wait_s / seconds, peak_memory_GiB(world.device)
        loss = math.fsum(losses) / samples if samples else None
        return Rates(loss, samples, data_wait=data_wait, memory_GiB=memory, **speed)


def peak_memory_GiB(device: torch.device) -> float:
    """Peak memory of this process: of the GPU on CUDA, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2.0**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1.0 if sys.platform == "darwin" else 1024.0) / 2.0**30
