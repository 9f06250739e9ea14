"""A run folder holds all that later commands need of its training: shards and litter may be gone, the folder moved."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import pytest

from iris_cli.commands import plot_figures
from iris_cli.commands.options import Sample
from iris_cli.config.figure import FigureConfig
from iris_cli.config.train import Noise, TrainConfig
from iris_cli.errors import IrisError
from iris_cli.evaluation.out_of_distribution import TrainingInputs, summarize_inputs
from iris_cli.signals import Stopped
from iris_cli.telescope.revert import revert
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.train import train_run
from iris_cli.training.trained_run import open_run
from shards.errors import ShardError
from tests.telescope import sky
from tests.telescope.runs import GRID, write_shards
from tests.training.makers import write_pairs


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A folder with a moved `run` whose shards and litter are gone, `other` pairs to test on, and `cube.fits`."""
    here = tmp_path_factory.mktemp("here")
    shards = write_shards(here / "shards")
    litter = write_pairs(here / "litter", {"litter": range(300, 304)}, grid=GRID, quantity="temperature", litter=True)
    hyper = TrainConfig(epochs=1, batch_size=8, noise=Noise(sigma_K=0.3), data=(str(shards),), litter=str(litter))
    train_run(hyper, here / "run", quiet=True)
    there = tmp_path_factory.mktemp("there")
    shutil.move(here / "run", there / "run")
    shutil.rmtree(here)
    write_pairs(there / "other", {"test": range(400, 404)}, grid=GRID, quantity="temperature")
    sky.cube(there / "cube.fits")
    return there


def test_revert_compares_a_cube_with_the_training_set_and_knows_its_line(moved):
    made = revert([moved / "run"], [moved / "cube.fits"])
    score, consistency = made.record.quality.input_score, made.record.quality.consistency
    assert score is not None and score.held_out == 40 and score.score > 0
    assert made.record.provenance.trained_lines_GHz == {"13CO 2-1": 220.3986841}
    assert consistency is not None and consistency.true_maps == 16


def test_a_test_on_other_pairs_needs_the_litter_or_no_litter_and_nothing_else(iris, moved):
    missing = iris("test", moved / "run", moved / "other", "-q")
    assert missing.code == 1 and "litter is not there" in missing.err and "--no-litter" in missing.err
    ran = iris("test", moved / "run", moved / "other", "--no-litter", "--json", "-q")
    assert ran.code == 0, ran.err
    headline = json.loads((moved / "run" / "test.json").read_text())
    assert headline == json.loads(ran.out) and headline["pairs"] == 4 and headline["loss_mean_image"] > 0


def test_figures_of_the_run_need_no_shards_of_the_training(moved):
    look = FigureConfig()
    assert plot_figures.losses([moved / "run"], look).axes
    assert plot_figures.pair(moved / "other", Sample(), look, moved / "run", clean=True).axes


def test_relative_paths_are_recorded_as_absolute_ones(tmp_path, monkeypatch):
    write_pairs(tmp_path / "shards", {"train": range(4)})
    write_pairs(tmp_path / "litter", {"litter": range(300, 304)}, litter=True)
    monkeypatch.chdir(tmp_path)
    train_run(TrainConfig(epochs=1, data=("shards",), litter="litter"), Path("run"), quiet=True)
    hyper = open_run(Path("run")).hyper
    assert (hyper.data, hyper.litter) == ((str(tmp_path / "shards"),), str(tmp_path / "litter"))


def test_held_out_inputs_have_litter_of_their_own(tmp_path, tiny_shards, tiny_litter):
    with patch("iris_cli.training.loop.summarize_inputs", side_effect=IrisError("not now")) as called:
        hyper = TrainConfig(epochs=1, batches_per_update=1, data=(str(tiny_shards),), litter=str(tiny_litter))
        train_run(hyper, tmp_path / "run", quiet=True)
    train, held_out = called.call_args.args[:2]
    assert len(held_out.litter_numbers) and not np.intersect1d(train.litter_numbers, held_out.litter_numbers).size
    assert len(held_out.numbers) == 9, "the test split, too"


@pytest.fixture
def folder(trained_run, tmp_path):
    """A copy of `trained_run`."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_damaged_statistics_are_reported_and_a_resumed_run_writes_them_anew(folder):
    run, file = open_run(folder), folder / "training_inputs.npz"
    first, written = run.training_inputs(), file.stat().st_mtime_ns
    assert isinstance(first, TrainingInputs)
    train_run(run.hyper, folder, resume="auto", quiet=True)
    assert file.stat().st_mtime_ns == written
    file.write_bytes(b"damaged")
    assert "is damaged" in str(run.training_inputs())
    train_run(run.hyper, folder, resume="auto", quiet=True)
    again = run.training_inputs()
    assert isinstance(again, TrainingInputs)
    np.testing.assert_array_equal(again.images.images, first.images.images)
    file.unlink()
    assert "did not finish" in str(run.training_inputs())


def test_a_signal_during_the_statistics_stops_the_run(folder, monkeypatch):
    run = open_run(folder)
    (folder / "training_inputs.npz").unlink()

    def interrupted(train, held_out, quiet, check):
        signal.raise_signal(signal.SIGTERM)
        return summarize_inputs(train, held_out, quiet, check)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("iris_cli.training.loop.summarize_inputs", interrupted)
        train_run(run.hyper, folder, resume="auto", quiet=True)
    assert "did not finish" in str(run.training_inputs())
    train_run(run.hyper, folder, resume="auto", quiet=True)
    assert isinstance(run.training_inputs(), TrainingInputs)


def test_statistics_that_fail_are_a_warning(folder, monkeypatch, capfd):
    (folder / "training_inputs.npz").unlink()
    failing = Mock(side_effect=ShardError("sample 3 is torn"))
    monkeypatch.setattr("iris_cli.training.loop.summarize_inputs", failing)
    train_run(open_run(folder).hyper, folder, resume="auto", quiet=True)
    assert "warning" in (said := capfd.readouterr().err) and "sample 3 is torn" in said


def test_a_run_without_statistics_has_a_reason(trained_run):
    run = open_run(trained_run)
    assert "on the fly" in str(replace(run, hyper=replace(run.hyper, observer="simple")).training_inputs())
    imported = replace(run.checkpoint, data=replace(run.checkpoint.data, fingerprint="imported:0"))
    assert "was imported" in str(replace(run, checkpoint=imported).training_inputs())


def test_overwriting_a_run_removes_its_statistics_and_its_test(folder):
    (folder / "test.json").write_text("{}")
    RunFolder(folder).prepare(resume=False, overwrite=True)
    assert not any(path.is_file() for path in folder.iterdir())
