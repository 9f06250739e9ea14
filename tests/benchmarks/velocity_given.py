"""What bounds near and far? `python -m tests.benchmarks.velocity_given SET0 SET1`, for docs/benchmarks/posterior.md.

A sampler is trained on SET1 from scratch and tested on SET0: once with the image alone, once with two more images, the
mean velocity and the dispersion of the gas at each place, seen from above. The pairs need the array `velocity`.
"""

import math
from itertools import islice
from pathlib import Path

import torch
import typer
from torch import Tensor

from iris_cli.evaluation import sampler_loss
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import Maps, pixel_volume
from iris_cli.evaluation.posterior import Posterior
from iris_cli.pairs.datasets import PreObservedDataset, pairs_of
from iris_cli.pairs.pair import VELOCITY
from iris_cli.pairs.stream import PairBatch, PairStream
from iris_cli.reverter.sampler import Sampler, noise_of
from iris_cli.training.ema import EMA

BATCH, RATE = 16, 2e-3
#: km/s that count as one unit of brightness.
SCALE = 50.0


def batches(folder: Path, split: str, shuffle: bool) -> PairStream:
    pairs = pairs_of(PreObservedDataset(folder, split))
    return PairStream(split, pairs, torch.arange(len(pairs)).numpy(), 0, BATCH, shuffle=shuffle, further=(VELOCITY,))


def images(batch: PairBatch, given: bool) -> Tensor:
    """(n, 1, L, V), or (n, 3, L, V) with the velocity field (n, 2, R', L) turned over."""
    field = batch.further[VELOCITY].float().transpose(2, 3) / SCALE
    return torch.cat([batch.observation[:, :1], field], dim=1) if given else batch.observation[:, :1]


def main(test: Path, train: Path, steps: int = 500, samples: int = 16) -> None:
    torch.set_num_threads(1)
    stream, testing = batches(train, "train", True), batches(test, "test", False)
    loss, volume = ScaledDensityLoss(), pixel_volume(stream.pairs.grid).float()
    for given in (False, True):
        network = Sampler(stream.pairs.grid.lon_steps, stream.pairs.quantity, "", 3 if given else 1)
        ema, adam = EMA(network, 0.999), torch.optim.Adam(network.parameters(), RATE, fused=True)
        done = 0
        while done < steps:
            for batch in islice(stream.epoch(done), steps - done):
                adam.param_groups[0]["lr"] = 0.5 * RATE * (1.0 + math.cos(math.pi * done / steps))
                noise = noise_of(network.image_size, (done * 10**6 + batch.positions).tolist(), range(2))
                drawn = network(images(batch, given), torch.zeros_like(batch.density), *noise)
                found = sampler_loss.scores(drawn, batch.density, loss.normalization, volume)
                adam.zero_grad()
                sum(weight * found[name].mean() for name, weight in sampler_loss.WEIGHTS.items()).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                adam.step()
                ema.update(network, torch.zeros(()))
                done += 1
        measure, means = Posterior(samples), []
        with torch.no_grad():
            for batch in testing.epoch():
                noise = noise_of(network.image_size, batch.ids.tolist(), range(samples))
                drawn = ema.module(images(batch, given), torch.zeros_like(batch.density), *noise)
                maps = Maps(
                    drawn.transpose(0, 1)[:, :, None].double(),
                    batch.density.double(),
                    loss,
                    batch.density.double().mean(dim=0, keepdim=True),
                    volume.double(),
                )
                found = measure.measure(maps)
                means.append([float(found[name].nanmean()) for name in ("crps", "brier_near", "crps_near")])
        crps, brier, near = torch.tensor(means).mean(dim=0).tolist()
        name = "image and velocity field" if given else "image alone"
        print(f"| {name} | {crps:.3f} | {brier:.3f} | {near:.3f} |", flush=True)


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
