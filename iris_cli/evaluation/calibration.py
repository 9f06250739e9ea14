"""Calibration of an ensemble: ranks and coverage, continuous ranked probability score (CRPS), spread and skill.

Members are (K, n, 1, R', L) and the truth (n, 1, R', L), compared as asinh(density / normalization), so that faint gas
counts beside bright clouds. If the truth is drawn from the same distribution as the members, its rank among them is
uniform, for any distribution (Hamill 2001).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Edges of the bins of spread in which the error is measured, on the asinh scale.
SPREAD_EDGES = np.append(0.0, np.geomspace(0.01, 3.0, 9))


def ranks(members: Tensor, true: Tensor, occupied: float) -> Tensor:
    """(n, K + 1) share of pixels where 0 ... K members are below the truth; ties are divided evenly.

    Only pixels count in which the truth or any member reaches `occupied`. This selection treats truth and members
    alike, so that uniform ranks stay uniform. NaN for a pair without such pixels.
    """
    counted = (torch.maximum(members.amax(dim=0), true) >= occupied).flatten(1)
    below = (members < true).sum(dim=0).flatten(1)
    ties = (members == true).sum(dim=0).flatten(1)
    share = counted / (ties + 1.0)
    slots = [(share * ((below <= slot) & (slot <= below + ties))).sum(dim=1) for slot in range(len(members) + 1)]
    return torch.stack(slots, dim=1).double() / counted.sum(dim=1, keepdim=True)


def nominal_coverage(members: int) -> NDArray[np.float64]:
    """(intervals,) of the central intervals between the j-th lowest and the j-th highest of K members, widest first.

    (K + 1 - 2j) / (K + 1), j = 1 ... K/2; exact for any distribution.
    """
    j = np.arange(1, members // 2 + 1, dtype=np.float64)
    return (members + 1.0 - 2.0 * j) / (members + 1.0)


def coverage(rank_shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., K + 1) rank shares -> (..., intervals) the share of truths inside each central interval, widest first."""
    members = rank_shares.shape[-1] - 1
    inside = [rank_shares[..., j : members + 1 - j].sum(axis=-1) for j in range(1, members // 2 + 1)]
    return np.stack(inside, axis=-1) if inside else np.zeros((*rank_shares.shape[:-1], 0))


def crps(members: Tensor, true: Tensor) -> Tensor:
    """(n,) continuous ranked probability score, mean over pixels: mean |x - y| - sum |x_i - x_j| / (2 K (K - 1)).

    The fair form (Ferro 2014), whose expectation does not depend on the number of members. Sorted, the double sum is
    2 sum_i (2i - K - 1) x_(i), so that memory stays that of the members. A single member is scored as |x - y|.
    """
    k = len(members)
    error = (members - true).abs().mean(dim=0)
    if k > 1:
        weights = (2.0 * torch.arange(1, k + 1, dtype=members.dtype) - k - 1.0).view(k, *[1] * true.dim())
        error = error - (members.sort(dim=0).values * weights).sum(dim=0) / (k * (k - 1.0))
    return error.flatten(1).mean(dim=1)


def spread_and_error(members: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Mean over pixels, (n, bins): the unbiased variance of the members, the squared error of their mean, the pixels.

    Of all pixels in the last column, of those with the spread of each bin in the others (see SPREAD_EDGES).
    """
    variance = members.var(dim=0, unbiased=True).flatten(1)
    error = (members.mean(dim=0) - true).square().flatten(1)
    bins = torch.bucketize(variance.sqrt(), torch.from_numpy(SPREAD_EDGES)[1:-1], right=True)
    values = {"variance": variance, "squared_error": error, "pixels": torch.ones_like(error)}
    return {name: _binned(value, bins) / error.shape[1] for name, value in values.items()}


def _binned(values: Tensor, bins: Tensor) -> Tensor:
    """(n, pixels) -> (n, bins + 1): sums over the pixels of each bin, and over all."""
    sums = values.new_zeros(len(values), len(SPREAD_EDGES) - 1).scatter_add_(1, bins, values)
    return torch.cat([sums, values.sum(dim=1, keepdim=True)], dim=1)


def spread_skill(variance: NDArray, squared_error: NDArray, members: int) -> NDArray[np.float64]:
    """sqrt((K + 1)/K mean variance / mean squared error): 1 for a calibrated ensemble, below 1 for an overconfident
    one (Fortin et al. 2014).
    """
    ratio = np.divide(variance, squared_error, out=np.full_like(variance, np.nan), where=squared_error > 0)
    return np.sqrt((members + 1.0) / members * ratio)
