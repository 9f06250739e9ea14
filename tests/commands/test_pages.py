"""The commands and programs on the pages of the docs work, line after line, with small inputs."""

import sys
from unittest.mock import patch

import pytest
from astropy.io import fits

from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import from_dict, read_toml, to_toml
from iris_cli.config.train import TrainConfig
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.reverter.networks import NETWORKS
from iris_cli.training.optimizer import OPTIMIZERS, SCHEDULES
from tests.commands.pages import ROOT, Reader, blocks, commands, sections
from tests.snapshots.snapshots import galaxy, write
from tests.snapshots.test_arrays import write_hdf5
from tests.telescope import runs, sky
from tests.training.makers import write_pairs

#: Pages whose commands are run in one folder, from one section to the next; of other pages, each section has its own.
ONE_FOLDER = {"first_ten_minutes.md", "tutorial.md"}
GENERATED = {"cli.md", "configuration.md"}
PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    if page.name not in GENERATED and any(commands(page.read_text()))
)

NOT_RUN = {
    "iris demo --out demo": "tests/end_to_end/test_demo.py runs it",
    "iris preobserve their_folder pairs --turn-over": "takes a folder of the paper's code",
    "iris preobserve THEIR_STANDARD SHARDS --turn-over": "takes a folder of the paper's code",
    "iris preobserve THEIR_PREOBSERVED SHARDS --turn-over": "takes a folder of the paper's code",
    "iris import-checkpoint chp_31.pt RUN --preset paper --turn-over": "takes a checkpoint of the paper's code",
    "iris import-checkpoint chp_31.pt RUN --preset paper": "takes a checkpoint of the paper's code",
    "iris train pairs --litter litter --noise-sigma-k 1 --epochs 4 --accumulate 2 --batch-size 4 --nproc-per-node 2 "
    "--out run2": "tests/end_to_end/test_ranks.py trains in two processes",
    "iris shards index FOLDER --config grid.toml --quantity temperature --latitude mean --unit-density 'kg / m3'": (
        "takes tars of another program: tests/pairs/test_external.py"
    ),
    "iris preobserve STANDARD SHARDS --survey mopra-hnco --config hnco.toml": "takes LAMDA's file of HNCO",
    "iris compare-sky cube.fits --mock default --survey mopra-hnco-fitted --preset small -n 200": (
        "makes many galaxies: tests/telescope/test_compare_sky.py"
    ),
    "iris train s3://bucket/shards --litter https://host/litter --out RUN": "tests/shards/test_remote.py has a server",
    "iris train SHARDS --out RUN --samples": "tests/training/test_stages.py trains a sampler",
    "iris train SHARDS --out RUN --distances": "tests/training/test_distances.py trains such a network",
    "srun iris ingest 'run/snap_*.hdf5' STANDARD --views 64": "needs a queue",
}
"""Lines of the pages that are not run here, and why."""

INSTEAD = {"hcn.dat": "13co", "1-0": "2-1", "orbits/": "walker", "paper": "tiny", "0.67": "0.1"}
"""Words for which there is no file here, or which take too long (the level table of another line), and replacements."""


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """The inputs that the pages assume, under the names that they use."""
    folder = tmp_path_factory.mktemp("workshop")
    write_mock(Galaxies(MockConfig(), grid_preset("tiny", False), 1, 1), folder / "STANDARD", 12, quiet=True)
    shards = runs.write_shards(folder / "SHARDS")
    (folder / "OTHER_SHARDS").symlink_to(shards)
    write_pairs(folder / "LITTER", {"litter": range(300, 304)}, litter=True, grid=runs.GRID, quantity="temperature")
    (folder / "ENSEMBLE").mkdir()
    for k in (1, 2):
        runs.train(folder / f"ENSEMBLE/member-{k:02d}", shards, seed=k)
    for name, k in {"RUN": 1, "RUN1": 1, "RUN2": 2}.items():
        (folder / name).symlink_to(folder / f"ENSEMBLE/member-{k:02d}")
    (folder / "RUNS").symlink_to(folder / "ENSEMBLE")
    runs.train(folder / "RUN3", shards, seed=3)
    for name in ("thick", "thin", "cube", "east", "west"):
        sky.cube(folder / f"{name}.fits")
    fits.setval(sky.cube(folder / "hnco.fits"), "RESTFRQ", value=87.925238e9)
    for k in (101, 102):
        write(folder / f"snap_{k}.hdf5", galaxy(seed=k))
    write_hdf5(folder / "grid.h5")
    (text,) = blocks("howto.md", "toml")
    (folder / "hcn.toml").write_text(text.replace("hcn.dat", "13co").replace("1-0", "2-1"))
    (module,) = blocks("howto.md", "python", "# my_networks.py")
    (folder / "my_networks.py").write_text(module)
    (folder / "stages.toml").write_text("[samples]\nepochs = 1\n[distances]\nepochs = 1\n")
    (folder / "train.toml").write_text(to_toml(TrainConfig()))
    (folder / "snapshots.txt").write_text(f"{folder / 'STANDARD'}\n")
    (folder / "folders.txt").write_text(f"{shards}\n{folder / 'LITTER'}\n")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_works(page, iris, workshop, tmp_path, monkeypatch):
    monkeypatch.setattr("iris_cli.evaluation.report_folder.draw_report", lambda *given: [])  # test_report.py draws them
    monkeypatch.syspath_prepend(str(workshop))  # my_networks.py, whose loss other tests do not find
    monkeypatch.setattr(PhysicalLoss, "known", {**PhysicalLoss.known})
    for number, section in enumerate([page.read_text()] if page.name in ONE_FOLDER else sections(page)):
        folder = tmp_path / f"section-{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        reader = Reader(iris, workshop, folder)
        for line in commands(section):
            if line not in NOT_RUN:
                reader.follow(" ".join(INSTEAD.get(word, word) for word in line.split()))
    sys.modules.pop("my_networks", None)


def test_lines_that_are_not_run_are_on_a_page():
    typed = {line for page in PAGES for line in commands(page.read_text())}
    assert [line for line in NOT_RUN if line not in typed] == []


def test_the_python_programs_of_how_to_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    splits = {"train": range(8), "validation": range(100, 102), "test": range(200, 202)}
    write_pairs(tmp_path / "pairs", splits, grid=grid_preset("tiny", False))
    monkeypatch.chdir(tmp_path)
    added = patch.dict(NETWORKS), patch.dict(OPTIMIZERS), patch.dict(SCHEDULES), patch.dict(PhysicalLoss.known)
    with added[0], added[1], added[2], added[3]:
        exec("\n".join(blocks("howto.md", "python")).replace("epochs=2", "epochs=1"), {"__name__": "__main__"})
    loss, shapes = capsys.readouterr().out.strip().splitlines()
    assert 0.0 < float(loss) < 10.0 and shapes == "torch.Size([12, 1, 64, 64]) torch.Size([12, 1, 64, 64])"


def test_the_line_of_how_to_is_a_configuration(tmp_path):
    (text,) = blocks("howto.md", "toml")
    (tmp_path / "hcn.toml").write_text(text)
    config = from_dict(PreobserveConfig, read_toml(tmp_path / "hcn.toml"), "hcn.toml")
    assert config.synthetic.lines[0].tracer_per_CO == 2e-4
    assert config.synthetic.beam_fwhm_arcsec == 27.0
