"""Tars of another program: with grid, quantity, latitude and units they are trained on; and sets of several lines."""

import io
import re
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from iris_cli.config.toml import to_toml
from iris_cli.errors import DataError
from iris_cli.pairs.datasets import pairs_of
from iris_cli.training import PreObservedDataset
from shards.verify import verify
from tests.shards.makers import groups_of, npy
from tests.training.makers import GRID, images, pairs_in

KG_M3 = 6.768_5e-20  # of a solar mass per cubic parsec


@pytest.fixture
def grid(tmp_path):
    """A configuration with the grid of the tars."""
    path = tmp_path / "grid.toml"
    path.write_text(f'latitude = "max"\n[grid]\n{to_toml(GRID)}')
    return path


def tar(path, keys, lines=1, dtype="f4", json=""):
    """Pairs with densities in kg/m^3, and a folder as the last entry."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key in keys:
            observation, density = images(key, GRID)
            members = {"observation.npy": npy(np.repeat(observation, lines, axis=0).astype(dtype))}
            members["density.npy"] = npy((density * KG_M3).astype(np.float32))
            for suffix, data in {**members, **({"json": json.encode()} if json else {})}.items():
                entry = tarfile.TarInfo(f"./{key:04d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        folder = tarfile.TarInfo("./notes")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return path.parent


def test_tars_of_another_program_are_trained_on_in_their_units(iris, grid, tmp_path):
    folder = tar(tmp_path / "tars" / "train-0.tar", range(12))
    plain = iris("shards", "index", folder)
    assert plain.code == 0 and "not trained on: --preset NAME, or a [grid] table" in plain.err
    refused = iris("train", folder, "--out", tmp_path / "run", "-q")
    assert refused.code == 1 and f"iris shards index {folder} --overwrite --preset" in refused.err.replace("\n", " ")
    words = ("shards", "index", folder, "--overwrite", "--config", grid, "--quantity", "v_density")
    assert iris(*words, "--unit-density", "kg / m3").code == 0
    assert verify(folder).sound
    pairs = pairs_in(folder)
    assert pairs.grid == GRID and pairs.quantity == "v_density" and pairs.latitude == "max"
    observation, density = PreObservedDataset(folder)[3]
    np.testing.assert_allclose(density.numpy(), images(3, GRID)[1], rtol=1e-4)
    np.testing.assert_array_equal(observation.numpy(), images(3, GRID)[0])
    trained = iris("train", folder, "--epochs", 1, "--accumulate", 1, "--out", tmp_path / "run", "-q")
    assert trained.code == 0, trained.err


@pytest.mark.parametrize(
    ("options", "how", "message"),
    [
        (("--unit-density", "kg / m2"), {}, "'kg / m2' is not a unit of a density"),
        (("--unit-observation", "Kelvins of old"), {}, "is not a unit of a temperature"),
        (("--preset", "tiny"), {}, "both give a grid"),
        ((), {"dtype": "f8"}, "the observation of .* is float64"),
        ((), {"lines": 2}, "holds observations of 2 spectral lines"),
        (("--quantity", "mass"), {}, "unknown quantity 'mass'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(iris, grid, tmp_path, options, how, message):
    folder = tar(tmp_path / "tars" / "train-0.tar", range(3), **how)
    ran = iris("shards", "index", folder, "--config", grid, *options)
    assert ran.code in (1, 2) and re.search(message, " ".join(ran.err.split())), ran.err
    assert [path.name for path in folder.iterdir()] == ["train-0.tar"]


def test_arrays_on_another_grid_than_the_preset_are_refused(iris, tmp_path):
    folder = tar(tmp_path / "tars" / "train-0.tar", range(3))
    ran = iris("shards", "index", folder, "--preset", "tiny")
    assert ran.code == 1 and "its grid has float32 (1, 64, 64)" in " ".join(ran.err.split())


def test_sound_shards_of_two_lines_are_not_called_damaged(iris, grid, tmp_path):
    folder = tar(tmp_path / "tars" / "train-0.tar", range(3), json='{"group": "g"}')
    assert iris("shards", "index", folder, "--config", grid, "--quantity", "v_density").code == 0
    two = PreObservedDataset(folder)
    pairs_of(two)
    stored = two.index.stored["observation"]
    two.index.stored["observation"] = replace(stored, schema=replace(stored.schema, shape=(2, 32, 32)))
    with pytest.raises(DataError, match="observations of 2 spectral lines; a reverter takes one") as caught:
        pairs_of(two)
    assert "sound" in caught.value.hint and "delete" not in caught.value.hint


def test_samples_without_a_group_are_known_by_their_content(iris, tmp_path):
    names = []
    for name, keys in (("a", range(3)), ("b", range(3)), ("c", range(10, 13))):
        folder = tar(tmp_path / name / "train-0.tar", keys)
        assert iris("shards", "index", folder).code == 0
        names.append(groups_of(folder))
    assert names[0] == names[1] and not set(names[0]) & set(names[2]) and len(set(names[0])) == 3
