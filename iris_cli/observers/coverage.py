"""What of an image a survey has observed: the share of each cell that lies inside its coverage."""

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.setting import Range


def covered(axis: Axis, limits: Range | None) -> NDArray[np.float32]:
    """(steps,) share of each cell within the limits; 1 without limits."""
    edges = axis.edges()
    inside = np.clip(edges, *limits) if limits else edges
    return np.asarray(np.diff(inside) / np.diff(edges), np.float32)


def shares(coverage: Coverage, grid: Grid) -> tuple[NDArray[np.float32], ...]:
    """(L,), (B,) and (V,) shares; a voxel is covered by their product."""
    limits = (coverage.lon_deg, coverage.lat_deg, coverage.v_km_s)
    return tuple(
        covered(a, seen) for a, seen in zip((grid.longitude, grid.latitude, grid.velocity), limits, strict=True)
    )


def image_share(coverage: Coverage, grid: Grid) -> NDArray[np.float32]:
    """(L, V) share of each pixel of an image that is within the longitudes and velocities covered."""
    lon, _, v = shares(coverage, grid)
    return lon[:, None] * v
