"""Gaussian random fields with a power-law spectrum on a periodic lattice, and their interpolation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage


def random_field(
    rng: np.random.Generator, shape: tuple[int, int, int], cell_pc: float, slope: float, longest_pc: float
) -> NDArray[np.float32]:
    """Zero mean, unit variance, power P(k) ~ k^-slope for wavelengths below `longest_pc` and none above."""
    noise = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    kx, ky = (np.fft.fftfreq(count, cell_pc) for count in shape[:2])
    kz = np.fft.rfftfreq(shape[2], cell_pc)
    k = np.sqrt(kx[:, None, None] ** 2 + ky[None, :, None] ** 2 + kz[None, None, :] ** 2)
    amplitude = np.where(k >= 1.0 / longest_pc, np.maximum(k, 1.0 / longest_pc) ** (-slope / 2.0), 0.0)
    field = fft.irfftn(noise * amplitude.astype(np.float32), s=shape, overwrite_x=True)
    return field / field.std()


def sample(field: NDArray[np.float32], cell_pc: float, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
    """Trilinear values of a periodic lattice field at positions in pc."""
    points = np.stack([np.broadcast_to(q, np.broadcast_shapes(x.shape, y.shape, z.shape)) / cell_pc for q in (x, y, z)])
    return ndimage.map_coordinates(field, points, order=1, mode="grid-wrap")
