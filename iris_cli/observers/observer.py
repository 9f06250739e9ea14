"""What every observer does: matter in, cube and l-v image out. A choice of physics is a subclass, not a flag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.errors import UsageError, nearest
from iris_cli.observers.velocity_smoothing import blur_velocity


def _mean(cube: Tensor) -> Tensor:
    return cube.mean(dim=2)


def _max(cube: Tensor) -> Tensor:
    return cube.amax(dim=2)


#: How a cube (lines, L, B, V) loses its latitude.
LATITUDE_REDUCTIONS = {"mean": _mean, "max": _max}


class Observer(ABC):
    """Turns physical tensors (6, R, L, B) in inner units into spectral cubes (lines, L, B, V) and l-v images.

    `quantity` says what the observation measures ("v_density", "temperature"), in the inner unit of that quantity.
    """

    name: ClassVar[str]
    quantity: ClassVar[str]

    #: Spectral lines in an observation.
    lines: int = 1

    def __init__(self, grid: Grid, latitude: str = "mean", smooth_velocity: bool = True) -> None:
        if latitude not in LATITUDE_REDUCTIONS:
            raise UsageError(f"unknown latitude reduction '{latitude}'", nearest(latitude, LATITUDE_REDUCTIONS))
        self.grid = grid
        self.latitude = latitude
        self.smooth_velocity = smooth_velocity

    @abstractmethod
    def cube(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (lines, L, B, V)"""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that the observation depends on beside grid, latitude and in-blur, as plain JSON."""

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (lines, L, V), velocities smoothed first where `smooth_velocity` says so."""
        return LATITUDE_REDUCTIONS[self.latitude](self.cube(blur_velocity(tensor) if self.smooth_velocity else tensor))

    def __call__(self, tensors: Tensor) -> Tensor:
        """(N, 6, R, L, B) -> (N, lines, L, V)"""
        return torch.stack([self.observe(tensor) for tensor in tensors])
