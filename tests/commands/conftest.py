"""Inputs of all kinds, which tests only read."""

import pytest

from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.mock.generate import Galaxies, write_mock
from tests.snapshots.snapshots import galaxy, write


@pytest.fixture(scope="session")
def mocked(tmp_path_factory):
    """A standard data set of six mock galaxies."""
    folder = tmp_path_factory.mktemp("mock") / "standard"
    write_mock(Galaxies(MockConfig(), grid_preset("tiny"), 0, 1), folder, 6, quiet=True)
    return folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory, temperature_once, mocked):
    """By the words that stand for them in a command line."""
    folder = tmp_path_factory.mktemp("inputs")
    made = {name: folder / name for name in ("EMPTY", "FOLDER.fits", "FOLDER.npz", "FOLDER.png")}
    for path in made.values():
        path.mkdir()
    (folder / "text.fits").write_text("hello world\n")
    (folder / "unknown.toml").write_text("colour_of_the_sky = 1\n")
    snapshot = write(folder / "snap_101.hdf5", galaxy())
    made |= {name: temperature_once / name.lower() for name in ("RUN", "SHARDS", "ENSEMBLE")}
    made |= {"CUBE": temperature_once / "cube.fits", "STANDARD": mocked, "SNAPSHOT": snapshot}
    return made | {"TEXT": folder / "text.fits", "UNKNOWN_KEY": folder / "unknown.toml"}
