"""Pairs in paper-code format: conversion of units and signs, and errors for wrong folders.

The axes have different lengths and none is symmetric, so that no two of them can be confused.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from iris_cli import units
from iris_cli.axes import RHO
from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import DataError
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.pairs.preobserve import check_inputs, open_input
from iris_cli.standard.dataset import Entry, StandardDataset, write_index, write_slabs
from iris_cli.standard.paper_format import open_paper_dataset

LIMITS_DEG = {"lon_min_deg": -1.0, "lon_max_deg": 2.0, "lat_min_deg": -0.2, "lat_max_deg": 0.4}
STEPS = {"r_steps": 5, "lon_steps": 7, "lat_steps": 4}
GRID = Grid(r_crop_max=5, v_min_km_s=-250.0, v_max_km_s=150.0, v_steps=9, **STEPS, **LIMITS_DEG)
SKY = {"lon_min": -1.0, "lon_max": 2.0, "lat_min": -0.2, "lat_max": 0.4}
DEPTH = {"observer_radius": 8277.0, "r_min": 8052.0, "r_max": 8502.0, "r_crop_min_index": 0, "r_crop_max_index": 5}
FACTORS = {"length": 9.2e-6, "time": 1.0, "mass": 1e3, "temperature": 11.4}
HYPER = {
    "dataset_hyper": {f"_{name}_iris_per_SI": factor for name, factor in FACTORS.items()},
    "coordinate_hyper": {**DEPTH, **SKY, **STEPS},
    "cube_hyper": {"v_min": -150.0, "v_max": 250.0, "v_steps": 9, "reduction": "mean"},
}


def pairs(folder, count=2):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(count):
        np.save(folder / f"columnized_{k}.npy", rng.uniform(0.0, 1.0, (1, 5, 7)).astype("f4"))
        np.save(folder / f"observed_{k}.npy", rng.normal(0.0, 1.0, (1, 7, 9)).astype("f4"))
    index = [[f"columnized_{k}.npy", f"observed_{k}.npy"] for k in range(count)]
    (folder / "attributes.json").write_text(json.dumps({"cardinality": count, "index": index}))
    (folder / "hyper.json").write_text(json.dumps(HYPER))
    return folder


def test_an_import_changes_only_units_and_the_sign_of_velocity(tmp_path):
    chosen = open_input(pairs(tmp_path / "a set"), PreobserveConfig())
    with pytest.raises(DataError, match="holds pairs that are already observed"):
        StandardDataset.open(tmp_path / "a set")
    assert chosen.grid == GRID
    pair = chosen.sample(1, "", (OBSERVATION, DENSITY)).arrays
    seen, dense = (np.load(tmp_path / "a set" / f"{name}_1.npy") for name in ("observed", "columnized"))
    assert np.array_equal(pair["observation"], seen[..., ::-1] * np.float32(1.0 / 11.4))
    per_SI = 1e3 / 9.2e-6**3
    assert np.array_equal(pair["density"], dense * np.float32(units.INNER.density_per_SI / per_SI))


def test_pairs_in_inner_units_are_read_bit_for_bit(tmp_path):
    folder, inner = pairs(tmp_path / "set"), units.INNER
    factors = {f"_{name}_iris_per_SI": getattr(inner, f"{name}_per_SI") for name in FACTORS}
    (folder / "hyper.json").write_text(json.dumps({**HYPER, "dataset_hyper": factors}))
    observation, density = open_paper_dataset(folder).pair(0)
    assert observation.tobytes() == np.load(folder / "observed_0.npy")[..., ::-1].tobytes()
    assert density.tobytes() == np.load(folder / "columnized_0.npy").tobytes()


def test_a_galaxy_is_recognized_by_the_content_of_its_first_view(tmp_path):
    a, b, c, d = found = open_paper_dataset(pairs(tmp_path / "set", 4), views_per_source=2).identities
    assert a == b != c == d and found == open_paper_dataset(pairs(tmp_path / "copy", 4), 2).identities


def test_turned_over_pairs_have_opposite_longitudes(tmp_path):
    folder = pairs(tmp_path / "set")
    found = []
    for turned in (False, True):
        chosen = open_input(folder, PreobserveConfig(turn_over=turned))
        pair, lon = chosen.sample(0, "", (OBSERVATION, DENSITY)).arrays, chosen.grid.longitude.centres()
        found.append((lon[pair["observation"][0].max(axis=1).argmax()], lon[pair["density"][0].max(axis=0).argmax()]))
    assert found[1] == (-found[0][0], -found[0][1])


def test_a_turned_over_tensor_has_opposite_positions(tmp_path):
    tensor = np.zeros(GRID.tensor_shape, np.float32)
    tensor[RHO, 2, 5, 3] = 1.0
    write_slabs(tmp_path / "tensor_000000.npy", tensor.shape, [(slice(0, None), tensor.copy())])
    write_index(tmp_path, GRID, (Entry("tensor_000000.npy", "one"),), {})
    dataset = StandardDataset.open(tmp_path).turn_over()
    _, r, lon, lat = np.unravel_index(dataset[0].argmax(), GRID.tensor_shape)
    assert r == 2
    assert dataset.grid.longitude.centres()[lon] == -GRID.longitude.centres()[5]
    assert dataset.grid.latitude.centres()[lat] == -GRID.latitude.centres()[3]
    assert dataset.turn_over().grid == GRID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a, h: a.update(cardinality=20), "announces 20 entries and lists 2"),
        (lambda a, h: a.update(cardinality=1, index=[["columnized_9.npy", "observed_0.npy"]]), "9.npy is missing"),
        (lambda a, h: a.update(cardinality=1, index=["../a.npy"]), "not a file of this folder"),
        (lambda a, h: a.update(index=[["a.npy"], ["b.npy", "c.npy"]]), "mixes tensors and pairs"),
        (lambda a, h: a.update(index=[1, 2]), "not a list of file names"),
        (lambda a, h: a.update(index=None), "not a list of file names"),
        (lambda a, h: a["index"].__setitem__(1, a["index"][0]), "columnized_0.npy and observed_0.npy more than once"),
        (lambda a, h: h["dataset_hyper"].update(_mass_iris_per_SI=1e-60), "a density of 1 in its units would be"),
        (
            lambda a, h: h["dataset_hyper"].update(_temperature_iris_per_SI=0.0),
            "a temperature of 1 in its units would be inf K",
        ),
        (lambda a, h: h["dataset_hyper"].update(_length_iris_per_SI=1e-99), "of 1 in its units would be"),
        (lambda a, h: h["dataset_hyper"].update(_mass_iris_per_SI=10**400), "_mass_iris_per_SI is 1000"),
        (lambda a, h: h["coordinate_hyper"].update(r_min=True), "r_min is True, not a number"),
        (lambda a, h: h["coordinate_hyper"].update(r_steps=32.5), "r_steps is 32.5"),
        (lambda a, h: h["coordinate_hyper"].update(r_crop_min_index=-1), "the crop"),
        (lambda a, h: h.update(writer_hyper={"points_per_snapshot": -3}), "points_per_snapshot is -3"),
        (lambda a, h: h.update(writer_hyper=3), "has no section writer_hyper"),
        (lambda a, h: h["cube_hyper"].update(reduction="sum"), "supported are mean and max"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, said):
    folder = pairs(tmp_path / "set")
    attributes, hyper = (json.loads((folder / name).read_text()) for name in ("attributes.json", "hyper.json"))
    change(attributes, hyper)
    (folder / "attributes.json").write_text(json.dumps(attributes))
    (folder / "hyper.json").write_text(json.dumps(hyper))
    with pytest.raises(DataError) as error:
        open_paper_dataset(folder)
    assert said in error.value.message, error.value.message


def test_values_that_become_infinite_in_inner_units_are_refused(tmp_path):
    folder = pairs(tmp_path / "set")
    np.save(folder / "columnized_1.npy", np.full((1, 5, 7), 3e38, "f4"))
    with pytest.raises(DataError, match=r"columnized_1\.npy holds 35 values that are not finite"):
        open_paper_dataset(folder).pair(1)


def test_inputs_with_different_numbers_of_lines_do_not_fit_together(tmp_path):
    def seen(name, lines):
        seen = {"grid": GRID, "quantity": "temperature", "latitude": "mean", "channels": lines}
        return SimpleNamespace(name=name, folder=tmp_path / name, identities=[], sources=[], **seen)

    with pytest.raises(DataError, match="do not fit into one set: channels = 2 and 1"):
        check_inputs([seen("a", 2), seen("b", 1)])
