"""How good probabilities of distance are: proper scores of P(near | l, v) and of distance, weighted with the gas.

`nearer` (n, bins - 1, L, V) is the true share of the gas at (l, v) that is nearer than each inner edge of the bins, and
`column` (n, L, V) the gas. A galaxy counts as one, whatever its mass. The scores are those of a random atom of the gas:
where a pixel holds near and far gas, no probability scores perfectly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.pairs.stream import PairBatch, PairStream
from iris_cli.reverter.distances import nearer as log_nearer

#: Intervals of P(near) in which it is compared with the share that is near.
TENTHS = 10
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
    log_near, log_far = log_nearer(log_shares)
    weight, near, p = weights(column), nearer[:, centre], log_near[:, centre].exp()
    steps = 0.5 * (width_pc[:-1] + width_pc[1:])
    crossed = (log_near.exp() - nearer).square() + nearer * (1.0 - nearer)
    found = {
        "log_score": -(near * log_near[:, centre] + (1.0 - near) * log_far[:, centre]),
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
