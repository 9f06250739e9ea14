"""Loss, time and memory of the steps between two lines of the log."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
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
        speed = f"{self.step_s:.3g} s/step, {self.data_wait:.0%} waiting, {self.samples_per_s:.3g}/s"
        return f"loss {loss}, {speed}, {self.memory_GiB:.1f} GiB"


class Throughput:
    """Counts steps. Their losses stay on the device until `report`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.start, self.wait_s, self.steps, self.samples = time.perf_counter(), 0.0, 0, 0
        self._losses: list[Tensor] = []
        self._skipped: list[Tensor] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits for data."""
        start = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - start

    def count(self, loss: Tensor, samples: int, skip: Tensor) -> None:
        """Count a step: this rank's summed loss, the samples of all ranks, and on the device 1 if it is skipped."""
        self._losses.append(loss)
        self._skipped.append(skip * samples)
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def report(self, world: World) -> Rates:
        """The steps since the last restart, over all ranks; a collective."""
        skipped, losses = torch.stack(self._skipped).double(), torch.stack(self._losses).double()
        total = float(world.sum(torch.where(skipped > 0, 0.0, losses).sum().cpu()))
        seconds, samples = time.perf_counter() - self.start, self.samples - int(skipped.sum())
        speed = {"step_s": seconds / self.steps, "samples_per_s": self.samples / seconds}
        data_wait, memory = self.wait_s / seconds, peak_memory_GiB(world.device)
        return Rates(total / samples if samples else None, samples, data_wait=data_wait, memory_GiB=memory, **speed)


def peak_memory_GiB(device: torch.device) -> float:
    """Peak memory of this process: of the GPU on CUDA, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2.0**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1.0 if sys.platform == "darwin" else 1024.0) / 2.0**30
