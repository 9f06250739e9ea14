"""How does a network know near gas from far gas? `python -m tests.benchmarks.near_far --help`.

A fixed small network is trained on mock galaxies of several kinds to say which share of the gas at each longitude and
velocity is on the near side of the Galactic Centre, and is tested on held-out galaxies of its own kind and of the
others. In: thin images (simple observer) of 32 x 32 pixels with noise. Out: a table of scores, means over seeds, with
standard errors over galaxies. Results: docs/benchmarks/sky.md.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from iris_cli.axes import RHO
from iris_cli.config.grid import Grid
from iris_cli.config.mock import MockConfig
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.simple import SimpleObserver

GRID = Grid().scaled(32, 32, 8, 32)
#: A coarse lattice is drawn faster; the cells have 14 pc.
PLAIN = replace(MockConfig(), turbulence_cell_pc=10.0)
KINDS = {
    "any orientation, old drift": replace(PLAIN, view="any", drift_km_s=(25.0, 50.0)),
    "any orientation, no drift": replace(PLAIN, view="any"),
    "any, no drift, no lanes": replace(PLAIN, view="any", lane_inflow_Msun_yr=(0.0, 0.0)),
    "Milky Way, no lanes": replace(PLAIN, lane_inflow_Msun_yr=(0.0, 0.0)),
    "Milky Way": PLAIN,
}
#: Only tested on: the tilt is 15 degrees off.
SHIFTED = {
    "Milky Way, tilt + 15": replace(PLAIN, tilt_deg=(-25.0, 10.0)),
    "Milky Way, tilt - 15": replace(PLAIN, tilt_deg=(-55.0, -20.0)),
}
#: Noise in units of the rms of an image.
NOISE = 0.05
BATCH = 16


@dataclass(frozen=True)
class Galaxies:
    """Images (n, L, V), near shares of the gas, and weights: the share of a galaxy's gas in a pixel."""

    images: Tensor
    near: Tensor
    weights: Tensor

    def part(self, chosen: slice) -> "Galaxies":
        return Galaxies(self.images[chosen], self.near[chosen], self.weights[chosen])


def make(config: MockConfig, seed: int, count: int) -> Galaxies:
    observer, rows = SimpleObserver(GRID), []
    near_side = torch.from_numpy(GRID.distance.centres() < GRID.observer_distance_pc)[:, None, None]
    for number in range(count):
        tensor = torch.from_numpy(draw_galaxy(config, seed, number).tensor(GRID, 0.0))
        whole = observer.observe(tensor)[0]
        tensor[RHO] *= near_side
        near = observer.observe(tensor)[0]
        rows.append((whole / whole.square().mean().sqrt(), near / whole.clamp(min=1e-30), whole / whole.sum()))
    return Galaxies(*(torch.stack(column) for column in zip(*rows, strict=True)))


class Network(nn.Module):
    """A small U-Net: four sizes, 16 to 64 channels; also given each pixel's longitude and velocity."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (16, 32, 48, 64)

        def block(a: int, b: int) -> nn.Module:
            first, second = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
            return nn.Sequential(first, nn.GroupNorm(8, b), nn.SiLU(), second, nn.GroupNorm(8, b), nn.SiLU())

        self.down = nn.ModuleList(block(a, b) for a, b in zip((4, *sizes), sizes, strict=False))
        self.up = nn.ModuleList(block(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.last = nn.Conv2d(sizes[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(n, L, V) -> logits (n, L, V)"""
        axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in images.shape[1:]), indexing="ij")
        stretched = (torch.asinh(images), torch.asinh(20 * images), *(a.expand_as(images) for a in axes))
        x, kept = torch.stack(stretched, dim=1), []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else nn.functional.avg_pool2d(x, 2))
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([interpolate(x, scale_factor=2.0), beside], dim=1))
        return self.last(x)[:, 0]


def train(data: Galaxies, steps: int, seed: int) -> Network:
    torch.manual_seed(seed)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(len(data.images), (BATCH,))
        images = data.images[some] + NOISE * torch.randn(BATCH, *data.images.shape[1:])
        loss = cross_entropy(network(images), data.near[some], data.weights[some]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def cross_entropy(logits: Tensor, near: Tensor, weights: Tensor) -> Tensor:
    """(n,) nats, mean over the gas of a galaxy."""
    return (weights * binary_cross_entropy_with_logits(logits, near.clamp(0, 1), reduction="none")).sum(dim=(1, 2))


@torch.no_grad()
def scores(logits: Tensor, data: Galaxies) -> tuple[Tensor, Tensor]:
    """(cross-entropy, gas on the right side over the mean of all, where at least 90 % are on one side), each (n,)."""
    clear = data.weights * ((data.near - 0.5).abs() > 0.4)
    right = (logits > 0) == (data.near > 0.5)
    share = (clear * right).sum(dim=(1, 2)) / clear.sum(dim=(1, 2)).mean()
    return cross_entropy(logits, data.near, data.weights), share


def with_error(values: Tensor) -> str:
    """The mean over galaxies and its standard error."""
    return f"{float(values.mean()):>9.4f} +- {float(values.std()) / len(values) ** 0.5:.4f}"


def prior(data: Galaxies, like: Galaxies) -> Tensor:
    """The mean near share at each longitude and velocity."""
    weights = data.weights.sum(dim=0) + 1e-9
    mean = ((data.weights * data.near).sum(dim=0) + 0.5e-9) / weights
    return torch.logit(mean.clamp(1e-3, 1 - 1e-3)).expand_as(like.images)


def main(galaxies: int = 4000, test: int = 1000, steps: int = 1000, seeds: int = 2, kinds: str = "") -> None:
    """`seeds` are of the network; the galaxies are the same. `kinds` of galaxies to train on have `;` between them."""
    torch.set_flush_denormal(True)
    tests = {name: make(config, 1000, test) for name, config in {**KINDS, **SHIFTED}.items()}
    print(
        "cross-entropy in nats; gain: that of the prior minus it; right: share of clear gas; seeds: largest difference"
    )
    print(f"{'trained on':<28}{'tested on':<28}{'floor':>7}{'cross-entropy':>14}{'gain':>19}{'right':>9}", end="")
    print(f"{'gain in right':>19}{'seeds':>9}")
    for name in kinds.split(";") if kinds else KINDS:
        data = make(KINDS[name], 0, galaxies)
        networks = [train(data, steps, seed) for seed in range(seeds)]
        for other, test_set in tests.items():
            noisy = test_set.images + NOISE * torch.randn(
                test_set.images.shape, generator=torch.Generator().manual_seed(1)
            )
            with torch.no_grad():
                made = [scores(torch.cat([net(part) for part in noisy.split(64)]), test_set) for net in networks]
            entropies, rights = (torch.stack(each) for each in zip(*made, strict=True))
            entropy, right = entropies.mean(dim=0), rights.mean(dim=0)
            floor, prior_right = (
                scores(torch.logit(test_set.near.clamp(1e-6, 1 - 1e-6)), test_set)[0],
                scores(prior(data, test_set), test_set),
            )
            gains = with_error(prior_right[0] - entropy), with_error(right - prior_right[1])
            spread = float(entropies.mean(dim=1).max() - entropies.mean(dim=1).min())
            print(
                f"{name:<28}{other:<28}{float(floor.mean()):>7.3f}{float(entropy.mean()):>14.3f}{gains[0]:>19}", end=""
            )
            print(f"{float(right.mean()):>9.3f}{gains[1]:>19}{spread:>9.3f}", flush=True)
    print(f"{time.process_time():.0f} s of a core")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main.__doc__ = __doc__
    typer.run(main)
