"""Damaged shards: a run stops at them, or leaves them out, counts them, and takes the mean over the rest."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.config.train import OptimizerConfig, TrainConfig
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import evaluate, mean_scores
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import SCORES
from iris_cli.pairs.stream import PairStream, bad_litter_over_ranks
from iris_cli.training import InfiniteDataset, PreObservedDataset, test_reverter, train_reverter
from iris_cli.training.run_folder import RunFolder
from shards.errors import ShardError
from shards.stream import BadSamples
from tests.shards.damage import flip, payload_of
from tests.training.makers import OtherRank, pairs_in, small_reverter, without_batch_norm, write_pairs

PLAIN = OptimizerConfig("sgd", 0.1, momentum=0.0)
SKIP = TrainConfig(epochs=1, batch_size=4, batches_per_update=2, on_bad_sample="skip", max_bad=3, optimizer=PLAIN)


@pytest.fixture
def folder(tiny_shards, tmp_path):
    """10 samples to train on (0 ... 9), 4 to validate with (10 ... 13), 5 to test on (14 ... 18)."""
    return Path(shutil.copytree(tiny_shards, tmp_path / "set"))


def damage(folder, *numbers):
    """Flip a bit in the payload of the observation of some samples."""
    for number in numbers:
        flip(*payload_of(folder, number, "observation"), 0)
    return folder


def train(folder, hyper, run, **options):
    where = {"checkpoint_directory": run.parent, "checkpoint_name": run.name}
    train_reverter(without_batch_norm(), PreObservedDataset(folder), hyper=hyper, quiet=True, **where, **options)
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run):
    return torch.cat([v.flatten().double() for v in RunFolder(run).newest().model.values()])


# --- training ---


def test_a_run_stops_at_a_bad_sample_or_takes_the_mean_over_the_others(folder, tmp_path):
    """The run that skips one of ten and the run on the other nine take the same step."""
    damage(folder, 3)
    with pytest.raises(ShardError, match="g0001_v1"):
        train(folder, replace(SKIP, on_bad_sample="stop"), tmp_path / "stop")
    whole = replace(SKIP, batch_size=10, batches_per_update=1)
    lines = train(folder, whole, tmp_path / "skipped")
    assert lines[-1]["bad_samples"] == 1
    assert sum(line["samples"] for line in lines if line["kind"] == "step") == 9
    splits = {"train": [n for n in range(10) if n != 3], "validation": range(100, 104)}
    train(write_pairs(tmp_path / "nine", splits), whole, tmp_path / "others")
    torch.testing.assert_close(weights(tmp_path / "skipped"), weights(tmp_path / "others"), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "most", "message"),
    [
        ([0, 6], 1, "2 bad samples, more than the 1 allowed"),
        ([3, 11], 1, r"2 samples could not be read, more than the 1 allowed \(--max-bad\)"),
        (range(10), 10, "none of the 10 training samples could be read"),
        (range(10, 14), 10, "none of the 4 validation samples could be read"),
    ],
)
def test_too_many_bad_samples_of_training_or_validation_or_both_are_an_error(folder, tmp_path, numbers, most, message):
    damage(folder, *numbers)
    for resume in ("none", "auto"):
        with pytest.raises((ShardError, DataError), match=message):
            train(folder, replace(SKIP, max_bad=most), tmp_path / "run", resume=resume)
        assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_bad_samples_of_training_and_validation_count_together_and_once(folder, tmp_path, capsys):
    damage(folder, 3, 11)
    lines = train(folder, replace(SKIP, max_bad=2, epochs=2), tmp_path / "two")
    assert [line["bad_samples"] for line in lines if line["kind"] == "epoch"] == [2, 2]
    assert "2 samples could not be read: left out so far" in " ".join(capsys.readouterr().err.split())


def test_bad_litter_is_replaced_and_counts_once_for_training_and_validation(tmp_path):
    folder = write_pairs(tmp_path / "set", {"train": range(20), "validation": range(100, 110)})
    litter = damage(write_pairs(tmp_path / "litter", {"litter": range(300, 302)}, litter=True), 1)
    drawn = InfiniteDataset(PreObservedDataset(litter), 0)
    skip = replace(SKIP, max_bad=1, overlap="allow")  # both images in training and in validation
    assert train(folder, skip, tmp_path / "run", litter=drawn)[-1]["bad_samples"] == 1
    with pytest.raises(ShardError, match="g0150_v1"):
        train(folder, replace(skip, on_bad_sample="stop"), tmp_path / "stop", litter=drawn)


# --- tests ---


def test_a_test_without_readable_samples_is_an_error(iris, trained_run, folder):
    damage(folder, 14, 15, 16, 17, 18)
    ran = iris("test", trained_run, folder, "--on-bad-sample", "skip", "-q")
    assert ran.code == 1 and "none of the 5 test samples could be read" in ran.err


def test_a_test_warns_of_unreadable_litter(iris, trained_run, folder, tmp_path):
    litter = damage(write_pairs(tmp_path / "litter", {"litter": range(300, 302)}, litter=True), 1)
    ran = iris("test", trained_run, folder, "--litter", litter, "--on-bad-sample", "skip", "-q", "--overlap", "allow")
    assert ran.code == 0 and "1 sample of the litter could not be read: others were drawn instead" in ran.err
    drawn = InfiniteDataset(PreObservedDataset(litter), 0)
    dataset = PreObservedDataset(folder, "test")
    assert (
        test_reverter(
            without_batch_norm(), dataset, hyper=replace(SKIP, overlap="allow"), quiet=True, litter=drawn
        ).pairs
        == 5
    )


def test_a_test_reports_the_samples_that_it_leaves_out(iris, trained_run, folder):
    damage(folder, 15)
    stopped = iris("test", trained_run, folder, "--json", "-q")
    assert stopped.code == 1 and "g0100_v1" in stopped.err
    skipped = iris("test", trained_run, folder, "--json", "-q", "--on-bad-sample", "skip")
    assert skipped.code == 0 and json.loads(skipped.out)["pairs"] == 4
    assert "1 of 5 samples could not be read" in skipped.err
    unchecked = iris("test", trained_run, folder, "--json", "-q", "--no-checksums")
    assert unchecked.code == 0 and json.loads(unchecked.out)["pairs"] == 5


# --- the stream ---


def test_litter_keeps_its_position_after_a_sample_left_out(tiny_shards, tiny_litter, folder):
    damage(folder, 3)
    litter, seen = pairs_in(tiny_litter), {}
    for where in (tiny_shards, folder):
        pairs, bad = pairs_in(where), BadSamples(1)
        stream = PairStream("train", pairs, np.arange(10), seed=0, batch=4, litter=litter, bad=bad)
        seen[where] = {int(i): o for b in stream.epoch() for i, o in zip(b.ids, b.observation, strict=True)}
    assert set(seen[tiny_shards]) - set(seen[folder]) == {3}
    assert all(torch.equal(observation, seen[tiny_shards][i]) for i, observation in seen[folder].items())


def test_bad_samples_of_all_ranks_are_counted_together(tiny_shards):
    stream = PairStream("train", pairs_in(tiny_shards, "train"), np.arange(10), seed=0, batch=4)
    stream.bad.found.update({3: "torn", 7: "torn"})
    assert len(stream.bad_over_ranks(World())) == 2 and bad_litter_over_ranks([stream], World()) == []
    other = World(0, 2, group=OtherRank(1.0))
    assert len(stream.bad_over_ranks(other)) == 10, "the other rank could read none of the same ten"


def test_missing_samples_that_were_not_counted_are_an_error(tiny_shards):
    """Evaluation compares the samples that it saw with the count of the stream."""

    class Short(PairStream):
        @property
        def count(self):
            return 12

    stream = Short("test", pairs_in(tiny_shards, "train"), np.arange(10), seed=0, batch=4)
    batches = evaluate(Ensemble([small_reverter()]), ScaledDensityLoss(), stream, World())
    with pytest.raises(DataError, match=r"2 of 12 samples of .* were not evaluated exactly once"):
        mean_scores(batches, SCORES, stream, World())
