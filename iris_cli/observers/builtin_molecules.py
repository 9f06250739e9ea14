"""Built-in molecules 12CO, 13CO and C18O: spectroscopic constants here, collision rates in `data/`.

Energies and frequencies follow from the rotational constants, Einstein coefficients from the dipole moment. The rates
of CO with para- and ortho-H2 are those of Yang et al. 2010, ApJ 718, 1062, used for all isotopologues (as in LAMDA);
`data/make_co_rates.py` makes the table. Rates with H are not built in: use a LAMDA file that has them where much of the
hydrogen is atomic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iris_cli.observers.molecule import Molecule, Partner
from iris_cli.units import BOLTZMANN_J_K, LIGHT_SPEED_M_S, PLANCK_J_S

RATES_FILE = Path(__file__).parent / "data" / "co_h2_rates.npz"
_LEVELS = 41
_J_S_PER_ERG_S = 1e-7
_DEBYE_ESU_CM = 1e-18


@dataclass(frozen=True)
class Rotor:
    """A linear molecule: E(J)/h = B J(J+1) - D J^2 (J+1)^2 + H J^3 (J+1)^3, MHz."""

    name: str
    mass_u: float
    B_MHz: float
    D_MHz: float
    H_MHz: float
    per_CO: float
    source: str

    def energy_MHz(self, j: NDArray) -> NDArray[np.float64]:
        x = j * (j + 1.0)
        return self.B_MHz * x - self.D_MHz * x**2 + self.H_MHz * x**3


#: Name -> rotor. Constants: 13CO Cazzoli et al. 2004, ApJ 611, 615; the other two fitted to LAMDA's frequencies
#: (12CO: 40 lines, 1 kHz below J=6; C18O: 13 lines, 3 kHz). `per_CO`: the paper's 13CO, and 16O/18O = 250 in the
#: Galactic Centre (Wilson & Rood 1994, ARA&A 32, 191).
BUILTIN: dict[str, Rotor] = {
    "12co": Rotor("12CO", 28.0, 57635.9680, 0.183504833, 1.71622e-7, 1.0, "constants fitted to LAMDA's 12CO lines"),
    "13co": Rotor("13CO", 29.0, 55101.0125, 0.16768585, 1.5056e-7, 4e-2, "constants of Cazzoli et al. 2004"),
    "c18o": Rotor("C18O", 30.0, 54891.4201, 0.166400565, 1.29304e-7, 4e-3, "constants fitted to LAMDA's C18O lines"),
}


def einstein_a_s(upper_j: NDArray, frequency_Hz: NDArray) -> NDArray[np.float64]:
    """A = 64 pi^4 nu^3 mu^2 / (3 h c^3) J / (2J + 1), in cgs units, as usual for dipoles.

    The dipole moment decreases with centrifugal stretching; this fits LAMDA's 13CO to 6e-4 up to J=40.
    """
    h, c = PLANCK_J_S / _J_S_PER_ERG_S, LIGHT_SPEED_M_S * 100.0
    mu = 0.110114 * (1.0 - 1.013e-4 * upper_j**2) * _DEBYE_ESU_CM
    return 64.0 * np.pi**4 * frequency_Hz**3 * mu**2 / (3.0 * h * c**3) * upper_j / (2.0 * upper_j + 1.0)


@cache
def builtin_molecule(name: str) -> Molecule:
    rotor = BUILTIN[name]
    j = np.arange(_LEVELS)
    frequency_Hz = np.diff(rotor.energy_MHz(j)) * 1e6
    return Molecule(
        name=rotor.name,
        mass_u=rotor.mass_u,
        energies_K=rotor.energy_MHz(j) * 1e6 * PLANCK_J_S / BOLTZMANN_J_K,
        weights=np.asarray(2 * j + 1, dtype=np.float64),
        labels=tuple(str(k) for k in j),
        line_upper=j[1:],
        line_lower=j[:-1],
        einstein_a_s=einstein_a_s(j[1:].astype(float), frequency_Hz),
        frequency_Hz=frequency_Hz,
        partners=_partners(),
        source=f"built in: {rotor.source}; CO-H2 rates of Yang et al. 2010, ApJ 718, 1062",
    )


@cache
def _partners() -> tuple[Partner, ...]:
    with np.load(RATES_FILE, allow_pickle=False) as stored:
        upper, lower = (stored[k].astype(np.int64) for k in ("upper", "lower"))
        temperatures, para, ortho = (stored[k].astype(float) for k in ("temperatures_K", "para_cm3_s", "ortho_cm3_s"))
    tables = {"p-H2": para, "o-H2": ortho}
    return tuple(Partner(name, "Yang et al. 2010", upper, lower, temperatures, table) for name, table in tables.items())
