"""Calibration of samples: ranks and the coverage of intervals, reliability of probabilities, spread and error.

Members are (K, n, ...), the truth (n, ...). If the truth is drawn from the same distribution as the members, its rank
among them is uniform, for any distribution (Hamill 2001). So is the rank of any number that is computed from a map: a
pixel, a mass, the distance from another map.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.evaluation.scores import distances

#: Edges of the bins of spread in which the error is measured, on the asinh scale.
SPREAD_EDGES = np.append(0.0, np.geomspace(0.01, 3.0, 9))
#: Edges of the bins of a probability.
PROBABILITY_EDGES = np.linspace(0.0, 1.0, 11)
#: Bins of a rank histogram, at most.
MOST_RANKS = 13
#: Probabilities of the central intervals whose coverage is reported.
LEVELS = (0.68, 0.92)

Floats = NDArray[np.float64]


def reached(members: Tensor, true: Tensor, threshold: float) -> Tensor:
    """(n, ...) where the truth or any member reaches a threshold.

    This selection treats truth and members alike, so that uniform ranks stay uniform; one by the truth alone, or by the
    members' mean, would bias them.
    """
    return torch.maximum(members.amax(dim=0), true) >= threshold


def below_and_ties(members: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """(n, ...) numbers of members below the truth, and equal to it."""
    return (members < true).sum(dim=0), (members == true).sum(dim=0)


def ranks(members: Tensor, true: Tensor, counted: Tensor | None = None) -> Tensor:
    """(n, K + 1) share of the `counted` pixels where 0 ... K members are below the truth; ties are divided evenly.

    NaN for a pair without such pixels.
    """
    below, ties = (part.reshape(len(true), -1) for part in below_and_ties(members, true))
    weight = torch.ones_like(below) if counted is None else counted.reshape(len(true), -1)
    share = weight / (ties + 1.0).double()
    steps = share.new_zeros(
        len(true), len(members) + 2
    )  # each pixel adds its share to the ranks below ... below + ties
    steps.scatter_add_(1, below, share).scatter_add_(1, below + ties + 1, -share)
    return steps.cumsum(dim=1)[:, :-1] / weight.sum(dim=1, keepdim=True)


def tarp_ranks(members: Tensor, true: Tensor, references: Tensor) -> Tensor:
    """(n, K + 1) ranks of the truth's distance from `references` (M, n, ...) among the members' distances.

    Tests of accuracy with random points (Lemos et al. 2023, arXiv:2302.03026): these ranks are uniform for all
    references that are chosen without the truth, if and only if the samples are of the true posterior.
    """
    return ranks(distances(members, references).transpose(0, 1), distances(true[None], references)[:, 0])


def nominal_coverage(members: int) -> Floats:
    """(intervals,) of the central intervals between the j-th lowest and the j-th highest of K members, widest first.

    (K + 1 - 2j) / (K + 1), j = 1 ... K/2; exact for any distribution.
    """
    j = np.arange(1, members // 2 + 1, dtype=np.float64)
    return (members + 1.0 - 2.0 * j) / (members + 1.0)


def coverage(rank_shares: Floats) -> Floats:
    """(..., K + 1) rank shares -> (..., intervals) the share of truths inside each central interval, widest first."""
    members = rank_shares.shape[-1] - 1
    inside = [rank_shares[..., j : members + 1 - j].sum(axis=-1) for j in range(1, members // 2 + 1)]
    return np.stack(inside, axis=-1) if inside else np.zeros((*rank_shares.shape[:-1], 0))


def levels(members: int) -> list[float]:
    """Of LEVELS, those of intervals that are not wider than the range of K members; else that of this range."""
    widest = (members - 1.0) / (members + 1.0)
    return [level for level in LEVELS if level <= widest] or ([widest] if members > 1 else [])


def coverage_at(rank_shares: Floats, level: float) -> Floats:
    """(..., K + 1) rank shares -> (...) the share of truths inside the central interval of this probability."""
    return np.asarray(rank_shares @ ranks_inside(rank_shares.shape[-1] - 1, level), np.float64)


def ranks_inside(members: int, level: float) -> Floats:
    """(K + 1,) the part of each rank that is inside the central interval of this probability.

    Rank r is the probabilities r/(K + 1) ... (r + 1)/(K + 1), so that the ends of the interval may be between
    members. Exact for any distribution and any K, if the level is one of `levels`.
    """
    edges = np.linspace(0.0, 1.0, members + 2)
    low, high = (1.0 - level) / 2.0, (1.0 + level) / 2.0
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None) * (members + 1.0)


def rank_histogram(rank_shares: Floats) -> Floats:
    """(..., K + 1) rank shares -> (..., bins) density over the share of members below the truth: 1 if calibrated."""
    ends = np.linspace(0.0, 1.0, min(rank_shares.shape[-1], MOST_RANKS) + 1)
    edges = np.linspace(0.0, 1.0, rank_shares.shape[-1] + 1)
    common = np.minimum(edges[1:, None], ends[1:]) - np.maximum(edges[:-1, None], ends[:-1])
    return np.asarray(rank_shares @ np.clip(common, 0.0, None) * (rank_shares.shape[-1] * (len(ends) - 1)))


def inside(members: Tensor, true: Tensor, level: float) -> Tensor:
    """(n, ...) whether the truth is inside the members' central interval, 0 to 1; ties are divided evenly."""
    below, ties = below_and_ties(members, true)
    summed = torch.from_numpy(np.append(0.0, np.cumsum(ranks_inside(len(members), level))))
    return (summed[below + ties + 1] - summed[below]) / (ties + 1.0)


def reliability(share: Tensor, happened: Tensor) -> Tensor:
    """(n, places) probabilities and events (1, 0, or NaN for none) -> (n, 3, bins): count, sum of p, sum of events."""
    known = ~happened.isnan()
    bins = torch.bucketize(share, torch.from_numpy(PROBABILITY_EDGES)[1:-1], right=True)
    rows = torch.stack([known.double(), torch.where(known, share, 0.0), happened.nan_to_num(0.0)], dim=1)
    table = rows.new_zeros(len(share), 3, len(PROBABILITY_EDGES) - 1)
    return table.scatter_add_(2, bins[:, None].expand_as(rows), rows)


def spread_and_error(members: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Mean over pixels, (n, bins): the unbiased variance of the members, the squared error of their mean, the pixels.

    Of all pixels in the last column, of those with the spread of each bin in the others (see SPREAD_EDGES). A single
    member has no variance.
    """
    variance = members.var(dim=0, unbiased=True) if len(members) > 1 else torch.zeros_like(true)
    variance, error = variance.flatten(1), (members.mean(dim=0) - true).square().flatten(1)
    bins = torch.bucketize(variance.sqrt(), torch.from_numpy(SPREAD_EDGES)[1:-1], right=True)
    values = {"variance": variance, "squared_error": error, "pixels": torch.ones_like(error)}
    return {name: _binned(value, bins) / error.shape[1] for name, value in values.items()}


def along_rows(members: Tensor, true: Tensor) -> dict[str, Tensor]:
    """How far a deviation from the members' mean goes with those at the same distance, far away in longitude.

    (n, 2), of members and truth: the mean product of the deviation of a pixel of (..., R', L) and the mean one of its
    row at a quarter of the map away or more, and the mean square. What a whole longitude has in common is subtracted.
    """
    place = torch.arange(true.shape[-1])
    away = ((place - place[:, None]).abs() >= len(place) / 4).to(true)
    away, mean = away / away.sum(dim=0), members.mean(dim=0)
    found: dict[str, list[Tensor]] = {"row_products": [], "row_squares": []}
    for one in (members - mean, true - mean):
        one = one - one.mean(dim=-2, keepdim=True)
        for values, product in zip(found.values(), (one * (one @ away), one.square()), strict=True):
            values.append(product.mean(dim=(-3, -2, -1)).reshape(-1, len(true)).mean(dim=0))
    return {name: torch.stack(values, dim=1) for name, values in found.items()}


def _binned(values: Tensor, bins: Tensor) -> Tensor:
    """(n, pixels) -> (n, bins + 1): sums over the pixels of each bin, and over all."""
    sums = values.new_zeros(len(values), len(SPREAD_EDGES) - 1).scatter_add_(1, bins, values)
    return torch.cat([sums, values.sum(dim=1, keepdim=True)], dim=1)


def spread_skill(variance: NDArray, squared_error: NDArray, members: int) -> Floats:
    """sqrt((K + 1)/K mean variance / mean squared error): 1 for a calibrated ensemble, below 1 for an overconfident
    one (Fortin et al. 2014).
    """
    ratio = np.divide(variance, squared_error, out=np.full_like(variance, np.nan), where=squared_error > 0)
    return np.sqrt((members + 1.0) / members * ratio)
