"""Training on galaxies that are made as they are needed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.train import DistancesConfig, Noise, TrainConfig
from iris_cli.errors import DataError
from iris_cli.evaluation.distances import mean_columns
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.observers.line_of_sight import BINS
from iris_cli.observers.registry import make_observer
from iris_cli.pairs.datasets import ObservedPairs, PreObservedDataset, pairs_of
from iris_cli.pairs.fresh import FreshPairs, observer_of, workers_of
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER, VELOCITY
from iris_cli.pairs.preobserve import preobserve
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.distances import Distances
from iris_cli.standard.dataset import StandardDataset
from iris_cli.training.checkpoint import load
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.train import train_run
from tests.training.makers import assert_equal, newest

#: Little to compute.
MOCK = MockConfig(clouds=(2, 3), streams=(2, 2), open_streams=(0, 0))
GRID = grid_preset("tiny").scaled(32, 32, 8, 32)


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh") / "standard"
    write_mock(Galaxies(MOCK, GRID, 0, 1), folder, 6, quiet=True)
    return folder


@pytest.fixture(scope="module")
def held_out(standard):
    """Shards of the simple observer, of which a training validates with some."""
    folder = standard.parent / "shards"
    preobserve([standard], folder, PreobserveConfig(observer="simple", validation_fraction=0.4), quiet=True)
    return folder


@pytest.fixture(scope="module")
def hyper(held_out):
    """Two epochs of 3 steps of 2 galaxies, with a checkpoint after each step."""
    config = TrainConfig(epochs=2, batch_size=2, batches_per_update=1, network="columns", noise=Noise(sigma_K=0.1))
    config = replace(config, checkpoint_every_steps=1, keep_checkpoints=9, data=(str(held_out),))
    return replace(config, fresh=MOCK, fresh_galaxies=6, fresh_workers=0)


@pytest.fixture(scope="module")
def whole(hyper, tmp_path_factory):
    run = tmp_path_factory.mktemp("fresh") / "whole"
    train_run(hyper, run, quiet=True)
    return run


def fresh_of(folder, count=4, seed=0):
    return FreshPairs(MOCK, observer_of(PreObservedDataset(folder)), seed, count)


def test_a_galaxy_is_observed_like_those_of_the_shards(standard, held_out):
    """Number n of a seed is the galaxy that `iris mock` writes, up to the rounding of its file."""
    fresh, mock = fresh_of(held_out), pairs_of(StandardDataset.open(standard), make_observer(GRID, "simple"))
    object.__setattr__(fresh.make, "seed", 0)  # that of `standard`
    for number in (0, 5):
        rows = [{name: np.empty(s.shape, np.float32) for name, s in mock.arrays.items()} for _ in range(2)]
        fresh.read(number, rows[0])
        mock.read(number, rows[1])
        for name in rows[0]:
            rtol = 1e-3 if name == VELOCITY else 1e-4  # which is float16
            np.testing.assert_allclose(rows[0][name], rows[1][name], rtol=rtol, atol=1e-5 * rows[1][name].max())


def test_no_galaxy_is_met_twice_and_none_is_that_of_a_data_set(held_out):
    fresh = fresh_of(held_out)
    stream = PairStream("train", fresh, np.arange(4), 0, 3)
    batches = [batch for epoch in (0, 1) for batch in stream.epoch(epoch)]
    assert [n for batch in batches for n in batch.ids.tolist()] == list(range(8))
    images = torch.cat([batch.density for batch in batches]).flatten(1)
    assert len({image.numpy().tobytes() for image in images}) == 8
    assert fresh.make.seed > 1 << 40
    assert fresh_of(held_out, seed=1).make.seed != fresh.make.seed


def test_a_resumed_training_gives_the_same_weights(whole, hyper, tmp_path):
    """From within the second epoch, and with the galaxies made by a process of their own."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for path in sorted((run / "checkpoints").glob("step-*.pt"))[4:]:
        path.unlink()
    assert RunFolder(run).newest().progress.step == 4
    train_run(replace(hyper, fresh_workers=1), run, resume="auto", quiet=True)
    expected, resumed = newest(whole), newest(run)
    for name in ("model", "optimizer", "progress", "mean_image"):
        assert_equal(getattr(resumed, name), getattr(expected, name))
    assert (run / "metrics.jsonl").read_text().count('"kind": "epoch"') == 2


def test_distances_are_learned_from_further_galaxies_and_their_prior(whole, hyper, held_out, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    train_run(replace(hyper, distances=DistancesConfig(train=True, epochs=1)), run, resume="auto", quiet=True)
    stage = fresh_of(held_out, 6).others("distances")
    assert stage.make.seed != fresh_of(held_out, 6).make.seed
    expected = Distances(32, "v_density", BINS)
    stream = replace(PairStream("train", stage, np.arange(6), 0, 2), further=(LV_COLUMN, LV_NEARER))
    expected.set_prior(mean_columns(stream))
    torch.testing.assert_close(RunFolder(run / "distances").best()[1].make(Distances).prior, expected.prior)
    assert len(newest(run / "distances").seen.trained) == 0


def test_other_galaxies_are_another_run(whole, hyper, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    other = replace(hyper, fresh=replace(MOCK, clouds=(3, 3)), epochs=3)
    with pytest.raises(DataError, match=r"fresh: .*other pairs"):
        train_run(other, run, resume="auto", quiet=True)


def test_the_run_knows_its_galaxies_and_its_inputs(whole):
    checkpoint = load(whole / "checkpoints" / "best.pt")
    assert checkpoint.config["fresh"]["clouds"] == [2, 3]
    assert checkpoint.seen is not None and len(checkpoint.seen.trained) == 0 < len(checkpoint.seen.validated)
    assert checkpoint.density_count == 6
    assert (whole / "training_inputs.npz").exists()


def test_the_command_takes_a_file_of_ranges(iris, held_out, tmp_path):
    (tmp_path / "mock.toml").write_text("clouds = [2, 3]\n")
    words = ["train", held_out, "--out", tmp_path / "run", "--fresh-galaxies", 8, "--dry-run"]
    ran = iris(*words, "--fresh", tmp_path / "mock.toml", "--fresh-workers", 2)
    assert ran.code == 0 and "8 fresh galaxies to train on" in " ".join(ran.out.split())
    assert iris(*words, "--fresh", "default").code == 0
    (tmp_path / "wrong.toml").write_text("cluods = [2, 3]\n")
    assert "clouds" in (wrong := iris(*words, "--fresh", tmp_path / "wrong.toml")).err and wrong.code == 2


def test_pairs_whose_observer_is_not_known_are_refused(tiny_shards, standard, held_out):
    with pytest.raises(DataError, match=r"how .* was observed cannot be repeated"):
        observer_of(PreObservedDataset(tiny_shards))
    dataset = PreObservedDataset(held_out)
    dataset.attributes["observer"]["name"] = "another release's"
    with pytest.raises(DataError, match="cannot be repeated"):
        observer_of(dataset)
    observed = ObservedPairs(StandardDataset.open(standard), make_observer(GRID, "simple"))
    assert observer_of(observed) is observed.observer


def test_galaxies_are_made_by_the_cores_that_training_leaves(monkeypatch):
    monkeypatch.setattr("iris_cli.pairs.fresh.cores", lambda: type("Cores", (), {"usable": 16}))
    assert workers_of(TrainConfig(), {}) == 15
    assert workers_of(TrainConfig(), {"LOCAL_WORLD_SIZE": "4"}) == 3
    assert workers_of(TrainConfig(), {"LOCAL_WORLD_SIZE": "16"}) == 1
    assert workers_of(TrainConfig(fresh_workers=0), {}) == 0
