"""The simple observer: the gas at each velocity, as if all gas emitted equally and none absorbed."""

# mypy: allow-untyped-defs

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iris_cli.axes import RHO, V_LOS, Axis
from iris_cli.compiled_math import kernel
from iris_cli.observers.observer import Observer


def velocity_density(v_km_s: Tensor, column: Tensor, axis: Axis, latitudes: int) -> Tensor:
    """Distributes columns (R, L, B) over velocity channels: (L, B, V) float64, in [column] per km/s, on the CPU.

    With 1 in place of B `latitudes`, it is the sum over latitude, (L, 1, V). With c = (v - first)/step measured from
    channel centres, the lower channel gets 1 - frac(c), the upper frac(c). A cell more than half a channel outside the
    range adds nothing; one in the outer half of an end channel adds all its column to that channel, so that mass inside
    the range is conserved. Velocities that are not finite add nothing.
    """
    spectra = np.zeros((v_km_s.shape[1], latitudes, axis.steps))
    v, columns = (np.ascontiguousarray(field.cpu().numpy()) for field in (v_km_s, column))
    _distribute(v, columns, v.dtype.type(axis.first), v.dtype.type(axis.step), spectra)
    return torch.from_numpy(spectra / axis.step)


class SimpleObserver(Observer):
    """Velocity-density: gas column per velocity along each ray, M_sun pc^-2 (km/s)^-1."""

    name = "simple"
    quantity = "v_density"
    tracer_channel = RHO

    def cube(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (1, L, B, V), summed in float64."""
        return self._spectra(tensor, tensor[V_LOS], self.grid.lat_steps)

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (1, L, V); a mean over latitude needs no cube."""
        if self.latitude != "mean" or not self.coverage.is_everything:
            return super().observe(tensor)
        return self._spectra(tensor, self.velocity(tensor), 1)[:, :, 0] / self.grid.lat_steps

    def _spectra(self, tensor: Tensor, v_km_s: Tensor, latitudes: int) -> Tensor:
        spectra = velocity_density(v_km_s, tensor[RHO], self.grid.velocity, latitudes)
        return (spectra[None] * self.grid.distance.step).to(tensor)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, **self._seen()}


@kernel
def _distribute(v_km_s, column, first_km_s, step_km_s, spectra):
    last, every = spectra.shape[2] - 1.0, spectra.shape[1] > 1
    for j in range(column.shape[1]):
        for r in range(column.shape[0]):
            for b in range(column.shape[2]):
                c = (v_km_s[r, j, b] - first_km_s) / step_km_s
                if -0.5 <= c < last + 0.5:
                    c = min(max(c, 0.0), last)
                    lower = min(math.floor(c), last - 1.0)
                    k, spectrum = int(lower), spectra[j, b if every else 0]
                    spectrum[k] += column[r, j, b] * (1.0 - (c - lower))
                    spectrum[k + 1] += column[r, j, b] * (c - lower)
