"""Turbulence: Gaussian random fields with a power-law spectrum on a periodic lattice, and what they do to the gas."""

# mypy: allow-untyped-defs

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

from iris_cli.compiled_math import kernel, part

_f = np.float32
#: As many values of the normal distribution as 16 bits can number, in equal steps of probability.
_BITS = 1 << 16
#: Places that are interpolated together.
_CHUNK = 256


@dataclass(frozen=True)
class Turbulence:
    """`fields` (5, nx, ny, nz) of unit variance: ln(density), three velocities, ln(temperature)."""

    fields: NDArray[np.float32]
    cell_pc: float
    contrast: float
    sigma_km_s: float
    gas_scatter: float = 0.0
    dust_scatter: float = 0.0


#: None at all.
CALM = Turbulence(np.zeros((5, 1, 1, 1), np.float32), 1.0, 0.0, 0.0)


def random_fields(
    rng: np.random.Generator, shape: tuple[int, int, int], cell_pc: float, slopes: Sequence[float], longest_pc: float
) -> NDArray[np.float32]:
    """(slopes, *shape): zero mean, power P(k) ~ k^-slope for wavelengths below `longest_pc` and none above.

    The variance is 1 at random positions, between which `sample` interpolates; at the lattice points it is larger.
    """
    fields = np.empty((len(slopes), *shape), np.float32)
    for field, slope in zip(fields, slopes, strict=True):
        amplitude, kept = _spectrum(shape, cell_pc, slope, longest_pc)
        modes = np.empty(amplitude.shape, np.complex64)
        numbers = rng.integers(0, 1 << 64, (amplitude.size + 1) // 2, np.uint64).view(np.uint16)
        _draw(numbers, _normal(), amplitude.reshape(-1), modes.reshape(-1))
        _normalize(fft.irfftn(modes, s=shape, overwrite_x=True).reshape(-1), kept, field.reshape(-1))
    return fields


@lru_cache(maxsize=1)
def _normal() -> NDArray[np.float32]:
    values = ndtri((np.arange(_BITS) + 0.5) / _BITS)
    return (values / values.std()).astype(np.float32)


@lru_cache(maxsize=4)
def _spectrum(
    shape: tuple[int, int, int], cell_pc: float, slope: float, longest_pc: float
) -> tuple[NDArray[np.float32], float]:
    """(amplitudes of the modes, rms of a field at random positions over that at the lattice points).

    Linear interpolation along an axis keeps 2/3 + cos(2 pi k cell)/3 of the power of a mode. Amplitudes are larger by
    sqrt(2) in the two planes of which irfft takes the Hermitian half only.
    """
    ks = [np.fft.fftfreq(count, cell_pc) for count in shape[:2]] + [np.fft.rfftfreq(shape[2], cell_pc)]
    kx, ky, kz = np.meshgrid(*ks, indexing="ij", sparse=True)
    k = np.sqrt(kx**2 + ky**2 + kz**2)
    amplitude = np.where(k >= 1.0 / longest_pc, np.maximum(k, 1.0 / longest_pc) ** (-slope / 2.0), 0.0)
    halved = (kz == 0) | np.isclose(2.0 * kz * cell_pc, 1.0)
    power = amplitude**2 * np.where(halved, 1.0, 2.0)  # rfft leaves half of the others out
    x, y, z = (2.0 / 3.0 + np.cos(2.0 * np.pi * q * cell_pc) / 3.0 for q in (kx, ky, kz))
    kept = float(np.sqrt((power * x * y * z).sum() / power.sum()))
    return (amplitude * np.where(halved, math.sqrt(2.0), 1.0)).astype(np.float32), kept


@kernel
def _draw(numbers, normal, amplitude, modes):
    """Complex normal numbers times the amplitudes."""
    for i in range(modes.size):
        modes[i] = amplitude[i] * (normal[numbers[2 * i]] + 1j * normal[numbers[2 * i + 1]])


@kernel
def _normalize(field, kept, out):
    """The mean is 0: there is no such mode."""
    square = 0.0
    for i in range(field.size):
        square += field[i] * field[i]
    scale = _f(1.0 / (kept * math.sqrt(square / field.size)))
    for i in range(field.size):
        out[i] = field[i] * scale


@kernel
def sample(fields, cell_pc, x, y, z, values):
    interpolate(fields, cell_pc, x, y, z, values)


@part
def interpolate(fields, cell_pc, x, y, z, values):
    """Fills (fields, place) with trilinear values of periodic fields (fields, nx, ny, nz) at places in pc."""
    nx, ny, nz = fields.shape[1:]
    column, share = np.empty((4, _CHUNK), np.int32), np.empty((3, _CHUNK), np.float32)
    level = np.empty((2, _CHUNK), np.int32)
    for first in range(0, x.size, _CHUNK):
        size = min(_CHUNK, x.size - first)
        for i in range(size):
            x0, x1, share[0, i] = _neighbours(x[first + i] / cell_pc, nx)
            y0, y1, share[1, i] = _neighbours(y[first + i] / cell_pc, ny)
            level[0, i], level[1, i], share[2, i] = _neighbours(z[first + i] / cell_pc, nz)
            column[0, i], column[1, i] = (x0 * ny + y0) * nz, (x0 * ny + y1) * nz
            column[2, i], column[3, i] = (x1 * ny + y0) * nz, (x1 * ny + y1) * nz
        for k in range(len(fields)):
            field = fields[k].reshape(-1)
            for i in range(size):
                c00, c01, c10, c11 = column[0, i], column[1, i], column[2, i], column[3, i]
                low, high, dy, dz = level[0, i], level[1, i], share[1, i], share[2, i]
                a = _between(field[c00 + low], field[c00 + high], dz)
                b = _between(field[c01 + low], field[c01 + high], dz)
                c = _between(field[c10 + low], field[c10 + high], dz)
                d = _between(field[c11 + low], field[c11 + high], dz)
                values[k, first + i] = _between(_between(a, b, dy), _between(c, d, dy), share[0, i])


@njit(inline="always")
def _between(low, high, share):
    return low + (high - low) * share


@njit(inline="always")
def _neighbours(at, count):
    """(point below, point above, share of the latter) of a place in units of cells, on a periodic axis."""
    below = _f(math.floor(at))
    low = np.int32(below - _f(count) * _f(math.floor(below / _f(count))))
    low = low if low < count else np.int32(0)  # by rounding
    return low, low + np.int32(1) if low + 1 < count else np.int32(0), _f(at - below)
