"""Smoothing of line-of-sight velocities over neighbouring cells before the observation; "in-blur" in the IRIS paper.

It reduces the jumps between cells, which otherwise leave gaps between their lines. Only the velocity changes: the
density image that belongs to the observation stays sharp, as in the IRIS paper's data (checked on its files to 1e-7).
"""

import torch
from torch import Tensor

KERNEL = (3, 5, 3)  # cells in (R, L, B)
SIGMA_PER_KERNEL = 0.33


def gaussian_kernel(size: int) -> Tensor:
    """(size,) weights with unit sum."""
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offset / (SIGMA_PER_KERNEL * size)) ** 2)
    return weights / weights.sum()


def smooth(field: Tensor) -> Tensor:
    """(R, L, B) smoothed along each axis in turn; cells beyond an edge are reflections of those inside."""
    for axis, size in enumerate(KERNEL):
        if field.shape[axis] > size // 2:
            field = _smooth_axis(field, axis, gaussian_kernel(size).to(field))
    return field


def _smooth_axis(field: Tensor, axis: int, weights: Tensor) -> Tensor:
    """Adds up shifted views: one pass over memory per weight, and no copy of each window."""
    half, cells = len(weights) // 2, field.shape[axis]
    before = field.narrow(axis, 1, half).flip(axis)
    behind = field.narrow(axis, cells - 1 - half, half).flip(axis)
    padded = torch.cat([before, field, behind], dim=axis)
    smooth = torch.zeros_like(field)
    for shift, weight in enumerate(weights.tolist()):
        smooth.add_(padded.narrow(axis, shift, cells), alpha=weight)
    return smooth
