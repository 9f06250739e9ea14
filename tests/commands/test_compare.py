"""`iris compare`: settings that differ, and differences of scores on the same pairs with intervals."""

import json

import numpy as np

from iris_cli.training.compare import differing, paired
from iris_cli.training.trained_run import open_members


def test_two_seeds_differ_in_their_seed_and_their_scores(trained_ensemble, tiny_shards, iris):
    runs = [trained_ensemble / "member-01", trained_ensemble / "member-02"]
    ran = iris("compare", *runs, "--on", tiny_shards, "-q")
    assert ran.code == 0 and "settings that differ" in ran.out and "mass_ratio" in ran.out, ran.err
    found = json.loads(iris("compare", *runs, "--on", tiny_shards, "--json", "-q").out)
    assert found["settings"] == {"seed": [0, 1]}
    first, second = found["scores"]
    tested = [json.loads(iris("test", run, tiny_shards, "--seed", 0, "--json", "-q").out) for run in runs]
    for scores, alone in zip((first, second), tested, strict=True):
        assert np.isclose(scores["loss"]["score"], alone["loss"])  # the noise is that of the first run's seed
    assert first["loss"]["difference"] == first["loss"]["low"] == 0.0
    change = second["loss"]
    assert np.isclose(change["difference"], second["loss"]["score"] - first["loss"]["score"])
    assert change["low"] <= change["difference"] <= change["high"]


def test_a_folder_of_runs_is_its_runs(trained_ensemble, iris, tmp_path):
    (tmp_path / "configs").mkdir()
    for number in (1, 2):
        (tmp_path / f"seed={number}").symlink_to(trained_ensemble / f"member-0{number}")
    found = json.loads(iris("compare", tmp_path, "--json").out)
    assert found["runs"] == [str(tmp_path / f"seed={number}") for number in (1, 2)]
    assert found["settings"] == {"seed": [0, 1]}


def test_the_interval_is_that_of_paired_differences(trained_ensemble):
    """Galaxies differ far more from each other than two networks do on one galaxy."""
    runs = [open_members(trained_ensemble / f"member-0{k}") for k in (1, 2)]
    hyper = runs[0][0].hyper
    scores = paired(runs, hyper, "test", quiet=True)[1]["loss_zero"]
    assert (scores.difference, scores.low, scores.high) == (0.0, 0.0, 0.0) and scores.score > 0
    assert not scores.is_clear


def test_keys_that_one_run_lacks_differ():
    assert differing([{"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": 4}]) == {"b.c": [2, 3], "d": [None, 4]}
