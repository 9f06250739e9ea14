"""Directions of axes and signs of velocities: the conventions of the whole project.

Observer frame: the observer is at the origin and looks at the Galactic Centre. Longitude increases to the observer's
left, latitude to Galactic north, distance away from the observer (index 0 is nearest), and a positive velocity recedes.
Arrays ascend along every axis. All coordinates are *centres* of cells: the first and the last centre are the limits
of a configuration, and the outer edges are half a step outside (as in the IRIS paper's own files, where this
was checked cell by cell).

Galactocentric frame: x from the centre to the observer, z to Galactic north, y = z cross x. Longitude thus increases
towards -y, and gas that turns clockwise seen from north recedes at positive longitude, as in the Milky Way.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # configurations import this module; numpy would be a third of a command's start-up time
    import numpy as np
    from numpy.typing import NDArray

#: Channels of a physical tensor (channel, distance, longitude, latitude).
V_LOS, RHO, T_GAS, X_H2, X_CO, T_DUST = range(6)
CHANNELS = ("v_los", "rho", "T_gas", "x_H2", "x_CO", "T_dust")
#: The quantity of each channel, for units; None for a pure number.
CHANNEL_QUANTITIES = ("velocity", "density", "temperature", None, None, "temperature")

TENSOR_AXES = ("channel", "distance", "longitude", "latitude")
OBSERVATION_AXES = ("line", "longitude", "velocity")
DENSITY_AXES = ("channel", "distance", "longitude")


@dataclass(frozen=True)
class Axis:
    """Evenly spaced cell centres from `first` to `last`, both included."""

    name: str
    unit: str
    first: float
    last: float
    steps: int

    @property
    def step(self) -> float:
        """Distance between two centres; for a single cell, the whole range."""
        return (self.last - self.first) / max(self.steps - 1, 1)

    def centres(self) -> "NDArray[np.float64]":
        """(steps,) ascending."""
        import numpy as np

        if self.steps == 1:
            return np.array([0.5 * (self.first + self.last)])
        return np.linspace(self.first, self.last, self.steps)

    def edges(self) -> "NDArray[np.float64]":
        """(steps + 1,) ascending; the outer ones half a step beyond the limits."""
        import numpy as np

        centres, half = self.centres(), 0.5 * self.step
        return np.append(centres - half, centres[-1] + half)


def reverse_velocity(observation: "NDArray") -> "NDArray":
    """Reverses the sign of velocity in an image (..., velocity), on a velocity axis that is symmetric about zero."""
    return observation[..., ::-1]


def turn_over(tensor: "NDArray") -> "NDArray":
    """Rotates a galaxy (..., distance, longitude, latitude) by 180 degrees about the line of sight: l -> -l, b -> -b.

    This reverses the sense of rotation seen from north; line-of-sight velocities do not change.
    """
    return tensor[..., ::-1, ::-1]
