"""The interface of observers: matter in, spectral cube and l-v image out. Each kind of physics is a subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from iris_cli.axes import V_LOS
from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import LATITUDE_CHANNELS, PreobserveConfig
from iris_cli.errors import choose
from iris_cli.observers.velocity_smoothing import smooth


def latitude_moments(cube: Tensor, grid: Grid) -> Tensor:
    """(lines, L, B, V) -> (3 lines, L, V): for each line the means of T, T b/b0 and T (b/b0)^2 over latitude."""
    weights = torch.from_numpy(grid.latitude_weights()).to(cube)
    return torch.einsum("nlbv,kb->nklv", cube, weights).flatten(0, 1)


#: Reductions of a cube (lines, L, B, V) over latitude.
LATITUDE_REDUCTIONS: dict[str, Callable[[Tensor, Grid], Tensor]] = {
    "mean": lambda cube, grid: cube.mean(dim=2),
    "max": lambda cube, grid: cube.amax(dim=2),
    "moments": latitude_moments,
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

    @property
    def channels(self) -> int:
        """Images in an observation: one for each line, or three with `latitude` = "moments"."""
        return self.lines * LATITUDE_CHANNELS[self.latitude]

    def velocity(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (R, L, B) line-of-sight velocities, smoothed if `smooth_velocity` is set."""
        return smooth(tensor[V_LOS]) if self.smooth_velocity else tensor[V_LOS]

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (channels, L, V); velocities are smoothed first if `smooth_velocity` is set."""
        moved = torch.cat([self.velocity(tensor)[None], tensor[V_LOS + 1 :]]) if self.smooth_velocity else tensor
        return LATITUDE_REDUCTIONS[self.latitude](self.cube(moved), self.grid)

    def on_grid(self, grid: Grid) -> Observer:
        """The same observer on another grid. Override it where the constructor computes something from the grid."""
        other = copy(self)
        other.grid = grid
        return other

    def __call__(self, tensors: Tensor) -> Tensor:
        """(N, 6, R, L, B) -> (N, channels, L, V)"""
        return torch.stack([self.observe(tensor) for tensor in tensors])
