import json
from dataclasses import replace

import pytest

from iris_cli.config.train import Noise, OptimizerConfig, TrainConfig
from iris_cli.errors import UsageError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.dry_run import activations, of_training
from tests.training.makers import write_pairs

HYPER = TrainConfig(epochs=3, batch_size=4, batches_per_update=2, ema_decay=0.0)


@pytest.mark.parametrize(("network", "growth"), [("paper", 3), ("columns", 3), ("sightlines", 2)])
def test_activations_grow_with_the_pixels(network, growth):
    """Those of `sightlines` with the number of longitudes and the width of a token."""
    small, large = (activations(Reverter(size, network=network)) for size in (32, 64))
    assert large > growth * small > growth * 32 * 32 * 4


def test_a_dry_run_counts_steps_weights_and_checkpoints(shards, tmp_path):
    one = of_training(replace(HYPER, data=(str(shards),)), tmp_path / "run")
    weights = 4 * sum(p.numel() for p in Reverter(32).parameters())
    assert "3 epochs of 3 steps: 22 pairs to train on, 6 to validate with" in one.computes
    assert one.writes == {tmp_path / "run": 4 * 3 * weights}
    assert one.reads == {shards: sum(tar.stat().st_size for tar in shards.glob("*.tar"))}
    five = of_training(replace(HYPER, data=(str(shards),)), tmp_path / "run", members=5, ranks=2)
    assert five.writes[tmp_path / "run"] == 5 * 4 * 3 * weights and five.memory > 1.9 * one.memory
    # a batch larger than the data set needs no more memory than the set
    all_pairs, larger = (of_training(replace(HYPER, data=(str(shards),), batch_size=b), tmp_path) for b in (22, 10**9))
    assert larger.memory == all_pairs.memory


def test_the_commands_write_nothing(iris, trained_run, shards, tmp_path):
    would = iris("train", shards, "--out", tmp_path / "run", "--dry-run", "--json", "--nproc-per-node", 2)
    assert would.code == 0 and json.loads(would.out)["processes"] == 2 and not (tmp_path / "run").exists()
    again = iris("train", shards, "--out", trained_run, "--dry-run")
    assert "exists: the run would need" in again.out
    tested = iris("test", trained_run, shards, "--dry-run")
    assert tested.code == 0 and "7 pairs (test), each once, by 1 network\n" in tested.out
    assert json.loads(iris("test", trained_run, shards, "--dry-run", "--json").out)["memory_bytes"] > 0
    met = iris("test", trained_run, shards, "--split", "train", "--dry-run")
    assert met.code == 1 and "the network was trained on" in met.err
    lost = iris("test", trained_run, shards, "--litter", "nowhere", "--dry-run")
    assert lost.code == 1 and "nowhere is not there" in lost.err


def test_a_dry_run_raises_the_errors_of_the_run(shards, tmp_path):
    hyper, out = replace(HYPER, data=(str(shards),)), tmp_path / "run"
    with pytest.raises(UsageError, match="unknown network"):
        of_training(replace(hyper, network="colums"), out)
    with pytest.raises(UsageError, match="unknown optimizer"):
        of_training(replace(hyper, optimizer=OptimizerConfig("rmsprop")), out)
    intensities = write_pairs(tmp_path / "intensities", {"train": range(4)}, quantity="intensity")
    with pytest.raises(UsageError, match="noise is given in kelvin, but the observation is an intensity"):
        of_training(replace(hyper, data=(str(intensities),), noise=Noise(sigma_K=1.0)), out)
    with pytest.raises(UsageError, match="23 ranks are more than the 22"):
        of_training(hyper, out, ranks=23)
