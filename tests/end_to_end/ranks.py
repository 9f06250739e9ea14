"""Run on each rank by `torchrun ranks.py SHARDS OUT BATCH`: train without and with batch norm, and a sampler."""

from __future__ import annotations

import sys

import torch
from torch import nn

from iris_cli.config.train import Noise, OptimizerConfig, SamplesConfig, TrainConfig
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import PreObservedDataset, train_reverter
from tests.training.makers import small_reverter, without_batch_norm


def train_without_batch_norm(shards: str, batch: int, **how: bool) -> tuple[nn.Module, int]:
    sgd = OptimizerConfig("sgd", 0.1, momentum=0.0)
    hyper = TrainConfig(epochs=2, batch_size=batch, batches_per_update=2, noise=Noise(sigma_K=0.3), optimizer=sgd)
    return train_reverter(without_batch_norm(), PreObservedDataset(shards), hyper=hyper, quiet=True, **how)


def train_with_sampler(shards: str, batch: int, folder: str, **how: bool) -> None:
    reverter, sgd = Reverter(32, "v_density", network="columns"), OptimizerConfig("sgd", 0.1, momentum=0.0)
    samples = SamplesConfig(train=True, epochs=2, batch_size=batch)
    hyper = TrainConfig(epochs=1, batch_size=batch, batches_per_update=2, optimizer=sgd, samples=samples)
    where = {"checkpoint_directory": folder, "checkpoint_name": "sampled", "quiet": True}
    train_reverter(reverter, PreObservedDataset(shards), hyper=hyper, **where, **how)  # type: ignore[arg-type]


if __name__ == "__main__":
    module, rank = train_without_batch_norm(sys.argv[1], int(sys.argv[3]), auto_cleanup=False)
    torch.save(module.state_dict(), f"{sys.argv[2]}-{rank}.pt")
    hyper = TrainConfig(epochs=1, batch_size=2, batches_per_update=2)
    kept = {"auto_startup": False, "auto_cleanup": False}
    module, _ = train_reverter(small_reverter(), PreObservedDataset(sys.argv[1]), hyper=hyper, **kept)
    torch.save(module.state_dict(), f"{sys.argv[2]}-normed-{rank}.pt")
    train_with_sampler(sys.argv[1], int(sys.argv[3]), sys.argv[2], auto_startup=False)
