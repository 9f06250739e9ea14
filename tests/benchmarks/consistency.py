"""Maps ranked by their consistency with the image, on the test galaxies of a run: docs/benchmarks/consistency.md.

python tests/benchmarks/consistency.py RUN SHARDS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from iris_cli.evaluation.out_of_distribution import TrainingInputs
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.trained_run import open_run


def main(run: Path, shards: Path) -> None:
    trained, pairs = open_run(run), PreObservedDataset(shards, "test")
    inputs = trained.training_inputs()
    assert isinstance(inputs, TrainingInputs), inputs
    images, true = (torch.stack(part)[:, 0] for part in zip(*(pairs[i] for i in range(len(pairs))), strict=True))
    order = np.random.default_rng(0).permutation(true.shape[-1])
    size, quantity = images.shape[-1], pairs.quantity

    def predicted(network: Reverter) -> torch.Tensor:
        with torch.no_grad():
            return network.eval()(images[:, None])[:, 0]

    maps = {"true": true, "trained network": predicted(trained.checkpoint.make_reverter())}
    for network in ("columns", "paper"):
        for seed in (5, 6):
            maps[f"random weights, {network} {seed}"] = predicted(Reverter(size, quantity, seed=seed, network=network))
    maps["uniform"] = torch.full_like(true, float(true.mean()))
    maps["uniform, true mass"] = true.mean(dim=(1, 2), keepdim=True).expand_as(true)
    maps["mean of the galaxies"] = true.mean(dim=0).expand_as(true)
    maps["of another galaxy"] = true.roll(1, dims=0)
    maps["mirrored in distance"] = true.flip(1)
    maps["distances shuffled"] = true[:, order]
    maps["columns shuffled"] = true[:, :, order]
    maps["half the density"] = 0.5 * true
    best = None
    print("| map | unexplained | fine structure | distance, 5/50/95 % | true map nearer | warned |")
    for name, each in maps.items():
        found = [inputs.consistency(m, i, np.ones_like(i)) for m, i in zip(each.numpy(), images.numpy(), strict=True)]
        names = ("unexplained", "fine_structure", "distance", "unlike")
        unexplained, fine, distance, unlike = (np.array([getattr(c, name) for c in found]) for name in names)
        best = distance if best is None else best
        low, middle, high = np.percentile(distance, [5, 50, 95])
        nearer = "" if name == "true" else f"{np.mean(best < distance):.2f}"
        values = f"{np.median(unexplained):.2f} | {np.median(fine):.2f} | {low:.2f} {middle:.2f} {high:.2f} | {nearer}"
        print(f"| {name} | {values} | {np.mean(unlike):.2f} |")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
