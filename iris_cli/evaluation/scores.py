"""Proper scores of samples against one truth: lower is better, and honest samples have the lowest expectation.

Samples are the first axis: (K, n, ...) against (n, ...). All scores are fair (Ferro 2014): their expectation is that of
infinitely many samples, so that one map, an ensemble of three and 64 samples can be compared. A single sample is scored
as a certain prediction.
"""

import numpy as np
import torch
from torch import Tensor


def crps(members: Tensor, true: Tensor) -> Tensor:
    """(n,) continuous ranked probability score, mean over pixels: mean |x - y| - sum |x_i - x_j| / (2 K (K - 1)).

    Sorted, the double sum is 2 sum_i (2i - K - 1) x_(i), so that memory stays that of the members. A single member
    is scored as |x - y|.
    """
    k = len(members)
    error = (members - true).abs().mean(dim=0)
    if k > 1:
        ascending = torch.from_numpy(np.sort(members.movedim(0, -1).numpy()))  # five times as fast as torch's
        weights = 2.0 * torch.arange(1, k + 1, dtype=members.dtype) - k - 1.0
        error = error - ascending @ weights / (k * (k - 1.0))
    return error.reshape(len(true), -1).mean(dim=1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(K, n, ...) and (M, n, ...) -> (n, K, M) Euclidean distances of maps, divided by the root of their pixels."""
    one, other = (x.flatten(2).transpose(0, 1) for x in (a, b))
    return torch.cdist(one, other) / one.shape[-1] ** 0.5


def energy_score(members: Tensor, true: Tensor) -> Tensor:
    """(n,) the CRPS of whole maps (Gneiting & Raftery 2007): mean |x - y| - sum |x_i - x_j| / (2 K (K - 1)).

    |.| is the rms over pixels. Unlike the CRPS of pixels, it sees whether pixels vary together.
    """
    k = len(members)
    error = distances(members, true[None]).mean(dim=(1, 2))
    return error if k == 1 else error - distances(members, members).sum(dim=(1, 2)) / (2.0 * k * (k - 1.0))


def brier(share: Tensor, happened: Tensor, members: int) -> Tensor:
    """(p - o)^2 - p (1 - p)/(K - 1) for the `share` p of the members that predict an event; o = 1 if it `happened`."""
    return (share - happened).square() - (share * (1.0 - share) / (members - 1.0) if members > 1 else 0.0)


def log_score(share: Tensor, happened: Tensor, members: int) -> Tensor:
    """-ln of the probability of what happened, in nats; ln 2 is the score of "one half".

    The probability is (K p + 1)/(K + 2), Laplace's rule of succession: K members cannot exclude an event.
    """
    probability = (members * share + 1.0) / (members + 2.0)
    return -torch.where(happened > 0.5, probability, 1.0 - probability).log()
