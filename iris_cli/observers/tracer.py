"""The abundance of a tracer in a galaxy: a log-normal factor for the galaxy, and one that varies in its space."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from iris_cli.config.grid import Grid
from iris_cli.config.mock import LATTICE_BOX_PC
from iris_cli.config.observer import TracerConfig
from iris_cli.standard.grid import cells, slabs
from shards.order import stream_key

#: Cells of the lattice in a correlation length.
_CELLS = 3
#: What linear interpolation leaves of the field's variance along an axis: neighbours are correlated by exp(-1/9).
_KEPT = 2.0 / 3.0 + np.exp(-1.0 / _CELLS**2) / 3.0


def galaxy_dex(config: TracerConfig, galaxy: str) -> float:
    """log10 of the galaxy's factor, by the seed and the identity of the galaxy."""
    return config.galaxy_dex * float(_random(config, galaxy).standard_normal())


def abundance(config: TracerConfig, grid: Grid, galaxy: str, view_deg: float) -> NDArray[np.float32]:
    """(R, L, B) factor of the abundance, with a median of 1 over galaxies.

    Its scatter within the galaxy is Gaussian in log10 with the correlation exp(-(d/L)^2) at distance d, periodic in
    LATTICE_BOX_PC. The galaxy keeps its pattern when it is seen from another azimuth `view_deg`.
    """
    rng = _random(config, galaxy)
    dex = config.galaxy_dex * float(rng.standard_normal())
    if config.cloud_dex == 0:
        return np.full(grid.tensor_shape[1:], 10.0**dex, np.float32)
    shape = [round(side * _CELLS / config.correlation_pc) for side in LATTICE_BOX_PC]
    sides_pc = [side / count for side, count in zip(LATTICE_BOX_PC, shape, strict=True)]
    sigma = [0.5 * config.correlation_pc / side for side in sides_pc]  # smoothed noise: exp(-d^2 / (4 sigma^2))
    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    field *= np.float32(config.cloud_dex / (field.std() * _KEPT**1.5))
    factor = np.empty(grid.tensor_shape[1:], np.float32)
    for rows in slabs(grid.r_steps, grid.lon_steps * grid.lat_steps):
        where = cells(grid, view_deg, rows)
        at = np.stack(np.broadcast_arrays(*(q / s for q, s in zip((where.x, where.y, where.z), sides_pc, strict=True))))
        factor[rows] = map_coordinates(field, at, order=1, mode="grid-wrap")
    return np.float32(10.0) ** (factor + np.float32(dex))


def _random(config: TracerConfig, galaxy: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=stream_key("tracer", config.seed, galaxy)))
