"""How good probabilities of distance are: proper scores of P(near | l, v) and of distance, weighted with the gas.

`nearer` (n, bins - 1, L, V) is the true share of the gas at (l, v) that is nearer than each inner edge of the bins, and
`column` (n, L, V) the gas. A galaxy counts as one, whatever its mass. The scores are those of a random atom of the gas:
where a pixel holds near and far gas, no probability scores perfectly.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.console import Progress
from iris_cli.distributed import World
from iris_cli.evaluation.bootstrap import Resampling, Summary, divided
from iris_cli.observers.line_of_sight import distance_edges
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.pairs.stream import PairBatch, PairStream
from iris_cli.reverter.distances import Distances

#: Intervals of P(near) in which it is compared with the share that is near.
TENTHS = 10
#: Scores of a predictor; see `scores`.
SCORES = ("log_score", "brier", "crps_pc", "right")
#: Predictors beside the networks: the training galaxies at this (l, v), and the truth of each pixel, which no
#: probability for a pixel can beat.
PRIOR, FLOOR, POOLED = "prior", "floor", "pooled"
#: Pairs from which the prior is made.
MOST_READ = 2000


def truth(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """`column` and `nearer` of a batch."""
    return batch.further[LV_COLUMN][:, 0], batch.further[LV_NEARER].float() / 255.0


@torch.no_grad()
def mean_columns(stream: PairStream) -> Tensor:
    """(bins, L, V) where the gas of the galaxies of a stream is, each with the same mass: the mean over at most
    MOST_READ of its pairs.
    """
    numbers = stream.numbers[np.linspace(0, stream.count - 1, min(MOST_READ, stream.count)).round().astype(int)]
    whole = replace(stream, name="prior", numbers=numbers, rank=0, world=1, shuffle=False, noise=None, litter=None)
    total = torch.zeros(())
    for batch in whole.epoch():
        column, near = truth(batch)
        ends = torch.zeros_like(near[:, :1]), torch.ones_like(near[:, :1])
        shares = torch.cat([ends[0], near, ends[1]], dim=1).diff(dim=1)
        total = total + (weights(column)[:, None] * shares).double().sum(dim=0)
    return (total / max(len(numbers), 1)).float()


def weights(column: Tensor) -> Tensor:
    """(n, L, V) the share of each pixel in the gas of its galaxy; 0 of a galaxy without gas."""
    return column / column.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(column.dtype).tiny)


def scores(log_shares: Tensor, column: Tensor, nearer: Tensor, centre: int, width_pc: Tensor) -> dict[str, Tensor]:
    """(n,) each: `log_score` and `brier` of P(near), `crps_pc` of distance, and `right`, the share of the gas that is
    on the side that is more probable.

    `centre` is the number of the inner edge at the Galactic Centre, `width_pc` (bins,) the widths of the bins. The CRPS
    is the integral over distance of (F - 1)^2 beyond and F^2 before the gas, by the trapezoidal rule.
    """
    log_near, log_far = log_shares[:, : centre + 1].logsumexp(dim=1), log_shares[:, centre + 1 :].logsumexp(dim=1)
    weight, near, p = weights(column), nearer[:, centre], log_near.exp()
    steps = 0.5 * (width_pc[:-1] + width_pc[1:])
    crossed = (log_shares.exp().cumsum(dim=1)[:, :-1] - nearer).square() + nearer * (1.0 - nearer)
    found = {
        "log_score": -(near * log_near + (1.0 - near) * log_far),
        "brier": near * (1.0 - p).square() + (1.0 - near) * p.square(),
        "crps_pc": (crossed * steps[:, None, None]).sum(dim=1),
        "right": torch.where(p > 0.5, near, 1.0 - near),
    }
    return {name: (weight * value).sum(dim=(1, 2)) for name, value in found.items()}


def reliability(p_near: Tensor, column: Tensor, near: Tensor) -> Tensor:
    """(n, 3, TENTHS) for the pixels of each galaxy with P(near) in each tenth: gas, gas times P(near), near gas."""
    tenth = (TENTHS * p_near).long().clamp(max=TENTHS - 1).flatten(1)
    weight = weights(column).flatten(1).double()
    parts = weight, weight * p_near.flatten(1), weight * near.flatten(1)
    table = torch.zeros(len(p_near), 3, TENTHS, dtype=torch.float64)
    for k, part in enumerate(parts):
        table[:, k].scatter_add_(1, tenth, part)
    return table


def bins_of(grid: Grid) -> tuple[int, Tensor]:
    """The number of the inner edge at the Galactic Centre, and the widths (bins,) of the bins in pc."""
    edges = distance_edges(grid)
    centre = int(np.searchsorted(edges, grid.observer_distance_pc - 1e-6)) - 1
    return centre, torch.from_numpy(np.diff(edges)).float()


@dataclass(frozen=True)
class Tenths:
    """By tenths of P(near), (TENTHS,) each: the share of the gas in it, its mean P(near), and the share of it that is
    near; NaN where there is no gas.
    """

    gas: NDArray[np.float64]
    p_near: NDArray[np.float64]
    near: Summary

    @classmethod
    def of(cls, table: NDArray[np.float64], resampling: Resampling) -> "Tenths":
        """The rows (pairs, 3 TENTHS) of `reliability`."""
        gas, said, near = np.split(table, 3, axis=1)
        whole = np.nansum(gas, axis=0)
        return cls(whole / whole.sum(), divided(np.nansum(said, axis=0), whole), resampling.derived(divided, near, gas))


@dataclass(frozen=True)
class DistanceScores:
    """A test of distance networks: means over galaxies with intervals of a bootstrap.

    `predictors` are the networks, several also POOLED, PRIOR and FLOOR: name -> score -> number. `tenths` are those of
    the networks together, `prior_tenths` those of the prior. `apart` is how far the P(near) of two networks are apart,
    in the mean over their pairs.
    """

    predictors: dict[str, dict[str, Summary]]
    tenths: Tenths
    prior_tenths: Tenths
    apart: Summary | None

    def table(self, intervals: bool = False) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows: means of the scores, a row for each predictor."""

        def cell(n: Summary) -> str:
            return f"{n.mean:.3f}" + (f" ({n.low:.3f} … {n.high:.3f})" if intervals else "")

        return ("", *SCORES), [(name, *map(cell, scores.values())) for name, scores in self.predictors.items()]

    def sentences(self) -> list[str]:
        """How reliable P(near) is, and how far the networks are apart."""
        tenths = zip(self.tenths.gas, self.tenths.p_near, self.tenths.near.mean, strict=True)
        shown = ", ".join(f"{p:.2f} -> {near:.2f}" for gas, p, near in tenths if gas >= 0.01)
        said = [f"P(near) -> share that is near: {shown}"]
        if self.apart is not None:
            said.append(f"P(near) of two networks differs by {self.apart.mean:.3f} in the mean")
        return said


@torch.no_grad()
def score_distances(networks: Sequence[Distances], stream: PairStream, world: World, bar: Progress) -> DistanceScores:
    """Score networks on every pair of a stream once, on any number of ranks. The pairs need LV_COLUMN and LV_NEARER."""
    centre, width = bins_of(stream.pairs.grid)
    networks = [network.to(world.device).eval() for network in networks]
    names = [f"network {k}" for k in range(1, len(networks) + 1)] if len(networks) > 1 else ["network"]
    names += [POOLED, PRIOR, FLOOR] if len(networks) > 1 else [PRIOR, FLOOR]
    table = torch.zeros(stream.count, 2 + len(names) * len(SCORES) + 6 * TENTHS, dtype=torch.float64)
    with closing(replace(stream, further=(LV_COLUMN, LV_NEARER)).epoch()) as batches:
        for batch in batches:
            if len(batch):
                image = batch.observation.to(world.device)
                answers = torch.stack([network(image) for network in networks]).cpu()
                priors = torch.stack([network.prior for network in networks]).cpu()
                table[torch.from_numpy(batch.positions)] = _row(answers, priors, batch, centre, width)
            bar.advance()
    world.sum(table)
    numbers = table.numpy()
    numbers[numbers[:, 0] == 0] = np.nan  # could not be read
    resampling = Resampling.of(stream.groups)
    found = numbers[:, 2 : 2 + len(names) * len(SCORES)].reshape(len(numbers), len(names), len(SCORES))
    summaries = {
        name: {score: resampling.summary(found[:, k, j : j + 1])[0] for j, score in enumerate(SCORES)}
        for k, name in enumerate(names)
    }
    tenths, of_prior = (Tenths.of(part, resampling) for part in np.split(numbers[:, -6 * TENTHS :], 2, axis=1))
    apart = resampling.summary(numbers[:, 1:2])[0] if len(networks) > 1 else None
    return DistanceScores(summaries, tenths, of_prior, apart)


def _row(answers: Tensor, priors: Tensor, batch: PairBatch, centre: int, width: Tensor) -> Tensor:
    """(n, columns) for answers (networks, n, bins, L, V): 1, gap of networks, scores of predictors, reliability."""
    column, near = truth(batch)
    count = np.log(len(answers))
    pool, prior = answers.logsumexp(dim=0) - count, (priors.logsumexp(dim=0) - count).expand_as(answers[0])
    ends = torch.zeros_like(near[:, :1]), torch.ones_like(near[:, :1])
    floor = torch.cat([ends[0], near, ends[1]], dim=1).diff(dim=1).clamp(min=1e-9).log()
    each = [*answers, *([pool] if len(answers) > 1 else []), prior, floor]
    p_near = [answer[:, : centre + 1].exp().sum(dim=1) for answer in (*answers, pool, prior)]
    gaps = [(weights(column) * (a - b).abs()).sum(dim=(1, 2)) for a, b in combinations(p_near[:-2], 2)]
    apart = torch.stack(gaps).mean(dim=0) if gaps else torch.zeros(len(column))
    parts = [torch.ones(len(column)), apart]
    parts += [value for answer in each for value in scores(answer, column, near, centre, width).values()]
    tenths = [reliability(p, column, near[:, centre]).flatten(1) for p in p_near[-2:]]
    return torch.cat([torch.stack([part.double() for part in parts], dim=1), *tenths], dim=1)


@dataclass(frozen=True)
class NearImages:
    """A galaxy on the l-v plane, (L, V) each: its image, its gas and the share of it that is near, P(near) of the
    networks together, and that of their prior.
    """

    source: str
    observation: NDArray[np.float32]
    gas: NDArray[np.float32]
    near: NDArray[np.float32]
    p_near: NDArray[np.float32]
    prior: NDArray[np.float32]


@torch.no_grad()
def near_images(networks: Sequence[Distances], stream: PairStream, most: int) -> list[NearImages]:
    """The first pairs of a stream, of different galaxies."""
    centre, _ = bins_of(stream.pairs.grid)
    found: dict[str, NearImages] = {}
    with closing(replace(stream, further=(LV_COLUMN, LV_NEARER), batch=1).epoch()) as batches:
        for batch in batches:
            if len(found) == most:
                break
            source = stream.pairs.source(int(batch.ids[0])) if len(batch) else ""
            if source and source not in found:
                gas, nearer = truth(batch)
                answers = torch.stack([network.cpu().eval()(batch.observation)[0] for network in networks])
                priors = torch.stack([network.prior for network in networks])
                p_near, prior = (part[:, : centre + 1].exp().sum(dim=1).mean(dim=0) for part in (answers, priors))
                images = batch.observation[0, 0], gas[0], nearer[0, centre], p_near, prior
                found[source] = NearImages(source, *(image.numpy() for image in images))
    return list(found.values())
