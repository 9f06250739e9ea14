"""Loss, time and memory of the steps between two lines of the log."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from iris_cli.distributed import World

_GIB = 2.0**30


class Throughput:
    """Counts steps; their losses stay on their device until `tell`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.start, self.wait_s, self.steps, self.samples = time.perf_counter(), 0.0, 0, 0
        self.losses: list[Tensor] = []
        self.voids: list[Tensor] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        start = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - start

    def count(self, total: Tensor, samples: int, void: Tensor) -> None:
        """A step: this rank's sum of losses, the samples of all ranks, and on the device 1 if the step was void."""
        self.losses.append(total)
        self.voids.append(void * samples)
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def tell(self, world: World) -> dict[str, float | None]:
        """Mean loss over the samples of all ranks, where the time went, and the most memory so far (GiB, this rank).

        The loss, and `samples`, are of the steps that count; None if none of them did.
        """
        voids, losses = torch.stack(self.voids).double(), torch.stack(self.losses).double()
        total = float(world.sum(torch.where(voids > 0, 0.0, losses).sum().cpu()))
        seconds, samples = time.perf_counter() - self.start, self.samples - int(voids.sum())
        return {
            "loss": total / samples if samples else None,
            "samples": samples,
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


def words(told: dict[str, Any]) -> str:
    """What stands beside the bar."""
    loss = "none" if told["loss"] is None else f"{told['loss']:.4g}"
    return (
        f"loss {loss}, {told['step_s']:.3g} s/step, {told['data_wait']:.0%} waiting, "
        f"{told['samples_per_s']:.3g}/s, {told['memory_GiB']:.1f} GiB"
    )
