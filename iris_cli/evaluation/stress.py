"""Inputs for which a network should give another result: noise alone, mirrored velocities."""

from torch import Tensor

from iris_cli.config.grid import Grid


def remove_emission(observation: Tensor) -> None:
    """Set to 0, so that noise is all that is left."""
    observation.zero_()


def mirror_velocity(observation: Tensor) -> None:
    """Approaching gas recedes, and the other way round: a galaxy that rotates against the Milky Way."""
    observation.copy_(observation.flip(-1))


def has_symmetric_velocities(grid: Grid) -> bool:
    """Whether the velocity axis is symmetric about zero; otherwise it cannot be mirrored."""
    return abs(grid.v_min_km_s + grid.v_max_km_s) <= 1e-6 * (grid.v_max_km_s - grid.v_min_km_s)
