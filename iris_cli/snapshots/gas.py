"""The gas of a snapshot in memory, formulas for quantities that a file lacks, and checks of the values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from iris_cli import units
from iris_cli.errors import DataError

#: (km/s)^2 of internal energy to kelvin: m_H (1 + 0.1 m_He/m_H) / k.
_K_PER_KM2_S2 = 1e6 * units.MASS_PER_H_KG / units.BOLTZMANN_J_K


@dataclass(frozen=True)
class Gas:
    """Cells of a snapshot: positions (N, 3) from the centre in pc, velocities (N, 3) in km/s, other fields (N,).

    Inner units, in the axes of the snapshot. `weight` is proportional to the mass of a cell.
    """

    position_pc: NDArray[np.float64]
    velocity_km_s: NDArray[np.float32]
    rho: NDArray[np.float32]
    T_gas_K: NDArray[np.float32]
    x_H2: NDArray[np.float32]
    x_CO: NDArray[np.float32]
    T_dust_K: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.position_pc)

    def of(self, chosen: NDArray) -> "Gas":
        """The chosen cells, by mask or index."""
        return Gas(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def temperature_K(u_km2_s2: NDArray, x_H2: NDArray | float, x_H_plus: NDArray | float) -> NDArray:
    """T = 2/3 u (m_H + y m_He) / (k (1 + x_H+ - x_H2 + y)), y = 0.1, from the translational energy u per mass.

    The number of particles per H nucleus counts ions twice (with their electron) and molecules half.
    """
    particles = 1.0 + x_H_plus - x_H2 + units.HELIUM_PER_HYDROGEN
    return 2.0 / 3.0 * u_km2_s2 * _K_PER_KM2_S2 / particles


def estimated_masses(position_pc: NDArray, rho: NDArray, most: int = 50_000) -> NDArray[np.float32]:
    """rho x V, with the volume from the distance to the fourth neighbour in a sample of the cells, for all cells.

    For files without masses, whose cells may have equal masses, equal volumes, or neither. Noisy for a single cell,
    accurate for sums.
    """
    step = -(-len(position_pc) // most)
    sample = position_pc[::step]
    neighbour = min(5, len(sample))
    distance = cKDTree(sample).query(sample, k=[neighbour])[0][:, 0]
    weight = np.zeros(len(position_pc))
    weight[::step] = distance**3 * rho[::step].astype(np.float64)
    return relative(weight)


def relative(weight: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N,): weights as shares of the largest."""
    return (weight / max(float(weight.max()), 1e-300)).astype(np.float32)


def densest(position: NDArray, most: int = 50_000) -> NDArray:
    """(3,): the cell of a sample with the nearest 16th neighbour."""
    sample = position[:: -(-len(position) // most)]
    neighbour = min(16, len(sample))
    return sample[np.argmin(cKDTree(sample).query(sample, k=[neighbour])[0][:, 0])]


#: Floors for `check_cells`: a density must be above zero, a dust temperature may be zero.
POSITIVE, NOT_NEGATIVE = 0.0, -1e-300
_BAD = {None: "not finite", POSITIVE: "zero, negative or not finite", NOT_NEGATIVE: "negative or not finite"}
#: Values in inner units that no gas has; of velocities the speed of light.
_CEILINGS = {
    "density": (1e20, "M_sun/pc^3"),
    "velocity": (299_792.458, "km/s"),
    "temperature": (1e12, "K"),
    "dust": (1e6, "K"),
}


def check_cells(columns: Mapping[str, NDArray], floors: Mapping[str, float]) -> tuple[NDArray[np.bool_], str]:
    """(N,): whether every column (N,) or (N, 3) is finite, above its floor and below its ceiling if it has one; and the
    first problem, such as `Density: 3 of 100 cells are zero, negative or not finite`.
    """
    good, problem = np.ones(len(next(iter(columns.values()))), bool), ""
    for name, column in columns.items():
        floor = floors.get(name)
        fine = np.isfinite(column) if floor is None else np.isfinite(column) & (column.astype(np.float64) > floor)
        checks = [(fine, _BAD[floor])]
        if name in _CEILINGS:
            ceiling, unit = _CEILINGS[name]
            checks.append(
                (
                    np.abs(column) <= np.float32(ceiling),
                    f"above {ceiling:g} {unit}; are the units right (--unit-velocity-cm-s and the like)?",
                )
            )
        for passed, wrong in checks:
            each = passed if passed.ndim == 1 else passed.all(axis=1)
            if not problem and not each.all():
                problem = f"{name}: {(~each).sum()} of {len(each)} cells are {wrong}"
            good &= each
    return good, problem


def check_abundances(x_H2: NDArray, x_H_plus: NDArray, x_CO: NDArray, where: str) -> tuple[str, ...]:
    """Raises DataError for impossible abundances, returns warnings for odd ones; permuted columns cause both."""
    for name, values, most in (("x_H2", x_H2, 0.501), ("x_H+", x_H_plus, 1.3), ("x_CO", x_CO, 1e-2)):
        low, top = float(values.min()), float(values.max())
        if top > most or low < -1e-3 * most:
            what = f"{where}: {name} = n/n_H runs from {low:g} to {top:g}; it must be between 0 and {most:.2g}"
            raise DataError(what, "another column (--columns)? For x_H2, 2 n(H2)/n_H (--h2-factor 0.5)?")
    with_CO = x_CO > 1e-5
    if with_CO.any() and float(np.median(x_H2[with_CO])) < float(np.median(x_CO[with_CO])):
        return ("gas with CO holds less H2 than CO: are the columns of ChemicalAbundances in the order of --columns?",)
    if x_CO.max() > 1e-3:
        return (f"x_CO reaches {x_CO.max():.1e}, more than the carbon of the Galactic Centre: is that column CO?",)
    return ()
