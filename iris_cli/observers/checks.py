"""Checks of matter before it is observed: values that are possible, gas in the velocity range, molecular gas."""

import numpy as np
import torch
from torch import Tensor

from iris_cli.console import warn
from iris_cli.errors import DataError
from iris_cli.observers.emission import LineSetup, Matter, cells
from iris_cli.units import LIGHT_SPEED_M_S

#: Field -> (lowest, highest, the rule in words). NaN is outside every range.
_POSSIBLE = {
    "v_km_s": (-LIGHT_SPEED_M_S / 1e3, LIGHT_SPEED_M_S / 1e3, "must be slower than light"),
    "rho_kg_m3": (0.0, 1e30, "must be finite and not negative"),
    "T_K": (1e-6, np.inf, "must be above 0 where there is gas (inf: too hot for the line)"),
    "x_H2": (0.0, 0.5 + 1e-4, "must lie in 0 … 0.5, molecules per hydrogen nucleus"),
    "x_CO": (0.0, 1.0, "must lie in 0 … 1, molecules per hydrogen nucleus"),
    "T_dust_K": (0.0, 1e6, "must be finite and not negative"),
}
#: Below this mean x_H2 of the tracer's gas, lines without H collisions are at least a third too faint.
_ATOMIC = 0.4
#: A sample of this many cells is enough for a mean.
_MEAN_CELLS = 1 << 20
#: A sample of this many rays shows whether a line is opaque.
_RAYS = 256
#: Lines that this process has warned about: otherwise every tensor of a data set would repeat the warning.
_warned_lines: set[str] = set()


def check_matter(matter: Matter, sky: tuple[int, ...]) -> None:
    """Raises DataError with the first impossible cell (R, L, B) and their number. `sky` is (L, B)."""
    for name, (lowest, highest, rule) in _POSSIBLE.items():
        field = getattr(matter, name)
        low, high = torch.aminmax(field)
        if lowest <= low and high <= highest:
            continue
        bad = ~((field >= lowest) & (field <= highest))
        if name == "T_K":
            bad &= ~((field == 0) & (matter.rho_kg_m3 == 0))
        if not bool(bad.any()):
            continue
        count, first = int(bad.sum()), int(bad.reshape(-1).int().argmax())
        where = tuple(int(i) for i in np.unravel_index(first, (field.shape[0], *sky)))
        others = f", and {count - 1} more are like it" if count > 1 else ""
        raise DataError(f"{name} {rule}; cell (R, L, B) = {where} holds {field.reshape(-1)[first].item():.4g}{others}")


def warn_if_outside(matter: Matter, edges_km_s: Tensor) -> None:
    """Warns if no gas moves within the velocity range."""
    low, high = (v.item() for v in torch.aminmax(matter.v_km_s))
    if high < edges_km_s[0] or low > edges_km_s[-1]:
        warn(
            f"no gas in the velocity range {edges_km_s[0]:.6g} … {edges_km_s[-1]:.6g} km/s: "
            f"it moves at {low:.6g} … {high:.6g} km/s"
        )


def warn_if_atomic(matter: Matter, setup: LineSetup) -> None:
    """Warns, once per line, if the tracer's gas is partly atomic and the line has no collisions with hydrogen atoms."""
    constant, per_x_H2 = setup.table.shares
    collides, atoms_collide = constant + per_x_H2 > 0, constant >= 1.0
    name = f"{setup.line.name} at {setup.line.frequency_Hz / 1e9:.1f} GHz"
    if not collides or atoms_collide or name in _warned_lines:
        return
    x_H2 = tracer_mean_x_H2(matter, setup.temperature_ceiling_K)
    if x_H2 < _ATOMIC:
        _warned_lines.add(name)
        warn(
            f"the gas that holds the tracer is partly atomic (mean x_H2 {x_H2:.2f}; 0.5 is all molecular), and the "
            f"excitation of {name} by hydrogen atoms is not included: the line is too faint; use a LAMDA file with H "
            "rates and populations non-lte"
        )


def warn_if_untrapped(matter: Matter, setup: LineSetup, dr_m: float) -> None:
    """Warns, once per line, if most of it comes from opaque cells, whose levels are those of optically thin gas."""
    name = f"{setup.line.name} at {setup.line.frequency_Hz / 1e9:.1f} GHz"
    if not setup.photons_escape or f"{name}, thin" in _warned_lines:
        return
    every = max(1, matter.rho_kg_m3.numel() // (len(matter.rho_kg_m3) * _RAYS))
    these = cells(matter.rays(slice(None, None, every)), setup, dr_m)
    line_K_km_s, width_km_s = these.line_K_km_s.detach(), torch.maximum(these.width_km_s, these.spread_km_s)
    share = line_K_km_s[these.depth_km_s.abs() > width_km_s].sum() / line_K_km_s.sum()
    if share > 0.5:
        _warned_lines.add(f"{name}, thin")
        warn(
            f"{100 * share:.0f} % of {name} comes from cells with an optical depth above 1, but with "
            "populations non-lte all photons escape, and opaque gas is too cold or inverted; populations lvg traps them"
        )


def tracer_mean_x_H2(matter: Matter, ceiling_K: float) -> float:
    """Mean x_H2, weighted by the CO of each cell; NaN if no gas below `ceiling_K` holds CO."""
    every = max(1, matter.rho_kg_m3.numel() // _MEAN_CELLS)
    _, rho, T_K, x_H2, x_CO, _ = (field.flatten()[::every].detach().double() for field in matter.fields())
    weight = torch.where(ceiling_K >= T_K, rho * x_CO, 0.0)
    return float((weight * x_H2).sum() / weight.sum())
