"""The ingested reference snapshot against the published orbit, the paper's tensors, and a Monte-Carlo integral."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.spatial import cKDTree

from iris_cli import units
from iris_cli.axes import RHO, T_GAS, V_LOS, X_H2
from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.snapshots.augment import Change, Sight
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.ingest import ingest
from iris_cli.snapshots.reader import Snapshot
from iris_cli.snapshots.view import View
from iris_cli.standard.dataset import StandardDataset

#: The published track is seen from so far, and centred there.
R0_PC, CENTRE_DEG = 8100.0, (0.05, -0.046)


@pytest.fixture(scope="module")
def snapshot(shared_data):
    return shared_data / "arepo_like_snapshot_101.hdf5"


def ingested(snapshot, folder, grid, **changes):
    config = IngestConfig(grid=grid, views=1, **changes)
    assert ingest([snapshot], folder, config, quiet=True).complete
    return StandardDataset.open(folder)


@pytest.fixture(scope="module")
def dense(snapshot, tmp_path_factory):
    """l, b, v_los, distance beyond the centre of the densest hundredth of the tensor's cells."""
    wide = Grid().scaled(226, 151, 76, 64)
    grid = replace(wide, observer_distance_pc=R0_PC, r_min_pc=7875.0, r_max_pc=8325.0)
    tensor = ingested(snapshot, tmp_path_factory.mktemp("orbit") / "out", grid)[0]
    r, lon, lat = np.nonzero(tensor[RHO] > np.quantile(tensor[RHO], 0.99))
    place = (grid.longitude.centres()[lon], grid.latitude.centres()[lat])
    return (*place, tensor[V_LOS][r, lon, lat], grid.distance.centres()[r] - R0_PC)


@pytest.fixture(scope="module")
def published(orbit_track):
    """l, b from the orbit's centre, v, far (bool), 300 points."""
    lon, lat, v, far = orbit_track
    return lon - CENTRE_DEG[0], lat - CENTRE_DEG[1], v, far


def nearest_of_track(dense, published):
    """For each dense cell: |dl|, |dv| to the nearest published point in l-b-v, and whether the side agrees."""
    (lon, lat, v, beyond), (track_lon, track_lat, track_v, far) = dense, published
    square = ((lon[:, None] - track_lon) / 0.05) ** 2 + ((lat[:, None] - track_lat) / 0.05) ** 2
    best = (square + ((v[:, None] - track_v) / 10.0) ** 2).argmin(axis=1)
    clear = np.abs(beyond) > 15.0  # elsewhere near and far meet
    return np.abs(lon - track_lon[best]), np.abs(v - track_v[best]), ((beyond > 0) == far[best])[clear]


def test_dense_gas_follows_the_published_orbit_near_and_far(dense, published):
    off_lon, off_v, right_side = nearest_of_track(dense, published)
    assert np.median(off_lon) < 0.04 and np.median(off_v) < 8.0  # the gas is 8 pc = 0.057 deg thick and 8 km/s warm
    assert right_side.mean() > 0.88


def test_the_orbit_is_covered_all_around(dense, published):
    (lon, lat, v, beyond), (track_lon, track_lat, track_v, far) = dense, published
    near = (np.abs(lon[:, None] - track_lon) < 0.08) & (np.abs(lat[:, None] - track_lat) < 0.08)
    near &= (np.abs(v[:, None] - track_v) < 25.0) & ((beyond[:, None] > 0) == far)
    clear = np.abs(track_lon) < 0.45  # at the tips near and far meet
    assert near.any(axis=0)[clear].mean() > 0.95


@pytest.mark.parametrize("wrong", [(-1, 1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1)], ids=["l", "v", "near and far"])
def test_a_wrong_sign_would_not_fit(wrong, dense, published):
    _, off_v, right_side = nearest_of_track(tuple(s * q for s, q in zip(wrong, dense, strict=True)), published)
    assert np.median(off_v) > 30.0 or right_side.mean() < 0.2


def test_the_mass_on_the_small_grid_is_that_of_a_monte_carlo_integral(snapshot, tmp_path):
    """1e6 points, uniform in the volume of the cone, and the nearest cell of each, without grid and blocks."""
    grid = GRID_PRESETS["small"]
    dataset = ingested(snapshot, tmp_path / "out", grid)
    with h5py.File(snapshot) as file:
        gas = file["PartType0"]
        position = (gas["Coordinates"][:].astype(float) - 120.0) * 100.0
        H2 = gas["Density"][:].astype(float) * 1e-6 * gas["ChemicalAbundances"][:, 0] * units.H2_MASS_SHARE
    rng = np.random.default_rng(0)
    r_edges, lon_edges, lat_edges = (axis.edges() for axis in (grid.distance, grid.longitude, grid.latitude))
    r = np.cbrt(rng.uniform(r_edges[0] ** 3, r_edges[-1] ** 3, 1_000_000))
    lon = np.deg2rad(rng.uniform(lon_edges[0], lon_edges[-1], 1_000_000))
    sin_lat = rng.uniform(*np.sin(np.deg2rad(lat_edges[[0, -1]])), 1_000_000)
    flat = r * np.sqrt(1.0 - sin_lat**2)
    points = np.column_stack([8277.0 - flat * np.cos(lon), -flat * np.sin(lon), r * sin_lat])
    volume = np.ptp(r_edges**3) / 3.0 * np.deg2rad(np.ptp(lon_edges)) * np.ptp(np.sin(np.deg2rad(lat_edges)))
    truth = volume * H2[cKDTree(position).query(points)[1]].mean()
    tensor, across = dataset[0], np.cos(np.deg2rad(grid.latitude.centres()))
    cell = grid.distance.centres()[:, None, None] ** 2 * across * grid.distance.step
    cell = cell * np.deg2rad(grid.longitude.step) * np.deg2rad(grid.latitude.step)
    found = (tensor[RHO].astype(float) * tensor[X_H2] * units.H2_MASS_SHARE * cell).sum()
    assert found == pytest.approx(truth, rel=0.05)
    assert dataset.entries[0].info["h2_mass_M_sun"] == pytest.approx(found, rel=1e-4)


def test_the_views_agree_with_the_papers_tensors(snapshot, shared_data):
    """The paper code turns its galaxies over and prunes cells at the edges, which changes a few nearest cells there."""
    reference = StandardDataset.open(shared_data / "reference-standard").turn_over()
    config = IngestConfig(grid=reference.grid, views=3)
    (files,) = find_snapshots([snapshot])
    gas, _ = Snapshot.open(files, config).read(1000.0, config, 10**6)
    for number, view_deg in enumerate((0.0, 120.0, 240.0)):
        change, sight = Change(1.0, 1.0, 1.0, 0.0, 0.0), Sight(view_deg, 0.0, 0.0)
        tensor, expected = View.of(gas, change, sight, reference.grid, "snapshot").slab(slice(None)), reference[number]
        inner = (slice(4, -4), slice(4, -4), slice(3, -3))
        for channel in (RHO, X_H2, T_GAS):
            same = np.isclose(tensor[channel], expected[channel], rtol=1e-3)
            assert same.mean() > 0.9 and same[inner].mean() > 0.97
        assert (np.abs(tensor[V_LOS] - expected[V_LOS]) < 0.5).mean() > 0.9
