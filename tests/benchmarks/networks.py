"""Networks at equal CPU time, for docs/benchmarks/networks.md: `networks.py SHARDS... --seconds 40 --seeds 3`

Each network is trained by Adam on batches of 16 of the same pairs, in one thread, for `--steps`, or for as many steps
as its own time per step leaves room for in the given CPU seconds. The times per step are measured in turn, before the
first training. The test is of the test split of the first folder; the training is on the others, if there are any.
"""

import math
import time
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path

import torch
import typer
from torch import Tensor

from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import MEASURES, Maps, pixel_volume
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.reverter.networks import NETWORKS
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.ema import EMA
from tests.benchmarks.lattice import fixed_pattern

BATCH = 16
LOSS = ScaledDensityLoss()
SHOWN = ("mass_ratio", "pearson_asinh", "near_far_error", "near_far_sign_right")


def pairs(folders: Sequence[Path], split: str) -> tuple[Tensor, Tensor]:
    """(n, 1, L, V) images and (n, 1, R', L) densities."""
    sets = [PreObservedDataset(folder, split) for folder in folders]
    images, densities = zip(*(found[i] for found in sets for i in range(len(found))), strict=True)
    return torch.stack(images)[:, :1], torch.stack(densities)


class Training:
    """A network with its optimizer and EMA; the learning rate falls by a cosine to zero."""

    def __init__(self, name: str, seed: int, images: Tensor, densities: Tensor, quantity: str, rate: float) -> None:
        self.network = Reverter(images.shape[2], quantity, seed=seed, network=name).on(torch.device("cpu"))
        self.optimizer, self.rate = torch.optim.Adam(self.network.parameters(), lr=rate), rate
        self.images, self.densities, self.ema = images, densities, EMA(self.network, 0.999)
        generator = torch.Generator().manual_seed(seed)
        orders = (torch.randperm(len(images), generator=generator).split(BATCH) for _ in repeat(None))
        self.batches = (batch for batch in chain.from_iterable(orders) if len(batch) == BATCH)

    def train(self, steps: int) -> float:
        """CPU seconds."""
        start = time.process_time()
        for step in range(steps):
            self.optimizer.param_groups[0]["lr"] = 0.5 * self.rate * (1.0 + math.cos(math.pi * step / steps))
            batch = next(self.batches)
            self.optimizer.zero_grad(set_to_none=True)
            LOSS(self.network(self.images[batch]), self.densities[batch]).backward()
            self.optimizer.step()
            self.ema.update(self.network, torch.zeros(()))
        return time.process_time() - start


def main(
    shards: list[Path], seconds: float = 40.0, steps: int = 0, seeds: int = 3, rate: float = 1e-3, networks: str = ""
) -> None:
    """`networks` are names with commas between them; by default all."""
    names = networks.split(",") if networks else list(NETWORKS)
    torch.set_num_threads(1)
    found = PreObservedDataset(shards[0], "test")
    images, densities = pairs(shards[1:] or shards, "train")
    test_images, truth = pairs(shards[:1], "test")
    what = (images, densities, found.quantity, rate)
    timed = {name: Training(name, 0, *what) for name in names}
    took = {name: [one.train(8) for one in (training,) * 3][1:] for name, training in timed.items()}
    for _ in range(3):  # in turn, so that other processes on the machine slow all networks alike
        for name, training in timed.items():
            took[name].append(training.train(8))
    planned = {name: steps or int(seconds * 8 / min(values)) for name, values in took.items()}
    mean, volume = densities.double().mean(dim=0, keepdim=True), pixel_volume(found.grid)
    for seed in range(seeds):
        for name in names:
            training = Training(name, seed, *what)
            spent = training.train(planned[name])
            network = training.ema.module.eval()
            with torch.no_grad():
                maps = torch.cat([network(part) for part in test_images.split(64)]).double()
            measured = Maps(maps[None], truth.double(), LOSS, mean, volume)
            means = {
                key: float(measure(measured).nanmean()) for key, measure in MEASURES.items() if key != "ssim_asinh"
            }
            skill = 1.0 - means["loss"] / min(means["loss_zero"], means["loss_mean_image"])
            scatter = float(MEASURES["mass_ratio"](measured).log10().std())
            error = float((measured.asinh(maps) - measured.asinh(truth.double())).abs().mean())
            lattice = [fixed_pattern(measured.asinh(image)[:, 0].numpy(), 2) for image in (maps, truth.double())]
            row = [f"{means[key]:.3f}" for key in SHOWN]
            print(
                f"| {name} | {seed} | {planned[name]} | {spent:.0f} | {skill:.4f} | {error:.4f} | {scatter:.3f} | "
                f"{' | '.join(row)} | {lattice[0]:.3f} of {lattice[1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    print(
        f"| network | seed | steps | CPU s | skill | asinh error | mass scatter, dex | {' | '.join(SHOWN)} | lattice |"
    )
    main.__doc__ = __doc__
    typer.run(main)
