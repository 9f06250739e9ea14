"""The transfer equation in plain numpy, sharing no code with the observers: a spectrum of fine channels, marched
through fine pieces of each cell in float64, from constants, a Boltzmann sum or a linear system written out here.

Populations take energies, weights, Einstein coefficients and collision rates from a molecule; nothing else.
"""

import numpy as np
from numpy.typing import NDArray

from iris_cli.observers.molecule import Molecule

H, K, C, U = 6.62607015e-34, 1.380649e-23, 299792458.0, 1.66053906660e-27
MASS_PER_H = (1.00784 + 0.1 * 4.002602) * U


def planck(nu: NDArray | float, T_K: float) -> NDArray:
    return 2 * H * nu**3 / C**2 / np.expm1(H * nu / (K * max(T_K, 1e-3))) if T_K > 0 else 0.0 * np.asarray(nu)


def collisions(molecule: Molecule, n_H: float, x_H2: float, T_K: float, H2_only: bool) -> NDArray[np.float64]:
    """(level, level) from row to column, 1/s."""
    n_H2 = n_H * x_H2
    density = {"o-H2": 0.75 * n_H2, "p-H2": 0.25 * n_H2, "H": n_H * (1 - 2 * x_H2), "He": 0.1 * n_H, "H2": n_H2}
    g, e = molecule.weights, molecule.energies_K
    rates = np.zeros((len(g), len(g)))
    for partner in molecule.partners:
        if H2_only and not partner.collider.endswith("H2"):
            continue
        for u, low, table in zip(partner.upper, partner.lower, partner.rates_cm3_s, strict=True):
            down = density[partner.collider] * np.interp(T_K, partner.temperatures_K, table)
            rates[u, low] += down
            rates[low, u] += down * g[u] / g[low] * np.exp(-(e[u] - e[low]) / T_K)
    return rates


def balance(molecule: Molecule, rates: NDArray, background_K: float, escape: NDArray | None = None) -> NDArray:
    """(level,) by a general solver; one row is the sum."""
    g, rates = molecule.weights, rates.copy()
    for k, (u, low) in enumerate(zip(molecule.line_upper, molecule.line_lower, strict=True)):
        nu = molecule.frequency_Hz[k]
        photons = 1 / np.expm1(H * nu / (K * background_K)) if background_K > 0 else 0.0
        a = molecule.einstein_a_s[k] * (1.0 if escape is None else escape[k])
        rates[u, low] += a * (1 + photons)
        rates[low, u] += a * photons * g[u] / g[low]
    system = rates.T - np.diag(rates.sum(axis=1))
    system /= np.abs(np.diag(system))[:, None]
    system[0] = 1.0
    return np.linalg.solve(system, np.eye(len(g))[0])


def trapped(molecule: Molecule, rates: NDArray, background_K: float, column_m2_m_s: float) -> NDArray:
    """Sobolev's escape, by many small strides."""
    up, low, g = molecule.line_upper, molecule.line_lower, molecule.weights
    escape = np.ones(len(up))
    for stride in [0.3] * 150 + [0.05] * 150:
        n = balance(molecule, rates, background_K, escape)
        tau = molecule.einstein_a_s * C**3 / (8 * np.pi * molecule.frequency_Hz**3) * column_m2_m_s
        tau = np.maximum(tau * (n[low] * g[up] / g[low] - n[up]), 1e-12)
        escape = escape ** (1 - stride) * (-np.expm1(-tau) / tau) ** stride
    return n


def fractions(
    molecule: Molecule, mode: str, n_H: float, x_H2: float, T_K: float, tracer: float, pumping_K: float
) -> NDArray[np.float64]:
    if mode == "lte":
        boltzmann = molecule.weights * np.exp(-molecule.energies_K / T_K)
        return boltzmann / boltzmann.sum()
    if mode == "non-lte":
        return balance(molecule, collisions(molecule, n_H, x_H2, T_K, False), pumping_K)
    column = n_H * 1e6 * tracer * 3.0856775814913673e16 / 1e3  # 1 km/s per pc
    return trapped(molecule, collisions(molecule, n_H, x_H2, T_K, True), pumping_K, column)


def spectrum(
    gas: dict[str, NDArray],
    molecule: Molecule,
    transition: str,
    *,
    dr_m: float,
    v_edges_m_s: NDArray,
    tracer_per_CO: float,
    dust_opacity_m2_kg: float,
    background_K: float,
    populations: str,
    pumping: bool,
    regime: str,
    masers: str,
    turbulence_m_s: float,
) -> NDArray[np.float64]:
    """(V,) K (RJ at each channel's frequency) along the first ray of `gas`. Channels hold the mean of 96 midpoints.

    Coefficients are constant in a cell, so pieces of it matter only where the line takes from a continuum that changes
    inside the cell ("selective").
    """
    fine, pieces = 96, 20 if regime == "selective" else 1
    pumping_K = background_K if pumping else 0.0
    line = list(molecule.line_names).index(transition)
    u, low = molecule.line_upper[line], molecule.line_lower[line]
    nu0, A = molecule.frequency_Hz[line], molecule.einstein_a_s[line]
    B_ul = A * C**2 / (2 * H * nu0**3)
    B_lu = B_ul * molecule.weights[u] / molecule.weights[low]
    step = (v_edges_m_s[1] - v_edges_m_s[0]) / fine
    v = v_edges_m_s[0] + (np.arange((len(v_edges_m_s) - 1) * fine) + 0.5) * step
    nu = nu0 * (1 - v / C)
    with_line = planck(nu, background_K)
    without = with_line.copy()
    difference = 0 * nu  # of the line from the continuum, where the line does not absorb itself
    for k in range(gas["rho_kg_m3"].shape[0] - 1, -1, -1):
        rho, T, x_H2, x_CO, T_dust, v0 = (
            float(gas[name][k, 0, 0]) for name in ("rho_kg_m3", "T_gas_K", "x_H2", "x_CO", "T_dust_K", "v_los_m_s")
        )
        n_H = rho / MASS_PER_H
        n = fractions(molecule, populations, n_H * 1e-6, x_H2, T, x_CO * tracer_per_CO, pumping_K)
        tracer = n_H * x_CO * tracer_per_CO
        b = np.sqrt(2 * K * T / (molecule.mass_u * U) + turbulence_m_s**2)
        phi = np.exp(-(((v - v0) / b) ** 2)) / (b * np.sqrt(np.pi)) * C / nu0
        j = H * nu0 / (4 * np.pi) * n[u] * A * phi * tracer
        alpha = H * nu0 / (4 * np.pi) * (n[low] * B_lu - n[u] * B_ul) * phi * tracer
        alpha = np.maximum(alpha, 0) if masers == "clip" else alpha
        dust = 0.0 if regime == "thin" else dust_opacity_m2_kg * rho
        for _ in range(pieces):
            ds = dr_m / pieces
            here = slab(without, dust * planck(nu, T_dust), dust + 0 * nu, 0.5 * ds)
            line_only = j if regime == "thin" else j - alpha * here
            difference = slab(difference, line_only, dust + 0 * nu, ds)
            with_line = slab(with_line, j + dust * planck(nu, T_dust), alpha + dust, ds)
            without = slab(without, dust * planck(nu, T_dust), dust + 0 * nu, ds)
    seen = with_line - without if regime == "thick" else difference
    return (seen * C**2 / (2 * K * nu**2)).reshape(-1, fine).mean(axis=1)


def slab(before: NDArray, j: NDArray, alpha: NDArray, ds: float) -> NDArray[np.float64]:
    """Rybicki & Lightman 1979, eq. 1.30."""
    t = alpha * ds
    share = np.where(np.abs(t) < 1e-8, 1 - t / 2, -np.expm1(-t) / np.where(np.abs(t) < 1e-8, 1, t))
    return before * np.exp(-t) + j * ds * share
