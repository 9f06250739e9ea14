"""Run on each rank by `torchrun ranks.py SHARDS OUT BATCH`: train without batch norm, save the weights."""

from __future__ import annotations

import sys

import torch
from torch import nn

from iris_cli.config.train import Noise, OptimizerConfig, TrainConfig
from iris_cli.training import PreObservedDataset, train_reverter
from tests.training.makers import without_batch_norm


def train_without_batch_norm(shards: str, batch: int) -> tuple[nn.Module, int]:
    hyper = TrainConfig(epochs=2, batch_size=batch, batches_per_update=2, noise=Noise(sigma_K=0.3),
                        optimizer=OptimizerConfig("sgd", 0.1, momentum=0.0))  # fmt: skip
    return train_reverter(without_batch_norm(), PreObservedDataset(shards), hyper=hyper, quiet=True)


if __name__ == "__main__":
    module, rank = train_without_batch_norm(sys.argv[1], int(sys.argv[3]))
    torch.save(module.state_dict(), f"{sys.argv[2]}-{rank}.pt")
