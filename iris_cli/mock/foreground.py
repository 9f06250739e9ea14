"""Mock litter: gas of the spiral arms between the Sun and the Galactic Centre.

Each sheet is a piece of an arm. It crosses the whole field of view at nearly constant velocity, which is why foreground
appears as horizontal bands in an l-v image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.mock import ForegroundConfig
from iris_cli.mock.turbulence import random_fields, sample
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, temperature_and_molecules


@dataclass(frozen=True)
class Sheet:
    """A slab of gas across the line of sight: Gaussian in distance, clumpy in longitude and latitude.

    `turbulence` (2, nx, ny, nz) of unit variance: ln(density), velocity.
    """

    distance_pc: float
    thickness_pc: float
    n_H_cm3: float
    v_km_s: float
    v_gradient_km_s_deg: float
    turbulence: NDArray[np.float32]


@dataclass(frozen=True)
class Foreground:
    sheets: tuple[Sheet, ...]
    contrast: float
    sigma_km_s: float
    cell_pc: float

    def tensor(self, grid: Grid) -> NDArray[np.float32]:
        """(6, R, L, B) in inner units."""
        r = grid.distance.centres()[:, None, None]
        lon, lat = grid.longitude.centres()[None, :, None], grid.latitude.centres()[None, None, :]
        shape = grid.tensor_shape[1:]
        n_H, flux, values = np.full(shape, 1e-2), np.zeros(shape), np.empty((2, *shape), np.float32)
        at = [np.broadcast_to(q, shape).ravel() for q in (r, r * np.deg2rad(lon), r * np.deg2rad(lat))]
        for sheet in self.sheets:
            sample(sheet.turbulence, self.cell_pc, *at, values.reshape(2, -1))
            distance = (r - sheet.distance_pc) / sheet.thickness_pc
            n = sheet.n_H_cm3 * np.exp(self.contrast * values[0] - 0.5 * self.contrast**2 - 0.5 * distance**2)
            v = sheet.v_km_s + sheet.v_gradient_km_s_deg * lon + self.sigma_km_s * values[1]
            n_H, flux = n_H + n, flux + n * v
        return np.stack([flux / n_H, n_H * DENSITY_PER_N_H_CM3, *temperature_and_molecules(n_H)]).astype(np.float32)


def draw_foreground(config: ForegroundConfig, grid: Grid, seed: int, number: int) -> Foreground:
    """Foreground `number` of a seed, within the distances of `grid`."""
    rng = np.random.default_rng([seed, number, 1])
    shape, cell = (64, 96, 32), config.turbulence_cell_pc

    def draw() -> Sheet:
        ranges = (config.thickness_pc, config.n_H_cm3, config.v_km_s, config.v_gradient_km_s_deg)
        numbers = (rng.uniform(*limits) for limits in ((grid.r_min_pc, grid.r_max_pc), *ranges))
        distance, thickness, n_H, v, v_gradient = numbers
        slopes = (config.density_slope, config.velocity_slope)
        turbulence = random_fields(rng, shape, cell, slopes, config.largest_eddy_pc)
        return Sheet(distance, thickness, n_H, v, v_gradient, turbulence)

    sheets = tuple(draw() for _ in range(rng.integers(config.sheets[0], config.sheets[1] + 1)))
    return Foreground(sheets, rng.uniform(*config.turbulence_contrast), rng.uniform(*config.turbulence_km_s), cell)
