"""Damaged shards: a run stops at them, or leaves them out, counts them, and takes the mean over the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.config.train import OptimizerConfig, TrainConfig
from iris_cli.errors import DataError
from iris_cli.pairs.stream import PairStream, bad_litter_over_ranks
from iris_cli.training import InfiniteDataset, PreObservedDataset, test_reverter, train_reverter
from shards.errors import ShardError
from shards.index import Index
from shards.stream import BadSamples
from tests.training.makers import OtherRank, pairs_in, without_batch_norm, write_pairs

SKIP = TrainConfig(
    epochs=1,
    batch_size=4,
    batches_per_update=2,
    on_bad_sample="skip",
    max_bad=3,
    optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0),
)


def damage(folder: Path, number: int) -> Path:
    """Flip a bit in the payload of a sample's observation."""
    samples = Index.open(folder).samples()
    tar = sorted(folder.glob("*.tar"))[int(samples.shard[number])]
    data = bytearray(tar.read_bytes())
    data[int(samples.offset["observation"][number]) + 300] ^= 1
    tar.write_bytes(data)
    return folder


def train(folder: Path, hyper: TrainConfig, run: Path, **how: object) -> list[dict[str, object]]:
    train_reverter(
        without_batch_norm(),
        PreObservedDataset(folder),
        hyper=hyper,
        quiet=True,
        checkpoint_directory=run.parent,
        checkpoint_name=run.name,
        **how,
    )  # type: ignore[arg-type]
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> torch.Tensor:
    from iris_cli.training.run_folder import RunFolder

    return torch.cat([v.flatten().double() for v in RunFolder(run).newest().model.values()])


def test_a_run_stops_at_a_damaged_sample_unless_it_may_skip(tmp_path: Path) -> None:
    folder = damage(write_pairs(tmp_path / "set", {"train": range(10), "validation": range(100, 104)}), 3)
    with pytest.raises(ShardError, match="g0001_v1"):
        train(folder, replace(SKIP, on_bad_sample="stop"), tmp_path / "stop")
    lines = train(folder, SKIP, tmp_path / "skip")
    assert lines[-1]["bad_samples"] == 1
    assert sum(line["samples"] for line in lines if line["kind"] == "step") == 9  # type: ignore[misc]


def test_a_step_that_skips_a_sample_is_the_mean_over_the_others(tmp_path: Path) -> None:
    """The run that skips one of ten and the run on the other nine take the same step."""
    whole = replace(SKIP, batch_size=10, batches_per_update=1)
    folder = damage(write_pairs(tmp_path / "ten", {"train": range(10)}), 3)
    train(folder, whole, tmp_path / "skipped")
    others = write_pairs(tmp_path / "nine", {"train": [n for n in range(10) if n != 3]})
    train(others, whole, tmp_path / "others")
    torch.testing.assert_close(weights(tmp_path / "skipped"), weights(tmp_path / "others"), rtol=1e-6, atol=1e-6)


def test_more_bad_samples_than_allowed_stop_the_run(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(10)})
    for number in (0, 6):
        damage(folder, number)
    with pytest.raises(ShardError, match="2 bad samples, more than the 1 allowed"):
        train(folder, replace(SKIP, max_bad=1), tmp_path / "run")


def test_bad_samples_of_training_and_validation_count_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(10), "validation": range(100, 104)})
    for number in (3, 11):
        damage(folder, number)
    with pytest.raises(DataError, match=r"2 samples could not be read, more than the 1 allowed \(--max-bad\)"):
        train(folder, replace(SKIP, max_bad=1), tmp_path / "one")
    assert train(folder, replace(SKIP, max_bad=2), tmp_path / "two")[-1]["bad_samples"] == 2
    assert "2 samples could not be read: left out so far" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_readable_samples_is_an_error(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(4), "validation": range(100, 104)})
    for number in range(4):
        damage(folder, number)
    with pytest.raises(DataError, match="none of the 4 training samples could be read"):
        train(folder, replace(SKIP, max_bad=10), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    with pytest.raises(DataError, match="none of the 4 training samples could be read"):
        train(folder, replace(SKIP, max_bad=10), tmp_path / "run", resume="auto")


def test_a_validation_or_test_without_readable_samples_is_an_error(iris: Callable, tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(4), "validation": range(100, 104)})
    trained = iris("train", folder, "--out", tmp_path / "sound", "--epochs", 1, "--batch-size", 4, "-q")
    assert trained.code == 0, trained.err
    for number in range(4, 8):
        damage(folder, number)
    with pytest.raises(DataError, match="none of the 4 validation samples could be read"):
        train(folder, replace(SKIP, max_bad=10), tmp_path / "run")
    tested = iris("test", tmp_path / "sound", folder, "--on-bad-sample", "skip", "-q")
    assert tested.code == 1 and "none of the 4 test samples could be read" in tested.err


def test_a_bad_sample_of_the_validation_is_left_out_and_counted_once(tmp_path: Path) -> None:
    folder = damage(write_pairs(tmp_path / "set", {"train": range(10), "validation": range(100, 104)}), 11)
    lines = train(folder, replace(SKIP, epochs=3), tmp_path / "run")
    assert [line["bad_samples"] for line in lines if line["kind"] == "epoch"] == [1, 1, 1]


def test_litter_keeps_its_position_when_an_earlier_sample_is_left_out(tmp_path: Path) -> None:
    sound = write_pairs(tmp_path / "sound", {"train": range(10)})
    torn = damage(write_pairs(tmp_path / "torn", {"train": range(10)}), 3)
    litter = pairs_in(write_pairs(tmp_path / "litter", {"litter": range(300, 309)}, litter=True))
    seen = {}
    for folder in (sound, torn):
        feed = PairStream("train", pairs_in(folder), np.arange(10), seed=0, batch=4, litter=litter, bad=BadSamples(1))
        seen[folder] = {int(i): o for b in feed.epoch() for i, o in zip(b.ids, b.observation, strict=True)}
    assert set(seen[sound]) - set(seen[torn]) == {3}
    assert all(torch.equal(seen[torn][i], seen[sound][i]) for i in seen[torn])


def test_damaged_litter_is_replaced_by_another_and_counted(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(20)})
    litter = damage(write_pairs(tmp_path / "litter", {"litter": range(300, 304)}, litter=True), 2)
    lines = train(folder, SKIP, tmp_path / "run", litter=InfiniteDataset(PreObservedDataset(litter), 0))
    assert lines[-1]["bad_samples"] == 1
    with pytest.raises(ShardError, match="g0151_v0"):
        train(
            folder,
            replace(SKIP, on_bad_sample="stop"),
            tmp_path / "stop",
            litter=InfiniteDataset(PreObservedDataset(litter), 0),
        )


def test_bad_litter_of_training_and_validation_counts_once(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(20), "validation": range(100, 110)})
    litter = damage(write_pairs(tmp_path / "litter", {"litter": range(300, 302)}, litter=True), 1)
    lines = train(
        folder, replace(SKIP, max_bad=1), tmp_path / "run", litter=InfiniteDataset(PreObservedDataset(litter), 0)
    )
    assert lines[-1]["bad_samples"] == 1


def test_a_test_warns_of_unreadable_litter(iris: Callable, tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(8), "test": range(200, 206)})
    trained = iris("train", folder, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4, "-q")
    assert trained.code == 0, trained.err
    litter = damage(write_pairs(tmp_path / "litter", {"litter": range(300, 302)}, litter=True), 1)
    tested = iris("test", tmp_path / "run", folder, "--litter", litter, "--on-bad-sample", "skip", "-q")
    assert tested.code == 0
    assert "1 sample of the litter could not be read: others were drawn instead" in tested.err
    mine = test_reverter(
        without_batch_norm(),
        PreObservedDataset(folder, "test"),
        hyper=SKIP,
        quiet=True,
        litter=InfiniteDataset(PreObservedDataset(litter), 0),
    )
    assert mine.pairs == 6


def test_a_test_reports_the_samples_that_it_leaves_out(iris: Callable, tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "set", {"train": range(8), "test": range(200, 206)})
    trained = iris("train", folder, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4, "-q")
    assert trained.code == 0, trained.err
    damage(folder, 1)  # of the test split, whose tar comes first
    stopped = iris("test", tmp_path / "run", folder, "--json", "-q")
    assert stopped.code == 1 and "g0100_v1" in stopped.err
    skipped = iris("test", tmp_path / "run", folder, "--json", "-q", "--on-bad-sample", "skip")
    assert skipped.code == 0 and json.loads(skipped.out)["pairs"] == 5
    assert "1 of 6 samples could not be read" in skipped.err
    unchecked = iris("test", tmp_path / "run", folder, "--json", "-q", "--no-checksums")
    assert unchecked.code == 0 and json.loads(unchecked.out)["pairs"] == 6


def test_bad_samples_of_all_ranks_are_counted_together(tmp_path: Path) -> None:
    from iris_cli.distributed import World

    feed = PairStream(
        "train", pairs_in(write_pairs(tmp_path / "set", {"train": range(10)})), np.arange(10), seed=0, batch=4
    )
    feed.bad.found.update({3: "torn", 7: "torn"})
    assert feed.bad_over_ranks(World()) == 2 and bad_litter_over_ranks([feed], World()) == 0
    assert feed.bad_over_ranks(World(0, 2, group=OtherRank(1.0))) == 10, (
        "the other rank could read none of the same ten"
    )


def test_missing_samples_that_were_not_counted_are_an_error(tmp_path: Path) -> None:
    """Evaluation compares what it saw with what the index promises."""
    from iris_cli.evaluation.ensemble import Ensemble
    from iris_cli.evaluation.evaluate import evaluate, mean_scores
    from iris_cli.evaluation.loss import ScaledDensityLoss
    from iris_cli.evaluation.metrics import SCORES
    from tests.training.makers import small_reverter

    class Short(PairStream):
        @property
        def count(self) -> int:
            return 12

    from iris_cli.distributed import World

    feed = Short("test", pairs_in(write_pairs(tmp_path / "set", {"train": range(10)})), np.arange(10), seed=0, batch=4)
    batches = evaluate(Ensemble([small_reverter()]), ScaledDensityLoss(), feed, World())
    with pytest.raises(DataError, match=r"2 of 12 samples of .* were not evaluated exactly once"):
        mean_scores(batches, SCORES, feed, World())
