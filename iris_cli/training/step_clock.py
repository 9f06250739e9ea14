"""Loss, time and memory of the steps between two lines of the log."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from iris_cli.training.distributed import World

_GIB = 2.0**30


class StepClock:
    """Counts steps; their losses stay on their device until `tell`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.start, self.wait_s, self.steps, self.samples = time.perf_counter(), 0.0, 0, 0
        self.losses: list[Tensor] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        start = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - start

    def count(self, total: Tensor, samples: int) -> None:
        """A step: this rank's sum of losses, and the samples of all ranks."""
        self.losses.append(total)
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def tell(self, world: World) -> dict[str, float]:
        """Mean loss over the samples of all ranks, where the time went, and the most memory so far (GiB, this rank)."""
        total = float(world.sum(torch.stack(self.losses).double().sum().cpu()))
        seconds = time.perf_counter() - self.start
        return {
            "loss": total / max(self.samples, 1),
            "samples": self.samples,
            "step_s": seconds / self.steps,
            "data_wait": self.wait_s / seconds,
            "samples_per_s": self.samples / seconds,
            "memory_GiB": most_memory_GiB(world.device),
        }


def most_memory_GiB(device: torch.device) -> float:
    """The most that this process has held: of the GPU's memory on CUDA, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1.0 if sys.platform == "darwin" else 1024.0) / _GIB


def words(told: dict[str, float]) -> str:
    """What stands beside the bar."""
    return (
        f"loss {told['loss']:.4g}, {told['step_s']:.3g} s/step, {told['data_wait']:.0%} waiting, "
        f"{told['samples_per_s']:.3g}/s, {told['memory_GiB']:.1f} GiB"
    )
