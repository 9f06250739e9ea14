"""`observe_arrays`: the synthetic observer for plain arrays, without grids, tensors or configuration files."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.errors import DataError, UsageError, choose
from iris_cli.observers.backends.backend import backend
from iris_cli.observers.brightness import UNITS, channel_frequencies_Hz
from iris_cli.observers.checks import check_matter, warn_if_atomic, warn_if_outside, warn_if_untrapped
from iris_cli.observers.device import choose_backend
from iris_cli.observers.emission import Matter, line_setup
from iris_cli.observers.molecules import load_molecule, tracer_abundance
from iris_cli.observers.populations import choose_populations
from iris_cli.observers.sampling import Accuracy
from iris_cli.observers.transfer import REGIMES

#: A temperature ceiling above this is no ceiling.
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
    populations: str = "lvg",
    pumping: bool = True,
    ortho_per_para: float = 3.0,
    velocity_gradient_km_s_pc: float = 1.0,
    regime: str = "thick",
    masers: str = "exact",
    turbulence_m_s: float = 0.0,
    clump_n_H_cm3: float = 0.0,
    clump_m_s: float = 0.0,
    in_cell_gradient: bool = False,
    temperature_ceiling_K: float = 5e4,
    unit: str = "K",
    backend_name: str = "auto",
    subsamples: int = 0,
    memory_GiB: float = 4.0,
    threads: int = 0,
    device: str = "auto",
) -> NDArray:
    """Computes the spectral-line cube (V, L, B) of gas in cells as a telescope observes it, line minus continuum.

    The six fields have shape (R, L, B), index 0 nearest to the observer. Each (l, b) is one ray of R cells, all
    `dr_m` long, with constant values inside a cell. `v_los_m_s` is positive receding. SI units, `x_H2` = n(H2)/n_H
    and `x_CO` = n(CO)/n_H. Gas hotter than `temperature_ceiling_K` (also `inf`) has dust but no line. `v_edges_m_s`
    (V+1,) ascends evenly. Velocities follow the radio convention, nu = nu0 (1 - v/c).

    `molecule` is a built-in name (12co, 13co, c18o) or the path of a LAMDA file, `transition` the labels of its levels;
    `tracer_per_CO` = n(molecule)/n(CO) (None: the value of a built-in molecule). Dust is grey, `dust_opacity_m2_kg` per
    kg of gas. `populations`: "lte"; "non-lte", statistical equilibrium of gas whose line photons escape, pumped by a
    blackbody of `background_K` unless `pumping` is False; "lvg", the same with Sobolev's escape probability at
    `velocity_gradient_km_s_pc`. The background is also the radiation behind the gas (0: none). `regime`: "thick",
    "thin" (emission only) or "selective" (dust absorbs the line, the line does not absorb itself). `masers`: "exact",
    or "clip" (absorption coefficients below 0 become 0). `clump_n_H_cm3` and `clump_m_s`: the density of clumps inside
    cells above the mean, and the line width from their motions (`emission`); 0 by default: cells are even. With
    `in_cell_gradient` the velocity varies from face to face inside each cell. `subsamples` per channel; 0 uses as many
    as the narrowest line of a ray needs. `backend_name`: "compiled", "torch", "reference" or "auto", which is "torch"
    in float32 if a GPU is found, else "compiled". "torch" works in the precision of the arrays, on a GPU if there is
    one (`device`: "auto", "cpu", "cuda").

    Returns float32 (float64 from the reference, and from "torch" for float64 arrays) in `unit`: "K" (Rayleigh-Jeans at
    the channel's frequency), "K (Planck)" or "Jy/sr". A channel holds the mean intensity over the channel.

    Raises UsageError for an option that does not exist or an impossible number, DataError for unphysical fields (with
    the first bad cell) or an unusable molecule file, IrisError when a single ray does not fit into `memory_GiB`.

    Example: the case of a RADMC-3D run (its README is in the same folder) with 13CO(2-1) in LTE:

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
    given = {**locals(), "tracer_per_CO": tracer_per_CO or 0.0}
    given["temperature_ceiling_K"] = min(temperature_ceiling_K, _HOTTEST_K)
    _check_numbers(given, "dr_m", "velocity_gradient_km_s_pc", "memory_GiB", "temperature_ceiling_K", above_0=True)
    _check_numbers(given, "tracer_per_CO", "dust_opacity_m2_kg", "background_K", "ortho_per_para", "subsamples")
    _check_numbers(given, "turbulence_m_s", "clump_n_H_cm3", "clump_m_s", "threads")
    fields = {"v_los_m_s": v_los_m_s, "rho_kg_m3": rho_kg_m3, "T_gas_K": T_gas_K}
    fields |= {"x_H2": x_H2, "x_CO": x_CO, "T_dust_K": T_dust_K}
    shape = _common_shape(fields)
    v_m_s, *others = (torch.as_tensor(np.asarray(field)).reshape(shape[0], -1) for field in fields.values())
    matter = Matter(v_m_s.double() * 1e-3, *others)
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
        clump_n_H_cm3=clump_n_H_cm3,
        clump_km_s=clump_m_s * 1e-3,
        in_cell_gradient=in_cell_gradient,
        clip_masers=choose("masers", masers, {"exact": False, "clip": True}),
        temperature_ceiling_K=temperature_ceiling_K,
    )
    warn_if_atomic(matter, setup)
    warn_if_untrapped(matter, setup, dr_m)
    if backend_name == "auto":
        matter = matter.to(torch.float32)
    backend_name, device = choose_backend(backend_name, device)
    accuracy = Accuracy(subsamples=subsamples, memory_GiB=memory_GiB, threads=threads, device=device)
    law = choose("regime", regime, REGIMES)
    spectra = backend(backend_name).spectra(matter, setup, law, dr_m, edges_km_s, accuracy)
    convert = choose("unit", unit, UNITS)
    rest_Hz, centres = setup.line.frequency_Hz, 0.5 * (edges_km_s[1:] + edges_km_s[:-1])
    cube = convert(spectra.line_K, spectra.continuum_K, rest_Hz, channel_frequencies_Hz(rest_Hz, centres))
    return cube.T.reshape(-1, *shape[1:]).numpy()


def _check_numbers(given: dict[str, Any], *names: str, above_0: bool = False) -> None:
    """Raises UsageError for an option with an impossible number, such as NaN or infinity."""
    for name in names:
        if not 0.0 <= given[name] < float("inf") or (above_0 and given[name] == 0.0):
            rule = "above 0" if above_0 else "0 or more"
            raise UsageError(f"{name} = {given[name]}; it must be {rule}, and finite")


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
    """(V+1,) float64 km/s. Raises DataError unless the edges ascend evenly."""
    edges = np.asarray(v_edges_m_s, dtype=np.float64)
    steps = np.diff(edges)
    if edges.ndim != 1 or len(edges) < 2 or not (steps > 0).all() or np.ptp(steps) > 1e-4 * steps.mean():
        raise DataError("v_edges_m_s must be at least two edges that ascend in even steps")
    return torch.as_tensor(edges * 1e-3)
