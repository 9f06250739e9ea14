"""Near or far at each (l, v) on held-out mock galaxies: `python -m tests.benchmarks.distances SHARDS RUN…`.

In: runs with distance networks (`iris train --distances`) and a shard folder whose test split none of them has seen.
Out: for each run, for the runs pooled and for their prior a row of scores with 95 % intervals over galaxies;
the reliability of the pool in tenths of P(near); and how far two runs lie apart. Results: docs/benchmarks/near_far.md.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iris_cli.evaluation.bootstrap import Resampling
from iris_cli.evaluation.distances import reliability, scores, truth, weights
from iris_cli.observers.line_of_sight import distance_edges
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.pairs.stream import PairStream
from iris_cli.training.trained_run import open_run

SCORES = {"log_score": "log score", "brier": "Brier", "crps_pc": "CRPS, pc", "right": "right side"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = PreObservedDataset(args.shards, args.split)
    stream = PairStream("test", pairs, np.arange(len(pairs)), 0, 64, further=(LV_COLUMN, LV_NEARER))
    networks = [found[0] for run in args.runs if (found := open_run(run).distances())]
    answers: list[list[Tensor]] = [[] for _ in networks]
    columns, nearer = [], []
    with torch.no_grad():
        for batch in stream.epoch():
            for network, answer in zip(networks, answers, strict=True):
                answer.append(network(batch.observation))
            for known, part in zip((columns, nearer), truth(batch), strict=True):
                known.append(part)
    column, near = torch.cat(columns), torch.cat(nearer)
    edges = distance_edges(pairs.grid)
    centre, width = len(edges) // 2 - 1, torch.from_numpy(np.diff(edges)).float()
    each = {run.name: torch.cat(answer) for run, answer in zip(args.runs, answers, strict=True)}
    pool = torch.stack(list(each.values())).logsumexp(dim=0) - np.log(len(each))
    prior = torch.stack([network.prior for network in networks]).logsumexp(dim=0).sub(np.log(len(each))).expand_as(pool)
    # the truth itself as the answer: what no probability per pixel can beat
    ends = torch.zeros_like(near[:, :1]), torch.ones_like(near[:, :1])
    best = torch.cat([ends[0], near, ends[1]], dim=1).diff(dim=1).clamp(min=1e-9).log()
    rows = each if len(each) == 1 else {**each, "pooled": pool}
    resampling = Resampling.of(pairs.groups())
    reference = scores(prior, column, near, centre, width)["log_score"].double().numpy()[:, None]
    print(f"{len(pairs)} galaxies of {args.shards.name}\n\n| | {' | '.join(SCORES.values())} | log score / prior's |")
    print(f"|---|{'---|' * (len(SCORES) + 1)}")
    for name, answer in {**rows, "prior": prior, "floor": best}.items():
        found = {
            key: value.double().numpy()[:, None] for key, value in scores(answer, column, near, centre, width).items()
        }
        cells = []
        for key in SCORES:
            one = resampling.summary(found[key])
            cells.append(f"{one.mean[0]:.3f} ({one.low[0]:.3f} … {one.high[0]:.3f})")
        ratio = resampling.derived(lambda a, b: a / b, found["log_score"], reference)
        print(f"| {name} | {' | '.join(cells)} | {ratio.mean[0]:.3f} ({ratio.low[0]:.3f} … {ratio.high[0]:.3f}) |")
    for name, answer in {"pooled": pool, "prior": prior}.items():
        p_near = answer[:, : centre + 1].exp().sum(dim=1)
        gas, said, true = reliability(p_near, column, near[:, centre]).sum(dim=0)
        print(f"\n{name}: P(near) -> share that is near (share of the gas)")
        print(
            ", ".join(
                f"{s / g:.2f} -> {t / g:.2f} ({g / gas.sum():.2f})" for g, s, t in zip(gas, said, true, strict=True)
            )
        )
    for (one, a), (other, b) in combinations(each.items(), 2):
        apart = (a[:, : centre + 1].exp().sum(dim=1) - b[:, : centre + 1].exp().sum(dim=1)).abs()
        mean = (weights(column) * apart).sum(dim=(1, 2)).mean()
        print(f"\n{one} and {other}: P(near) differs by {mean:.3f} in the mean")


if __name__ == "__main__":
    main()
