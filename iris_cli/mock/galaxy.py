"""The embedded mock galaxy: a random draw (seed, number) in, a physical tensor out.

Gas on a CMZ orbit with clouds, a diffuse disc, and inflow along two trailing lanes. The lanes make near and far gas
distinguishable: closed orbits alone look the same when they are mirrored along the line of sight and reversed in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.mock import LATTICE_BOX_PC, MockConfig
from iris_cli.mock.turbulence import random_field, sample
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, temperature_and_molecules
from iris_cli.standard.grid import Cells, cells, slabs
from iris_cli.standard.orbit import Orbit


@dataclass(frozen=True)
class Cloud:
    position_pc: tuple[float, float, float]
    velocity_km_s: tuple[float, float, float]
    n_H_cm3: float
    radius_pc: float


@dataclass(frozen=True)
class Lane:
    """A trailing logarithmic spiral that starts at one tip of the orbit; its gas moves inwards."""

    azimuth_rad: float
    n_H_cm3: float
    winding: float
    width_pc: float
    length_pc: float
    inflow_km_s: float


@dataclass(frozen=True)
class Disc:
    n_H_cm3: float
    radius_pc: float
    height_pc: float


@dataclass(frozen=True)
class Ring:
    n_H_cm3: float
    width_pc: float
    ripples: tuple[tuple[float, float], ...]  # cosine and sine amplitudes of ln(density) along the orbit


@dataclass(frozen=True)
class Turbulence:
    """Lattice fields (unit variance) and their amplitudes."""

    density: NDArray[np.float32]
    velocity: tuple[NDArray[np.float32], ...]
    cell_pc: float
    contrast: float
    sigma_km_s: float


@dataclass(frozen=True)
class MockGalaxy:
    scale: float
    orbit: Orbit
    ring: Ring
    clouds: tuple[Cloud, ...]
    lanes: tuple[Lane, ...]
    disc: Disc
    turbulence: Turbulence | None = None

    def tensor(self, grid: Grid, view_deg: float, lon0_deg: float = 0.0, lat0_deg: float = 0.0) -> NDArray[np.float32]:
        """(6, R, L, B) in inner units, as seen from azimuth `view_deg`; filled slab by slab."""
        tensor = np.empty(grid.tensor_shape, np.float32)
        for rows in slabs(grid.r_steps, grid.lon_steps * grid.lat_steps):
            tensor[:, rows] = self._slab(cells(grid, view_deg, rows, lon0_deg, lat0_deg))
        return tensor

    def _slab(self, where: Cells) -> NDArray[np.float32]:
        x, y, z = (q / self.scale for q in (where.x, where.y, where.z))
        n_H, velocity = self.gas(x, y, z)
        v_los = self.scale * (velocity[0] * where.nx + velocity[1] * where.ny + velocity[2] * where.nz)
        return np.stack([v_los, n_H * DENSITY_PER_N_H_CM3, *temperature_and_molecules(n_H)]).astype(np.float32)

    def gas(self, x: NDArray, y: NDArray, z: NDArray) -> tuple[NDArray, tuple[NDArray, NDArray, NDArray]]:
        """n_H in cm^-3 and the mass-weighted velocity in km/s at unscaled galactocentric positions."""
        p, q = self.orbit.plane(x, y)
        parts = [ring_gas(self.ring, self.orbit, p, q, z), disc_gas(self.disc, self.orbit, p, q, z)]
        parts += [lane_gas(lane, self.orbit, p, q, z) for lane in self.lanes]
        n_H = np.add.reduce([part[0] for part in parts])
        v_p, v_q, v_z = (np.add.reduce([n * v[k] for n, v in parts]) / n_H for k in range(3))
        v_x, v_y = self.orbit.galactocentric(v_p, v_q)
        n_H, (v_x, v_y, v_z) = add_clouds(self.clouds, x, y, z, n_H, (v_x, v_y, v_z))
        return stir(self.turbulence, x, y, z, n_H, (v_x, v_y, v_z))


def ring_gas(ring: Ring, orbit: Orbit, p: NDArray, q: NDArray, z: NDArray) -> tuple[NDArray, tuple]:
    """A tube around the orbit, with density variations along it."""
    phi = orbit.phase(p, q)
    square = orbit.offset(p, q) ** 2 + (z - orbit.height(phi)) ** 2
    return ring.n_H_cm3 * np.exp(ripple(ring.ripples, phi) - 0.5 * square / ring.width_pc**2), orbit.velocity(phi)


def ripple(ripples: tuple[tuple[float, float], ...], phi: NDArray) -> NDArray:
    """The sum of c cos(m phi) + s sin(m phi) over m = 1, 2, …: ln(density) along the orbit."""
    coefficients = [complex(c, -s) for c, s in reversed(ripples)]
    return np.polyval([*coefficients, 0.0], np.exp(1j * phi)).real


def disc_gas(disc: Disc, orbit: Orbit, p: NDArray, q: NDArray, z: NDArray) -> tuple[NDArray, tuple]:
    """An exponential disc that rotates at 0.8 v0 and drifts like the orbit; rigid inside the semi-minor axis."""
    radius = np.hypot(p, q)
    n_H = disc.n_H_cm3 * np.exp(-radius / disc.radius_pc - 0.5 * (z / disc.height_pc) ** 2) + 1e-2
    turn, drift = (v / np.maximum(radius, orbit.semi_minor_pc) for v in (0.8 * orbit.v0_km_s, orbit.drift_km_s))
    return n_H, (-q * turn - p * drift, p * turn - q * drift, np.zeros_like(radius))


def lane_gas(lane: Lane, orbit: Orbit, p: NDArray, q: NDArray, z: NDArray) -> tuple[NDArray, tuple]:
    """Gas that spirals inwards along a trailing lane, with constant angular momentum outside the tip of the orbit."""
    radius = np.maximum(np.hypot(p, q), 1e-3)
    outside = radius - orbit.semi_major_pc
    spine = lane.azimuth_rad - lane.winding * np.log(radius / orbit.semi_major_pc)
    beside = np.arctan2(q, p) - spine
    across = radius * np.arctan2(np.sin(beside), np.cos(beside)) / np.hypot(1.0, lane.winding)
    taper = 1.0 / (1.0 + np.exp(-outside / 6.0)) * np.exp(-((np.maximum(outside, 0.0) / lane.length_pc) ** 2))
    n_H = lane.n_H_cm3 * taper * np.exp(-0.5 * (across**2 + z**2) / lane.width_pc**2)
    inwards = -lane.inflow_km_s * np.clip(0.4 + outside / 100.0, 0.2, 1.0) / radius
    around = orbit.v0_km_s * orbit.semi_minor_pc / radius**2
    return n_H, (inwards * p - around * q, inwards * q + around * p, np.zeros_like(radius))


def add_clouds(clouds: tuple[Cloud, ...], x: NDArray, y: NDArray, z: NDArray, n_H: NDArray, velocity: tuple) -> tuple:
    """Adds Gaussian clouds with their own velocities; the velocity of a cell is the mass-weighted mean."""
    momentum = [n_H * v for v in velocity]
    total = n_H.copy()
    for cloud in clouds:
        square = np.add.reduce([(c - at) ** 2 for c, at in zip((x, y, z), cloud.position_pc, strict=True)])
        near = square < (5.0 * cloud.radius_pc) ** 2
        n = cloud.n_H_cm3 * np.exp(-0.5 * square[near] / cloud.radius_pc**2)
        total[near] += n
        for m, v in zip(momentum, cloud.velocity_km_s, strict=True):
            m[near] += n * v
    return total, tuple(m / total for m in momentum)


def stir(turbulence: Turbulence | None, x: NDArray, y: NDArray, z: NDArray, n_H: NDArray, velocity: tuple) -> tuple:
    """Adds log-normal density fluctuations (the mean is conserved) and Gaussian velocity fluctuations."""
    if turbulence is None:
        return n_H, velocity
    s = turbulence.contrast * sample(turbulence.density, turbulence.cell_pc, x, y, z)
    stirred = n_H * np.exp(s - 0.5 * turbulence.contrast**2)
    kicks = (turbulence.sigma_km_s * sample(f, turbulence.cell_pc, x, y, z) for f in turbulence.velocity)
    return stirred, tuple(v + kick for v, kick in zip(velocity, kicks, strict=True))


def draw_galaxy(config: MockConfig, seed: int, number: int) -> MockGalaxy:
    """Galaxy `number` of a seed; it does not depend on other galaxies."""
    rng = np.random.default_rng([seed, number])
    ranges = {name: value for name, value in vars(config).items() if name != "clouds" and isinstance(value, tuple)}
    u = {name: rng.uniform(*limits) for name, limits in ranges.items()}
    ellipse = (u["semi_major_pc"], u["semi_major_pc"] * u["axis_ratio"], u["height_pc"], u["height_phase_rad"])
    orbit = Orbit(*ellipse, rng.uniform(0.0, 360.0), u["v0_km_s"], u["drift_km_s"])
    ring = Ring(u["ring_n_H_cm3"], u["ring_width_pc"], draw_ripples(u["ring_contrast"], rng))
    clouds = draw_clouds(config, orbit, ring, rng)
    shape = (u["lane_winding"], u["lane_width_pc"], u["lane_length_pc"], u["lane_inflow_km_s"])
    lanes = tuple(
        Lane(azimuth, u["lane_n_H_cm3"] * (1.0 + sign * u["lane_imbalance"]), *shape)
        for azimuth, sign in ((0.0, 1.0), (np.pi, -1.0))
    )
    disc = Disc(u["disc_n_H_cm3"], u["disc_radius_pc"], u["disc_height_pc"])
    turbulence = draw_turbulence(config, u["turbulence_contrast"], u["turbulence_km_s"], rng)
    return MockGalaxy(u["scale"], orbit, ring, clouds, lanes, disc, turbulence)


def draw_ripples(contrast: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Six harmonics of ln(density) along the orbit, standard deviation `contrast` in all.

    The longest wavelengths dominate: three quarters of the gas of the CMZ are at positive longitude.
    """
    amplitudes = rng.standard_normal((6, 2)) / np.arange(1, 7)[:, None]
    amplitudes *= contrast * np.sqrt(2.0 / np.sum(amplitudes**2))
    return tuple((float(c), float(s)) for c, s in amplitudes)


def draw_clouds(config: MockConfig, orbit: Orbit, ring: Ring, rng: np.random.Generator) -> tuple[Cloud, ...]:
    """Clouds, mostly where the ring is dense, with log-uniform densities and random velocities of 5 km/s."""
    phases = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    density = np.exp(ripple(ring.ripples, phases))

    def draw() -> Cloud:
        phi = np.asarray(rng.choice(phases, p=density / density.sum()))
        v_p, v_q, v_z = orbit.velocity(phi)
        x, y = orbit.galactocentric(orbit.semi_major_pc * np.cos(phi), orbit.semi_minor_pc * np.sin(phi))
        v_x, v_y = orbit.galactocentric(v_p, v_q)
        place = np.array([x, y, orbit.height(phi)]) + rng.normal(0.0, 0.5 * ring.width_pc, 3)
        velocity = np.array([v_x, v_y, v_z]) + rng.normal(0.0, 5.0, 3)
        n_H = np.exp(rng.uniform(*np.log(config.cloud_n_H_cm3)))
        return Cloud(tuple(place), tuple(velocity), float(n_H), rng.uniform(*config.cloud_radius_pc))

    return tuple(draw() for _ in range(rng.integers(config.clouds[0], config.clouds[1] + 1)))


def draw_turbulence(config: MockConfig, contrast: float, sigma_km_s: float, rng: np.random.Generator) -> Turbulence:
    cell = config.turbulence_cell_pc
    nx, ny, nz = (round(box / cell) for box in LATTICE_BOX_PC)
    slopes = (config.density_slope, *[config.velocity_slope] * 3)
    density, *velocity = (random_field(rng, (nx, ny, nz), cell, slope, config.largest_eddy_pc) for slope in slopes)
    return Turbulence(density, tuple(velocity), cell, contrast, sigma_km_s)
