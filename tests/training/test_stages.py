"""A later stage of a run, the sampler: trained, stopped, resumed and replaced like the first network."""

import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iris_cli.config.train import Noise, SamplesConfig, TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.pairs.datasets import pairs_of
from iris_cli.pairs.divide import divide, set_aside
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import Sampler
from iris_cli.training import Stopped
from iris_cli.training.dry_run import of_training
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.stages import SamplerTask
from iris_cli.training.train import summary
from tests.training.makers import assert_equal, logged, newest, pairs_in, train

SAMPLES = SamplesConfig(train=True, epochs=2, batch_size=4, batches_per_update=2)
HYPER = TrainConfig(epochs=1, batch_size=4, batches_per_update=2, network="columns", samples=SAMPLES, ema_decay=0.9)
HYPER = replace(HYPER, noise=Noise(sigma_K=0.1), checkpoint_every_steps=1, keep_checkpoints=9)


def train_both(shards, run, hyper=HYPER, **options):
    train(shards, hyper, run, Reverter(32, "v_density", network="columns"), **options)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    train_both(shards, run)
    return run


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def last_file(run):
    return max((run / "checkpoints").glob("step-*.pt")).read_bytes()


def test_a_stage_is_a_run_in_a_sub_folder_and_trains_on_galaxies_that_the_first_network_has_not_seen(whole, shards):
    stage = whole / "samples"
    assert {path.name for path in stage.iterdir()} == {"config.toml", "metrics.jsonl", "checkpoints"}
    pairs = pairs_of(pairs_in(shards))
    seen, unseen = set_aside(pairs, divide(pairs, HYPER)[0], HYPER)
    groups = np.array(pairs.groups())
    assert not set(groups[seen]) & set(groups[unseen]) and len(seen) + len(unseen) == 22
    steps = [sum(line["samples"] for line in logged(run)) for run in (whole, stage)]
    assert steps == [len(seen), 2 * len(unseen)]
    first, sampler = RunFolder(whole).best()[1], newest(stage).make(Sampler)
    assert sampler.digest == first.digest and sampler.quantity == "v_density"
    assert [line["loss"] for line in logged(stage, "epoch")] and "crps" in logged(stage, "epoch")[0]
    assert str(summary(RunFolder(whole))).count("\n") == 1


@pytest.mark.parametrize("call", [2, 4, 6])  # in a step, or a validation
def test_a_stage_that_was_stopped_resumes_to_the_same_bits(whole, shards, tmp_path, monkeypatch, call):
    scores, calls = SamplerTask.per_sample, iter(range(1, 99))

    def interrupted(self, *arguments):
        if next(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return scores(self, *arguments)

    monkeypatch.setattr(SamplerTask, "per_sample", interrupted)
    with pytest.raises(Stopped):
        train_both(shards, tmp_path / "run")
    monkeypatch.undo()
    train_both(shards, tmp_path / "run", resume="auto")
    assert last_file(tmp_path / "run") == last_file(whole)
    resumed, expected = (newest(run / "samples") for run in (tmp_path / "run", whole))
    for name in ("model", "last_model", "progress", "config", "unlogged"):
        assert_equal(getattr(resumed, name), getattr(expected, name))
    assert_equal(resumed.optimizer["state"], expected.optimizer["state"])
    assert_equal(RunFolder(tmp_path / "run" / "samples").best()[1].model, RunFolder(whole / "samples").best()[1].model)


def test_a_finished_stage_is_unchanged_trained_longer_or_anew_for_another_first_network(whole, copy, shards, capsys):
    train_both(shards, copy, resume="auto")
    assert last_file(copy / "samples") == last_file(whole / "samples")
    train_both(shards, copy, replace(HYPER, samples=replace(SAMPLES, epochs=3)), resume="auto")
    log = capsys.readouterr().err
    assert newest(copy / "samples").progress.epoch == 3 and "anew" not in log
    assert re.search(r"of 22 training pairs, (\d+) train the first network, (\d+) the sampler", log)
    train_both(shards, copy, replace(HYPER, epochs=2), resume="auto")
    assert (
        newest(copy / "samples").progress.epoch == 2
        and "samples: the first network has changed" in capsys.readouterr().err
    )
    assert newest(copy / "samples").reverter["digest"] == RunFolder(copy).best()[1].digest


def test_what_a_stage_depends_on_must_not_change(copy, shards):
    with pytest.raises(DataError, match=r"samples\.samples_per_pair: 2 in the checkpoint, 3 now"):
        train_both(shards, copy, replace(HYPER, samples=replace(SAMPLES, samples_per_pair=3)), resume="auto")
    with pytest.raises(DataError, match=r"unseen_fraction: 0\.5 in the checkpoint, 0\.0 now"):
        train_both(shards, copy, replace(HYPER, samples=SamplesConfig()), resume="auto")
    none = replace(HYPER, samples=replace(SAMPLES, unseen_fraction=1e-9))
    with pytest.raises(DataError, match="leaves none for a stage"):
        train_both(shards, copy, none, overwrite=True)
    with pytest.raises(ValueError, match="'samples' needs a run folder"):
        train(shards, HYPER, None, Reverter(32, "v_density", network="columns"))


def test_a_run_that_is_replaced_loses_its_stage(copy, shards):
    (copy / "samples" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        train_both(shards, copy)
    train_both(shards, copy, replace(HYPER, samples=SamplesConfig()), overwrite=True)
    assert [path.name for path in (copy / "samples").rglob("*") if path.is_file()] == ["notes.txt"]


def test_a_dry_run_shows_the_stage(iris, shards, tmp_path):
    would = of_training(replace(HYPER, data=(str(shards),)), tmp_path / "run")
    assert "; then samples: 2 epochs of " in would.computes and set(would.writes) == {
        tmp_path / "run",
        tmp_path / "run/samples",
    }
    asked = iris("train", shards, "--out", tmp_path / "run", "--network", "columns", "--samples", "--dry-run")
    assert asked.code == 0 and "then samples: 12 epochs of 1 step" in asked.out.replace("\n", " ")
