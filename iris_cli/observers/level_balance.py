"""Statistical equilibrium of many points at once, compiled: tables with photon trapping solve it a million times.

Grassmann, Taksar & Heyman 1985 (Oper. Res. 33, 1107): elimination without subtractions, so that even populations of
1e-30 are accurate to the last digits, where a general solver returns noise of either sign.
"""

# mypy: allow-untyped-defs

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.compiled_math import kernel


def balanced(
    collisions: NDArray, which: NDArray, upper: NDArray, lower: NDArray, down: NDArray, up: NDArray
) -> NDArray[np.float64]:
    """(point, level) populations that sum to 1, computed on as many threads as torch uses.

    `collisions` (any, level, level) are rates from row to column; `which` (point,) is the index of each point's matrix;
    `down` and `up` (point, line) are the radiative rates between the levels `upper` and `lower` (line,).
    """
    found = np.empty((len(which), collisions.shape[1]))
    parts = torch.get_num_threads()
    edges = np.linspace(0, len(which), parts + 1).astype(np.int64)

    def solve(part: int) -> None:
        here = slice(edges[part], edges[part + 1])
        _eliminate(collisions, which[here], upper, lower, down[here], up[here], found[here])

    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(solve, range(parts)))
    return found


@kernel
def _eliminate(collisions, which, upper, lower, down, up, found):
    levels = collisions.shape[1]
    q = np.empty((levels, levels))
    for point in range(len(which)):
        q[:] = collisions[which[point]]
        for k in range(len(upper)):
            q[upper[k], lower[k]] += down[point, k]
            q[lower[k], upper[k]] += up[point, k]
        for k in range(levels - 1, 0, -1):
            leaving = 0.0
            for j in range(k):
                leaving += q[k, j]
            leaving = leaving if leaving > 0.0 else 1.0
            for i in range(k):
                share = q[i, k] / leaving
                q[i, k] = share
                for j in range(k):
                    q[i, j] += share * q[k, j]
        total, x = 1.0, found[point]
        x[0] = 1.0
        for k in range(1, levels):
            x[k] = 0.0
            for i in range(k):
                x[k] += x[i] * q[i, k]
            total += x[k]
        for k in range(levels):
            x[k] /= total
