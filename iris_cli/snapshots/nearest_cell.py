"""The nearest cell of every point of the observer's grid: exact, in little memory, faster than one query per point.

A point has the value of the nearest generating point, as in AREPO's Voronoi mesh. Cells that cannot be nearest to any
point of the cone are pruned first. Then the grid is divided into blocks of 4 x 4 x 4 points. With h the distance from a
block's centre to its farthest point and d the distance from the centre to its nearest cell, the nearest cell of each of
its points is within d + 2h of the centre: |p - cell| <= d + h for the nearest one, so |centre - cell| <= d + 2h. If
there are few such cells, one query of the tree for the centre and a comparison of those few replace 64 queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from iris_cli.config.grid import Grid
from iris_cli.standard.grid import cells

BLOCK = 4
#: Cells that are compared for the points of a block; blocks with more candidates are queried point by point.
CANDIDATES = 16
#: Numbers of candidates up to which blocks are compared together.
_GROUPS = (4, 9, CANDIDATES - 1)
#: Number of cells that suffices for a bound on distances.
_ENOUGH = 100_000
#: Blocks processed at once: their arrays fit into the cache.
_BATCH = 1024


def nearest(tree: cKDTree, points: NDArray[np.float64]) -> NDArray[np.intp]:
    """(X, Y, Z) indices of the nearest cells of points (X, Y, Z, 3), which form a smooth, fine lattice."""
    blocks, shape = _to_blocks(points)
    found = np.empty(blocks.shape[:2], np.intp)
    for start in range(0, len(blocks), _BATCH):
        part = slice(start, start + _BATCH)
        found[part] = _nearest_of_blocks(tree, blocks[part])
    return _from_blocks(found, shape)[: points.shape[0], : points.shape[1], : points.shape[2]]


def _nearest_of_blocks(tree: cKDTree, blocks: NDArray[np.float64]) -> NDArray[np.intp]:
    """(N, 64) for points (N, 64, 3)."""
    centre = blocks.mean(axis=1)
    local = blocks - centre[:, None]
    half = np.sqrt((local**2).sum(axis=2).max(axis=1))
    distance, cell = tree.query(centre, k=CANDIDATES)
    # Slightly more than d + 2h, so that rounding does not lose a candidate.
    reach = (distance[:, 0] + 2.0 * half) * (1.0 + 1e-9)
    count = (distance <= reach[:, None]).sum(axis=1)
    found = np.repeat(cell[:, :1], blocks.shape[1], axis=1)
    for fewer, most in zip((1, *_GROUPS), _GROUPS, strict=False):
        these = (count > fewer) & (count <= most)
        if these.any():
            found[these] = _compare(tree, local[these], centre[these], cell[these, :most])
    crowded = count == CANDIDATES
    if crowded.any():
        found[crowded] = tree.query(blocks[crowded])[1]
    return found


def _compare(tree: cKDTree, local: NDArray, centre: NDArray, cell: NDArray) -> NDArray[np.intp]:
    """The nearest of the candidates by |p - c|^2 - |p|^2, with positions relative to the block's centre."""
    chosen = np.where(cell < tree.n, cell, cell[:, :1])  # n means "no more cells"
    relative = tree.data[chosen] - centre[:, None]
    score = (relative**2).sum(axis=2)[:, None, :] - 2.0 * local @ relative.transpose(0, 2, 1)
    return np.take_along_axis(chosen, score.argmin(axis=2), axis=1)


def _to_blocks(points: NDArray) -> tuple[NDArray, tuple[int, int, int]]:
    """(blocks, 64, 3) from (X, Y, Z, 3); the last rows are repeated to complete the blocks."""
    x, y, z = (-(-n // BLOCK) for n in points.shape[:3])
    pad = [(0, BLOCK * n - old) for n, old in zip((x, y, z), points.shape[:3], strict=True)]
    whole = np.pad(points, [*pad, (0, 0)], mode="edge") if any(p[1] for p in pad) else points
    cut = whole.reshape(x, BLOCK, y, BLOCK, z, BLOCK, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return cut.reshape(x * y * z, BLOCK**3, 3), (x, y, z)


def _from_blocks(found: NDArray, shape: tuple[int, int, int]) -> NDArray:
    x, y, z = shape
    cut = found.reshape(x, y, z, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5)
    return cut.reshape(x * BLOCK, y * BLOCK, z * BLOCK)


# --- pruning ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cone:
    """The region that an observer sees: grid (with the distance of the centre), azimuth, longitude of the centre."""

    grid: Grid
    view_deg: float
    longitude_deg: float = 0.0

    def points(self, rows: slice) -> NDArray[np.float64]:
        """(rows, L, B, 3) in pc from the galaxy's centre."""
        where = cells(self.grid, self.view_deg, rows, self.longitude_deg)
        return np.stack([where.x, where.y, where.z], axis=-1)

    def excess_pc(self, position_pc: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,): lower bounds of the distances of positions from the cone; not above zero inside."""
        grid, turn = self.grid, np.deg2rad(self.view_deg)
        cos, sin = np.cos(turn), np.sin(turn)
        x, y, z = position_pc.T
        away, left = grid.observer_distance_pc - (cos * x + sin * y), sin * x - cos * y
        flat = np.hypot(away, left)
        r = np.hypot(flat, z)
        low, high = np.deg2rad(grid.lat_min_deg), np.deg2rad(grid.lat_max_deg)
        out = [r - grid.r_max_pc, grid.r_min_pc - r]
        out += [z * np.cos(high) - flat * np.sin(high), flat * np.sin(low) - z * np.cos(low)]
        if grid.lon_max_deg - grid.lon_min_deg < 180.0:  # beyond that the sides do not bound a wedge
            low, high = (np.deg2rad(lon - self.longitude_deg) for lon in (grid.lon_min_deg, grid.lon_max_deg))
            out += [left * np.cos(high) - away * np.sin(high), away * np.sin(low) - left * np.cos(low)]
        return np.maximum.reduce(out)


def coarse_points(cone: Cone, most: int = 24) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Yields points (n, 3) spread over the cone, and the largest distance of a grid point from the nearest of them."""
    grid = cone.grid
    counts = grid.tensor_shape[1:]
    strides = [max(1, -(-n // most)) for n in counts]
    pick = [np.unique(np.append(np.arange(0, n, s), n - 1)) for n, s in zip(counts, strides, strict=True)]
    angles = (grid.longitude.step, grid.latitude.step)
    lengths = (grid.distance.step, *(grid.r_max_pc * np.deg2rad(step) for step in angles))
    gap = float(np.linalg.norm([0.5 * s * step for s, step in zip(strides, lengths, strict=True)]))
    for row in pick[0]:
        yield cone.points(slice(row, row + 1))[0][np.ix_(pick[1], pick[2])].reshape(-1, 3), gap


def needed(
    cone: Cone, position_pc: NDArray[np.float64], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], float]:
    """(N,): whether a cell can be nearest to a point of the cone, and the bound of that distance in pc.

    `position_pc` are undistorted positions, in which distances are measured; the cone sees them times `matrix`. The
    distance to the nearest cell is Lipschitz continuous with constant 1, so a few points bound it for all.
    """
    excess = cone.excess_pc(position_pc @ matrix.T)
    inside = excess <= 0.0
    if not inside.any():
        return inside, 0.0
    largest, smallest = np.linalg.svd(matrix, compute_uv=False)[[0, -1]]
    near = position_pc[excess <= 0.05 * (cone.grid.r_max_pc - cone.grid.r_min_pc)]
    some = cKDTree(near[:: -(-len(near) // _ENOUGH)])  # a subset of the cells is farther away: still a bound
    inverse = np.linalg.inv(matrix).T
    bound = max(some.query(points @ inverse)[0].max() + gap / smallest for points, gap in coarse_points(cone))
    return excess <= largest * bound, float(bound)
