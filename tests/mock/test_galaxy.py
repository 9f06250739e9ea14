from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from iris_cli import units
from iris_cli.axes import RHO, T_DUST, T_GAS, V_LOS, X_CO, X_H2
from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.mock.foreground import draw_foreground
from iris_cli.mock.galaxy import Lane, draw_galaxy, lane_gas
from iris_cli.mock.turbulence import random_field, sample
from iris_cli.standard.dataset import sense_of_rotation
from iris_cli.standard.grid import cells
from iris_cli.standard.orbit import Orbit

TINY = GRID_PRESETS["tiny"]


def cell_volumes_pc3(grid: Grid) -> np.ndarray:
    r = grid.distance.centres()[:, None, None]
    across = np.deg2rad(grid.longitude.step) * np.diff(np.sin(np.deg2rad(grid.latitude.edges())))
    return r**2 * across * grid.distance.step + np.zeros((1, grid.lon_steps, 1))


@pytest.fixture(scope="module")
def tensors() -> list[np.ndarray]:
    return [draw_galaxy(MockConfig(), 3, number).tensor(TINY, 40.0) for number in range(6)]


def test_a_galaxy_has_the_mass_temperatures_and_molecules_of_the_cmz(tensors: list[np.ndarray]) -> None:
    for tensor in tensors:
        assert 1e7 < (tensor[RHO] * cell_volumes_pc3(TINY)).sum() < 1e8  # M_sun
        assert 29 < tensor[T_GAS].min() < 80 and tensor[T_GAS].max() < 151
        assert tensor[T_DUST].min() >= 15 and tensor[T_DUST].max() <= 30
        dense = tensor[RHO] > np.quantile(tensor[RHO], 0.99)
        assert tensor[X_H2][dense].min() > 0.45 and tensor[X_H2].max() <= 0.5
        assert tensor[X_CO][dense].mean() == pytest.approx(1.4e-4, rel=0.15)
        assert np.abs(tensor[V_LOS]).max() < 250


def test_a_galaxy_turns_like_the_milky_way_from_every_side() -> None:
    galaxy = draw_galaxy(MockConfig(), 0, 1)
    for view_deg in (0.0, 77.0, 180.0, 251.0):
        assert sense_of_rotation(galaxy.tensor(TINY, view_deg), TINY) > 0.1


def test_near_gas_recedes_on_average_because_gas_flows_inwards(tensors: list[np.ndarray]) -> None:
    """The inflow distinguishes near from far."""
    flow = np.mean([tensor[RHO] * tensor[V_LOS] for tensor in tensors], axis=(0, 2, 3))
    mass = np.mean([tensor[RHO] for tensor in tensors], axis=(0, 2, 3))
    near, far = (flow[half].sum() / mass[half].sum() for half in (slice(32), slice(32, 64)))
    assert near > 10.0 and far < -10.0  # km/s


def test_from_the_far_side_velocities_and_longitudes_are_reversed() -> None:
    """From the far side, near is far, left is right, and receding is approaching (perspective aside)."""
    galaxy = draw_galaxy(MockConfig(), 0, 2)
    front, back = galaxy.tensor(TINY, 10.0), galaxy.tensor(TINY, 190.0)
    turned = back[:, ::-1, ::-1, :]
    assert np.corrcoef(np.log(front[RHO]).ravel(), np.log(turned[RHO]).ravel())[0, 1] > 0.97
    heavy = front[RHO] > np.quantile(front[RHO], 0.9)
    assert np.corrcoef(front[V_LOS][heavy], -turned[V_LOS][heavy])[0, 1] > 0.97


def test_a_lane_has_a_gaussian_cross_section_and_flows_inwards() -> None:
    orbit = Orbit(90.0, 50.0, 20.0, 0.0, 0.0, 100.0)
    lane = Lane(azimuth_rad=0.3, n_H_cm3=500.0, winding=0.8, width_pc=12.0, length_pc=200.0, inflow_km_s=60.0)
    radius = 150.0
    azimuth = lane.azimuth_rad - lane.winding * np.log(radius / orbit.semi_major_pc)
    p, q = np.full(3, radius * np.cos(azimuth)), np.full(3, radius * np.sin(azimuth))
    n_H, (v_p, v_q, v_z) = lane_gas(lane, orbit, p, q, lane.width_pc * np.array([0.0, 1.0, -2.0]))
    assert n_H / n_H[0] == pytest.approx([1.0, np.exp(-0.5), np.exp(-2.0)])
    assert (p * v_p + q * v_q) / radius == pytest.approx(-60.0) and not v_z.any()
    # What comes from the tip of the orbit keeps the angular momentum that gas has on it.
    assert p * v_q - q * v_p == pytest.approx(orbit.v0_km_s * orbit.semi_minor_pc)


def test_a_draw_depends_on_seed_and_number_alone() -> None:
    first, *others = (draw_galaxy(MockConfig(), *of).tensor(TINY, 0.0) for of in ((5, 7), (5, 8), (6, 7), (5, 7)))
    assert [np.array_equal(first, other) for other in others] == [False, False, True]


def test_filling_slab_by_slab_gives_the_same_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    galaxy = draw_galaxy(MockConfig(), 0, 0)
    whole = galaxy.tensor(TINY, 20.0)
    fives = [slice(r, r + 5) for r in range(0, 64, 5)]
    monkeypatch.setattr("iris_cli.mock.galaxy.slabs", lambda steps, cells_per_row: fives)
    assert np.array_equal(galaxy.tensor(TINY, 20.0), whole)


def test_cells_have_the_positions_of_their_coordinates() -> None:
    where = cells(TINY, 0.0)
    distance = np.sqrt((where.x - 8277.0) ** 2 + where.y**2 + where.z**2)
    assert distance == pytest.approx(np.broadcast_to(TINY.distance.centres()[:, None, None], distance.shape))
    assert where.y[0, -1, 0] < 0 < where.y[0, 0, 0]  # positive longitude is on the left, towards -y
    assert where.z[0, 0, -1] > 0
    assert where.x[0, 32, 8] > where.x[-1, 32, 8]  # index 0 is nearest


def test_turbulence_has_the_requested_power_law() -> None:
    field = random_field(np.random.default_rng(0), (64, 64, 64), 1.0, 11 / 3, 32.0)
    power = np.abs(np.fft.fftn(field)) ** 2
    k = np.sqrt(sum(q**2 for q in np.meshgrid(*[np.fft.fftfreq(64)] * 3, indexing="ij")))
    bins = [(k > low) & (k <= 1.25 * low) for low in (0.05, 0.1, 0.2, 0.35)]
    slope = np.polyfit(np.log([k[b].mean() for b in bins]), np.log([power[b].mean() for b in bins]), 1)[0]
    assert slope == pytest.approx(-11 / 3, abs=0.2)
    assert field.std() == pytest.approx(1.0, rel=1e-5)
    x = np.arange(3.0)
    assert sample(field, 1.0, x, x, x) == pytest.approx(field[[0, 1, 2], [0, 1, 2], [0, 1, 2]], abs=1e-6)


def test_foreground_is_cold_slow_and_crosses_the_whole_field() -> None:
    grid = replace(TINY, r_min_pc=6000.0, r_max_pc=7500.0)
    tensor = draw_foreground(ForegroundConfig(), grid, 0, 0).tensor(grid)
    column = tensor[RHO].sum(axis=(0, 2))
    assert column.min() > 0.05 * column.max()
    assert abs((tensor[RHO] * tensor[V_LOS]).sum() / tensor[RHO].sum()) < 80
    assert abs(sense_of_rotation(tensor, grid)) < 0.6


def test_mass_per_hydrogen_nucleus_includes_helium() -> None:
    assert pytest.approx(1.40810, rel=1e-4) == units.MASS_PER_H_KG / units.ATOMIC_MASS_KG
    assert pytest.approx(1.00784 / 1.40810, rel=1e-4) == 0.5 * units.H2_MASS_SHARE  # all hydrogen in H2
