"""The pixel lattice in the maps of runs, for docs/benchmarks/networks.md: `lattice.py SHARDS RUN...`"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.training.trained_run import open_run
from iris_cli.units import INNER


def fixed_pattern(maps: NDArray, period: int) -> float:
    """Per mille of the variance of maps (n, S, S) in the mean over tiles of this period; median over the maps."""
    away = maps - maps.mean(axis=(1, 2), keepdims=True)
    tiles = maps.shape[1] // period
    pattern = away.reshape(len(maps), tiles, period, tiles, period).mean(axis=(1, 3))
    return float(1e3 * np.median(pattern.var(axis=(1, 2)) / away.var(axis=(1, 2))))


def line_power(maps: NDArray, period: int) -> float:
    """Power at the lattice's frequency, along either axis, over the mean of the frequencies 2 and 3 steps beside it."""
    power = np.square(np.abs(np.fft.fft2(maps - maps.mean(axis=(1, 2), keepdims=True)))).mean(axis=0)
    size = len(power)
    at = [power[k % size].sum() + power[:, k % size].sum() for k in size // period + np.array([0, -3, -2, 2, 3])]
    return float(at[0] / np.mean(at[1:]))


def main(shards: Path, runs: list[Path]) -> None:
    pairs = PreObservedDataset(shards, "test")
    images, true = (torch.stack(part) for part in zip(*(pairs[i] for i in range(len(pairs))), strict=True))
    maps = {"truth": true}
    with torch.no_grad():
        maps |= {str(run): open_run(run).checkpoint.make_reverter()(images) for run in runs}
    for name, found in maps.items():
        stretched = np.arcsinh(found[:, 0].numpy() / (1e-19 * INNER.density_per_SI))
        patterns = " ".join(f"{fixed_pattern(stretched, period):.3f}" for period in (2, 4))
        print(f"{name}: fixed 2x2, 4x4: {patterns} per mille; power at N/2: {line_power(stretched, 2):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
