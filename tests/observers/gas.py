"""Gas for the tests of the synthetic observer: uniform cells along a few rays, in SI units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli.observers import observe_arrays
from iris_cli.units import M_PER_PC, MASS_PER_H_KG

BACKENDS = ("compiled", "torch", "reference")
EDGES_M_S = np.linspace(-20e3, 20e3, 52)  # an odd number of channels: one of them lies around 0
CHANNEL_KM_S = 40.0 / 51


def uniform(
    cells: int = 4, n_H_cm3: float = 1e3, T_K: float = 20.0, v_km_s: float = 0.0, **fields: Any
) -> dict[str, NDArray]:
    """`cells` equal cells on one ray. `fields` replace a field by one number or by one value per cell."""
    gas = {
        "rho_kg_m3": n_H_cm3 * 1e6 * MASS_PER_H_KG,
        "T_gas_K": T_K,
        "x_H2": 0.5,
        "x_CO": 1.4e-4,
        "T_dust_K": 20.0,
        "v_los_m_s": v_km_s * 1e3,
    } | fields
    shape = (cells, 1, 1)
    return {name: np.broadcast_to(np.reshape(v, (-1, 1, 1)), shape).astype(float) for name, v in gas.items()}


def stacked(*pieces: dict[str, NDArray]) -> dict[str, NDArray]:
    """Pieces one behind the other, the first nearest to the observer."""
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def cube(gas: dict[str, NDArray], **options: Any) -> NDArray:
    """(V, L, B) in K; by default cells of 1 pc, no dust, LTE."""
    defaults = {"dr_m": M_PER_PC, "v_edges_m_s": EDGES_M_S, "dust_opacity_m2_kg": 0.0, "populations": "lte"}
    return observe_arrays(**gas, **(defaults | options))


def see(gas: dict[str, NDArray], **options: Any) -> NDArray:
    """(V,) spectrum of the first ray of `cube`."""
    return cube(gas, **options)[:, 0, 0].astype(float)


def flux(spectrum: NDArray) -> float:
    """K km/s"""
    return float(spectrum.sum() * CHANNEL_KM_S)


def rayleigh_jeans(T_K: float, quantum_K: float = 10.577504) -> float:
    """J(T) at the frequency of 13CO(2-1)."""
    return quantum_K / np.expm1(quantum_K / T_K)
