"""A network and a loss of a module outside of the package: trained, tested, exported and reverted with."""

import json
import sys
import zipfile
from unittest.mock import patch

import numpy as np
import pytest
import torch
from astropy.io import fits

from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.training.checkpoint import load
from tests.commands.errors import one_error
from tests.commands.pages import blocks

SMALL = ("--epochs", "1", "--batch-size", "4", "--accumulate", "1", "-q")
OWN = ("--network", "my_networks:Shallow", "--loss", "my_networks:AbsoluteLoss")

OTHERS = """
import torch
from torch import nn
from iris_cli.training import PhysicalLoss


class Cropped(nn.Module):
    def __init__(self, image_size, quantity, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(()))

    def forward(self, image):
        return self.scale * image[:, 0]


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()


def number(image_size, quantity, channels):
    return 3


class PerPixel(PhysicalLoss):
    def forward(self, pred, true):
        return self.normed_residual(pred, true).abs()


class Constant(PhysicalLoss):
    def forward(self, pred, true):
        return true.mean()


class Tied(nn.Module):
    several_channels = True

    def __init__(self, image_size, quantity, channels):
        super().__init__()
        self.one = self.other = nn.Linear(image_size, image_size)

    def forward(self, image):
        return self.other(self.one(image.transpose(2, 3))).mean(1, keepdim=True).abs()
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder on Python's path with the module of the docs, and one of things that are wrong."""
    folder = tmp_path / "my_code"
    folder.mkdir()
    (block,) = blocks("howto.md", "python", "# my_networks.py")
    (folder / "my_networks.py").write_text(block)
    (folder / "others.py").write_text(OTHERS)
    (folder / "broken.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(str(folder))
    with patch.dict(PhysicalLoss.known):  # a program finds its losses by their names alone, too
        yield folder
    for name in ("my_networks", "others", "broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(modules, tmp_path, iris, temperature_runs):
    out = tmp_path / "run"
    assert iris("train", temperature_runs / "shards", *OWN, "--out", out, *SMALL).code == 0
    return out


def test_a_run_remembers_them_and_imports_them_only_if_the_user_says_so(
    run, modules, iris, temperature_runs, tmp_path, monkeypatch
):
    config = (run / "config.toml").read_text()
    assert 'network = "my_networks:Shallow"' in config and 'physical_loss = "my_networks:AbsoluteLoss"' in config
    shards, cube, model = temperature_runs / "shards", temperature_runs / "cube.fits", tmp_path / "model.iris"
    monkeypatch.delitem(sys.modules, "my_networks")
    assert "my_networks:Shallow" in iris("runs", run).out
    assert iris("export", run, model).code == 0
    with zipfile.ZipFile(model) as archive:
        card = archive.read("card.md").decode()
    assert "my_networks:Shallow, my_networks:AbsoluteLoss" in card and "--trust my_networks" in card
    said = "the network my_networks:Shallow is code outside of IRIS", "add --trust my_networks"
    for words in (
        ("test", run, shards),
        ("revert", model, cube, "-o", tmp_path / "map.fits"),
        ("train", "--resume", run, "--epochs", "2"),
        ("config", "validate", run / "config.toml"),
        ("train", shards, "--config", run / "config.toml", "--out", tmp_path / "new"),
    ):
        one_error(iris(*words), 2, *said)
    assert "my_networks" not in sys.modules and not (tmp_path / "new").exists()

    trust = ("--trust", "my_networks")
    tested = iris("test", run, shards, *trust, "--json", "-q")
    assert tested.code == 0 and 0.0 < json.loads(tested.out)["loss"] < 10.0
    maps = [tmp_path / "map.fits", tmp_path / "same.fits"]
    for given, out in zip((run, model), maps, strict=True):
        assert iris("revert", given, cube, "-o", out, *trust).code == 0
    assert np.isfinite(fits.getdata(maps[0])).any()
    assert np.array_equal(*map(fits.getdata, maps), equal_nan=True)
    assert iris("config", "validate", run / "config.toml", *trust).code == 0
    assert iris("view", run, "-o", tmp_path / "view.html", *trust).code == 0
    assert iris("train", "--resume", run, "--epochs", "2", "-q", *trust).code == 0
    monkeypatch.setenv("IRIS_TRUST", "")
    (modules / "my_networks.py").unlink()
    sys.modules.pop("my_networks")
    missing = iris("test", run, shards, *trust)
    one_error(missing, 2, "my_networks:Shallow cannot be imported", "No module named 'my_networks'", "PYTHONPATH")


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--network", "others:Cropped", "returns maps of shape (4, 32, 32), not (4, 1, 32, 32)"),
        ("--network", "others:NoArguments", "cannot be made for images of 32 x 32 pixels: TypeError"),
        ("--network", "others:number", "is a int, not a torch.nn.Module"),
        ("--network", "others:Shalow", "others:Shalow does not exist"),
        ("--network", "absent_module:A", "No module named 'absent_module'"),
        ("--network", "broken:A", "broken:A cannot be imported: RuntimeError: two hint"),
        ("--network", "os:path;x", "is not MODULE:NAME"),
        ("--network", "shalow", "unknown network 'shalow'"),
        ("--loss", "others:PerPixel", "is of shape (2, 1, 1, 32, 32), not (2,)"),
        ("--loss", "others:Constant", "does not depend on the prediction"),
        ("--loss", "others:Cropped", "must be a class derived from PhysicalLoss"),
        ("--loss", "AbsoluteLos", "unknown physical loss 'AbsoluteLos'"),
    ],
)
def test_what_breaks_the_contract_is_one_line(option, name, said, modules, iris, temperature_runs, tmp_path):
    ran = iris("train", temperature_runs / "shards", option, name, "--out", tmp_path / "run", *SMALL)
    one_error(ran, 2, said)
    assert not list(tmp_path.glob("run/checkpoints/*.pt"))


def test_a_checkpoint_that_names_other_code_imports_and_calls_nothing(
    trained_run, tiny_shards, iris, tmp_path, modules
):
    """Also where the module is loaded already, as `os` is, or holds a network that was trusted as another one."""
    body = torch.load(trained_run / "checkpoints/best.pt", weights_only=True)
    network = body["reverter"]["network"]
    for name in ("os:system", "broken:A", "torch.nn:Linear", ["os", "system"]):
        body["reverter"]["network"] = name
        torch.save(body, tmp_path / "bad.pt")
        ran = iris("test", tmp_path / "bad.pt", tiny_shards, "--trust", "my_networks", "--trust", "bro")
        assert ran.code in (1, 2) and ran.err.count("error:") == 1 and "Traceback" not in ran.err
    body["reverter"]["network"] = network
    body["config"]["physical_loss"] = "broken:A"
    torch.save(body, tmp_path / "bad.pt")
    one_error(iris("test", tmp_path / "bad.pt", tiny_shards), 2, "broken:A is code outside of IRIS")
    assert "broken" not in sys.modules


def test_tied_weights_and_several_channels(modules, iris, temperature_runs, tmp_path):
    run = tmp_path / "run"
    ran = iris("train", temperature_runs / "shards", "--network", "others:Tied", "--out", run, *SMALL)
    assert ran.code == 0 and load(run / "checkpoints/best.pt").reverter["channels"] == 1
    assert iris("export", run, tmp_path / "tied.iris").code == 0
    words = ("-o", tmp_path / "map.fits", "--trust", "others")
    assert iris("revert", tmp_path / "tied.iris", temperature_runs / "cube.fits", *words).code == 0


def test_names_of_an_installed_package_need_no_trust_and_are_listed(
    modules, iris, temperature_runs, tmp_path, monkeypatch
):
    """The package declares `paper`, too, which remains the built-in one."""
    (block,) = blocks("howto.md", "", "[project.entry-points")
    info = modules / "my_networks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_networks\nVersion: 1.0\n")
    written = block.replace('project.entry-points."', "").replace('"]', "]").replace('"', "")
    (info / "entry_points.txt").write_text(written.replace("[iris.losses]", "paper = broken:A\n[iris.losses]"))
    for name in ("train", "sweep"):
        assert "|shallow|MODULE:NAME]" in " ".join(iris(name, "--help").out.split())
    shell = {"_IRIS_COMPLETE": "complete_bash", "COMP_WORDS": "iris train --network s", "COMP_CWORD": "3"}
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    assert iris().out.split() == ["sightlines", "shallow"]
    monkeypatch.delenv("_IRIS_COMPLETE")
    assert "my_networks" not in sys.modules
    words = ("--network", "shallow", "--loss", "absolute", "--out", tmp_path / "run", *SMALL)
    assert iris("train", temperature_runs / "shards", *words).code == 0
    assert iris("test", tmp_path / "run", temperature_runs / "shards", "-q").code == 0
    assert iris("train", temperature_runs / "shards", "--out", tmp_path / "paper", "--dry-run").code == 0
