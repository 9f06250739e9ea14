"""Run on each rank by `torchrun ranks.py SHARDS OUT NAN_SHARDS`: everything for which tests need two ranks of a script.

Train without and with batch norm, and a sampler, test, train with a sample that is NaN, and run ten_lines.py; weights
and numbers are saved in OUT.
"""

import json
import runpy
import sys
from pathlib import Path

import torch

from iris_cli.config.train import Noise, OptimizerConfig, SamplesConfig, TrainConfig
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import PreObservedDataset, test_reverter, train_reverter
from tests.training.makers import small_reverter, without_batch_norm


def train_without_batch_norm(shards, batch, **how):
    sgd = OptimizerConfig("sgd", 0.1, momentum=0.0)
    hyper = TrainConfig(epochs=2, batch_size=batch, batches_per_update=2, noise=Noise(sigma_K=0.3), optimizer=sgd)
    return train_reverter(without_batch_norm(), PreObservedDataset(shards), hyper=hyper, quiet=True, **how)


def train_with_sampler(shards, batch, folder, **how):
    reverter, sgd = Reverter(32, "v_density", network="columns"), OptimizerConfig("sgd", 0.1, momentum=0.0)
    samples = SamplesConfig(train=True, epochs=2, batch_size=batch)
    hyper = TrainConfig(epochs=1, batch_size=batch, batches_per_update=2, optimizer=sgd, samples=samples)
    where = {"checkpoint_directory": folder, "checkpoint_name": "sampled", "quiet": True}
    train_reverter(reverter, PreObservedDataset(shards), hyper=hyper, **where, **how)


def numbers_of_test(shards):
    hyper = TrainConfig(noise=Noise(sigma_K=0.3), batch_size=2)
    report = test_reverter(small_reverter(), PreObservedDataset(shards, "test"), hyper=hyper, quiet=True)
    return {name: number for name, number in vars(report).items() if number is not None}


if __name__ == "__main__":
    shards, out, nan_shards = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    module, rank = train_without_batch_norm(shards, 2, auto_cleanup=False)
    torch.save(module.state_dict(), out / f"plain-{rank}.pt")
    hyper = TrainConfig(epochs=1, batch_size=2, batches_per_update=2)
    kept = {"auto_startup": False, "auto_cleanup": False}
    module, _ = train_reverter(small_reverter(), PreObservedDataset(shards), hyper=hyper, **kept)
    torch.save(module.state_dict(), out / f"normed-{rank}.pt")
    train_with_sampler(shards, 2, str(out), auto_startup=False)
    (out / f"test-{rank}.json").write_text(json.dumps(numbers_of_test(shards)))
    skipping = TrainConfig(epochs=1, batch_size=2, batches_per_update=2, on_nan="skip")
    train_reverter(small_reverter(), PreObservedDataset(nan_shards, checksums=False), hyper=skipping)
    runpy.run_path(str(Path(__file__).with_name("ten_lines.py")), run_name="__main__")
