"""The interface of observers: matter in, spectral cube and l-v image out. Each kind of physics is a subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import choose
from iris_cli.observers.velocity_smoothing import smooth_velocity

#: Reductions of a cube (lines, L, B, V) over latitude.
LATITUDE_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda cube: cube.mean(dim=2),
    "max": lambda cube: cube.amax(dim=2),
}


class Observer(ABC):
    """Turns physical tensors (6, R, L, B) in inner units into spectral cubes (lines, L, B, V) and l-v images.

    `quantity` is what the observation measures ("v_density", "temperature"), in the inner unit of that quantity.
    """

    name: ClassVar[str]
    quantity: ClassVar[str]

    #: Spectral lines in an observation.
    lines: int = 1

    def __init__(self, grid: Grid, latitude: str = "mean", smooth_velocity: bool = True) -> None:
        self.grid = grid
        self.latitude = latitude
        choose("latitude reduction", latitude, LATITUDE_REDUCTIONS)
        self.smooth_velocity = smooth_velocity

    @classmethod
    def from_config(cls, grid: Grid, config: PreobserveConfig) -> Observer:
        return cls(grid, config.latitude, config.smooth_velocity)

    @abstractmethod
    def cube(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (lines, L, B, V)"""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """All that the observation depends on besides grid, latitude and velocity smoothing, as plain JSON."""

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (lines, L, V); velocities are smoothed first if `smooth_velocity` is set."""
        cube = self.cube(smooth_velocity(tensor) if self.smooth_velocity else tensor)
        return LATITUDE_REDUCTIONS[self.latitude](cube)

    def on_grid(self, grid: Grid) -> Observer:
        """The same observer on another grid. Override it where the constructor computes something from the grid."""
        other = copy(self)
        other.grid = grid
        return other

    def __call__(self, tensors: Tensor) -> Tensor:
        """(N, 6, R, L, B) -> (N, lines, L, V)"""
        return torch.stack([self.observe(tensor) for tensor in tensors])
