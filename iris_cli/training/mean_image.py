"""The mean density of the training set, summed during the first epoch, in which each sample occurs once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.distributed import World


@dataclass
class MeanImage:
    """Sum of the densities on this rank, (1, R', L) float64, and their count."""

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
