"""Orientation, stretching and viewing directions of a snapshot; random draws depend on seed and digest alone."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.errors import DataError
from iris_cli.snapshots.gas import Gas

#: Below this share of ordered motion the sense of rotation is undefined.
CLEAR_SPIN = 0.05
#: With an axis of rotation closer to the snapshot's z axis than this, a galaxy is not tilted.
UPRIGHT_DEG = 25.0


# --- orientation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spin:
    """Direction of the angular momentum (unit vector, snapshot's axes) and the share of ordered motion, 0 to 1."""

    axis: tuple[float, float, float]
    order: float


def bulk_velocity_km_s(gas: Gas) -> NDArray[np.float64]:
    """(3,) mass-weighted mean."""
    return np.average(gas.velocity_km_s.astype(np.float64), axis=0, weights=gas.weight + 1e-30)


def measure_spin(gas: Gas) -> Spin:
    """L = sum m r x (v - <v>), and |L| / sum m |r| |v - <v>|."""
    velocity = gas.velocity_km_s - bulk_velocity_km_s(gas)
    weight = gas.weight.astype(np.float64)
    momentum = (weight[:, None] * np.cross(gas.position_pc, velocity)).sum(axis=0)
    most = (weight * np.linalg.norm(gas.position_pc, axis=1) * np.linalg.norm(velocity, axis=1)).sum()
    size = float(np.linalg.norm(momentum))
    if not size > 0.0:
        return Spin((0.0, 0.0, 0.0), 0.0)
    x, y, z = momentum / size
    return Spin((float(x), float(y), float(z)), size / float(most))


def orientation(choice: str, spin: Spin, where: str) -> NDArray[np.float64]:
    """(3, 3) rotation from the snapshot's axes to the galaxy's, in which gas turns clockwise seen from +z.

    Raises DataError when `auto` or `align` finds no rotation.
    """
    if choice in ("auto", "align") and spin.order < CLEAR_SPIN:
        what = f"{where}: no rotation to detect: {100 * spin.order:.1f} % of the motion is ordered"
        raise DataError(what, "set the rotation seen from +z: --spin clockwise or --spin anticlockwise")
    tilt_deg = np.rad2deg(np.arccos(min(1.0, abs(spin.axis[2]))))
    if choice == "align" or (choice == "auto" and tilt_deg > UPRIGHT_DEG):
        return _aligned(np.asarray(spin.axis))
    if choice == "anticlockwise" or (choice == "auto" and spin.axis[2] >= 0.0):
        return np.diag(_TURNED_OVER)
    return np.eye(3)


#: Signs of (x, y, z) after half a turn about the line of sight of view 0.
_TURNED_OVER = np.array([1.0, -1.0, -1.0])


def _aligned(start: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation that brings the angular momentum to -z (Rodrigues)."""
    if start[2] > 0.0:
        return _aligned(start * _TURNED_OVER) @ np.diag(_TURNED_OVER)
    end = np.array([0.0, 0.0, -1.0])
    cross = np.cross(start, end)
    k = np.array([[0.0, -cross[2], cross[1]], [cross[2], 0.0, -cross[0]], [-cross[1], cross[0], 0.0]])
    return np.eye(3) + k + k @ k / (1.0 + float(start @ end))


# --- draws ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """The variation drawn for a galaxy. Lengths and velocities change by `matrix`, densities by `density`."""

    scale: float
    density: float
    skew: float
    skew_axis_deg: float
    first_view_deg: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): s times a stretch by sqrt(q) along an axis in the plane and by 1/sqrt(q) across it."""
        cos, sin = np.cos(np.deg2rad(self.skew_axis_deg)), np.sin(np.deg2rad(self.skew_axis_deg))
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        root = np.sqrt(self.skew)
        return self.scale * turn @ np.diag([root, 1.0 / root, 1.0]) @ turn.T


@dataclass(frozen=True)
class Sight:
    """The observer of one view: azimuth, additional distance of the centre, longitude of the centre."""

    view_deg: float
    farther_pc: float
    longitude_deg: float

    def seen(self, grid: Grid) -> Grid:
        """The grid with the distance of this galaxy's centre; its cells keep their position for the observer."""
        return replace(grid, observer_distance_pc=grid.observer_distance_pc + self.farther_pc)


def draw_change(config: IngestConfig, digest: str) -> Change:
    rng = np.random.default_rng([config.seed, int(digest, 16)])
    scale, density, skew = (float(rng.uniform(*limits)) for limits in (config.scale, config.density, config.skew))
    axis, first = float(rng.uniform(0.0, 180.0)), float(rng.uniform(*config.first_view_deg))
    return Change(scale, density, skew, axis if skew != 1.0 else 0.0, first)


def draw_sight(config: IngestConfig, digest: str, change: Change, view: int) -> Sight:
    """View k of a regular polygon around the centre, jittered."""
    rng = np.random.default_rng([config.seed, int(digest, 16), view + 1])
    farther, longitude = (float(rng.uniform(*j)) for j in (config.jitter_distance_pc, config.jitter_longitude_deg))
    return Sight((change.first_view_deg + 360.0 * view / config.views) % 360.0, farther, longitude)


def reach_pc(config: IngestConfig) -> float:
    """The largest distance from the galaxy's centre within any view."""
    grid, jitter = config.grid, max(map(abs, config.jitter_distance_pc))
    shift = np.deg2rad(max(map(abs, config.jitter_longitude_deg)))
    lon = max(abs(np.deg2rad(grid.lon_min_deg)), abs(np.deg2rad(grid.lon_max_deg))) + shift
    lat = max(abs(np.deg2rad(grid.lat_min_deg)), abs(np.deg2rad(grid.lat_max_deg)))
    cosine = np.cos(min(lon, np.pi)) * np.cos(lat)
    corners = [(r, grid.observer_distance_pc + d) for r in (grid.r_min_pc, grid.r_max_pc) for d in (-jitter, jitter)]
    return float(max(np.sqrt(max(0.0, r * r + d * d - 2.0 * r * d * cosine)) for r, d in corners))
