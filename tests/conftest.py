"""What many tests use: the command line in this process, the reference data, small mock data sets."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.app import main
from iris_cli.console import LOG_EVERY, QUIET, VERBOSE
from iris_cli.plugins import TRUST

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


#: Compile the loops of the mock galaxies and of the observer: one in each of two processes, at the same time.
FIRST = ("mock/test_galaxy.py", "against/test_integration.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.as_posix().endswith(FIRST))


@pytest.fixture(autouse=True)
def no_layout(request, monkeypatch):
    """Figures are laid out in tests of figures alone: it takes half of their time, and draws them twice."""
    savefig = Figure.savefig

    def save(figure, *given, **how):
        figure.set_layout_engine(None)
        savefig(figure, *given, **how)

    if "plots" not in request.path.parts:
        monkeypatch.setattr(Figure, "savefig", save)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def iris(monkeypatch, capfd):
    """`iris("mock", folder, "-n", 2)` runs a command as the console script would and returns what it said."""

    def run(*words):
        for name in (LOG_EVERY, QUIET, TRUST, VERBOSE):  # options set them; afterwards they are what they were
            monkeypatch.setenv(name, "")
        monkeypatch.setattr("sys.argv", ["iris", *map(str, words)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def signals_arrive():
    """Also where the tests were started with `nohup` or in the background, and these signals are ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_data():
    """Real and reference data that lie beside the project, not in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no reference data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def orbit_track(shared_data):
    """The published track of the orbit of Walker et al. 2025 on the sky: l, b in deg, v in km/s, far (bool)."""
    rows = [line.split() for line in (shared_data / "cmz_orbits/ellipse_resampled_300.txt").read_text().splitlines()]
    return *np.array([row[:3] for row in rows], float).T, np.array([row[3] == "Far" for row in rows])


# --- made once in a session; tests only read them, or copy them with shutil.copytree ----------------------------------


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory):
    """A read-only set of v_density pairs, 32 x 32: 10 to train on, 4 to validate with, 5 to test on."""
    from tests.training.makers import write_pairs

    splits = {"train": range(10), "validation": range(100, 104), "test": range(200, 205)}
    return write_pairs(tmp_path_factory.mktemp("tiny") / "shards", splits)


@pytest.fixture(scope="session")
def tiny_litter(tmp_path_factory):
    """A read-only set of 4 samples of litter for `tiny_shards`."""
    from tests.training.makers import write_pairs

    return write_pairs(tmp_path_factory.mktemp("tiny") / "litter", {"litter": range(300, 304)}, litter=True)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, tiny_shards):
    """The folder of `trained_run` and `trained_ensemble`, as run and ensemble."""
    folder = tmp_path_factory.mktemp("trained")
    train_tiny(folder / "run", tiny_shards)
    shutil.copytree(folder / "run", folder / "ensemble/member-01")
    train_tiny(folder / "ensemble/member-02", tiny_shards, seed=1)
    return folder


@pytest.fixture(scope="session")
def temperature_once(tmp_path_factory):
    """The folder of `temperature_runs`."""
    from tests.telescope import runs, sky

    folder = tmp_path_factory.mktemp("temperature")
    runs.write_shards(folder / "shards")
    runs.train(folder / "run", folder / "shards")
    shutil.copytree(folder / "run", folder / "ensemble/member-01")
    runs.train(folder / "ensemble/member-02", folder / "shards", seed=1)
    sky.cube(folder / "cube.fits")
    return folder


# --- copies of these for each test file: a command that writes into a run changes no result of another file -----------


@pytest.fixture(scope="module")
def trained_run(trained_once, tmp_path_factory):
    """A run folder: one epoch of three steps on `tiny_shards`, with noise of 1 K."""
    return Path(shutil.copytree(trained_once / "run", tmp_path_factory.mktemp("trained") / "run"))


@pytest.fixture(scope="module")
def trained_ensemble(trained_once, tmp_path_factory):
    """An ensemble of two members, the first of which is `trained_run`."""
    return Path(shutil.copytree(trained_once / "ensemble", tmp_path_factory.mktemp("trained") / "ensemble"))


@pytest.fixture(scope="module")
def temperature_runs(temperature_once, tmp_path_factory):
    """A folder for `iris revert`: shards, run, ensemble/member-01 (the same run) and -02, and cube.fits."""
    return Path(shutil.copytree(temperature_once, tmp_path_factory.mktemp("temperature") / "all"))


def train_tiny(folder, shards, seed=0):
    from iris_cli.config.train import Noise, TrainConfig
    from iris_cli.training.train import train_run

    noise = Noise(sigma_K=1.0)
    hyper = TrainConfig(epochs=1, batch_size=4, batches_per_update=1, noise=noise, seed=seed, data=(str(shards),))
    train_run(hyper, folder, quiet=True)
    return folder
