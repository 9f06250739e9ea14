"""The telescope's beam: a convolution with a Gaussian along longitude and latitude that conserves flux."""

import math

import torch
from torch import Tensor

ARCSEC_PER_DEG = 3600.0
FWHM_PER_SIGMA = math.sqrt(8.0 * math.log(2.0))
_REACH_SIGMA = 4.0


def beam_weights(fwhm_arcsec: float, step_deg: float) -> Tensor:
    """(2n+1,) weights with unit sum, out to four sigma."""
    sigma = fwhm_arcsec / FWHM_PER_SIGMA / (step_deg * ARCSEC_PER_DEG)
    n = math.ceil(_REACH_SIGMA * sigma)
    if n == 0:
        return torch.ones(1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (torch.arange(-n, n + 1, dtype=torch.float64) / sigma) ** 2)
    return weights / weights.sum()


def convolve(sky: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Convolves along one axis. The sky beyond an edge is the mirror image of the sky inside, so that no flux is lost.

    The mean over the axis is therefore the same before and after.
    """
    cells, reach = sky.shape[axis], len(weights) // 2
    at = torch.arange(cells, device=sky.device)
    smooth = torch.zeros_like(sky)
    for shift, weight in zip(range(-reach, reach + 1), weights.tolist(), strict=True):
        folded = (at + shift) % (2 * cells)
        folded = torch.where(folded < cells, folded, 2 * cells - 1 - folded)
        smooth = smooth.add_(sky.index_select(axis, folded), alpha=weight)
    return smooth
