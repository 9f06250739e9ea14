"""Temperatures and abundances as functions of density, for gas of which only the density is known."""

# mypy: allow-untyped-defs

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from iris_cli import units
from iris_cli.compiled_math import exp32, kernel, log32

#: M_sun / pc^3 of gas (H + He) per hydrogen nucleus in a cm^3.
DENSITY_PER_N_H_CM3 = 1e6 * units.MASS_PER_H_KG * units.INNER.density_per_SI

_f = np.float32


def temperature_and_molecules(n_H_cm3: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """T_gas, x_H2, x_CO, T_dust in float32: dense gas is cold, shielded and molecular."""
    n_H = np.ascontiguousarray(n_H_cm3, np.float32)
    fields = np.empty((4, n_H.size), np.float32)
    _of_all(n_H.reshape(-1), fields)
    T_gas, x_H2, x_CO, T_dust = fields.reshape(4, *n_H.shape)
    return T_gas, x_H2, x_CO, T_dust


@njit(inline="always")
def relations(n_H_cm3):
    """The same for one cell.

    Smooth relations between the limits that are observed in the CMZ: T_gas 30 to 150 K, T_dust 15 to 30 K, x_H2 up to
    0.5, x_CO up to 4.25e-5 (CO_PER_H2 / 2).
    """
    T_gas = _f(30) + _f(120) / (_f(1) + exp32(_f(0.6) * log32(n_H_cm3 * _f(1 / 300))))
    a, b = _f(30) / n_H_cm3, _f(200) / n_H_cm3
    x_H2 = _f(0.5) / (_f(1) + a * _f(math.sqrt(a)))
    x_CO = _f(4.25e-5) / (_f(1) + b * b)
    T_dust = _f(15) + _f(15) / (_f(1) + _f(math.sqrt(n_H_cm3 * _f(1e-3))))
    return T_gas, x_H2, x_CO, T_dust


@kernel
def _of_all(n_H, fields):
    for i in range(n_H.size):
        fields[0, i], fields[1, i], fields[2, i], fields[3, i] = relations(n_H[i])
