"""Temperatures and abundances as functions of density, for gas of which only the density is known."""

from __future__ import annotations

from numpy.typing import NDArray

from iris_cli import units

#: M_sun / pc^3 of gas (H + He) per hydrogen nucleus in a cm^3.
DENSITY_PER_N_H_CM3 = 1e6 * units.MASS_PER_H_KG * units.INNER.density_per_SI


def temperature_and_molecules(n_H_cm3: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """T_gas, x_H2, x_CO, T_dust: dense gas is cold, shielded and molecular.

    Smooth relations between the limits that are observed in the CMZ: T_gas 30 to 150 K, T_dust 15 to 30 K, x_H2 up to
    0.5, x_CO up to 1.4e-4.
    """
    T_gas = 30.0 + 120.0 / (1.0 + (n_H_cm3 / 300.0) ** 0.6)
    x_H2 = 0.5 / (1.0 + (30.0 / n_H_cm3) ** 1.5)
    x_CO = 1.4e-4 / (1.0 + (200.0 / n_H_cm3) ** 2)
    T_dust = 15.0 + 15.0 / (1.0 + (n_H_cm3 / 1e3) ** 0.5)
    return T_gas, x_H2, x_CO, T_dust
