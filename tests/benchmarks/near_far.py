"""How does a network know near gas from far gas? `python -m tests.benchmarks.near_far --help`.

A fixed small network is trained on mock galaxies of several kinds to say which share of the gas at each longitude and
velocity is on the near side of the Galactic Centre, and is tested on held-out galaxies of its own kind and of the
others. In: thin images (simple observer) of 32 x 32 pixels with noise. Out: a table of scores. Results:
docs/benchmarks/sky.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
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
    "Milky Way, no lanes": replace(PLAIN, lane_inflow_Msun_yr=(0.0, 0.0)),
    "Milky Way": PLAIN,
}
#: Only tested on: the tilt is 15 degrees off.
SHIFTED = {"Milky Way, tilt + 15": replace(PLAIN, tilt_deg=(-25.0, 10.0))}
#: Noise in units of the rms of an image.
NOISE = 0.05
BATCH = 16


@dataclass(frozen=True)
class Galaxies:
    """Images (n, L, V), near shares of the gas, and weights: the share of a galaxy's gas in a pixel."""

    images: Tensor
    near: Tensor
    weights: Tensor

    def part(self, chosen: slice) -> Galaxies:
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
def score(logits: Tensor, data: Galaxies) -> tuple[float, float, float]:
    """(cross-entropy, Brier score, right share of the gas at places where at least 90 % are on one side)."""
    clear = data.weights * ((data.near - 0.5).abs() > 0.4)
    right = (logits > 0) == (data.near > 0.5)
    brier = (data.weights * (logits.sigmoid() - data.near) ** 2).sum(dim=(1, 2)).mean()
    entropy = cross_entropy(logits, data.near, data.weights).mean()
    return float(entropy), float(brier), float((clear * right).sum() / clear.sum())


def prior(data: Galaxies, like: Galaxies) -> Tensor:
    """The mean near share at each longitude and velocity."""
    weights = data.weights.sum(dim=0) + 1e-9
    mean = ((data.weights * data.near).sum(dim=0) + 0.5e-9) / weights
    return torch.logit(mean.clamp(1e-3, 1 - 1e-3)).expand_as(like.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=1600)
    parser.add_argument("--test", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="to train on")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    begin = time.perf_counter()
    training = {name: make(config, args.seed, args.galaxies) for name, config in KINDS.items() if name in args.kinds}
    tests = {name: make(config, args.seed + 1000, args.test) for name, config in {**KINDS, **SHIFTED}.items()}
    print(f"{time.perf_counter() - begin:.0f} s for the galaxies", flush=True)
    print(f"{'trained on':<28}{'tested on':<28}{'cross-entropy (prior)':>24}{'Brier (prior)':>20}{'right (prior)':>18}")
    for name, data in training.items():
        network = train(data, args.steps, args.seed)
        for other, test in tests.items():
            noisy = test.images + NOISE * torch.randn(test.images.shape, generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                made = score(torch.cat([network(part) for part in noisy.split(64)]), test)
            known = score(prior(data, test), test)
            pairs = "".join(f"{a:>14.3f} ({b:.3f})" for a, b in zip(made, known, strict=True))
            print(f"{name:<28}{other:<28}{pairs}", flush=True)
    print(f"{time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
