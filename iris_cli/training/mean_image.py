"""The training set's mean density, summed during the first epoch, when each sample comes by once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.distributed import World


@dataclass
class MeanImage:
    """A running sum, (1, R', L) float64, of what this rank has seen."""

    total: Tensor
    count: int = 0

    def add(self, density: Tensor) -> None:
        self.total += density.double().sum(dim=0)
        self.count += len(density)

    def empty(self) -> MeanImage:
        """Another sum of the same shape, of nothing."""
        return MeanImage(torch.zeros_like(self.total))

    def join(self, other: MeanImage) -> None:
        if other.count:
            self.total += other.total
            self.count += other.count

    def over_ranks(self, world: World) -> MeanImage:
        joined = world.sum(torch.cat([self.total.flatten(), torch.tensor([float(self.count)], dtype=torch.float64)]))
        return MeanImage(joined[:-1].view_as(self.total), int(joined[-1]))

    def mean(self) -> Tensor | None:
        """(1, R', L) float32, or None before the first sample."""
        return (self.total / self.count).float() if self.count else None
