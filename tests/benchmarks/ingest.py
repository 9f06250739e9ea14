"""Speed of the nearest-cell look-up: `python -m tests.benchmarks.ingest [--cells 1000000] [--preset paper]`.

The plain form is one call of scipy's NearestNDInterpolator for all points of the grid, on the same cores and in the
same run. Each form runs in its own process, to measure its largest resident set. The views are computed in slabs, as
they are for writing. Results: docs/benchmarks/ingest.md.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import NearestNDInterpolator

from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.snapshots.augment import Change, Sight
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.nearest_cell import Cone
from iris_cli.snapshots.view import View
from iris_cli.standard.orbit import WALKER_2025

VIEW_DEG = 30.0


def galaxy(cells: int, seed: int = 0) -> Gas:
    """Cells as in a refined simulation: a third each in a disc of 1 kpc, on the orbit, in clouds on the orbit."""
    rng = np.random.default_rng(seed)
    third = cells // 3
    track = WALKER_2025.track(1000)[:, :3]
    disc = rng.uniform(-1000.0, 1000.0, (third, 3)) * [1.0, 1.0, 0.1]
    ring = track[rng.integers(0, 1000, third)] + rng.normal(0.0, 8.0, (third, 3))
    cloud = rng.integers(0, 100, cells - 2 * third)
    clouds = track[::10][cloud] + rng.normal(0.0, 1.0, (len(cloud), 3)) * (2.0 + 0.2 * cloud[:, None])
    numbers = rng.lognormal(0.0, 1.0, (5, cells)).astype(np.float32)
    velocity = rng.normal(0.0, 50.0, (cells, 3)).astype(np.float32)
    return Gas(np.concatenate([disc, ring, clouds]), velocity, *numbers, numbers[0])


def plain(gas: Gas, grid: Grid) -> NDArray:
    """Every seventh density along each axis, from all points at once with all fields as values: (R, L, B, 8)."""
    values = np.column_stack([gas.velocity_km_s, gas.rho, gas.T_gas_K, gas.x_H2, gas.x_CO, gas.T_dust_K])
    whole = NearestNDInterpolator(gas.position_pc, values)(Cone(grid, VIEW_DEG).points(slice(None)))
    return whole[::7, ::7, ::7, 3].astype(np.float32)


def view(gas: Gas, grid: Grid, threads: int) -> NDArray:
    """The same from slabs (6, rows, L, B), pruning and tree included."""
    whole = View.of(gas, Change(1.0, 1.0, 1.0, 0.0, 0.0), Sight(VIEW_DEG, 0.0, 0.0), grid, "benchmark")
    few = [slab[1, -rows.start % 7 :: 7, ::7, ::7].copy() for rows, slab in whole.slabs(1e9, threads)]
    return np.concatenate(few)


FORMS: dict[str, Callable[[Gas, Grid], NDArray]] = {
    "plain": plain,
    "view, 1 thread": lambda gas, grid: view(gas, grid, 1),
    "view, all threads": lambda gas, grid: view(gas, grid, len(os.sched_getaffinity(0))),
}


def measure(name: str, cells: int, grid: Grid, answers: Any) -> None:
    gas = galaxy(cells)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    rho = FORMS[name](gas, grid)
    took = time.perf_counter() - wall, time.process_time() - processor
    more_MiB = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answers.put((*took, more_MiB, rho))


def compare(cells: int, grid: Grid, rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    best: dict[str, tuple] = {}
    for _ in range(rounds):
        for name in FORMS:
            answers = context.Queue()
            process = context.Process(target=measure, args=(name, cells, grid, answers))
            process.start()
            got = answers.get()
            process.join()
            best[name] = min(best.get(name, got), got, key=lambda g: g[0])
    points = int(np.prod(grid.tensor_shape[1:]))
    print(f"{cells:,} cells, {points:,} points")
    plain_wall, plain_processor, _, plain_rho = best["plain"]
    for name, (wall, processor, more, rho) in best.items():
        ratios = f"x {plain_wall / wall:5.2f} wall, x {plain_processor / processor:5.2f} processor"
        print(
            f"  {name:18s} {wall:7.1f} s wall {processor:7.1f} s processor, {points / wall / 1e6:5.2f} M points/s, "
            f"{ratios}, {more:5.0f} MiB, same: {np.array_equal(rho, plain_rho)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[30_000, 300_000, 3_000_000])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--rows", type=int, default=0, help="fewer distance rows than in the preset")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    grid = GRID_PRESETS[options.preset]
    if options.rows:  # the same steps, from the middle of the range
        middle, half = 0.5 * (grid.r_min_pc + grid.r_max_pc), 0.5 * (options.rows - 1) * grid.distance.step
        grid = replace(
            grid, r_min_pc=middle - half, r_max_pc=middle + half, r_steps=options.rows, r_crop_max=options.rows
        )
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    for cells in options.cells:
        compare(cells, grid, options.rounds)


if __name__ == "__main__":
    main()
