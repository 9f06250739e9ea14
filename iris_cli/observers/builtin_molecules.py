"""Built-in molecules: spectroscopic constants here, collision rates of CO in `data/`.

12CO, 13CO and C18O have rates with para- and ortho-H2: those of Yang et al. 2010, ApJ 718, 1062, used for all
isotopologues (as in LAMDA); `data/make_co_rates.py` makes the table. Rates with H are not built in: use a LAMDA file
that has them where much of the hydrogen is atomic.

HCN, CS, HNCO and NH3 have levels and lines but no collision rates: their populations can only be "lte". With a LAMDA
file all models can be computed. A line has one component: the hyperfine structure of HCN (at -7 and 5 km/s) and of
NH3 (1,1) (half of the line at +-8 and +-19 km/s) is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.observer import CO_PER_H2
from iris_cli.observers.molecule import Molecule, Partner
from iris_cli.units import BOLTZMANN_J_K, LIGHT_SPEED_M_S, PLANCK_J_S

RATES_FILE = Path(__file__).parent / "data" / "co_h2_rates.npz"
_LEVELS = 41
_J_S_PER_ERG_S = 1e-7
_DEBYE_ESU_CM = 1e-18
_K_PER_MHz = 1e6 * PLANCK_J_S / BOLTZMANN_J_K
_YANG = "CO-H2 rates of Yang et al. 2010, ApJ 718, 1062"
_NO_RATES = "no collision rates: populations in LTE only"


def einstein_a_s(dipole_D: NDArray | float, frequency_Hz: NDArray, strength: NDArray) -> NDArray[np.float64]:
    """A = 64 pi^4 nu^3 mu^2 / (3 h c^3) S, in cgs units, as usual for dipoles.

    `strength` S is J/(2J+1) for a linear molecule, (J^2 - K^2)/(J(2J+1)) for a top that changes J, K^2/(J(J+1)) for one
    that only inverts (Mangum & Shirley 2015, PASP 127, 266).
    """
    h, c = PLANCK_J_S / _J_S_PER_ERG_S, LIGHT_SPEED_M_S * 100.0
    mu = np.asarray(dipole_D) * _DEBYE_ESU_CM
    return np.asarray(64.0 * np.pi**4 * frequency_Hz**3 * mu**2 / (3.0 * h * c**3) * strength, dtype=np.float64)


# --- linear molecules -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rotor:
    """A linear molecule: E(J)/h = B J(J+1) - D J^2 (J+1)^2 + H J^3 (J+1)^3, MHz.

    Its dipole moment decreases with centrifugal stretching as 1 - `stretch` J^2; that of CO fits LAMDA's 13CO to 6e-4
    up to J=40. The moment of C18O is 0.3 % larger: A(2-1) = 6.01e-7 per s.
    """

    name: str
    mass_u: float
    B_MHz: float
    D_MHz: float
    H_MHz: float
    source: str
    dipole_D: float = 0.110114
    stretch: float = 1.013e-4
    has_rates: bool = True

    def energy_MHz(self, j: NDArray) -> NDArray[np.float64]:
        x = j * (j + 1.0)
        return self.B_MHz * x - self.D_MHz * x**2 + self.H_MHz * x**3

    def molecule(self) -> Molecule:
        j = np.arange(_LEVELS)
        up, frequency_Hz = j[1:].astype(float), np.diff(self.energy_MHz(j)) * 1e6
        dipole_D = self.dipole_D * (1.0 - self.stretch * up**2)
        return Molecule(
            name=self.name,
            mass_u=self.mass_u,
            energies_K=self.energy_MHz(j) * _K_PER_MHz,
            weights=np.asarray(2 * j + 1, dtype=np.float64),
            labels=tuple(str(k) for k in j),
            line_upper=j[1:],
            line_lower=j[:-1],
            einstein_a_s=einstein_a_s(dipole_D, frequency_Hz, up / (2.0 * up + 1.0)),
            frequency_Hz=frequency_Hz,
            partners=_partners() if self.has_rates else (),
            source=f"built in: {self.source}; {_YANG if self.has_rates else _NO_RATES}",
        )


@cache
def _partners() -> tuple[Partner, ...]:
    with np.load(RATES_FILE, allow_pickle=False) as stored:
        upper, lower = (stored[k].astype(np.int64) for k in ("upper", "lower"))
        temperatures, para, ortho = (stored[k].astype(float) for k in ("temperatures_K", "para_cm3_s", "ortho_cm3_s"))
    tables = {"p-H2": para, "o-H2": ortho}
    return tuple(Partner(name, "Yang et al. 2010", upper, lower, temperatures, table) for name, table in tables.items())


# --- tops -------------------------------------------------------------------------------------------------------------

#: HNCO: (Ka, whether it is the upper one of a pair) -> origin of the ladder, K, and its lines 4-3 and 10-9, MHz.
_HNCO = {
    (0, False): (0.0, 87925.237, 219798.274),
    (1, False): (43.27, 87597.330, 218981.009),
    (1, True): (43.27, 88239.020, 220584.751),
    (2, False): (170.27, 87898.42, 219733.85),
    (2, True): (170.27, 87898.42, 219733.85),
    (3, False): (374.95, 87867.25, 219656.77),
    (3, True): (374.95, 87867.25, 219656.77),
}


def hnco() -> Molecule:
    """Isocyanic acid, a nearly prolate top: ladders Ka = 0 to 3 and their a-type lines, labelled J_Ka_Kc.

    A ladder is origin + B J(J+1) - D J^2 (J+1)^2 with B and D from its lines 4-3 and 10-9. Frequencies, origins and the
    dipole moment of 1.602 D are those of CDMS, entry 43511 (Lapinov et al. 2007, Astron. Lett. 33, 121). The partition
    function agrees with CDMS to 2e-4 up to 75 K, and is 0.8 % low at 150 K, 7 % at 300 K, where Ka = 4 is missing.
    """
    levels: list[tuple[str, float, float]] = []
    lines: list[tuple[int, int, float, float]] = []
    for (k, is_upper), (origin_K, first, second) in _HNCO.items():
        B, D = np.linalg.solve([[8.0, -256.0], [20.0, -4000.0]], [first, second])
        for j in range(k, _LEVELS):
            x = j * (j + 1.0)
            label, energy_K = f"{j}_{k}_{j - k + (k > 0 and not is_upper)}", origin_K + (B * x - D * x**2) * _K_PER_MHz
            levels.append((label, energy_K, 2.0 * j + 1.0))
            if j > k:
                n = len(levels) - 1
                lines.append((n, n - 1, 2.0 * B * j - 4.0 * D * j**3, (j**2 - k**2) / (j * (2.0 * j + 1.0))))
    return _top("HNCO", 43.006, 1.602, levels, lines, "frequencies of CDMS, Lapinov et al. 2007")


#: NH3: inversion frequencies of the levels (K, K), MHz; of others about the first one.
_INVERSION_MHz = {1: 23694.4955, 2: 23722.6333, 3: 23870.1292, 4: 24139.4163, 5: 24532.9887, 6: 25056.0250}
#: B, C, D_J, D_JK, D_K of NH3, MHz.
_NH3_MHz = 298117.06, 186726.36, 25.0, -46.6, 26.9


def nh3() -> Molecule:
    """Ammonia, an oblate top: levels up to J = 12 with both states of inversion, labelled J_K_a (upper) and J_K_s.

    Only the inversion lines (1,1) to (6,6) are there. Ortho levels (K = 0, 3, 6, …) weigh twice as much as para levels,
    which is the ratio at high temperature. Energies are within 0.02 per cm of JPL, entry 17002, for these lines;
    the dipole moment is 1.4719 D.
    """
    B, C, D_J, D_JK, D_K = _NH3_MHz
    levels: list[tuple[str, float, float]] = []
    lines: list[tuple[int, int, float, float]] = []
    for j in range(13):
        for k in range(j + 1):
            x, weight = j * (j + 1.0), (2.0 * j + 1.0) * (4.0 if k % 3 == 0 else 2.0)
            middle = B * x + (C - B) * k**2 - D_J * x**2 - D_JK * x * k**2 - D_K * k**4
            splitting = _INVERSION_MHz[min(max(k, 1), 6)] if j == k else _INVERSION_MHz[1]
            states = {"s": -0.5, "a": 0.5} if k else {"as"[j % 2]: 0.5 - j % 2}  # of K = 0, nature has one
            for state, sign in states.items():
                levels.append((f"{j}_{k}_{state}", (middle + sign * splitting) * _K_PER_MHz, weight))
            if j == k and k in _INVERSION_MHz:
                n = len(levels) - 1
                lines.append((n, n - 1, splitting, k**2 / x))
    lowest = min(energy for _, energy, _ in levels)
    levels = [(label, energy - lowest, weight) for label, energy, weight in levels]
    return _top("NH3", 17.027, 1.4719, levels, lines, "constants of JPL")


def _top(name: str, mass_u: float, dipole_D: float, levels: list, lines: list, source: str) -> Molecule:
    """Of (label, energy in K, weight), and of (upper, lower, MHz, strength)."""
    labels, energies, weights = zip(*levels, strict=True)
    upper, lower, MHz, strength = (np.array(each) for each in zip(*lines, strict=True))
    return Molecule(
        name=name,
        mass_u=mass_u,
        energies_K=np.array(energies),
        weights=np.array(weights),
        labels=labels,
        line_upper=upper,
        line_lower=lower,
        einstein_a_s=einstein_a_s(dipole_D, MHz * 1e6, strength),
        frequency_Hz=MHz * 1e6,
        partners=(),
        source=f"built in: {source}; {_NO_RATES}",
    )


# --- by name ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Builtin:
    """A molecule and its typical n(molecule)/n(CO) in the Galactic Centre."""

    make: Callable[[], Molecule]
    per_CO: float


_CO = Rotor("12CO", 28.0, 57635.9680, 0.183504833, 1.71622e-7, "constants fitted to LAMDA's 12CO lines")
_13CO = Rotor("13CO", 29.0, 55101.0125, 0.16768585, 1.5056e-7, "constants of Cazzoli et al. 2004")
_C18O = Rotor("C18O", 30.0, 54891.4201, 0.166400565, 1.29304e-7, "constants fitted to LAMDA's C18O lines", 0.11049)
_HCN = Rotor("HCN", 27.0, 44315.975407, 0.087216851, 8.6706e-8, "constants fitted to CDMS", 2.9852, 0.0, False)
_CS = Rotor("CS", 44.1, 24495.558538, 0.040063605, 6.5237e-9, "constants fitted to CDMS", 1.9579, 0.0, False)

#: Constants: 13CO Cazzoli et al. 2004, ApJ 611, 615; the other linear molecules fitted to the frequencies of LAMDA and
#: CDMS (12CO: 40 lines, 1 kHz below J=6; C18O: 13 lines, 3 kHz; HCN: 25, 6 kHz; CS: 30, 5 kHz). `per_CO`: the paper's
#: 13CO, and 16O/18O = 250 in the Galactic Centre (Wilson & Rood 1994, ARA&A 32, 191). The others are given per H2. That
#: of HNCO makes mock galaxies as bright as the Mopra cube at 15 K; clouds differ 20-fold (Martin et al. 2008, ApJ 678,
#: 245). HCN, CS and NH3 are orders of magnitude (Jones et al. 2012, MNRAS 419, 2961; Martin et al. 2008; Guesten
#: et al. 1981, A&A 103, 197).
BUILTIN: dict[str, Builtin] = {
    "12co": Builtin(_CO.molecule, 1.0),
    "13co": Builtin(_13CO.molecule, 4e-2),
    "c18o": Builtin(_C18O.molecule, 4e-3),
    "hcn": Builtin(_HCN.molecule, 3e-8 / CO_PER_H2),
    "cs": Builtin(_CS.molecule, 1e-8 / CO_PER_H2),
    "hnco": Builtin(hnco, 1.5e-9 / CO_PER_H2),
    "nh3": Builtin(nh3, 3e-8 / CO_PER_H2),
}


@cache
def builtin_molecule(name: str) -> Molecule:
    return BUILTIN[name].make()
