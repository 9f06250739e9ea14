"""Where the gas that shines at (l, v) is: H2 at each longitude and velocity by distance, and its motion from above."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.observers.simple import velocity_density
from iris_cli.observers.top_down import h2_density

#: Bins in distance: half of them in front of the Galactic Centre, where the map's distances hold it.
BINS = 12


@lru_cache(maxsize=16)
def distance_edges(grid: Grid) -> NDArray[np.float64]:
    """(BINS + 1,) pc, ascending: equal bins in front of the Galactic Centre, and equal bins behind it.

    They divide the distances of the density image. Where these do not contain the centre, all bins are equal.
    """
    cells = grid.distance.edges()
    first, last, centre = cells[grid.r_crop_min], cells[grid.r_crop_max], grid.observer_distance_pc
    if not first < centre < last:
        return np.linspace(first, last, BINS + 1)
    near, far = np.linspace(first, centre, BINS // 2 + 1), np.linspace(centre, last, BINS // 2 + 1)
    return np.concatenate([near, far[1:]])


@lru_cache(maxsize=16)
def _shares(grid: Grid) -> Tensor:
    """(BINS, R') the share of each cell of the density image that lies in each bin."""
    cells, bins = grid.distance.edges()[grid.r_crop_min : grid.r_crop_max + 1], distance_edges(grid)
    overlap = np.minimum(bins[1:, None], cells[None, 1:]) - np.maximum(bins[:-1, None], cells[None, :-1])
    return torch.from_numpy(np.maximum(overlap, 0.0) / np.diff(cells)).float()


def columns_by_distance(tensor: Tensor, v_km_s: Tensor, grid: Grid) -> Tensor:
    """(6, R, L, B), (R, L, B) -> (BINS, L, V) H2 column per velocity in each bin, M_sun pc^-2 (km/s)^-1.

    The mean over latitude, as an observation's. Gas beyond the distances of the density image is left out.
    """
    crop = slice(grid.r_crop_min, grid.r_crop_max)
    column = h2_density(tensor[:, crop]) * (grid.distance.step / grid.lat_steps)
    found = []
    for share in _shares(grid):
        inside = share > 0
        mass = column[inside] * share[inside][:, None, None]
        found.append(velocity_density(v_km_s[crop][inside], mass, grid.velocity, 1)[:, 0])
    return torch.stack(found)


def total_and_nearer(columns: Tensor) -> tuple[Tensor, Tensor]:
    """(BINS, L, V) -> (1, L, V) float32 their sum, and (BINS - 1, L, V) uint8: 255 times the share of it that is nearer
    than the end of each bin but the last; 0 where there is no gas.
    """
    nearer = columns.cumsum(dim=0)
    total = nearer[-1:]
    shares = nearer[:-1] / total.clamp(min=torch.finfo(total.dtype).tiny)
    return total.float(), (255.0 * shares).round().to(torch.uint8)


def velocity_from_above(tensor: Tensor, v_km_s: Tensor, grid: Grid) -> Tensor:
    """(6, R, L, B), (R, L, B) -> (2, R', L) km/s, float16: mean line-of-sight velocity of the H2 over latitude and its
    standard deviation; 0 where there is no gas.
    """
    crop = slice(grid.r_crop_min, grid.r_crop_max)
    mass, v = h2_density(tensor[:, crop]).double(), v_km_s[crop].double()
    total = mass.sum(dim=-1).clamp(min=torch.finfo(mass.dtype).tiny)
    mean = (mass * v).sum(dim=-1) / total
    spread = ((mass * (v - mean[..., None]).square()).sum(dim=-1) / total).sqrt()
    return torch.stack([mean, spread]).half()
