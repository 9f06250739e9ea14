"""Level populations of a molecule: LTE, thin statistical equilibrium, large velocity gradient.

Each model computes `fractions(molecule, state) -> (point, level)` and reports what they depend on. In statistical
equilibrium the rates into and out of a level are equal. They consist of collisions (downward rates from the molecule,
upward rates by detailed balance), spontaneous emission, and the radiation at the molecules. float64 throughout.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import choose
from iris_cli.observers.molecule import Molecule, collider_shares
from iris_cli.units import BOLTZMANN_J_K, LIGHT_SPEED_M_S, PLANCK_J_S

#: Points solved together: 256 systems of 41 levels are 3.4 MB, about a core's cache.
_BATCH = 256
#: Of the iteration with trapped photons.
_MOST_ROUNDS = 120


@dataclass(frozen=True)
class State:
    """Points to solve at, each (point,). `column_cm2_km_s`: molecules per cm^2 and km/s, n(molecule) / |dv/ds|."""

    n_H_cm3: NDArray[np.float64]
    x_H2: NDArray[np.float64]
    T_K: NDArray[np.float64]
    column_cm2_km_s: NDArray[np.float64]


class Populations(ABC):
    """A model of the level populations, and the quantities that they depend on besides the temperature."""

    name: ClassVar[str]
    depends_on_density: ClassVar[bool] = True
    depends_on_column: ClassVar[bool] = False

    def collider_shares(self, molecule: Molecule) -> dict[str, tuple[float, float]]:
        """As `molecule.collider_shares`, for the colliders of this model."""
        return {}

    @abstractmethod
    def fractions(self, molecule: Molecule, state: State) -> NDArray[np.float64]:
        """(point, level)"""

    @abstractmethod
    def balance(self) -> dict[str, Any]:
        """What the populations depend on besides density, mixture, temperature and column."""


@dataclass(frozen=True)
class LTE(Populations):
    """The Boltzmann distribution at one excitation temperature, or at that of the gas if it is 0."""

    name = "lte"
    depends_on_density = False
    excitation_K: float = 0.0

    def fractions(self, molecule: Molecule, state: State) -> NDArray[np.float64]:
        return boltzmann(molecule, np.full_like(state.T_K, self.excitation_K) if self.excitation_K else state.T_K)

    def balance(self) -> dict[str, Any]:
        fixed = {"excitation_K": self.excitation_K} if self.excitation_K else {}
        return {"populations": self.name, **fixed}


@dataclass(frozen=True)
class ThinEquilibrium(Populations):
    """Photons of the lines escape; a blackbody background of `background_K` pumps (None: no pumping)."""

    name = "non-lte"
    background_K: float | None = 2.73
    ortho_per_para: float = 3.0

    def collider_shares(self, molecule: Molecule) -> dict[str, tuple[float, float]]:
        return collider_shares(molecule, self.ortho_per_para)

    def fractions(self, molecule: Molecule, state: State) -> NDArray[np.float64]:
        """Solved in batches; the collision matrices, one per temperature and collider, are built once."""
        shares = self.collider_shares(molecule)
        temperatures, place = np.unique(state.T_K, return_inverse=True)
        matrices = {c: np.stack([collision_rates(molecule, c, t) for t in temperatures]) for c in shares}
        found = np.empty((len(place), len(molecule.energies_K)))
        for start in range(0, len(place), _BATCH):
            which = slice(start, start + _BATCH)
            density = {c: state.n_H_cm3[which] * (c0 + c1 * state.x_H2[which]) for c, (c0, c1) in shares.items()}
            rates = sum((n[:, None, None] * matrices[c][place[which]] for c, n in density.items()), np.zeros(()))
            column = state.column_cm2_km_s[which] if self.depends_on_column else None
            found[which] = _balance(molecule, rates, background_occupation(molecule, self.background_K), column)
        return found

    def balance(self) -> dict[str, Any]:
        return {"populations": self.name, "pumping_K": self.background_K or 0.0, "ortho_per_para": self.ortho_per_para}


@dataclass(frozen=True)
class LargeVelocityGradient(ThinEquilibrium):
    """Photons escape with probability (1 - e^-tau)/tau, with tau from the column per velocity (Sobolev; de Jong et al.
    1975, ApJ 199, 69).

    `velocity_gradient_km_s_pc` is the |dv/ds| of all gas; with it, the tracer's density gives the column of each cell.
    Only collisions with H2 count: gas without H2 has no tracer either, and a fourth axis of the table would take a
    minute to compute.
    """

    name = "lvg"
    depends_on_column = True
    velocity_gradient_km_s_pc: float = 1.0

    def collider_shares(self, molecule: Molecule) -> dict[str, tuple[float, float]]:
        return {name: share for name, share in super().collider_shares(molecule).items() if name.endswith("H2")}


def choose_populations(
    name: str,
    pumping_K: float | None,
    ortho_per_para: float,
    velocity_gradient_km_s_pc: float,
    excitation_K: float = 0.0,
) -> Populations:
    """The model called `name`: "lte", "non-lte" or "lvg". Raises UsageError for another name."""
    models: tuple[Populations, ...] = (
        LTE(excitation_K),
        ThinEquilibrium(pumping_K, ortho_per_para),
        LargeVelocityGradient(pumping_K, ortho_per_para, velocity_gradient_km_s_pc),
    )
    return choose("populations", name, {model.name: model for model in models})


def populations_of(config: SyntheticConfig) -> Populations:
    """The model of a configuration."""
    pumping_K = config.background_K if config.pumping else None
    gradient, excitation_K = config.velocity_gradient_km_s_pc, config.excitation_K
    return choose_populations(config.populations, pumping_K, config.ortho_per_para, gradient, excitation_K)


def boltzmann(molecule: Molecule, T_K: NDArray) -> NDArray[np.float64]:
    """(point, level)"""
    weighted = molecule.weights * np.exp(-molecule.energies_K / np.asarray(T_K, dtype=np.float64)[:, None])
    return weighted / weighted.sum(axis=1, keepdims=True)


def background_occupation(molecule: Molecule, background_K: float | None) -> NDArray[np.float64]:
    """(line,) photons per mode of a blackbody, 1 / (e^(h nu / k T) - 1)."""
    if not background_K:
        return np.zeros(len(molecule.frequency_Hz))
    return 1.0 / np.expm1(PLANCK_J_S * molecule.frequency_Hz / (BOLTZMANN_J_K * background_K))


def collision_rates(molecule: Molecule, collider: str, T_K: float) -> NDArray[np.float64]:
    """(level, level) cm^3/s from row to column; upward C_lu = C_ul (g_u/g_l) e^(-E_ul/kT)."""
    partner = next(p for p in molecule.partners if p.collider == collider)
    up, low, g, e = partner.upper, partner.lower, molecule.weights, molecule.energies_K
    down = partner.rates_at(T_K)
    rates = np.zeros((len(e), len(e)))
    rates[up, low] = down
    rates[low, up] = down * (g[up] / g[low]) * np.exp(-(e[up] - e[low]) / T_K)
    return rates


def escape_probability(tau: NDArray) -> NDArray[np.float64]:
    """(1 - e^-tau)/tau of a Sobolev line; 1 for an inverted one: maser emission does not affect the balance."""
    t = np.maximum(tau, 0.0)
    small = np.abs(t) < 1e-6
    return np.where(small, 1.0 - 0.5 * t, -np.expm1(-t) / np.where(small, 1.0, t))


def sobolev_depth(molecule: Molecule, populations: NDArray, column_cm2_km_s: NDArray) -> NDArray[np.float64]:
    """(point, line) tau = A c^3/(8 pi nu^3) (n_l g_u/g_l - n_u) / |dv/ds|."""
    up, low, g = molecule.line_upper, molecule.line_lower, molecule.weights
    net = populations[:, low] * (g[up] / g[low]) - populations[:, up]
    column_m2_m_s = column_cm2_km_s[:, None] * 1e4 / 1e3
    return molecule.einstein_a_s * LIGHT_SPEED_M_S**3 / (8.0 * np.pi * molecule.frequency_Hz**3) * net * column_m2_m_s


def _balance(
    molecule: Molecule, collisions: NDArray, background: NDArray, column: NDArray | None
) -> NDArray[np.float64]:
    """(point, level) for collisions (point, level, level) and, where photons are trapped, columns (point,).

    Trapped, populations and escape are iterated until no line's ln(beta) changes by more than 1e-5. Of the line's own
    photons, only those that do not escape excite: down A beta (1 + n), up A beta (g_u/g_l) n (van der Tak et al. 2007,
    A&A 468, 627, eqs. 12-13). Plain iteration oscillates where a line changes from inverted to thick; therefore each
    line has its own step size towards the new ln(beta), halved when the direction reverses and otherwise increased.
    """
    from iris_cli.observers.level_balance import balanced

    up, low = molecule.line_upper, molecule.line_lower
    down_s = molecule.einstein_a_s * (1.0 + background)
    up_s = molecule.einstein_a_s * background * (molecule.weights[up] / molecule.weights[low])

    def solved(which: NDArray, escape: NDArray) -> NDArray[np.float64]:
        return balanced(collisions, which, up, low, escape * down_s, escape * up_s)

    moving = np.arange(len(collisions))
    log_beta = np.zeros((len(collisions), len(background)))
    populations = solved(moving, np.exp(log_beta))
    if column is None:
        return populations
    step, last = np.full_like(log_beta, 0.5), np.zeros_like(log_beta)
    for _ in range(_MOST_ROUNDS):
        target = np.log(escape_probability(sobolev_depth(molecule, populations[moving], column[moving])))
        change = target - log_beta[moving]
        reverses = change * last[moving] < 0
        step[moving] = np.clip(np.where(reverses, 0.5, 1.2) * step[moving], 0.02, 1.0)
        last[moving] = change
        moving = moving[np.abs(change).max(axis=1) > 1e-5]
        if not len(moving):
            break
        log_beta[moving] += step[moving] * last[moving]
        populations[moving] = solved(moving, np.exp(log_beta[moving]))
    return populations
