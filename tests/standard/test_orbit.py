"""The Walker et al. ellipse against the published track: longitude, latitude, velocity, near and far."""

from dataclasses import replace

import numpy as np
import pytest

from iris_cli.axes import RHO, V_LOS
from iris_cli.config.grid import Grid
from iris_cli.mock.galaxy import Envelope, MockGalaxy
from iris_cli.mock.streams import Stream
from iris_cli.standard.orbit import WALKER_2025

R0_PC = 8100.0
# The centre of the published track; Sgr A* itself is at l = -0.056 deg, b = -0.046 deg.
CENTRE_DEG = (0.05, -0.046)


def observed_track(points):
    """(points, 4) l, b, v_los, distance beyond the centre, for the observer of view 0."""
    x, y, z, v_x, v_y, v_z = WALKER_2025.track(points).T
    to_gas = np.stack([x - R0_PC, y, z])
    distance = np.linalg.norm(to_gas, axis=0)
    v_los = (to_gas * [v_x, v_y, v_z]).sum(axis=0) / distance
    lon = np.rad2deg(np.arctan2(-y, R0_PC - x)) + CENTRE_DEG[0]
    lat = np.rad2deg(np.arcsin(z / distance)) + CENTRE_DEG[1]
    return np.stack([lon, lat, v_los, distance - R0_PC], axis=1)


def test_the_walker_ellipse_follows_its_published_track(orbit_track):
    lon, lat, v, far = orbit_track
    track = observed_track(7200)
    scaled = (track[:, :3] - np.stack([lon, lat, v], axis=1)[:, None]) / [0.01, 0.01, 1.0]
    nearest = np.argmin((scaled**2).sum(axis=2), axis=1)
    off = np.abs(scaled[np.arange(300), nearest])
    assert off.max() < 0.3  # 0.003 deg and 0.3 km/s, everywhere along the orbit
    clear = np.abs(track[nearest, 3]) > 1.0
    assert clear.sum() > 290
    assert np.array_equal(track[nearest, 3][clear] > 0, far[clear])


def test_the_tensor_has_the_published_velocity_along_the_track(orbit_track):
    """Near and far, at the published (l, b), the gas of the ring has the published velocity, including its sign."""
    lon, lat, v, far = orbit_track
    grid = replace(Grid().scaled(150, 151, 76, 64), observer_distance_pc=R0_PC, r_min_pc=7875.0, r_max_pc=8325.0)
    left, up = (float(R0_PC * np.tan(np.deg2rad(angle))) for angle in CENTRE_DEG)
    nothing = Envelope(1e-3, 100.0, 20.0, 100.0)
    ring_alone = MockGalaxy(1.0, (Stream(WALKER_2025, 1e4, 5.0),), nothing, centre_pc=(0.0, -left, up))
    tensor = ring_alone.tensor(grid, 0.0)
    column = np.rint((lon - grid.lon_min_deg) / grid.longitude.step).astype(int)
    row = np.rint((lat - grid.lat_min_deg) / grid.latitude.step).astype(int)
    rho, v_los = tensor[RHO][:, column, row], tensor[V_LOS][:, column, row]
    beyond = grid.distance.centres()[:, None] > R0_PC
    own_side = np.where(beyond == far, rho, 0.0)
    there = own_side.argmax(axis=0)
    peak = own_side.max(axis=0)
    clear = np.abs(grid.distance.centres()[there] - R0_PC) > 12.0  # elsewhere both sides blend
    assert clear.sum() > 200
    assert (peak[clear] > 0.5 * rho.max()).all()
    assert np.abs(v_los[there, np.arange(300)] - v)[clear].max() < 12.0
    fast = clear & (np.abs(v) > 20.0)
    assert np.array_equal(np.sign(v_los[there, np.arange(300)])[fast], np.sign(v)[fast])


def test_gas_rotates_clockwise_and_drifts_inwards_at_constant_angular_momentum():
    x, y, _, v_x0, v_y0, _ = WALKER_2025.track(100).T
    _, _, _, v_x, v_y, _ = replace(WALKER_2025, drift_km_s=20.0).track(100).T
    momentum = -WALKER_2025.v0_km_s * WALKER_2025.semi_minor_pc
    assert x * v_y0 - y * v_x0 == pytest.approx(momentum) and x * v_y - y * v_x == pytest.approx(momentum)
    assert ((v_x - v_x0) * x + (v_y - v_y0) * y) / np.hypot(x, y) == pytest.approx(-20.0)
