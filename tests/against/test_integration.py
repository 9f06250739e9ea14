"""Every backend against a plain float64 integration (`integration.py`): populations, regimes, masers, dust."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from iris_cli.observers import observe_arrays
from iris_cli.observers.molecules import load_molecule
from iris_cli.units import M_PER_PC
from tests.against import integration
from tests.observers.gas import BACKENDS, uniform

EDGES_M_S = np.linspace(-8e3, 8e3, 22)
CELLS = 14
SHARED = {"dr_m": 0.3 * M_PER_PC, "v_edges_m_s": EDGES_M_S, "background_K": 2.73, "tracer_per_CO": 0.04}

#: n_H/cm^-3, T/K, x_CO: from invisible to opaque, from far below to far above the critical density, and the warm,
#: dense, rather thin gas whose lines invert.
GASES = {
    "thin": ((2.0, 4.0), (8.0, 100.0), 1.4e-7),
    "opaque": ((3.0, 5.5), (8.0, 150.0), 1.4e-4),
    "very opaque": ((4.0, 6.5), (8.0, 60.0), 1.4e-3),
    "maser": ((3.6, 4.6), (120.0, 400.0), 1.4e-5),
    "atomic": ((1.5, 4.0), (20.0, 300.0), 1.4e-5),
}


def clump(name, seed=3):
    rng = np.random.default_rng(seed)
    density, (coldest, hottest), x_CO = GASES[name]
    x_H2 = rng.uniform(*((0.0, 0.15) if name == "atomic" else (0.2, 0.5)), CELLS)
    return uniform(
        CELLS,
        rho_kg_m3=10.0 ** rng.uniform(*density, CELLS) * 1e6 * integration.MASS_PER_H,
        T_gas_K=np.exp(rng.uniform(np.log(coldest), np.log(hottest), CELLS)),
        x_H2=x_H2,
        x_CO=x_CO * 10.0 ** rng.uniform(-0.5, 0.5, CELLS),
        T_dust_K=rng.uniform(10.0, 60.0, CELLS),
        v_los_m_s=np.linspace(-3e3, 3e3, CELLS) + rng.normal(0.0, 1.5e3, CELLS),
    )


@dataclass(frozen=True)
class Case:
    """The options of `observe_arrays` for a gas."""

    gas: str
    molecule: str = "13co"
    transition: str = "2-1"
    populations: str = "non-lte"
    pumping: bool = True
    regime: str = "thick"
    masers: str = "exact"
    dust_opacity_m2_kg: float = 1e-3
    turbulence_m_s: float = 0.0

    def observed(self, backend):
        """(V,) the spectrum of a backend."""
        options = {**SHARED, **vars(self), "backend_name": backend}
        return observe_arrays(**clump(options.pop("gas")), **options)[:, 0, 0].astype(float)

    @cache  # noqa: B019
    def integrated(self):
        """(V,) the spectrum of the integration."""
        options = {**SHARED, **vars(self), "molecule": load_molecule(self.molecule)}
        return integration.spectrum(clump(options.pop("gas")), **options)

    def error(self, backend):
        return error(self.observed(backend), self.integrated())


def error(found, expected):
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


every_backend = pytest.mark.parametrize("backend", BACKENDS)
#: A level table takes 1 s to compute, one with trapped photons 20 s.
OTHERS = [("lte", True), *(pytest.param(*p, marks=pytest.mark.slow) for p in (("non-lte", False), ("lvg", True)))]


@every_backend
@pytest.mark.parametrize("regime", ["thick", "selective", "thin"])
@pytest.mark.parametrize("gas", GASES)
def test_non_lte_spectra_agree(gas, regime, backend):
    assert Case(gas, regime=regime).error(backend) < 5e-3


@every_backend
@pytest.mark.parametrize("gas", ["opaque", "very opaque", "maser"])
@pytest.mark.parametrize(("populations", "pumping"), OTHERS)
def test_spectra_of_other_populations_agree(gas, populations, pumping, backend):
    assert Case(gas, populations=populations, pumping=pumping).error(backend) < 5e-3


@every_backend
@pytest.mark.parametrize("line", ["1-0", "2-1", pytest.param("3-2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("masers", ["exact", "clip"])
def test_masers_are_amplified_or_clipped_in_every_line(line, masers, backend):
    assert Case("maser", transition=line, masers=masers).error(backend) < 5e-3


@every_backend
@pytest.mark.parametrize("opacity", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("regime", ["thick", "selective"])
def test_dust_absorbs_and_emits(regime, opacity, backend):
    assert Case("opaque", regime=regime, dust_opacity_m2_kg=opacity, turbulence_m_s=400.0).error(backend) < 5e-3


@pytest.mark.slow  # the table of a LAMDA file takes 5 s to compute
@every_backend
@pytest.mark.parametrize("gas", ["atomic", "opaque"])
def test_hydrogen_atoms_of_a_lamda_file_collide(gas, backend, shared_data):
    if not (path := shared_data / "13co_lamda.dat").exists():
        pytest.skip(f"{path} is missing")
    assert Case(gas, molecule=str(path)).error(backend) < 5e-3


def test_the_maser_case_contains_masers():
    exact, clipped = (Case("maser", transition="1-0", masers=m).observed("compiled") for m in ("exact", "clip"))
    assert error(exact, clipped) > 0.01
