"""A snapshot's gas on the grid of one observer: (6, R, L, B), slab by slab, in limited memory."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.errors import DataError
from iris_cli.snapshots.augment import Change, Sight
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.nearest_cell import BLOCK, Cone, nearest, needed
from iris_cli.standard.grid import cells

#: Bytes per point of the grid during the look-up: its position three times, indices, fields.
BYTES_PER_POINT = 200


@dataclass(frozen=True)
class View:
    """The cells that one view needs: a tree of their undistorted positions, and their values (N, 8) float32
    v_x, v_y, v_z, rho, T_gas, x_H2, x_CO, T_dust.
    """

    cone: Cone
    tree: cKDTree
    values: NDArray[np.float32]
    inverse: NDArray[np.float64]
    bound_pc: float

    @classmethod
    def of(cls, gas: Gas, change: Change, sight: Sight, grid: Grid, where: str) -> "View":
        """The view of `gas` in the galaxy's axes. Raises DataError when no cell is in the cone."""
        cone = Cone(sight.seen(grid), sight.view_deg, sight.longitude_deg)
        keep, bound = needed(cone, gas.position_pc, change.matrix)
        if not keep.any():
            what = f"{where}: no cell is in the cone of view {sight.view_deg:g} deg, scale {change.scale:g}"
            raise DataError(what, "check the centre (--centre), the units and the grid")
        near = gas.of(keep)
        velocity = near.velocity_km_s @ change.matrix.T.astype(np.float32)
        scalars = (near.rho * np.float32(change.density), near.T_gas_K, near.x_H2, near.x_CO, near.T_dust_K)
        inverse = np.linalg.inv(change.matrix).astype(np.float64)
        values = np.column_stack([velocity, *scalars]).astype(np.float32)
        return cls(cone, cKDTree(near.position_pc, balanced_tree=False), values, inverse, bound)

    def slab(self, rows: slice) -> NDArray[np.float32]:
        """(6, rows, L, B) in inner units, receding positive."""
        where = cells(self.cone.grid, self.cone.view_deg, rows, self.cone.longitude_deg)
        points = np.stack([where.x, where.y, where.z], axis=-1) @ self.inverse.T
        found = self.values[nearest(self.tree, points)]
        slab = np.empty((len(axes.CHANNELS), *found.shape[:3]), np.float32)
        slab[axes.V_LOS] = found[..., 0] * where.nx + found[..., 1] * where.ny + found[..., 2] * where.nz
        for k, channel in enumerate((axes.RHO, axes.T_GAS, axes.X_H2, axes.X_CO, axes.T_DUST), start=3):
            slab[channel] = found[..., k]
        return slab

    def slabs(self, memory_bytes: float, threads: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields all rows in order, computed by threads; all slabs in existence at a time fit into the memory."""
        grid = self.cone.grid
        per_row = grid.lon_steps * grid.lat_steps * BYTES_PER_POINT
        rows = max(1, int(memory_bytes / (2 * threads) / per_row / BLOCK)) * BLOCK
        rows = min(rows, max(1, 500_000 // (per_row // BYTES_PER_POINT) // BLOCK) * BLOCK)  # larger slabs are slower
        parts = [slice(a, min(a + rows, grid.r_steps)) for a in range(0, grid.r_steps, rows)]
        pending: deque[Future[NDArray[np.float32]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            ahead = iter(parts)
            pending.extend(pool.submit(self.slab, part) for part in islice(ahead, threads))
            for part in parts:
                pending.extend(pool.submit(self.slab, other) for other in islice(ahead, 1))
                yield part, pending.popleft().result()


def h2_mass_per_row(slab: NDArray[np.float32], grid: Grid, rows: slice) -> NDArray[np.float64]:
    """(rows,) M_sun of H2 in each row of distances: rho_H2 R^2 cos(b) dR dl db."""
    r = grid.distance.centres()[rows]
    steps = np.deg2rad(grid.longitude.step) * np.deg2rad(grid.latitude.step)
    across, rho, x_H2 = steps * np.cos(np.deg2rad(grid.latitude.centres())), slab[axes.RHO], slab[axes.X_H2]
    molecular = np.einsum("rlb,rlb,b->r", rho, x_H2, across, dtype=np.float64, casting="same_kind")
    return units.H2_MASS_SHARE * r**2 * grid.distance.step * molecular
