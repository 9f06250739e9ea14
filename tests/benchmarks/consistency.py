"""Does its image show that a map is wrong? On the test galaxies of a shard folder: docs/benchmarks/consistency.md.

python tests/benchmarks/consistency.py SHARDS [RUN…]

The regression from maps to images is fitted to the training split, with noise of 5 % of the images' rms. Where the set
holds velocities seen from above, maps are also observed again with these, as a thin line.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from iris_cli.config.grid import Grid
from iris_cli.evaluation.reobservation import Reobservation, Seen, pooled
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.pair import DENSITY, OBSERVATION, VELOCITY
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.trained_run import open_run

NOISE = 0.05
MOST = {"train": 1800, "validation": 200, "test": 300}


@dataclass(frozen=True)
class Split:
    """Images (n, L, V), maps (n, R', L), mean velocities and dispersions (n, 2, R', L) km/s where they are known."""

    images: NDArray
    maps: NDArray
    velocity: NDArray | None

    @classmethod
    def read(cls, shards: Path, name: str, rng: np.random.Generator) -> "Split":
        pairs = PreObservedDataset(shards, name)
        grid, rows = pairs.grid, []
        for number in range(min(len(pairs), MOST[name])):
            row = {OBSERVATION: np.zeros(grid.observation_shape, np.float32)}
            row[DENSITY] = np.zeros(grid.density_shape, np.float32)
            if VELOCITY in pairs.further:
                row[VELOCITY] = np.zeros((2, *grid.density_shape[1:]), np.float16)
            pairs.read(number, row)
            rows.append(row)
        images, maps = (np.stack([row[key][0] for row in rows]) for key in (OBSERVATION, DENSITY))
        velocity = np.stack([row[VELOCITY] for row in rows]).astype(np.float32) if VELOCITY in rows[0] else None
        images += NOISE * np.sqrt(np.mean(images**2)) * rng.standard_normal(images.shape, np.float32)
        return cls(images, maps, velocity)


def observed_again(maps: NDArray, velocity: NDArray, grid: Grid) -> NDArray:
    """(n, R', L) and (n, 2, R', L) -> (n, L, V): each pixel's mass, with a normal distribution of velocities."""
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    mean, spread = velocity[:, 0], np.maximum(velocity[:, 1], 0.3 * grid.velocity.step)
    below = ndtr((grid.velocity.edges() - mean[..., None]) / spread[..., None])
    return np.einsum("nrl,nrlv->nlv", maps * (r**2 / np.mean(r**2))[:, None], np.diff(below, axis=-1))


class ByVelocity:
    """Share of an image's variation about the mean that a map leaves, observed again with velocities.

    The brightness is a constant times a power of the column, both of which are fitted to the training set.
    """

    def __init__(self, training: Split, grid: Grid) -> None:
        self.grid, self.scale = grid, np.sqrt(np.mean(pooled(training.images) ** 2))
        assert training.velocity is not None
        self.mean = self.stretched(training.images).mean(axis=0)
        column = pooled(observed_again(training.maps[:300], training.velocity[:300], grid))
        seen, best = self.stretched(training.images[:300]), np.inf
        for power in np.arange(0.5, 1.25, 0.1):
            unit = pooled(training.images[:300]).mean() / np.mean(column**power)
            for factor in unit * np.geomspace(0.3, 3.0, 31):
                error = np.mean((np.arcsinh(factor * column**power / self.scale) - seen) ** 2)
                if error < best:
                    best, self.power, self.factor = error, power, factor

    def stretched(self, images: NDArray) -> NDArray:
        return np.arcsinh(pooled(images) / self.scale)

    def unexplained(self, maps: NDArray, images: NDArray, velocity: NDArray) -> NDArray:
        column = pooled(observed_again(maps, velocity, self.grid))
        left = self.stretched(images) - np.arcsinh(self.factor * column**self.power / self.scale)
        return (left**2).sum(axis=1) / ((self.stretched(images) - self.mean) ** 2).sum(axis=1)


def larger(a: NDArray, b: NDArray) -> float:
    """Area under the curve: the probability that one of `a` is larger than one of `b`."""
    return float(np.mean(a[:, None] > b) + 0.5 * np.mean(a[:, None] == b))


def quantiles(values: NDArray, digits: int) -> str:
    return " ".join(f"{q:.{digits}f}" for q in np.percentile(values, [5, 50, 95]))


def main(shards: Path, *runs: Path) -> None:
    rng = np.random.default_rng(0)
    training, held_out, test = (Split.read(shards, name, rng) for name in MOST)
    again = Reobservation.fit(*(Seen.of(part.maps, part.images) for part in (training, held_out)))
    pairs = PreObservedDataset(shards, "test")
    true, images, order = test.maps, test.images, rng.permutation(test.maps.shape[1])

    def predicted(network: Reverter) -> NDArray:
        with torch.no_grad():
            return network.eval()(torch.from_numpy(images)[:, None])[:, 0].numpy()

    kinds = {"true": true} | {
        f"network {run.name}": predicted(open_run(run).checkpoint.make_reverter()) for run in runs
    }
    for network in ("columns", "paper"):
        random = Reverter(images.shape[-1], pairs.quantity, seed=5, network=network)
        kinds[f"random weights, {network}"] = predicted(random)
    kinds["uniform, true mass"] = np.broadcast_to(true.mean(axis=(1, 2), keepdims=True), true.shape)
    kinds["mean of the galaxies"] = np.broadcast_to(training.maps.mean(axis=0), true.shape)
    kinds["of another galaxy"] = np.roll(true, 1, axis=0)
    kinds["distances shuffled"] = true[:, order]
    kinds["longitudes shuffled"] = true[:, :, order]
    kinds["turns the other way (v reversed)"] = true
    kinds["turns the other way (l reversed)"] = true[:, :, ::-1]
    kinds["mirrored in distance"] = true[:, ::-1]
    kinds["half the density"] = 0.5 * true
    physical = None if training.velocity is None else ByVelocity(training, pairs.grid)
    first: dict[str, NDArray] = {}
    columns = " true velocities: unexplained, 5/50/95 % | AUC |" if physical else ""
    print(f"| map | nats, 5/50/95 % | AUC | fine structure | AUC (rougher) | warned |{columns}")
    for name, maps in kinds.items():
        seen = images[..., ::-1] if "v reversed" in name else images
        everywhere = np.ones_like(images[0])
        checked = [again.check(m[None], i, everywhere, 0.01) for m, i in zip(maps, seen, strict=True)]
        found = [each for each in checked if each]
        nats = np.array([each.nats for each in found])
        fine, warned = np.array([each.fine_structure for each in found]), np.mean([each.unlike for each in found])
        best, usual = first.setdefault("nats", nats), first.setdefault("fine", fine)
        line = f"| {name} | {quantiles(nats, 0)} | {larger(best, nats):.3f} "
        line += f"| {np.median(fine):.2f} | {larger(fine, usual):.3f} | {warned:.2f} |"
        if physical is not None and test.velocity is not None:
            velocity = test.velocity[:, :, :, ::-1] if "l reversed" in name else test.velocity
            velocity = velocity[:, :, ::-1] if "mirrored" in name else velocity
            left = physical.unexplained(maps, seen, velocity)
            line += f" {quantiles(left, 2)} | {larger(left, first.setdefault('left', left)):.3f} |"
        print(line, flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
