"""Arrays in, arrays out: the synthetic observer without grids, tensors or configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.console import warn
from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.observers.backends.backend import backend
from iris_cli.observers.brightness import UNITS, channel_frequencies_Hz
from iris_cli.observers.builtin_molecules import BUILTIN
from iris_cli.observers.device import choose_backend
from iris_cli.observers.emission import LineSetup, Matter
from iris_cli.observers.level_table import level_table
from iris_cli.observers.molecule import Molecule
from iris_cli.observers.molecules import load_molecule
from iris_cli.observers.populations import LTE, LargeVelocityGradient, Populations, ThinEquilibrium
from iris_cli.observers.sampling import Accuracy
from iris_cli.observers.transfer import REGIMES
from iris_cli.units import LIGHT_SPEED_M_S, M_PER_PC

_CM_PER_PC = M_PER_PC * 100.0
#: A ceiling of the temperature above this is none.
_HOTTEST_K = 1e30


def observe_arrays(
    *,
    rho_kg_m3: NDArray,
    T_gas_K: NDArray,
    x_H2: NDArray,
    x_CO: NDArray,
    T_dust_K: NDArray,
    v_los_m_s: NDArray,
    dr_m: float,
    v_edges_m_s: NDArray,
    molecule: str = "13co",
    transition: str = "2-1",
    tracer_per_CO: float | None = None,
    dust_opacity_m2_kg: float = 1e-3,
    background_K: float = 2.73,
    populations: str = "non-lte",
    pumping: bool = True,
    ortho_per_para: float = 3.0,
    velocity_gradient_km_s_pc: float = 1.0,
    regime: str = "thick",
    masers: str = "exact",
    turbulence_m_s: float = 0.0,
    in_cell_gradient: bool = False,
    temperature_ceiling_K: float = 5e4,
    unit: str = "K",
    backend_name: str = "auto",
    subsamples: int = 0,
    memory_GiB: float = 4.0,
    threads: int = 0,
    device: str = "auto",
) -> NDArray:
    """What a telescope sees of gas in cells: a spectral-line cube (V, L, B), line minus continuum.

    The six fields have shape (R, L, B), index 0 nearest to the observer; each (l, b) is one ray of R cells, all
    `dr_m` long, with constant values inside a cell. `v_los_m_s` is positive receding. SI units, `x_H2` = n(H2)/n_H
    and `x_CO` = n(CO)/n_H; gas hotter than `temperature_ceiling_K` (`inf`, say) has dust but no line. `v_edges_m_s`
    (V+1,) ascends evenly; velocities are radio convention, nu = nu0 (1 - v/c).

    `molecule` is a built-in name (12co, 13co, c18o) or the path of a LAMDA file, `transition` the labels of its levels;
    `tracer_per_CO` = n(molecule)/n(CO) (built-in molecules know theirs). Dust: grey, `dust_opacity_m2_kg` per kg of
    gas. `populations`: "lte"; "non-lte", statistical equilibrium of gas whose line photons escape, where a blackbody
    of `background_K` pumps unless `pumping` is False; "lvg", the same with Sobolev's escape probability at
    `velocity_gradient_km_s_pc`. The background also shines through the gas from behind (0: it does not). `regime`:
    "thick", "thin" (emission only) or "selective" (dust dims the line, the line does not absorb itself). `masers`:
    "exact", or "clip" (absorption coefficients below 0 become 0). `in_cell_gradient` lets the velocity run from face
    to face inside each cell. `subsamples` per channel: 0 takes what the narrowest line of a ray needs.
    `backend_name`: "compiled", "torch", "reference" or "auto": "torch" in float32 where a GPU is found, else
    "compiled". "torch" works in the arrays' precision, on a GPU where there is one (`device`: "auto", "cpu", "cuda").

    Returns float32 (float64 from the reference, and from "torch" where the arrays are float64) in `unit`: "K"
    (Rayleigh-Jeans at the channel's frequency), "K (Planck)" or "Jy/sr". Channels hold the mean of the intensity over
    the channel.

    Raises UsageError for an option that does not exist or a number that cannot be, DataError for fields that are not
    physical (the first bad cell is named) or a molecule file that cannot be used, IrisError when a single ray does not
    fit into `memory_GiB`.

    Example, the case of a RADMC-3D run (its README stands beside it) with 13CO(2-1) in LTE:

    >>> case = np.load("../shared/data/radmc_case_a.npz")                                    # doctest: +SKIP
    >>> T_line_K = observe_arrays(                                                           # doctest: +SKIP
    ...     rho_kg_m3=case["rho"], T_gas_K=case["T_gas"], x_H2=case["x_H2"], x_CO=case["x_13CO"],
    ...     T_dust_K=case["T_dust"], v_los_m_s=case["v_los"], dr_m=float(case["dr_m"]),
    ...     v_edges_m_s=case["v_edges_m_s"], molecule="../shared/data/13co_lamda.dat", transition="2-1",
    ...     tracer_per_CO=1.0, dust_opacity_m2_kg=1e-3, background_K=2.725, populations="lte",
    ...     regime="thick", masers="clip", backend_name="compiled")
    >>> np.abs(T_line_K - case["T_line_bf"]).max() / case["T_line_bf"].max() < 5e-3          # doctest: +SKIP
    True
    """
    check_numbers(
        above_0={
            "dr_m": dr_m,
            "velocity_gradient_km_s_pc": velocity_gradient_km_s_pc,
            "memory_GiB": memory_GiB,
            "temperature_ceiling_K": min(temperature_ceiling_K, _HOTTEST_K),
        },
        not_negative={
            "tracer_per_CO": tracer_per_CO or 0.0,
            "dust_opacity_m2_kg": dust_opacity_m2_kg,
            "background_K": background_K,
            "ortho_per_para": ortho_per_para,
            "turbulence_m_s": turbulence_m_s,
            "subsamples": subsamples,
            "threads": threads,
        },
    )
    fields = {
        "rho_kg_m3": rho_kg_m3,
        "T_gas_K": T_gas_K,
        "x_H2": x_H2,
        "x_CO": x_CO,
        "T_dust_K": T_dust_K,
        "v_los_m_s": v_los_m_s,
    }
    shape = _common_shape(fields)
    rays = {name: torch.as_tensor(np.asarray(field)).reshape(shape[0], -1) for name, field in fields.items()}
    matter = Matter(
        rays["v_los_m_s"].double() * 1e-3,
        rays["rho_kg_m3"],
        rays["T_gas_K"],
        rays["x_H2"],
        rays["x_CO"],
        rays["T_dust_K"],
    )
    edges_km_s = even_edges(v_edges_m_s)
    check_matter(matter, shape[1:])
    warn_if_outside(matter, edges_km_s)
    setup = line_setup(
        load_molecule(molecule),
        transition,
        choose_populations(populations, background_K if pumping else None, ortho_per_para, velocity_gradient_km_s_pc),
        tracer_per_CO=tracer_abundance(molecule, tracer_per_CO),
        dust_opacity_m2_kg=dust_opacity_m2_kg,
        background_K=background_K,
        turbulence_km_s=turbulence_m_s * 1e-3,
        in_cell_gradient=in_cell_gradient,
        clip_masers=_choose("masers", masers, {"exact": False, "clip": True}),
        temperature_ceiling_K=temperature_ceiling_K,
    )
    warn_if_atomic(matter, setup)
    chosen, there = choose_backend(backend_name, device)
    if backend_name == "auto":
        matter = Matter(*(field.float() for field in matter.__dict__.values()))
    spectra = backend(chosen).spectra(
        matter,
        setup,
        _choose("regime", regime, REGIMES),
        dr_m,
        edges_km_s,
        Accuracy(subsamples=subsamples, memory_GiB=memory_GiB, threads=threads, device=there),
    )
    rest_Hz, centres = setup.line.frequency_Hz, 0.5 * (edges_km_s[1:] + edges_km_s[:-1])
    convert = _choose("unit", unit, UNITS)
    seen = convert(spectra.line_K, spectra.continuum_K, rest_Hz, channel_frequencies_Hz(rest_Hz, centres))
    return seen.T.reshape(-1, *shape[1:]).numpy()


def check_numbers(above_0: dict[str, float], not_negative: dict[str, float]) -> None:
    """UsageError for an option whose number no gas and no telescope has; NaN and infinity are such numbers."""
    for name, value in {**above_0, **not_negative}.items():
        if not 0.0 <= value < float("inf") or (name in above_0 and value == 0.0):
            raise UsageError(
                f"{name} = {value}; it must be {'above 0' if name in above_0 else '0 or more'}, and finite"
            )


def _choose(what: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise UsageError(f"unknown {what} '{name}'", nearest(name, known))
    return known[name]


def choose_populations(
    name: str, pumping_K: float | None, ortho_per_para: float, velocity_gradient_km_s_pc: float
) -> Populations:
    made: dict[str, Populations] = {
        "lte": LTE(),
        "non-lte": ThinEquilibrium(pumping_K, ortho_per_para),
        "lvg": LargeVelocityGradient(velocity_gradient_km_s_pc, pumping_K, ortho_per_para),
    }
    return _choose("populations", name, made)


def tracer_abundance(molecule: str, tracer_per_CO: float | None) -> float:
    """n(molecule)/n(CO); built-in molecules know theirs."""
    if tracer_per_CO is not None:
        return tracer_per_CO
    if molecule.lower() in BUILTIN:
        return BUILTIN[molecule.lower()].per_CO
    raise UsageError(
        f"how many {molecule} there are per CO is not known",
        "say tracer_per_CO, or --tracer-per-co on the command line",
    )


def line_setup(molecule: Molecule, transition: str, populations: Populations, **options: Any) -> LineSetup:
    """With the level table, from the cache or built now."""
    line = molecule.line(transition)
    gradient = populations.velocity_gradient_km_s_pc if isinstance(populations, LargeVelocityGradient) else 0.0
    table = level_table(molecule, line, populations)
    return LineSetup(line=line, table=table, gradient_km_s_cm=gradient / _CM_PER_PC, **options)


def _common_shape(fields: dict[str, NDArray]) -> tuple[int, ...]:
    shapes = {name: np.shape(field) for name, field in fields.items()}
    shape = shapes["rho_kg_m3"]
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"rho_kg_m3 has the shape {shape}; expected (R, L, B) with at least one cell")
    for name, other in shapes.items():
        if other != shape:
            raise DataError(f"{name} has the shape {other}, rho_kg_m3 {shape}; they must agree")
    return shape


def even_edges(v_edges_m_s: NDArray) -> Tensor:
    """(V+1,) float64 km/s; DataError unless they ascend evenly."""
    edges = np.asarray(v_edges_m_s, dtype=np.float64)
    steps = np.diff(edges)
    if edges.ndim != 1 or len(edges) < 2 or not (steps > 0).all() or np.ptp(steps) > 1e-4 * steps.mean():
        raise DataError("v_edges_m_s must be at least two edges that ascend in even steps")
    return torch.as_tensor(edges * 1e-3)


#: Field -> (lowest, highest, the rule in words). NaN lies in no range.
_POSSIBLE = {
    "v_km_s": (-LIGHT_SPEED_M_S / 1e3, LIGHT_SPEED_M_S / 1e3, "must be slower than light"),
    "rho_kg_m3": (0.0, 1e30, "must be finite and not negative"),
    "T_K": (1e-6, np.inf, "must be above 0 where there is gas (inf: too hot for the line)"),
    "x_H2": (0.0, 0.5 + 1e-4, "must lie in 0 … 0.5, molecules per hydrogen nucleus"),
    "x_CO": (0.0, 1.0, "must lie in 0 … 1, molecules per hydrogen nucleus"),
    "T_dust_K": (0.0, 1e6, "must be finite and not negative"),
}


def check_matter(matter: Matter, sky: tuple[int, ...]) -> None:
    """DataError that names the first cell (R, L, B) that cannot be, and how many there are. `sky` is (L, B)."""
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
        bad, first = bad.reshape(-1), int(bad.reshape(-1).int().argmax())
        where = tuple(int(i) for i in np.unravel_index(first, (field.shape[0], *sky)))
        others = f", and {int(bad.sum()) - 1} more are like it" if int(bad.sum()) > 1 else ""
        raise DataError(f"{name} {rule}; cell (R, L, B) = {where} holds {field.reshape(-1)[first].item():.4g}{others}")


def warn_if_outside(matter: Matter, edges_km_s: Tensor) -> None:
    low, high = (v.item() for v in torch.aminmax(matter.v_km_s))
    if high < edges_km_s[0] or low > edges_km_s[-1]:
        warn(
            f"no gas in the velocity range {edges_km_s[0]:.6g} … {edges_km_s[-1]:.6g} km/s: "
            f"it moves at {low:.6g} … {high:.6g} km/s"
        )


#: Below this mean x_H2 of the tracer's gas, lines without H collisions are a third too faint and more.
_ATOMIC = 0.4
#: So many cells tell the mean well enough.
_CELLS_LOOKED_AT = 1 << 20
#: Lines that have had their warning in this process: every tensor of a set would repeat it.
_warned_of: set[str] = set()


def warn_if_atomic(matter: Matter, setup: LineSetup) -> None:
    """Once for each line: when the gas that holds the tracer is partly atomic and hydrogen atoms do not collide."""
    from_start, per_H2 = setup.table.shares
    collides, atoms_collide = from_start + per_H2 > 0, from_start >= 1.0
    name = f"{setup.line.name} at {setup.line.frequency_Hz / 1e9:.1f} GHz"
    if not collides or atoms_collide or name in _warned_of:
        return
    x_H2 = tracer_mean_x_H2(matter, setup.temperature_ceiling_K)
    if x_H2 < _ATOMIC:
        _warned_of.add(name)
        warn(
            f"the gas that holds the tracer is partly atomic (mean x_H2 {x_H2:.2f}; 0.5 is all molecular) and hydrogen "
            f"atoms do not excite {name} here: it comes out too faint; a LAMDA file with H rates "
            "and populations non-lte mend it"
        )


def tracer_mean_x_H2(matter: Matter, ceiling_K: float) -> float:
    """Mean x_H2, each cell weighted by its CO; NaN where no gas below `ceiling_K` holds any."""
    every = max(1, matter.rho_kg_m3.numel() // _CELLS_LOOKED_AT)
    rho, T_K, x_H2, x_CO = (
        field.flatten()[::every].detach().double() for field in (matter.rho_kg_m3, matter.T_K, matter.x_H2, matter.x_CO)
    )
    weight = torch.where(ceiling_K >= T_K, rho * x_CO, 0.0)
    return float((weight * x_H2).sum() / weight.sum())
