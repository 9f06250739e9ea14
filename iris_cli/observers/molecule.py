"""A molecule: its levels, lines and collision rates. `molecules` loads one.

LAMDA: Schoier et al. 2005, A&A 432, 369.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.units import BOLTZMANN_J_K, HELIUM_PER_HYDROGEN, LIGHT_SPEED_M_S, PLANCK_J_S

#: Kelvin per wave number, K cm.
K_PER_WAVE_NUMBER = PLANCK_J_S * LIGHT_SPEED_M_S * 100.0 / BOLTZMANN_J_K
#: LAMDA's numbers of the collision partners.
COLLIDERS = {1: "H2", 2: "p-H2", 3: "o-H2", 4: "e", 5: "H", 6: "He", 7: "H+"}


@dataclass(frozen=True, eq=False)
class Partner:
    """Downward collision rates with one collider: `rates_cm3_s` (transition, temperature)."""

    collider: str
    reference: str
    upper: NDArray[np.int64]
    lower: NDArray[np.int64]
    temperatures_K: NDArray[np.float64]
    rates_cm3_s: NDArray[np.float64]

    def rates_at(self, temperature_K: float) -> NDArray[np.float64]:
        """(transition,) cm^3/s, linear between the tabulated temperatures and constant beyond them."""
        place = np.interp(temperature_K, self.temperatures_K, np.arange(len(self.temperatures_K)))
        low = min(int(place), max(len(self.temperatures_K) - 2, 0))
        high = min(low + 1, len(self.temperatures_K) - 1)
        share = place - low
        return (1.0 - share) * self.rates_cm3_s[:, low] + share * self.rates_cm3_s[:, high]


@dataclass(frozen=True)
class Line:
    """One radiative transition; `upper` and `lower` are positions in the molecule's list of levels."""

    name: str
    upper: int
    lower: int
    einstein_a_s: float
    frequency_Hz: float
    upper_weight: float
    lower_weight: float
    mass_u: float


@dataclass(frozen=True, eq=False)
class Molecule:
    """Levels (level,), lines (line,) and collision partners. `source` is the origin of the numbers."""

    name: str
    mass_u: float
    energies_K: NDArray[np.float64]
    weights: NDArray[np.float64]
    labels: tuple[str, ...]
    line_upper: NDArray[np.int64]
    line_lower: NDArray[np.int64]
    einstein_a_s: NDArray[np.float64]
    frequency_Hz: NDArray[np.float64]
    partners: tuple[Partner, ...]
    source: str

    @property
    def line_names(self) -> tuple[str, ...]:
        """`2-1`: the labels of the upper and the lower level."""
        pairs = zip(self.line_upper, self.line_lower, strict=True)
        return tuple(f"{self.labels[u]}-{self.labels[low]}" for u, low in pairs)

    def line(self, name: str) -> Line:
        """The transition called `name`. Raises UsageError, with similar names, when there is none."""
        names = self.line_names
        if name not in names:
            raise UsageError(f"{self.name} has no transition '{name}'", nearest(name, names[:12]))
        k = names.index(name)
        up, low = int(self.line_upper[k]), int(self.line_lower[k])
        return Line(
            name=name,
            upper=up,
            lower=low,
            einstein_a_s=float(self.einstein_a_s[k]),
            frequency_Hz=float(self.frequency_Hz[k]),
            upper_weight=float(self.weights[up]),
            lower_weight=float(self.weights[low]),
            mass_u=self.mass_u,
        )

    def fingerprint(self) -> str:
        """A hash of the numbers; the name of the file does not matter."""
        digest = hashlib.sha256(repr((self.mass_u, self.labels)).encode())
        arrays = [self.energies_K, self.weights, self.line_upper, self.line_lower, self.einstein_a_s, self.frequency_Hz]
        for partner in self.partners:
            digest.update(partner.collider.encode())
            arrays += [partner.upper, partner.lower, partner.temperatures_K, partner.rates_cm3_s]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]


def collider_shares(molecule: Molecule, ortho_per_para: float) -> dict[str, tuple[float, float]]:
    """Collider -> (c0, c1): its density per hydrogen nucleus is c0 + c1 x_H2.

    H2 is split into ortho and para when the molecule has rates for both; with one kind of H2 rates, these apply to all
    H2. Electrons and protons are left out: molecular gas has too few. Raises DataError without any H2 rates.
    """
    known = {partner.collider for partner in molecule.partners}
    shares: dict[str, tuple[float, float]] = {}
    if {"p-H2", "o-H2"} <= known:
        ortho = ortho_per_para / (1.0 + ortho_per_para)
        shares |= {"o-H2": (0.0, ortho), "p-H2": (0.0, 1.0 - ortho)}
    elif h2 := next((name for name in ("H2", "p-H2", "o-H2") if name in known), None):
        shares[h2] = (0.0, 1.0)
    else:
        what = f"{molecule.name} has no collision rates with H2 (it has: {', '.join(sorted(known)) or 'none'})"
        raise DataError(what, "use a file with H2 rates, or populations 'lte', which need none")
    if "H" in known:
        shares["H"] = (1.0, -2.0)
    if "He" in known:
        shares["He"] = (HELIUM_PER_HYDROGEN, 0.0)
    return shares


def critical_densities_cm3(molecule: Molecule, temperature_K: float) -> dict[str, NDArray[np.float64]]:
    """Collider -> (line,): A_ul over the downward collision rates from the upper level (Draine 2011, 17.3)."""
    found = {}
    for partner in molecule.partners:
        leaving = np.bincount(partner.upper, partner.rates_at(temperature_K), len(molecule.energies_K))
        collided = leaving[molecule.line_upper]
        found[partner.collider] = molecule.einstein_a_s / np.where(collided > 0, collided, np.nan)
    return found
