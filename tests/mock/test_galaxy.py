from dataclasses import replace

import numpy as np
import pytest

from iris_cli import units
from iris_cli.axes import RHO, T_DUST, T_GAS, V_LOS, X_CO, X_H2
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.observer import CO_PER_H2
from iris_cli.mock.clouds import Clouds
from iris_cli.mock.draw import draw_galaxy
from iris_cli.mock.foreground import draw_foreground
from iris_cli.mock.galaxy import Envelope, MockGalaxy
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.mock.streams import Opening, Stream, track
from iris_cli.mock.turbulence import random_fields, sample
from iris_cli.standard.dataset import sense_of_rotation
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, temperature_and_molecules
from iris_cli.standard.grid import cells
from iris_cli.standard.orbit import WALKER_2025, Orbit
from tests.mock import reference

TINY = GRID_PRESETS["tiny"]
NO_GAS = Envelope(0.0, 100.0, 20.0, 100.0)


def cell_volumes_pc3(grid):
    r = grid.distance.centres()[:, None, None]
    across = np.deg2rad(grid.longitude.step) * np.diff(np.sin(np.deg2rad(grid.latitude.edges())))
    return r**2 * across * grid.distance.step + np.zeros((1, grid.lon_steps, 1))


@pytest.fixture(scope="module")
def tensors():
    return [draw_galaxy(MockConfig(), 3, number).tensor(TINY, 40.0) for number in range(6)]


def test_a_galaxy_has_the_mass_temperatures_and_molecules_of_the_cmz(tensors):
    for tensor in tensors:
        assert 1e7 < (tensor[RHO] * cell_volumes_pc3(TINY)).sum() < 1e8  # M_sun
        assert 10 < tensor[T_GAS].min() < 60 and 100 < np.quantile(tensor[T_GAS], 0.999) < 600
        assert tensor[T_DUST].min() > 8 and tensor[T_DUST].max() < 60
        dense = tensor[RHO] > np.quantile(tensor[RHO], 0.99)
        assert tensor[X_H2][dense].min() > 0.45 and tensor[X_H2].max() <= 0.5
        assert tensor[X_CO].max() == pytest.approx(0.5 * CO_PER_H2, rel=1e-3)
        assert np.abs(tensor[V_LOS]).max() < 400


def test_a_galaxy_turns_like_the_milky_way_from_every_side():
    for view in ("milky-way", "any"):
        galaxy = draw_galaxy(MockConfig(view=view), 0, 1)
        for view_deg in (0.0, 77.0, 180.0, 251.0):
            assert sense_of_rotation(galaxy.tensor(TINY, view_deg), TINY) > 0.1


def test_orbiting_gas_hardly_drifts_inwards():
    """Otherwise near and far would be distinguished by a motion that does not exist in the Milky Way."""
    side = np.arange(-150.0, 151.0, 10.0)
    x, y, z = np.meshgrid(side, side, np.arange(-30.0, 31.0, 10.0), indexing="ij")
    inner, flows = np.hypot(x, y) < 110.0, []
    for number in range(40):
        n_H, (v_x, v_y, _) = replace(draw_galaxy(MockConfig(), 3, number), lanes=()).gas(x, y, z)
        flows.append(-((n_H * (v_x * x + v_y * y) / np.hypot(x, y).clip(1.0))[inner].sum() / n_H[inner].sum()))
    assert abs(np.mean(flows)) < 6.0  # km/s; those of single galaxies differ, since their streams are lopsided


# --- orientation ------------------------------------------------------------------------------------------------------


def angles_deg(galaxy, view_deg):
    """(angle of the bar from the line of sight, tilts of the orbits), for the observer of a view."""
    out_x, out_y = galaxy.lanes[0].outwards
    bar = np.rad2deg(np.arctan2(-out_x, -out_y)) + 90.0
    return bar + view_deg, [stream.orbit.tilt_deg + view_deg for stream in galaxy.streams]


@pytest.mark.parametrize("views", [1, 5])
def test_all_views_have_the_milky_ways_orientation(views):
    config = MockConfig(tilt_scatter_deg=0.0)
    for number in range(20):
        galaxy = draw_galaxy(config, 1, number)
        azimuths = galaxy.views_deg(views)
        assert azimuths[0] == 0.0 and len(set(azimuths)) == views
        for view_deg in azimuths:
            bar, tilts = angles_deg(galaxy, view_deg)
            assert 20.0 - 1e-4 < bar < 35.0 + 1e-4
            assert all(-40.0 - 1e-4 < tilt < -5.0 + 1e-4 for tilt in tilts)


def test_an_orbit_is_tilted_by_the_angle_of_the_view():
    """The mass of a ring of tilt -25 deg is nearer at positive longitude, and a view of +50 deg turns it to +25 deg."""
    ring = MockGalaxy(1.0, (Stream(replace(WALKER_2025, tilt_deg=-25.0), 1e3, 8.0),), NO_GAS)
    r = TINY.distance.centres()
    for view_deg, tilted in ((0.0, -1), (50.0, 1)):
        tensor = ring.tensor(TINY, view_deg)[RHO].sum(axis=2)
        end = tensor[:, TINY.longitude.centres() > 0.4].sum(axis=1)
        assert np.sign(end @ r / end.sum() - TINY.observer_distance_pc) == tilted


def test_any_orientation_is_drawn_from_all_around():
    galaxies = [draw_galaxy(MockConfig(view="any"), 2, number) for number in range(60)]
    tilts = np.array([galaxy.streams[0].orbit.tilt_deg % 360.0 for galaxy in galaxies])
    assert np.histogram(tilts, bins=4, range=(0.0, 360.0))[0].min() >= 6
    assert galaxies[0].views_deg(4) == [0.0, 90.0, 180.0, 270.0]


def test_the_near_lane_recedes_at_positive_longitude_and_the_far_one_approaches():
    galaxy = draw_galaxy(MockConfig(), 0, 0)
    lanes = MockGalaxy(1.0, (), NO_GAS, galaxy.lanes).tensor(TINY, 0.0)
    far, left = np.meshgrid(TINY.distance.centres() > 8277.0, TINY.longitude.centres() > 0, indexing="ij")
    flux = (lanes[RHO] * lanes[V_LOS]).sum(axis=2)
    assert flux[~far & left].sum() > 5.0 * abs(flux[far & left].sum())
    assert flux[far & ~left].sum() < -5.0 * abs(flux[~far & ~left].sum())


# --- ingredients ------------------------------------------------------------------------------------------------------


def test_the_lanes_carry_the_inflow_of_the_configuration():
    """A mass flux, through a circle of any radius beyond the orbits."""
    config = MockConfig(lane_inflow_Msun_yr=(2.7, 2.7), scale=(1.2, 1.2))
    galaxy = draw_galaxy(config, 0, 4)
    lanes = MockGalaxy(galaxy.scale, (), NO_GAS, galaxy.lanes)
    for radius in (185.0, 215.0):
        phi = np.linspace(0.0, 2.0 * np.pi, 4001)[:-1, None]
        z = np.arange(-60.0, 60.1, 2.0)[None, :]
        x, y = radius * np.cos(phi) + 0.0 * z, radius * np.sin(phi) + 0.0 * z
        n_H, (v_x, v_y, _) = lanes.gas(x, y, z + 0.0 * phi)
        through = -float((n_H * (v_x * np.cos(phi) + v_y * np.sin(phi))).sum())
        area = 2.0 * np.pi * radius / 4000 * 2.0
        yearly = through * area * DENSITY_PER_N_H_CM3 * 1.0227e-6 * galaxy.scale**3
        assert yearly == pytest.approx(2.7, rel=0.02)


@pytest.mark.parametrize("grid", [TINY, TINY.scaled(128, 128, 32, 64)])
def test_a_cloud_has_its_mass_width_and_velocity_on_any_grid(grid):
    """Also one that is smaller than a cell."""
    for radius in (2.0, 9.0):
        gradient = np.array([[[0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        place, velocity = np.array([[30.0, -60.0, 5.0]]), np.array([[-40.0, 70.0, 0.0]])
        cloud = Clouds(place, velocity, np.array([1e4]), np.array([radius]), gradient)
        tensor = MockGalaxy(1.0, (), NO_GAS, clouds=cloud).tensor(grid, 0.0)
        dense = tensor[RHO] > 1.0 * DENSITY_PER_N_H_CM3
        mass = np.where(dense, tensor[RHO].astype(float), 0.0) * cell_volumes_pc3(grid)
        expected = (2.0 * np.pi) ** 1.5 * radius**3 * 1e4 * DENSITY_PER_N_H_CM3
        assert mass.sum() == pytest.approx(expected, rel=0.03)
        lon = (mass.sum(axis=(0, 2)) * grid.longitude.centres()).sum() / mass.sum()
        r = (mass.sum(axis=(1, 2)) * grid.distance.centres()).sum() / mass.sum()
        assert np.deg2rad(lon) * 8247.0 == pytest.approx(60.0, abs=0.5) and r == pytest.approx(8247.0, abs=1.0)
        v = tensor[V_LOS][dense]
        mean = np.average(v, weights=mass[dense])
        assert mean == pytest.approx(39.5, abs=2.0)  # on the near side, towards the centre
        if radius == 9.0:
            assert np.sqrt(np.average((v - mean) ** 2, weights=mass[dense])) == pytest.approx(27.0, rel=0.1)


def test_a_stream_has_the_mass_that_its_track_says():
    opened = Opening(start_rad=1.0, length_rad=7.5, precession=0.91)
    for opening in (None, opened):
        orbit, ripples = Orbit(100.0, 60.0, 10.0, 0.4, -20.0, 130.0), ((0.5, 0.2), (0.0, 0.3))
        stream = Stream(orbit, 1e3, 7.0, ripples, (0.0, -0.8), opening)
        side = np.arange(-160.0, 160.1, 4.0)
        places = np.meshgrid(side, side, np.arange(-60.0, 60.1, 4.0), indexing="ij")
        n_H, _ = MockGalaxy(1.0, (stream,), NO_GAS).gas(*places)
        expected = 1e3 * 2.0 * np.pi * 7.0**2 * track(stream).length_pc
        assert n_H.sum() * 4.0**3 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("opening", [None, Opening(start_rad=2.0, length_rad=5.0, precession=0.91)])
def test_the_gas_of_a_stream_moves_along_its_track(opening):
    stream = Stream(Orbit(100.0, 60.0, 10.0, 0.4, -20.0, 130.0), 1e3, 7.0, opening=opening)
    made = track(stream, 4000)
    n_H, velocity = MockGalaxy(1.0, (stream,), NO_GAS).gas(*made.position_pc.T)
    inner = slice(700, -700)
    along = np.gradient(made.position_pc, axis=0)[inner]
    moving = np.stack(velocity, axis=1)[inner]
    cosine = (along * moving).sum(axis=1) / np.linalg.norm(along, axis=1) / np.linalg.norm(moving, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(moving - made.velocity_km_s[inner]).max() < 0.5
    if opening is None:  # the flow is the same all along: gas piles up where it is slow
        assert n_H[inner] * np.linalg.norm(moving[:, :2], axis=1) == pytest.approx(1e3 * 130.0, rel=0.01)
    x, y, _ = made.position_pc[inner].T  # constant angular momentum, clockwise
    assert x * moving[:, 1] - y * moving[:, 0] == pytest.approx(-130.0 * 60.0, rel=1e-3)


def test_cloud_masses_follow_the_power_law_of_the_configuration():
    config = MockConfig(clouds=(4000, 4000), scale=(1.0, 1.0), cloud_mass_Msun=(1e4, 1e6), cloud_mass_slope=1.7)
    clouds = draw_galaxy(config, 0, 0).clouds
    mass = ((2 * np.pi) ** 1.5 * clouds.radius_pc**3 * clouds.n_H_cm3 * DENSITY_PER_N_H_CM3)[2:]
    assert mass.min() > 0.99e4 and mass.max() < 1.01e6
    assert (mass < 1e5).mean() == pytest.approx((1.0 - 10**-0.7) / (1.0 - 10**-1.4), abs=0.02)


def test_each_ingredient_is_left_out_by_its_range():
    everything = draw_galaxy(MockConfig(), 0, 0)
    assert everything.streams and everything.lanes[0].n_H_cm3 and everything.clouds.n_H_cm3.all()
    none = {"stream_mass_Msun": (0.0, 0.0), "lane_inflow_Msun_yr": (0.0, 0.0), "complex_mass_Msun": (0.0, 0.0)}
    galaxy = draw_galaxy(MockConfig(**none, clouds=(0, 0)), 0, 0)
    assert not sum(part.n_H_cm3 for part in (*galaxy.streams, *galaxy.lanes)) and not galaxy.clouds.n_H_cm3.any()
    assert galaxy.envelope.n_H_cm3 == everything.envelope.n_H_cm3 > 0


def test_temperatures_scatter_at_one_density():
    scatter = {"gas_temperature_scatter": (0.3, 0.3), "dust_temperature_scatter": (0.1, 0.1)}
    tensor = draw_galaxy(MockConfig(**scatter), 0, 0).tensor(TINY, 0.0)
    T_gas, _, _, T_dust = temperature_and_molecules(tensor[RHO] / DENSITY_PER_N_H_CM3)
    assert np.log(tensor[T_GAS] / T_gas).std() == pytest.approx(0.3, rel=0.1)
    assert np.log(tensor[T_DUST] / T_dust).std() == pytest.approx(0.1, rel=0.1)


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_tensor_follows_the_formulas():
    """Those of the reference, in float64: closed and open streams, lanes, clouds and turbulence."""
    grid = TINY.scaled(24, 20, 16, 16)
    for number in range(3):
        galaxy = draw_galaxy(MockConfig(open_streams=(1, 2)), 7, number)
        made, expected = galaxy.tensor(grid, 30.0), reference.tensor(galaxy, grid, 30.0)
        for channel in (RHO, T_GAS, X_H2, X_CO, T_DUST):
            relative = np.abs(made[channel] / expected[channel] - 1.0)
            assert np.median(relative) < 2e-6 and relative.max() < 5e-5
        assert np.abs(made[V_LOS] - expected[V_LOS]).max() < 1e-3  # km/s


def test_a_draw_depends_on_seed_and_number_alone():
    first, *others = (draw_galaxy(MockConfig(), *of).tensor(TINY, 0.0) for of in ((5, 7), (5, 8), (6, 7), (5, 7)))
    assert [np.array_equal(first, other) for other in others] == [False, False, True]


def test_a_cone_is_written_by_slabs_and_never_held_whole(tmp_path, monkeypatch):
    """The bytes are those of the whole tensor, and the peak of memory is far below its size."""
    cone = GRID_PRESETS["full-cone"].scaled(1024, 32, 8, 32)
    maker = Galaxies(MockConfig(), cone, seed=0, views=1)
    write_mock(maker, tmp_path / "whole", 1, quiet=True)
    monkeypatch.setattr("iris_cli.mock.galaxy.SLAB_CELLS", 4 * 32 * 8)
    shapes = []
    monkeypatch.setattr("iris_cli.standard.dataset.check_tensor", lambda tensor, _: shapes.append(tensor.shape))
    write_mock(maker, tmp_path / "slabs", 1, quiet=True)
    assert shapes == [(6, 4, 32, 8)] * 256
    whole, slabs = ((tmp_path / name / "tensor_000000.npy").read_bytes() for name in ("whole", "slabs"))
    assert whole == slabs


def test_cells_have_the_positions_of_their_coordinates():
    where = cells(TINY, 0.0)
    distance = np.sqrt((where.x - 8277.0) ** 2 + where.y**2 + where.z**2)
    assert distance == pytest.approx(np.broadcast_to(TINY.distance.centres()[:, None, None], distance.shape))
    assert where.y[0, -1, 0] < 0 < where.y[0, 0, 0]  # positive longitude is on the left, towards -y
    assert where.z[0, 0, -1] > 0
    assert where.x[0, 32, 8] > where.x[-1, 32, 8]  # index 0 is nearest


def test_turbulence_has_the_requested_power_law():
    field = random_fields(np.random.default_rng(0), (64, 64, 64), 1.0, [11 / 3], 32.0)
    power = np.abs(np.fft.fftn(field[0])) ** 2
    k = np.sqrt(sum(q**2 for q in np.meshgrid(*[np.fft.fftfreq(64)] * 3, indexing="ij")))
    bins = [(k > low) & (k <= 1.25 * low) for low in (0.05, 0.1, 0.2, 0.35)]
    slope = np.polyfit(np.log([k[b].mean() for b in bins]), np.log([power[b].mean() for b in bins]), 1)[0]
    assert slope == pytest.approx(-11 / 3, abs=0.2)
    places = np.random.default_rng(1).uniform(0.0, 64.0, (3, 100_000)).astype(np.float32)
    values = np.empty((1, 100_000), np.float32)
    sample(field, np.float32(1.0), *places, values)
    assert values.std() == pytest.approx(1.0, rel=0.01)  # between lattice points, not on them


@pytest.mark.parametrize("nz", [8, 7])
def test_all_modes_of_turbulence_are_complex_normal_numbers_of_the_same_variance(nz):
    """Also those of the planes kz = 0 and kz = nz/2, of which the inverse transform takes the Hermitian half."""
    rng, shape = np.random.default_rng(3), (6, 8, nz)
    k = np.sqrt(sum(q**2 for q in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")))
    made = [random_fields(rng, shape, 1.0, [2.0], 1e3)[0] for _ in range(3000)]
    modes = np.fft.fftn(made, axes=(1, 2, 3))[:, k > 0] * k[k > 0]
    power = (np.abs(modes) ** 2).mean(axis=0)
    assert power == pytest.approx(power.mean(), rel=0.12)
    parts = np.stack([modes.real, modes.imag])[:, :, power > 0] / np.sqrt(power.mean() / 2.0)
    whole = parts.var(axis=1).min(axis=0) > 0.5  # not the real ones
    assert (parts[..., whole] ** 4).mean() == pytest.approx(3.0, abs=0.1)


def test_foreground_is_cold_slow_and_crosses_the_whole_field():
    grid = replace(TINY, r_min_pc=6000.0, r_max_pc=7500.0)
    tensor = draw_foreground(ForegroundConfig(), grid, 0, 0).tensor(grid)
    column = tensor[RHO].sum(axis=(0, 2))
    assert column.min() > 0.05 * column.max()
    assert abs((tensor[RHO] * tensor[V_LOS]).sum() / tensor[RHO].sum()) < 80
    assert abs(sense_of_rotation(tensor, grid)) < 0.6


def test_mass_per_hydrogen_nucleus_includes_helium():
    assert pytest.approx(1.40810, rel=1e-4) == units.MASS_PER_H_KG / units.ATOMIC_MASS_KG
    assert pytest.approx(1.00784 / 1.40810, rel=1e-4) == 0.5 * units.H2_MASS_SHARE  # all hydrogen in H2
