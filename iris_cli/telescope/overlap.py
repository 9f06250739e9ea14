"""Exact overlap between the cells of two grids, so that regridding conserves flux.

Coarsening is then a mean over everything that a cell covers (no aliasing), and refining repeats values.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

#: Pairs of a pixel and a cell in one chunk of work.
PAIRS_AT_ONCE = 200_000

Floats = NDArray[np.float64]


def interval_overlap(low: Floats, high: Floats, edges: Floats) -> Floats:
    """(N,) intervals and (M + 1,) ascending edges -> (N, M) the length of each interval inside each cell."""
    inner = np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1])
    return np.maximum(inner, 0.0)


def overlap_outside(low: Floats, high: Floats, edges: Floats, taken: list[tuple[float, float]]) -> Floats:
    """`interval_overlap` without the parts inside the disjoint intervals `taken`."""
    lengths = interval_overlap(low, high, edges)
    for first, last in taken:
        lengths -= interval_overlap(np.clip(low, first, last), np.clip(high, first, last), edges)
    return np.maximum(lengths, 0.0)


def disjoint(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The union of intervals, as ascending intervals that do not overlap."""
    merged: list[tuple[float, float]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def quad_overlap(x: Floats, y: Floats, columns: int, rows: int) -> csr_array:
    """Quadrilaterals with corners `x`, `y` (N, 4) in units of cells -> (columns x rows, N) their area in each cell.

    Cell (i, j) is the square i <= x < i + 1, j <= y < j + 1 and has the row i x rows + j. Neighbouring quadrilaterals
    with two common corners leave no gap between them. A quadrilateral with a corner that is not finite has no area.
    """
    finite = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    numbers = np.flatnonzero(finite)
    i0, i1 = _cell_range(x[numbers], columns)
    j0, j1 = _cell_range(y[numbers], rows)
    inside = (i1 >= i0) & (j1 >= j0)
    numbers, i0, i1, j0, j1 = (a[inside] for a in (numbers, i0, i1, j0, j1))
    counts = (i1 - i0 + 1) * (j1 - j0 + 1)
    parts: list[tuple[NDArray, ...]] = [(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for chunk in _chunks(counts):
        n = counts[chunk]
        each = np.repeat(np.arange(len(n)), n)
        place = np.arange(len(each)) - np.repeat(np.cumsum(n) - n, n)
        width = (j1[chunk] - j0[chunk] + 1)[each]
        i, j = i0[chunk][each] + place // width, j0[chunk][each] + place % width
        which = numbers[chunk][each]
        area = area_in_cell(x[which] - i[:, None], y[which] - j[:, None])
        kept = area > 1e-12
        parts.append((area[kept], (i * rows + j)[kept], which[kept]))
    area, cell, pixel = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return csr_array(coo_array((area, (cell, pixel)), shape=(columns * rows, len(x))))


def area_in_cell(x: Floats, y: Floats) -> Floats:
    """(N, 4) corners -> (N,) the area of each quadrilateral inside the unit square.

    Green's theorem: the sum over the edges of the integral over x in 0 ... 1 of y, clamped to 0 ... 1.
    """
    total = np.zeros(len(x))
    for k in range(4):
        x0, y0, x1, y1 = x[:, k], y[:, k], x[:, (k + 1) % 4], y[:, (k + 1) % 4]
        left, right = np.clip(x0, 0.0, 1.0), np.clip(x1, 0.0, 1.0)
        run = x1 - x0
        slope = np.divide(y1 - y0, run, out=np.zeros_like(run), where=run != 0)
        total += (right - left) * _mean_clamped(y0 + slope * (left - x0), y0 + slope * (right - x0))
    return np.abs(total)


def _mean_clamped(a: Floats, b: Floats) -> Floats:
    """The mean of clamp(y, 0, 1) while y goes linearly from a to b."""
    step = b - a
    flat = np.abs(step) < 1e-9
    over = np.divide(_antiderivative(b) - _antiderivative(a), step, out=np.zeros_like(step), where=~flat)
    return np.where(flat, np.clip(0.5 * (a + b), 0.0, 1.0), over)


def _antiderivative(y: Floats) -> Floats:
    inside = np.clip(y, 0.0, 1.0)
    return 0.5 * inside**2 + np.maximum(y - 1.0, 0.0)


def _cell_range(corners: Floats, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last cell that a quadrilateral can overlap; first > last if it is outside."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    first = np.floor(np.clip(low, 0, cells)).astype(np.int64)
    last = np.ceil(np.clip(high, 0, cells)).astype(np.int64) - 1
    return first, last


def _chunks(counts: NDArray[np.int64]) -> list[slice]:
    """Slices of quadrilaterals with about PAIRS_AT_ONCE pairs each."""
    ends = np.cumsum(counts)
    if len(ends) == 0:
        return []
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, int(ends[-1]) + PAIRS_AT_ONCE, PAIRS_AT_ONCE)) + 1
    stops = np.unique(np.minimum(cuts, len(counts)))
    return [slice(int(a), int(b)) for a, b in zip(np.append(0, stops[:-1]), stops, strict=True)]
