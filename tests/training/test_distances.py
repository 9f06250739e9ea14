"""The distance network: a later stage of a run that learns where the gas at (l, v) is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.config.train import DistancesConfig, TrainConfig
from iris_cli.errors import DataError
from iris_cli.evaluation.distances import TENTHS, mean_columns, near_images, reliability, scores
from iris_cli.observers.line_of_sight import BINS, distance_edges
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.distances import Distances
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.run_folder import RunFolder
from tests.training.makers import GRID, assert_equal, logged, newest, pairs_in, train, write_pairs

STAGE = DistancesConfig(train=True, epochs=12, batch_size=8, learning_rate=4e-3, warmup_epochs=1.0)
HYPER = TrainConfig(epochs=1, batch_size=8, batches_per_update=1, network="columns", distances=STAGE)
CENTRE = BINS // 2 - 1
WIDTHS = torch.from_numpy(np.diff(distance_edges(GRID))).float()


@pytest.fixture(scope="module")
def near_shards(tmp_path_factory):
    splits = {"train": range(22), "validation": range(100, 106)}
    return write_pairs(tmp_path_factory.mktemp("near") / "shards", splits, distances=True)


@pytest.fixture(scope="module")
def run(near_shards, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    train(near_shards, HYPER, run, Reverter(32, "v_density", network="columns"))
    return run


def test_the_stage_learns_more_than_the_prior_knows(run):
    first, *_, last = logged(run / "distances", "epoch")
    assert first["prior_log_score"] == last["prior_log_score"] > 0.5
    steps = [line["loss"] for line in logged(run / "distances")]
    assert steps[-1] < 0.6 * steps[0]
    assert {"log_score", "brier", "crps_pc", "right", "prior_crps_pc", "calibration"} <= last.keys()


def test_a_changed_first_network_leaves_the_stage_as_it_is(run, near_shards, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    hyper = replace(HYPER, epochs=2)
    train(near_shards, hyper, copy, Reverter(32, "v_density", network="columns"), resume="auto")
    assert newest(copy).progress.epoch == 2 and newest(copy / "distances").progress.epoch == 12
    assert_equal(newest(copy / "distances").model, newest(run / "distances").model)


def test_a_stage_can_be_added_to_a_finished_run(near_shards, tmp_path):
    hyper = replace(HYPER, distances=DistancesConfig())
    train(near_shards, hyper, tmp_path / "run", Reverter(32, "v_density", network="columns"))
    hyper = replace(HYPER, distances=replace(STAGE, epochs=1))
    train(near_shards, hyper, tmp_path / "run", Reverter(32, "v_density", network="columns"), resume="auto")
    assert newest(tmp_path / "run/distances").progress.epoch == 1 and len(logged(tmp_path / "run", "epoch")) == 1


def test_pairs_without_distances_are_refused(shards, tmp_path):
    with pytest.raises(DataError, match="holds no lv_column, from which a distance network learns") as caught:
        train(shards, HYPER, tmp_path / "run", Reverter(32, "v_density", network="columns"))
    assert "--distances" in caught.value.hint


def test_the_prior_is_where_the_gas_of_the_training_galaxies_is(run, near_shards):
    stream = PairStream("train", pairs_in(near_shards, "train"), np.arange(22), 0, 5)
    stream = replace(stream, further=("lv_column", "lv_nearer"))
    columns = mean_columns(stream)
    assert columns.sum() == pytest.approx(1.0, abs=1e-5) and columns[1:-1].abs().max() < 1e-6
    network = RunFolder(run / "distances").best()[1].make(Distances)
    prior, gas = network.prior.exp(), columns.sum(dim=0)
    bright = gas > gas.max() / 3
    torch.testing.assert_close(prior[0][bright], (columns[0] / gas)[bright], atol=0.02, rtol=0.0)
    assert prior.sum(dim=0).sub(1.0).abs().max() < 1e-5 and prior.min() > 1e-4


def test_latitude_moments_and_several_lines_are_inputs():
    network = Distances(32, "temperature", BINS, 6, moments=True)
    image = torch.rand(2, 6, 32, 32)
    answer = network(image)
    assert answer.shape == (2, BINS, 32, 32) and answer.exp().sum(dim=1).sub(1.0).abs().max() < 1e-5
    changed = image.clone()
    changed[:, 4] *= -1.0  # the second line's height
    assert (network(changed) - answer).abs().max() > 1e-5
    torch.testing.assert_close(Distances(**network.table())(image).exp().mean(), answer.exp().mean())


def test_scores_are_those_of_an_atom_of_the_gas():
    """Near with probability 3/4 in the two bins at the centre, for gas of which half is near."""
    shares = torch.full((1, BINS, 4, 4), 1e-9)
    shares[:, CENTRE], shares[:, CENTRE + 1] = 0.75, 0.25
    near = torch.zeros(1, BINS - 1, 4, 4)
    near[:, CENTRE], near[:, CENTRE + 1 :] = 0.5, 1.0
    column = torch.rand(1, 4, 4)
    found = {name: float(value) for name, value in scores(shares.log(), column, near, CENTRE, WIDTHS).items()}
    log_score = -0.5 * (np.log(0.75) + np.log(0.25))
    width = float(WIDTHS[CENTRE : CENTRE + 2].mean())
    expected = {"log_score": log_score, "brier": 0.3125, "crps_pc": 0.3125 * width, "right": 0.5}
    assert found == pytest.approx(expected, rel=1e-4)


def test_reliability_of_a_calibrated_answer_is_on_the_diagonal():
    p, column = torch.rand(3, 64, 64), torch.rand(3, 64, 64)
    table = reliability(p, column, (torch.rand(3, 64, 64) < p).float()).sum(dim=0)
    assert table.shape == (3, TENTHS) and table[0].sum() == pytest.approx(3.0)
    np.testing.assert_allclose(table[1] / table[0], table[2] / table[0], atol=0.06)


def test_images_of_a_report_are_those_of_the_first_galaxies(run, near_shards):
    network = RunFolder(run / "distances").best()[1].make(Distances)
    pairs = pairs_in(near_shards, "validation")
    first, second = near_images([network], PairStream("test", pairs, np.arange(6), 0, 5), 2)
    assert first.source == pairs.source(0) and second.source == pairs.source(2)  # two views of each
    answer = network(torch.from_numpy(first.observation)[None, None]).detach()[0, : CENTRE + 1].exp().sum(dim=0)
    np.testing.assert_allclose(first.p_near, answer, atol=1e-6)
    assert first.gas.max() > 0.0 and set(np.unique(first.near)) <= {0.0, 1.0}


def test_a_test_scores_several_runs_their_pool_and_their_prior(iris, run, near_shards, shards, tmp_path):
    other = tmp_path / "other"
    hyper = replace(HYPER, seed=1, distances=replace(STAGE, epochs=1))
    train(near_shards, hyper, other, Reverter(32, "v_density", network="columns", seed=1))
    ran = iris("test", run, other, near_shards, "--split", "validation", "--overlap", "allow", "--json", "-q")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["distances"]
    mean = {name: scores["log_score"]["mean"] for name, scores in found["predictors"].items()}
    assert [*mean] == ["network 1", "network 2", "pooled", "prior", "floor"]
    assert mean["floor"] < 1e-4 and mean["pooled"] <= 0.5 * (mean["network 1"] + mean["network 2"]) + 1e-6
    best = min(logged(run / "distances", "epoch"), key=lambda line: line["loss"])
    assert mean["network 1"] == pytest.approx(best["log_score"], rel=1e-4)
    assert 0.0 < found["apart"]["mean"] < 0.5 and sum(found["tenths"]["gas"]) == pytest.approx(1.0, abs=1e-3)
    report = tmp_path / "report"
    shown = iris("test", run, near_shards, "--split", "validation", "--overlap", "allow", "-q", "--report", report)
    assert shown.code == 0 and "P(near) -> share" in shown.out and "two networks" not in shown.out
    page = (report / "report.md").read_text(encoding="utf-8")
    assert "Near or far at each (l, v)" in page and f"{mean['network 1']:.3f} (" in page
    assert {"near_far.png", "near_far_reliability.png"} <= {file.name for file in report.iterdir()}
    plain = iris("test", run, shards, "--json", "-q")
    assert plain.code == 0 and json.loads(plain.out)["distances"] is None
