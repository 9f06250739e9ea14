"""Near or far for the clouds of mock galaxies: `python -m tests.benchmarks.near_far_clouds RUN… SHARDS [--test N]`.

In: runs with distance networks, and shards whose test split none of them has seen. The clouds of a galaxy are the
structures of its l-v image that `iris revert --clouds auto` finds; the answer is P(near) over the light of a cloud, the
truth the near share of its gas. Out: a table of scores with 95 % intervals of a bootstrap over galaxies. Results:
docs/benchmarks/near_far.md.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import typer

from iris_cli.evaluation.bootstrap import Resampling
from iris_cli.evaluation.distances import bins_of, truth
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.telescope.clouds import structures
from iris_cli.training.test import open_stream
from iris_cli.training.trained_run import open_members
from tests.benchmarks.near_far_sky import auc

#: A cloud is decided if so much of its gas is on one side.
CLEAR = 0.8


def main(runs: list[Path], shards: Path, test: int = 500) -> None:
    members = open_members(*runs)
    networks = [found[0].eval() for member in members if (found := member.distances())]
    stream = open_stream(members[0].hyper, [str(shards)], "test")
    stream = replace(stream, further=(LV_COLUMN, LV_NEARER), numbers=stream.numbers[:test])
    centre, _ = bins_of(stream.pairs.grid)
    rows, galaxies = [], []
    with torch.no_grad():
        prior = torch.stack([network.prior for network in networks])[:, : centre + 1].exp().sum(dim=1).mean(dim=0)
        for batch in stream.epoch():
            gas, nearer = truth(batch)
            answers = torch.stack([network(batch.observation) for network in networks])[:, :, : centre + 1]
            p_near = answers.exp().sum(dim=2).mean(dim=0)
            for k, image in enumerate(batch.observation[:, 0].double().numpy()):
                for cloud in structures(image, stream.pairs.grid):
                    weight = cloud.weights(stream.pairs.grid)
                    light, column = weight * np.maximum(image, 0.0), weight * gas[k].numpy()
                    if light.sum() > 0.0 and column.sum() > 0.0:
                        shares = (p_near[k].numpy() * light, prior.numpy() * light)
                        near = (column * nearer[k, centre].numpy()).sum() / column.sum()
                        rows.append((near, *(float(share.sum() / light.sum()) for share in shares)))
                        galaxies.append(str(batch.positions[k]))
    near, *answers = np.array(rows).T
    sampling = Resampling.of(galaxies)
    decided = np.abs(near - 0.5) >= CLEAR - 0.5
    print(f"{len(near)} clouds of {sampling.sources} galaxies; {decided.mean():.0%} have {CLEAR:.0%} on one side\n")
    print("| | log score | Brier | right, of decided clouds | AUC of these |\n|---|---|---|---|---|")
    for name, p in zip(("networks", "prior"), answers, strict=True):
        p = np.clip(p, 1e-3, 1.0 - 1e-3)
        right = np.where(decided, (p > 0.5) == (near > 0.5), np.nan)
        log = -(near * np.log(p) + (1.0 - near) * np.log(1.0 - p))
        brier = near * (1.0 - p) ** 2 + (1.0 - near) * p**2
        found = sampling.summary(np.stack([log, brier, right], axis=1))
        cells = (f"{m:.3f} ({a:.3f} … {b:.3f})" for m, a, b in zip(found.mean, found.low, found.high, strict=True))
        print(f"| {name} | {' | '.join(cells)} | {auc(p[decided], near[decided] > 0.5):.3f} |")
    tenth = np.minimum((10 * answers[0]).astype(int), 9)
    shown = (f"{answers[0][tenth == k].mean():.2f} -> {near[tenth == k].mean():.2f}" for k in np.unique(tenth))
    print(f"\nP(near) -> near share of the clouds: {', '.join(shown)}")


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
