"""Turbulence: Gaussian random fields with a power-law spectrum on a periodic lattice, and what they do to the gas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft


@dataclass(frozen=True)
class Stirred:
    """At some positions: the factor of the density, velocities, and the factors of the temperatures of gas and dust."""

    density: NDArray[np.float32]
    velocity_km_s: tuple[NDArray[np.float32], ...]
    heat: tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Turbulence:
    """`fields` (nx, ny, nz, 5) of unit variance: ln(density), three velocities, ln(temperature)."""

    fields: NDArray[np.float32]
    cell_pc: float
    contrast: float
    sigma_km_s: float
    gas_scatter: float = 0.0
    dust_scatter: float = 0.0

    def at(self, x: NDArray, y: NDArray, z: NDArray) -> Stirred:
        """Log-normal density and temperatures, of which the mean density and the median temperature do not change."""
        values = sample(self.fields, self.cell_pc, x, y, z)
        kicks = tuple(self.sigma_km_s * values[..., k] for k in (1, 2, 3))
        density = np.exp(self.contrast * values[..., 0] - 0.5 * self.contrast**2)
        heat = values[..., 4]
        return Stirred(density, kicks, (np.exp(self.gas_scatter * heat), np.exp(self.dust_scatter * heat)))


def random_field(
    rng: np.random.Generator, shape: tuple[int, int, int], cell_pc: float, slope: float, longest_pc: float
) -> NDArray[np.float32]:
    """Zero mean, power P(k) ~ k^-slope for wavelengths below `longest_pc` and none above.

    The variance is 1 at random positions, between which `sample` interpolates; at the lattice points it is larger.
    """
    amplitude, kept = _spectrum(shape, cell_pc, slope, longest_pc)
    noise = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    noise *= amplitude
    field = fft.irfftn(noise, s=shape, overwrite_x=True)
    return field / (field.std() * np.float32(kept))


@lru_cache(maxsize=4)
def _spectrum(
    shape: tuple[int, int, int], cell_pc: float, slope: float, longest_pc: float
) -> tuple[NDArray[np.float32], float]:
    """(amplitudes of the modes, rms of a field at random positions over that at the lattice points).

    Linear interpolation along an axis keeps 2/3 + cos(2 pi k cell)/3 of the power of a mode.
    """
    ks = [np.fft.fftfreq(count, cell_pc) for count in shape[:2]] + [np.fft.rfftfreq(shape[2], cell_pc)]
    kx, ky, kz = np.meshgrid(*ks, indexing="ij", sparse=True)
    k = np.sqrt(kx**2 + ky**2 + kz**2)
    amplitude = np.where(k >= 1.0 / longest_pc, np.maximum(k, 1.0 / longest_pc) ** (-slope / 2.0), 0.0)
    power = amplitude**2 * np.where((kz == 0) | (2 * kz * cell_pc == 1), 1.0, 2.0)  # rfft leaves half of them out
    x, y, z = (2.0 / 3.0 + np.cos(2.0 * np.pi * q * cell_pc) / 3.0 for q in (kx, ky, kz))
    return amplitude.astype(np.float32), float(np.sqrt((power * x * y * z).sum() / power.sum()))


def sample(field: NDArray[np.float32], cell_pc: float, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
    """Trilinear values of periodic lattice fields (nx, ny, nz, …) at positions in pc: (positions, …)."""
    lower, share = [], []
    for q, count in zip((x, y, z), field.shape[:3], strict=True):
        at = q / cell_pc
        below = np.floor(at)
        share.append((at - below).astype(np.float32))
        lower.append(below.astype(np.int32) % count)
    _, ny, nz = field.shape[:3]
    rows = np.ascontiguousarray(field).reshape(field.shape[0] * ny * nz, -1)
    shape = np.broadcast_shapes(*(each.shape for each in lower))
    total, part = (np.zeros((*shape, rows.shape[1]), np.float32) for _ in range(2))
    for corner in product((0, 1), repeat=3):
        i, j, k = ((low + up) % n for low, up, n in zip(lower, corner, field.shape[:3], strict=True))
        a, b, c = (s if up else 1.0 - s for s, up in zip(share, corner, strict=True))
        np.take(rows, (i * ny + j) * nz + k, axis=0, out=part, mode="clip")
        part *= (a * b * c)[..., None]
        total += part
    return total.reshape(*total.shape[:-1], *field.shape[3:])
