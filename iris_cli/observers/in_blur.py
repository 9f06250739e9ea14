"""The in-blur: line-of-sight velocities are smoothed over neighbouring cells before anything is observed.

It softens the jumps between cells, which otherwise leave gaps between their lines. Only the velocity is touched: the
density image that belongs to the observation stays sharp, as in the IRIS paper's data (checked on its files to 1e-7).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iris_cli.axes import V_LOS

KERNEL = (3, 5, 3)  # cells in (R, L, B)
SIGMA_PER_KERNEL = 0.33


def gaussian_kernel(size: int) -> Tensor:
    """(size,) weights with unit sum."""
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offset / (SIGMA_PER_KERNEL * size)) ** 2)
    return weights / weights.sum()


def blur(field: Tensor) -> Tensor:
    """(R, L, B) smoothed along each axis in turn; cells beyond an edge are the reflected ones inside it."""
    for axis, size in enumerate(KERNEL):
        if field.shape[axis] > size // 2:
            field = _blur_axis(field, axis, gaussian_kernel(size).to(field))
    return field


def _blur_axis(field: Tensor, axis: int, weights: Tensor) -> Tensor:
    half = len(weights) // 2
    lines = field.movedim(axis, -1)
    padded = functional.pad(lines.flatten(0, 1)[:, None], (half, half), mode="reflect").view(*lines.shape[:2], -1)
    smooth = (padded.unfold(-1, len(weights), 1) * weights).sum(-1)
    return smooth.movedim(-1, axis)


def blur_velocity(tensor: Tensor) -> Tensor:
    """(6, R, L, B) -> the same with a smooth `v_los`."""
    blurred = tensor.clone()
    blurred[V_LOS] = blur(tensor[V_LOS])
    return blurred
