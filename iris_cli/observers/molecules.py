"""Loading a molecule by name or from a LAMDA file, and its description as JSON."""

from pathlib import Path
from typing import Any

import numpy as np

from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import UsageError, nearest
from iris_cli.observers.builtin_molecules import BUILTIN, builtin_molecule
from iris_cli.observers.lamda import read_lamda
from iris_cli.observers.molecule import Molecule, critical_densities_cm3
from iris_cli.observers.populations import populations_of


def load_molecule(name_or_path: str) -> Molecule:
    """A built-in molecule by name (`13co`), or a LAMDA file by path; a file of the same name has precedence.

    Raises DataError for a damaged file, UsageError when there is neither a file nor a built-in molecule.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return read_lamda(path)
    if name_or_path.lower() in BUILTIN:
        return builtin_molecule(name_or_path.lower())
    what = f"'{name_or_path}' is neither a built-in molecule nor a LAMDA file"
    raise UsageError(what, nearest(name_or_path.lower(), BUILTIN))


def tracer_abundance(molecule: str, tracer_per_CO: float | None) -> float:
    """n(molecule)/n(CO): the given value, or that of a built-in molecule. Raises UsageError when there is neither."""
    if tracer_per_CO is not None:
        return tracer_per_CO
    if molecule.lower() in BUILTIN:
        return BUILTIN[molecule.lower()].per_CO
    what = f"the abundance of {molecule} relative to CO is not known"
    raise UsageError(what, "set tracer_per_CO, or --tracer-per-co on the command line")


def check_rates(config: SyntheticConfig) -> None:
    """DataError when a molecule lacks the collision rates that the populations need."""
    for line in config.lines:
        populations_of(config).collider_shares(load_molecule(line.molecule))


def summary(molecule: Molecule, temperature_K: float) -> dict[str, Any]:
    """Levels, lines with critical densities, collision partners and source, as plain JSON."""
    critical = critical_densities_cm3(molecule, temperature_K)
    lines = [
        {
            "transition": name,
            "frequency_GHz": float(molecule.frequency_Hz[k]) / 1e9,
            "einstein_a_s": float(molecule.einstein_a_s[k]),
            "upper_energy_K": float(molecule.energies_K[molecule.line_upper[k]]),
            "critical_density_cm3": {c: float(n[k]) if np.isfinite(n[k]) else None for c, n in critical.items()},
        }
        for k, name in enumerate(molecule.line_names)
    ]
    levels = [
        {"label": label, "energy_K": float(e), "weight": float(g)}
        for label, e, g in zip(molecule.labels, molecule.energies_K, molecule.weights, strict=True)
    ]
    partners = [
        {
            "collider": p.collider,
            "transitions": len(p.upper),
            "from_K": float(p.temperatures_K[0]),
            "to_K": float(p.temperatures_K[-1]),
            "reference": p.reference,
        }
        for p in molecule.partners
    ]
    return {
        "name": molecule.name,
        "collides_with_H": any(p.collider == "H" for p in molecule.partners),
        "mass_u": molecule.mass_u,
        "source": molecule.source,
        "critical_density_temperature_K": temperature_K,
        "levels": levels,
        "lines": lines,
        "partners": partners,
    }
