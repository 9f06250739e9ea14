"""The nearest cells found by pruning, in blocks and in slabs, against direct queries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from iris_cli.axes import RHO, V_LOS
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.errors import DataError
from iris_cli.snapshots.augment import Change, Sight
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.nearest_cell import Cone, nearest, needed
from iris_cli.snapshots.view import View

GRID = GRID_PRESETS["tiny"].scaled(13, 10, 6, 8)  # no multiples of the block's size
PLAIN = Change(1.0, 1.0, 1.0, 0.0, 0.0)
CENTRAL = Sight(0.0, 0.0, 0.0)
WHOLE = slice(None)


def cloud(cells, seed, spread_pc=400.0):
    """Half the cells everywhere, half in a few clumps."""
    rng = np.random.default_rng(seed)
    wide = rng.uniform(-spread_pc, spread_pc, (cells - cells // 2, 3))
    return np.concatenate([wide, rng.normal(0.0, 6.0, (cells // 2, 3)) + wide[: max(1, cells // 50)].mean(axis=0)])


def gas_of(position, seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(0.1, 0.5, (6, len(position))).astype(np.float32)
    return Gas(position, rng.normal(0.0, 80.0, (len(position), 3)).astype(np.float32), *numbers)


def view_of(gas, change=PLAIN, sight=CENTRAL, grid=GRID):
    return View.of(gas, change, sight, grid, "test")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 1000), st.floats(0.2, 60.0))
def test_blocks_find_the_same_cells_as_one_query_per_point(cells, seed, spacing):
    position = cloud(cells, seed)
    points = np.stack(np.meshgrid(*(spacing * np.arange(n) - 20.0 for n in (9, 6, 5)), indexing="ij"), axis=-1)
    found = nearest(cKDTree(position), points)
    least = cKDTree(position).query(points)[0]
    assert np.linalg.norm(position[found] - points, axis=-1) == pytest.approx(least, rel=1e-12)


SIGHTS = st.builds(Sight, st.floats(0.0, 360.0), st.floats(-100.0, 100.0), st.floats(-1.0, 1.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 2000), st.integers(0, 1000), SIGHTS, st.floats(0.25, 1.5), st.floats(0.1, 10.0))
def test_pruning_never_loses_a_nearest_cell(cells, seed, sight, scale, skew):
    gas, change = gas_of(cloud(cells, seed)), Change(scale, 1.0, skew, 30.0, 0.0)
    cone = Cone(sight.seen(GRID), sight.view_deg, sight.longitude_deg)
    if not needed(cone, gas.position_pc, change.matrix)[0].any():
        return
    pruned = view_of(gas, change, sight)
    velocity = gas.velocity_km_s @ change.matrix.T.astype(np.float32)
    values = np.column_stack([velocity, gas.rho, gas.T_gas_K, gas.x_H2, gas.x_CO, gas.T_dust_K])
    whole = replace(pruned, tree=cKDTree(gas.position_pc), values=values)
    assert np.array_equal(pruned.slab(WHOLE), whole.slab(WHOLE))


def test_cells_far_outside_the_cone_are_pruned():
    position = np.concatenate([cloud(4000, 0, spread_pc=3000.0), cloud(4000, 0, spread_pc=300.0)])
    keep, bound = needed(Cone(GRID, 0.0), position, np.eye(3))
    outside = Cone(GRID, 0.0).excess_pc(position)
    assert 0 < keep.sum() < 0.7 * len(position)
    assert outside[keep].max() <= bound and outside[~keep].min() > bound


def test_the_inside_of_a_cone_is_that_of_the_grid():
    cone = Cone(GRID, 77.0, 0.3)
    assert cone.excess_pc(cone.points(WHOLE).reshape(-1, 3)).max() < 1e-9
    sky = {"lat_min_deg": -0.5, "lat_max_deg": 0.5, "lon_min_deg": -2.0, "lon_max_deg": 2.0}
    wider = replace(GRID, **sky, r_min_pc=8000.0, r_max_pc=8600.0)
    shell = Cone(wider, 77.0, 0.3).points(WHOLE)
    for face in (shell[0], shell[-1], shell[:, 0], shell[:, -1], shell[:, :, 0], shell[:, :, -1]):
        assert cone.excess_pc(face.reshape(-1, 3)).min() > 5.0


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_and_threads_do_not_change_the_tensor(threads):
    view = view_of(gas_of(cloud(2000, 1)), sight=Sight(10.0, 0.0, 0.0))
    rows, slabs = zip(*view.slabs(1.0, threads), strict=True)
    assert rows[1] == slice(4, 8) and np.array_equal(np.concatenate(slabs, axis=1), view.slab(WHOLE))


def test_an_empty_cone_is_an_error():
    with pytest.raises(DataError, match="no cell is in the cone"):
        view_of(gas_of(cloud(100, 0) + np.array([0.0, 0.0, 5000.0])))


def test_gas_that_moves_away_from_the_observer_recedes_in_every_view():
    position = cloud(2000, 2)
    for view_deg in (0.0, 90.0, 215.0):
        away = -np.array([np.cos(np.deg2rad(view_deg)), np.sin(np.deg2rad(view_deg)), 0.0])
        gas = replace(gas_of(position), velocity_km_s=np.tile(100.0 * away, (2000, 1)).astype(np.float32))
        v_los = view_of(gas, sight=Sight(view_deg, 0.0, 0.0)).slab(WHOLE)[V_LOS]
        assert v_los.min() > 99.9


def galaxy_of_a_point(place, velocity):
    """One dense cell among others at rest."""
    rng = np.random.default_rng(0)
    fog = rng.uniform(-900.0, 900.0, (20_000, 3)) * [1.0, 1.0, 0.3]
    gas = gas_of(np.concatenate([[place], fog]))
    speeds = np.zeros((20_001, 3), np.float32)
    speeds[0] = velocity
    return replace(gas, rho=np.where(np.arange(20_001) == 0, 1e6, 1.0).astype(np.float32), velocity_km_s=speeds)


FINE = GRID_PRESETS["small"]


def centroid(tensor):
    """Distance, longitude, latitude of the dense cell."""
    axes = (FINE.distance, FINE.longitude, FINE.latitude)
    return tuple(float(a.centres()[k].mean()) for a, k in zip(axes, np.nonzero(tensor[RHO] > 1e5), strict=True))


def test_a_scale_changes_lengths_and_velocities_but_not_densities():
    gas = galaxy_of_a_point(np.array([0.0, -200.0, 20.0]), np.array([-100.0, 0.0, 0.0]))
    tensor = view_of(gas, Change(0.5, 1.0, 1.0, 0.0, 0.0), grid=FINE).slab(WHOLE)
    _, lon, lat = centroid(tensor)
    assert lon == pytest.approx(np.rad2deg(100.0 / 8277.0), abs=0.05)
    assert lat == pytest.approx(np.rad2deg(10.0 / 8277.0), abs=0.03)
    assert tensor[V_LOS][tensor[RHO] > 1e5] == pytest.approx(50.0, rel=1e-3)
    assert set(np.unique(tensor[RHO])) == {1.0, 1e6}


def test_a_density_factor_changes_only_the_density():
    gas = gas_of(cloud(1000, 3))
    one, two = (view_of(gas, Change(1.0, factor, 1.0, 0.0, 0.0)).slab(WHOLE) for factor in (1.0, 2.0))
    assert np.array_equal(two[RHO], 2.0 * one[RHO]) and np.array_equal(np.delete(two, RHO, 0), np.delete(one, RHO, 0))


def test_a_skew_stretches_along_its_axis_and_shrinks_across_it():
    gas = galaxy_of_a_point(np.array([0.0, -100.0, 0.0]), np.zeros(3))
    for axis_deg, expected_pc in ((90.0, 120.0), (0.0, 100.0 / 1.2)):
        tensor = view_of(gas, Change(1.0, 1.0, 1.44, axis_deg, 0.0), grid=FINE).slab(WHOLE)
        assert centroid(tensor)[1] == pytest.approx(np.rad2deg(expected_pc / 8277.0), abs=0.05)


def test_jitter_moves_the_galaxy_and_not_the_grid():
    gas = galaxy_of_a_point(np.zeros(3), np.zeros(3))
    r, lon, _ = centroid(view_of(gas, sight=Sight(0.0, 60.0, 0.4), grid=FINE).slab(WHOLE))
    assert r == pytest.approx(8337.0, abs=5.0) and lon == pytest.approx(0.4, abs=0.05)
