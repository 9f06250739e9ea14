"""Effect of rounding on gradients: `python -m tests.benchmarks.precision CHECKPOINT SHARDS`.

Gradients of some batches are computed in float32 and in bfloat16, with the same weights. Printed, over all weights: the
change of a batch's gradient by rounding, relative to the variation between batches; the relative change of the mean
gradient; the cosine between the two gradients of a batch. With --fresh, with untrained weights. Results:
docs/benchmarks/training.md.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import typer
from torch import Tensor, nn

from iris_cli.evaluation.loss import PhysicalLoss, physical_loss
from iris_cli.pairs.stream import PairBatch
from iris_cli.reverter.layers import initialise
from iris_cli.training.precision import Precision
from iris_cli.training.test import open_stream
from iris_cli.training.trained_run import open_run


def gradient(network: nn.Module, loss: PhysicalLoss, batch: PairBatch, precision: str) -> Tensor:
    """(weights,) float64"""
    network.zero_grad()
    forward = Precision(precision, torch.device("cpu")).forward
    loss(forward(network, batch.observation, usual_size=True), batch.density).backward()
    return torch.cat([p.grad.double().flatten() for p in network.parameters() if p.grad is not None])


def compare(checkpoint: Path, shards: str, batches: int, fresh: bool) -> str:
    trained = open_run(checkpoint)
    network = trained.checkpoint.make_reverter().train()
    if fresh:
        initialise(network, torch.Generator().manual_seed(0))
    loss = physical_loss(trained.hyper)
    stream = replace(open_stream(trained.hyper, [shards], "train"), batch=trained.hyper.batch_size, shuffle=True)
    some = islice(stream.epoch(0), batches)
    pairs = [[gradient(network, loss, batch, precision) for precision in ("fp32", "bf16")] for batch in some]
    exact, rounded = (torch.stack(column) for column in zip(*pairs, strict=True))
    choice = (exact - exact.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    rounding = (rounded - exact).square().sum(dim=1).mean().sqrt()
    mean = exact.mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(rounded, exact, dim=1).mean()
    off = (rounded.mean(dim=0) - mean).norm() / mean.norm()
    return f"rounding / choice of batch {rounding / choice:.3f}, mean gradient off by {off:.3f}, cosine {cosine:.4f}"


def main(checkpoint: Path, shards: str, batches: int = 24, fresh: bool = False) -> None:
    print(compare(checkpoint, shards, batches, fresh))


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
