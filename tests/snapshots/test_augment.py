"""Orientation of galaxies to rotate like the Milky Way, and their random variations."""

from dataclasses import replace

import numpy as np
import pytest

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.ingest import IngestConfig
from iris_cli.errors import DataError
from iris_cli.snapshots.augment import Change, Sight, Spin, draw_change, draw_sight, measure_spin, orientation, reach_pc
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.galaxy import load_galaxy
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.nearest_cell import Cone
from iris_cli.snapshots.reader import Snapshot
from iris_cli.snapshots.view import View
from iris_cli.standard.dataset import sense_of_rotation
from tests.snapshots.snapshots import CONFIG, galaxy, write

GRID = GRID_PRESETS["tiny"].scaled(16, 16, 8, 8)
CLOCKWISE = Spin((0.0, 0.0, -1.0), 0.9)


def gas(turn=None):
    made = galaxy()
    turn = np.eye(3) if turn is None else turn
    names = ("Density", "InternalEnergy", "H2", "CO", "DustTemperature")
    scalars = [np.asarray(made[name], np.float32) for name in names]
    velocity = (made["Velocities"] @ turn.T).astype(np.float32)
    return Gas(made["Coordinates"] @ turn.T, velocity, *scalars, np.ones(3000, np.float32))


def about_x(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


@pytest.mark.parametrize("tilt_deg", [0.0, 10.0, 60.0, 90.0, 130.0, 175.0, 180.0])
def test_every_galaxy_rotates_clockwise_in_every_view(tilt_deg):
    found = gas(about_x(tilt_deg))
    turn = orientation("auto", measure_spin(found), "snap")
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12) and np.linalg.det(turn) == pytest.approx(1.0)
    turned = replace(found, position_pc=found.position_pc @ turn.T, velocity_km_s=found.velocity_km_s @ turn.T)
    assert measure_spin(turned).axis[2] < -0.9
    for view_deg in (0.0, 100.0, 250.0):
        tensor = View.of(turned, Change(1.0, 1.0, 1.0, 0.0, 0.0), Sight(view_deg, 0.0, 0.0), GRID, "snap").slab(
            slice(None)
        )
        assert sense_of_rotation(tensor, GRID) > 0.5


def test_a_galaxy_is_turned_as_its_tilt_and_the_user_require():
    upright, over = measure_spin(gas(about_x(10.0))), measure_spin(gas(about_x(175.0)))
    for choice, spin, signs in (
        ("auto", upright, [1.0, 1.0, 1.0]),
        ("auto", over, [1.0, -1.0, -1.0]),
        ("clockwise", replace(CLOCKWISE, order=0.0), [1.0, 1.0, 1.0]),
        ("anticlockwise", CLOCKWISE, [1.0, -1.0, -1.0]),
    ):
        assert np.array_equal(orientation(choice, spin, "snap"), np.diag(signs))
    assert orientation("align", upright, "snap") @ upright.axis == pytest.approx([0.0, 0.0, -1.0], abs=1e-9)


def test_a_snapshot_that_turns_the_other_way_is_turned_over(tmp_path):
    mirrored = {name: values * [1, -1, 1] if values.ndim == 2 else values for name, values in galaxy().items()}
    (files,) = find_snapshots([write(tmp_path / "snap.hdf5", mirrored)])
    for spin, sign in (("auto", -1.0), ("clockwise", 1.0)):
        config = replace(CONFIG, spin=spin)
        found = measure_spin(load_galaxy(Snapshot.open(files, config), config, 1e9).gas)
        assert sign * found.order * found.axis[2] > 0.9


def test_random_motion_has_no_rotation_to_detect():
    rng = np.random.default_rng(0)
    for velocity in (rng.normal(0.0, 50.0, (3000, 3)).astype(np.float32), np.zeros((3000, 3), np.float32)):
        with pytest.raises(DataError, match="no rotation to detect") as error:
            orientation("auto", measure_spin(replace(gas(), velocity_km_s=velocity)), "snap")
        assert "--spin" in error.value.hint


def test_a_common_velocity_does_not_affect_the_rotation():
    moving = replace(gas(), velocity_km_s=gas().velocity_km_s + np.float32(500.0))
    assert measure_spin(moving).axis == pytest.approx(measure_spin(gas()).axis, abs=0.01)


def test_draws_depend_on_seed_and_galaxy_alone():
    config = IngestConfig(scale=(0.25, 1.0), density=(0.5, 2.0), skew=(0.8, 1.25), first_view_deg=(0.0, 360.0), views=4)
    config = replace(config, jitter_distance_pc=(-50.0, 50.0), jitter_longitude_deg=(-0.2, 0.2))
    one = draw_change(config, "ab12")
    assert one == draw_change(config, "ab12")
    assert one != draw_change(config, "ab13") and one != draw_change(replace(config, seed=1), "ab12")
    assert 0.25 <= one.scale <= 1.0 and 0.5 <= one.density <= 2.0 and 0.8 <= one.skew <= 1.25
    sights = [draw_sight(config, "ab12", one, view) for view in range(4)]
    assert len({sight.farther_pc for sight in sights}) == 4
    assert all(abs(s.farther_pc) <= 50.0 and abs(s.longitude_deg) <= 0.2 for s in sights)
    assert np.diff([s.view_deg for s in sights]) % 360.0 == pytest.approx(90.0)


def test_a_skew_conserves_areas_and_a_scale_multiplies_lengths():
    change = Change(0.5, 1.0, 1.7, 33.0, 0.0)
    assert np.linalg.det(change.matrix) == pytest.approx(0.125)
    assert np.linalg.svd(change.matrix, compute_uv=False) == pytest.approx(0.5 * np.array([1.7**0.5, 1.0, 1.7**-0.5]))


def test_reach_is_the_farthest_point_of_any_view():
    config = IngestConfig(grid=GRID, jitter_distance_pc=(-40.0, 10.0), jitter_longitude_deg=(0.0, 0.3))
    farthest = max(
        np.linalg.norm(Cone(Sight(0.0, d, lon).seen(GRID), 0.0, lon).points(slice(None)), axis=-1).max()
        for d in (-40.0, 0.0, 10.0)
        for lon in (0.0, 0.3)
    )
    assert farthest <= reach_pc(config) * (1 + 1e-9) and reach_pc(config) < 1.1 * farthest
