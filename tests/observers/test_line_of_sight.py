"""Where the gas at (l, v) is, its motion from above, and what latitude adds to an observation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli.axes import RHO, V_LOS, X_H2
from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.mock import MockConfig
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.line_of_sight import (
    BINS,
    columns_by_distance,
    distance_edges,
    total_and_nearer,
    velocity_from_above,
)
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.top_down import h2_density

GRID = Grid().scaled(32, 32, 8, 32)


def clouds(*cells):
    """Molecular gas in cells (r, lon, lat, v, density)."""
    tensor = torch.zeros(GRID.tensor_shape)
    tensor[X_H2] = 0.5
    for r, lon, lat, v, rho in cells:
        tensor[V_LOS, r, lon, lat], tensor[RHO, r, lon, lat] = v, rho
    return tensor


@pytest.fixture(scope="module")
def galaxy():
    return torch.from_numpy(draw_galaxy(MockConfig(), 0, 0).tensor(GRID, 25.0))


@pytest.mark.parametrize("grid", GRID_PRESETS.values(), ids=GRID_PRESETS)
def test_the_centre_divides_near_bins_from_far_ones(grid):
    edges = distance_edges(grid)
    assert len(edges) == BINS + 1 and edges[BINS // 2] == grid.observer_distance_pc
    cells = grid.distance.edges()
    assert (edges[0], edges[-1]) == (cells[grid.r_crop_min], cells[grid.r_crop_max])


def test_gas_in_front_of_the_centre_is_near_and_gas_behind_it_far():
    v = float(GRID.velocity.centres()[20])
    tensor = clouds((3, 10, 2, v, 1.0), (25, 12, 2, v, 2.0), (3, 14, 2, v, 3.0), (25, 14, 2, v, 1.0))
    total, nearer = total_and_nearer(columns_by_distance(tensor, tensor[V_LOS], GRID))
    near = nearer[BINS // 2 - 1] / 255.0
    assert (near[10, 20], near[12, 20]) == (1.0, 0.0) and near[14, 20] == pytest.approx(0.75, abs=0.5 / 255)
    assert (total[0] > 0).sum() == 3 and nearer[:, total[0] == 0].max() == 0


def test_bins_add_up_to_what_the_simple_observer_sees(galaxy):
    h2 = galaxy.clone()
    h2[RHO] = h2_density(galaxy)
    seen = SimpleObserver(GRID, smooth_velocity=False).observe(h2)
    columns = columns_by_distance(galaxy, galaxy[V_LOS], GRID)
    torch.testing.assert_close(columns.sum(dim=0), seen[0].double(), rtol=1e-4, atol=1e-6 * seen.max().item())


def test_a_cell_across_the_end_of_a_bin_is_divided():
    grid = replace(GRID, observer_distance_pc=float(GRID.distance.centres()[8]) + 0.25 * GRID.distance.step)
    v = float(grid.velocity.centres()[20])
    tensor = clouds((8, 10, 2, v, 1.0))
    _, nearer = total_and_nearer(columns_by_distance(tensor, tensor[V_LOS], grid))
    assert nearer[BINS // 2 - 1, 10, 20] / 255.0 == pytest.approx(0.75, abs=1 / 255)


def test_velocity_from_above_is_weighted_with_mass_over_latitude():
    tensor = clouds((5, 9, 1, 100.0, 3.0), (5, 9, 6, -20.0, 1.0))
    mean, spread = velocity_from_above(tensor, tensor[V_LOS], GRID).float()
    assert mean[5, 9].item() == pytest.approx(70.0, abs=0.05)
    assert spread[5, 9].item() == pytest.approx(120.0 * np.sqrt(3.0) / 4.0, abs=0.05)
    assert mean.count_nonzero() == spread.count_nonzero() == 1


def test_latitude_moments_give_height_and_thickness_and_add_up(galaxy):
    observer = SimpleObserver(GRID, "moments", smooth_velocity=False)
    v, b = float(GRID.velocity.centres()[20]), GRID.latitude.centres() / GRID.latitude.edges()[-1]
    mean, first, second = observer.observe(clouds((5, 9, 1, v, 1.0)))[:, 9, 20].tolist()
    assert (first / mean, second / mean) == pytest.approx((b[1], b[1] ** 2), rel=1e-5)
    seen = observer.observe(galaxy)
    assert seen.shape == (observer.channels, 32, 32) and observer.channels == 3
    torch.testing.assert_close(seen[:1], SimpleObserver(GRID, "mean", smooth_velocity=False).observe(galaxy))
    parts = galaxy.clone(), galaxy.clone()
    parts[0][RHO, 16:], parts[1][RHO, :16] = 0.0, 0.0
    torch.testing.assert_close(sum(map(observer.observe, parts)), seen, rtol=1e-4, atol=1e-5)
