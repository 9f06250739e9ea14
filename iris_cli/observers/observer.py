"""The interface of observers: matter in, spectral cube and l-v image out. Each kind of physics is a subclass."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from iris_cli.axes import V_LOS, X_CO
from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.observer import TracerConfig
from iris_cli.config.preobserve import LATITUDE_CHANNELS, PreobserveConfig
from iris_cli.config.toml import to_dict
from iris_cli.errors import DataError, choose
from iris_cli.observers.coverage import shares
from iris_cli.observers.tracer import abundance
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
    #: The channel of a tensor that is proportional to the abundance of the tracer.
    tracer_channel: ClassVar[int] = X_CO
    #: How the abundance of the tracer varies, and what part of the sky is observed.
    tracer: TracerConfig = TracerConfig()
    coverage: Coverage = Coverage()

    def __init__(self, grid: Grid, latitude: str = "mean", smooth_velocity: bool = True) -> None:
        self.grid = grid
        self.latitude = latitude
        choose("latitude reduction", latitude, LATITUDE_REDUCTIONS)
        self.smooth_velocity = smooth_velocity

    @classmethod
    def from_config(cls, grid: Grid, config: PreobserveConfig) -> "Observer":
        """With the tracer and the coverage of a configuration. DataError when the grid is outside the coverage."""
        made = cls._from_config(grid, config)
        made.tracer, made.coverage = config.tracer, config.coverage
        for axis, share in zip(
            (grid.longitude, grid.latitude, grid.velocity), shares(config.coverage, grid), strict=True
        ):
            if not share.any():
                what = f"the coverage holds no {axis.name} of the grid, {axis.first:g} to {axis.last:g} {axis.unit}"
                raise DataError(what, "observe on another grid, or leave out the coverage")
        return made

    @classmethod
    def _from_config(cls, grid: Grid, config: PreobserveConfig) -> "Observer":
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

    def smoothed(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) with these velocities."""
        return torch.cat([self.velocity(tensor)[None], tensor[V_LOS + 1 :]]) if self.smooth_velocity else tensor

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (channels, L, V); velocities are smoothed first if `smooth_velocity` is set."""
        return self.reduced(self.cube(self.smoothed(tensor)))

    def reduced(self, cube: Tensor) -> Tensor:
        """(lines, L, B, V) -> (channels, L, V): dark outside the coverage, then reduced over latitude."""
        if not self.coverage.is_everything:
            lon, lat, v = (torch.from_numpy(share).to(cube) for share in shares(self.coverage, self.grid))
            cube = cube * lon[:, None, None] * lat[:, None] * v
        return LATITUDE_REDUCTIONS[self.latitude](cube, self.grid)

    def with_abundance(self, tensor: Tensor, galaxy: str, view_deg: float | None) -> Tensor:
        """The tensor (6, R, L, B) with the abundance of the tracer that the galaxy of this identity has."""
        if self.tracer.is_constant:
            return tensor
        changed = tensor.clone()
        factor = abundance(self.tracer, self.grid, galaxy, view_deg or 0.0)
        changed[self.tracer_channel] *= torch.from_numpy(factor).to(tensor)
        return changed

    def _seen(self) -> dict[str, Any]:
        """Tracer and coverage, for `describe`; nothing where they are as in nature and everywhere."""
        found = {} if self.tracer == TracerConfig() else {"tracer": to_dict(self.tracer)}
        return found if self.coverage.is_everything else {**found, "coverage": to_dict(self.coverage)}

    def on_grid(self, grid: Grid) -> "Observer":
        """The same observer on another grid. Override it where the constructor computes something from the grid."""
        other = copy(self)
        other.grid = grid
        return other
