"""A network as one file: what it holds, that it does the same as its run, and that no other file passes for one."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from astropy.io import fits
from safetensors.torch import load

from iris_cli.errors import DataError
from iris_cli.metrics_log import read_lines
from iris_cli.training.model_file import card, export, unpacked
from iris_cli.training.trained_run import open_members
from tests.training.makers import assert_equal


@pytest.fixture(scope="module")
def model(temperature_runs, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "my [net].iris"
    export(temperature_runs / "run", file, "CC-BY-4.0", "For a test.")
    return file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / "cache"))


def test_it_is_the_run_without_what_only_training_needs(model, temperature_runs):
    (one,), (other,) = open_members(model), open_members(temperature_runs / "run")
    for name in ("reverter", "model", "mean_image", "data", "progress", "units", "software"):
        assert_equal(getattr(one.checkpoint, name), getattr(other.checkpoint, name))
    assert one.checkpoint.seen is not None and other.checkpoint.seen is not None
    assert_equal(one.checkpoint.seen.to_tensors(), other.checkpoint.seen.to_tensors())
    assert not one.checkpoint.optimizer and other.checkpoint.optimizer
    image = torch.rand(1, 1, 32, 32)
    maps = [each.checkpoint.make_reverter()(image) for each in (one, other)]
    assert torch.equal(*maps)
    assert [line["kind"] for line in read_lines(unpacked(model) / "metrics.jsonl")] == ["epoch"]
    assert str(temperature_runs) not in model.read_bytes().decode("latin-1"), "no paths of the training's machine"


def test_the_card_and_the_weights_are_open_to_any_tool(model, tmp_path):
    with zipfile.ZipFile(model) as archive:
        card = archive.read("card.md").decode()
        weights = load(archive.read("run/weights.safetensors"))
    assert "For a test." in card and "| licence | CC-BY-4.0 |" in card and "not tested" in card
    assert all(name.split("/")[0] in ("model", "mean_image", "seen") for name in weights)
    again = tmp_path / "again.iris"
    export(unpacked(model), again, "CC-BY-4.0", "For a test.")
    with zipfile.ZipFile(model) as one, zipfile.ZipFile(again) as other:
        names = [name for name in one.namelist() if name.endswith(".safetensors")]
        assert names and all(one.read(name) == other.read(name) for name in names)


def test_the_card_has_the_scores_of_samples_and_distances_beside_their_priors(temperature_runs):
    first = open_members(temperature_runs / "run")[0].checkpoint
    predictors = {"samples": {"crps": 0.25, "coverage_68_mass": 0.7}, "prior": {"crps": 0.5}}
    scores = {name: {"log_score": {"mean": mean}} for name, mean in (("network", 0.5), ("prior", 0.625))}
    tenths = {"gas": [0.005, 0.5], "p_near": [0.05, 0.75], "near": {"mean": [0.5, 0.625]}}
    tested = {"pairs": 7, "predictors": predictors, "distances": {"predictors": scores, "tenths": tenths}}
    said = card(first, 1, tested, "", "")
    assert "per pixel | 0.25 | 0.5 |" in said and "central 68 % of the samples, total mass | 0.7 | - |" in said
    assert "| log_score | 0.5 | 0.625 |" in said and "is near: 0.75 -> 0.62\n" in said and "not tested" not in said


def test_a_map_of_the_file_is_that_of_the_run(model, temperature_runs, iris, tmp_path):
    cube, outs = temperature_runs / "cube.fits", [tmp_path / "a.fits", tmp_path / "b.fits"]
    for run, out in zip((model, temperature_runs / "run"), outs, strict=True):
        assert iris("revert", run, cube, "-o", out).code == 0
    maps = [fits.getdata(out) for out in outs]
    assert np.isfinite(maps[0]).any() and np.array_equal(*maps, equal_nan=True)
    assert "my [net].iris" in str(fits.getheader(outs[0]))


def test_an_ensemble_keeps_its_members(temperature_runs, iris, tmp_path):
    ran = iris("export", temperature_runs / "ensemble", tmp_path / "two.iris")
    assert ran.code == 0 and "2 networks of" in ran.out
    assert len(open_members(tmp_path / "two.iris")) == 2
    assert "exists already" in iris("export", temperature_runs / "ensemble", tmp_path / "two.iris").err
    assert iris("export", temperature_runs / "run", tmp_path / "two.zip").code == 2
    assert iris("export", tmp_path / "absent", tmp_path / "three.iris").code == 1
    assert not (tmp_path / "three.iris").exists()


def altered(model, out, **members):
    """The file with other contents of some of its members."""
    with zipfile.ZipFile(model) as archive, zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            new.writestr(name, members.get(name.replace("/", "_").replace(".", "_"), archive.read(name)))
    return out


def test_other_files_are_refused_and_leave_nothing(model, tmp_path):
    bad = tmp_path / "bad.iris"
    index = {"format": "iris-model", "version": 1}
    cases = {
        "cut": lambda: bad.write_bytes(model.read_bytes()[:-300]),
        "no zip": lambda: bad.write_bytes(b"text"),
        "other format": lambda: altered(model, bad, model_json=b'{"format": "x", "version": 1}'),
        "no index": lambda: altered(model, bad, model_json=b"[]"),
        "a path": lambda: altered(model, bad, model_json=json.dumps({**index, "folders": ["../up"]}).encode()),
        "absent": lambda: altered(model, bad, model_json=json.dumps({**index, "folders": ["member-01"]}).encode()),
        "weights": lambda: altered(model, bad, run_weights_safetensors=b"\0" * 64),
        "no weights": lambda: altered(model, bad, run_checkpoint_json=b'{"model": {"tensor": "nowhere"}}'),
        "values": lambda: altered(model, bad, run_checkpoint_json=b'{"progress": 3}'),
    }
    for name, make in cases.items():
        make()
        with pytest.raises(DataError, match="is not a network of `iris export`"):
            print(name, unpacked(bad))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_it_is_unpacked_once_and_without_a_safe_cache_into_a_folder_of_its_own(model, monkeypatch):
    folder = unpacked(model)
    inode = (folder / "config.toml").stat().st_ino
    assert (unpacked(model) / "config.toml").stat().st_ino == inode
    monkeypatch.setattr("iris_cli.cache.private_folder", lambda kind: None)
    other = unpacked(model)
    assert other != folder and (other / "config.toml").is_file()
    shutil.rmtree(other.parent)
