"""Conversion from Rayleigh-Jeans kelvin at the rest frequency, the unit of the transfer, to other units."""

from collections.abc import Callable

import torch
from torch import Tensor

from iris_cli.units import BOLTZMANN_J_K, LIGHT_SPEED_M_S, PLANCK_J_S

_JY_PER_SI = 1e26


def channel_frequencies_Hz(rest_Hz: float, v_centre_km_s: Tensor) -> Tensor:
    """Radio convention: nu = nu0 (1 - v/c)."""
    return rest_Hz * (1.0 - v_centre_km_s * 1e3 / LIGHT_SPEED_M_S)


def to_rayleigh_jeans_K(line_K: Tensor, continuum_K: Tensor, rest_Hz: float, frequency_Hz: Tensor) -> Tensor:
    """I c^2 / (2 k nu^2) at the channel's own frequency. line_K (ray, V), continuum_K (ray,)."""
    return line_K * ((rest_Hz / frequency_Hz) ** 2).to(line_K)


def to_jansky_per_sr(line_K: Tensor, continuum_K: Tensor, rest_Hz: float, frequency_Hz: Tensor) -> Tensor:
    return line_K * (2.0 * BOLTZMANN_J_K * rest_Hz**2 / LIGHT_SPEED_M_S**2 * _JY_PER_SI)


def to_planck_K(line_K: Tensor, continuum_K: Tensor, rest_Hz: float, frequency_Hz: Tensor) -> Tensor:
    """T_B(line and continuum) - T_B(continuum), with T_B the temperature of a blackbody of the same intensity."""
    quantum_K = (PLANCK_J_S / BOLTZMANN_J_K * frequency_Hz).to(line_K)
    own = ((rest_Hz / frequency_Hz) ** 2).to(line_K)
    behind = (continuum_K[:, None] * own).clamp(min=0.0)
    return _planck_K(line_K * own + behind, quantum_K) - _planck_K(behind, quantum_K)


def _planck_K(rj_K: Tensor, quantum_K: Tensor) -> Tensor:
    lit = rj_K > 0
    safe = torch.where(lit, rj_K, torch.ones_like(rj_K))
    return torch.where(lit, quantum_K / torch.log1p(quantum_K / safe), torch.zeros_like(rj_K))


#: Unit -> conversion (line_K, continuum_K, rest_Hz, frequency_Hz) -> (ray, V).
UNITS: dict[str, Callable[[Tensor, Tensor, float, Tensor], Tensor]] = {
    "K": to_rayleigh_jeans_K,
    "K (Planck)": to_planck_K,
    "Jy/sr": to_jansky_per_sr,
}
