"""The simple observer: the gas at each velocity, as if all gas emitted equally and none absorbed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from iris_cli.axes import RHO, V_LOS
from iris_cli.observers.observer import Observer


def velocity_density(v_los_km_s: Tensor, column: Tensor, v_first_km_s: float, dv_km_s: float, channels: int) -> Tensor:
    """Distributes columns over velocity channels: (R, rays) and (R, rays) -> (rays, channels), in [column] per km/s.

    With c = (v - v_first)/dv measured from channel centres, the lower channel gets 1 - frac(c), the upper frac(c). A
    cell more than half a channel outside the range adds nothing; one in the outer half of an end channel adds all its
    column to that channel, so that mass inside the range is conserved. Velocities that are not finite add nothing.
    """
    c = (v_los_km_s - v_first_km_s) / dv_km_s
    inside = (c >= -0.5) & (c < channels - 0.5)
    c = torch.where(inside, c.clamp(0.0, channels - 1.0), 0.0)
    column = torch.where(inside, column, 0.0)
    lower = c.floor().clamp(max=channels - 2.0)
    upper_share = c - lower
    index = lower.long().T.contiguous()
    cube = torch.zeros(v_los_km_s.shape[1], channels, dtype=torch.float64, device=column.device)
    cube.scatter_add_(1, index, (column * (1.0 - upper_share)).T.double())
    cube.scatter_add_(1, index + 1, (column * upper_share).T.double())
    return cube / dv_km_s


class SimpleObserver(Observer):
    """Velocity-density: gas column per velocity along each ray, M_sun pc^-2 (km/s)^-1."""

    name = "simple"
    quantity = "v_density"
    tracer_channel = RHO

    def cube(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (1, L, B, V), summed in float64."""
        v, column = tensor[V_LOS].flatten(1), tensor[RHO].flatten(1) * self.grid.distance.step
        axis = self.grid.velocity
        rays = velocity_density(v, column, axis.first, axis.step, axis.steps)
        return rays.view(1, self.grid.lon_steps, self.grid.lat_steps, axis.steps).to(tensor.dtype)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, **self._seen()}
