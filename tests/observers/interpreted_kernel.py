"""The GPU kernel on the CPU, by `TRITON_INTERPRET=1 python -m tests.observers.interpreted_kernel`.

A process of its own, since Triton decides at its import whether it interprets. Prints one JSON object: for each case,
how far the kernel's cube is from the float64 torch operations', over the cube's peak; and how often it was called. Its
"trial" tells what the kernel's own trial found: nothing, and one number of each cell spoilt after the other.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.observers import observe_arrays
from iris_cli.observers.backends import torch_windows, triton_kernel
from iris_cli.observers.transfer import Regime, Thick
from iris_cli.units import M_PER_PC
from tests.observers.gas import uniform
from tests.observers.interpreted_cases import CASES


def gas(kind: str) -> dict[str, NDArray]:
    """Five rays of eleven cells, some of them empty or hot."""
    rng = np.random.default_rng(4)
    cells, rays = (1 if kind == "one cell" else 11), 5
    made = {name: np.broadcast_to(field, (cells, rays, 1)).copy() for name, field in uniform(cells).items()}
    size = (cells, rays, 1)
    warm = (2.2, 2.5) if kind == "maser" else (0.9, 2.5)
    dense = (-16.9, -16.2) if kind == "maser" else (-20.0, -16.5)
    reach = 40e3 if kind == "beyond" else 11e3
    made["rho_kg_m3"] = 10.0 ** rng.uniform(*dense, size)
    made["T_gas_K"] = 10.0 ** rng.uniform(*warm, size)
    made["v_los_m_s"] = rng.uniform(-reach, reach, size)
    made["T_dust_K"] = rng.uniform(10.0, 50.0, size)
    made["rho_kg_m3"][-1, 0], made["T_gas_K"][0, 1] = 0.0, np.inf
    return made


def observed(case: dict[str, Any], precision: type[np.floating[Any]]) -> NDArray:
    options = {name: value for name, value in case.items() if name != "gas"}
    fields = {name: field.astype(precision) for name, field in gas(case.get("gas", "")).items()}
    return observe_arrays(
        **fields, dr_m=M_PER_PC, v_edges_m_s=np.linspace(-10e3, 10e3, 14), backend_name="torch", **options
    )


def trials() -> dict[str, float]:
    """How far off the trial found the kernel to be, by what was spoilt."""
    right, there = triton_kernel.records, torch.device("cpu")
    found = {"as it is": triton_kernel.try_out(there)}
    for field in range(triton_kernel.FIELDS.value):

        def spoilt(*given: Any, field: int = field) -> torch.Tensor:
            records = right(*given)
            wrong = {triton_kernel.FIRST.value: 9.0, triton_kernel.LAST.value: -60.0}.get(field)
            records[..., field] = records[..., field] * 1.01 if wrong is None else records[..., field] + wrong
            return records

        triton_kernel.records = spoilt
        try:
            triton_kernel.try_out(there)
        except triton_kernel.WrongSpectra as error:
            found[str(field)] = error.off
    triton_kernel.records = right
    return found


def main() -> None:
    called, march, suits = [], triton_kernel.spectra, torch_windows.kernel_suits

    def counted(*given: Any) -> torch.Tensor:
        called.append(given)
        return march(*given)

    def suits_the_cpu_too(these: torch_windows.Cells, regime: Regime) -> bool:
        return isinstance(regime, Thick)

    told = {"trial": trials()}
    triton_kernel.spectra = counted
    for name, case in CASES.items():
        torch_windows.kernel_suits = suits
        truth = observed(case, np.float64)
        called.clear()
        torch_windows.kernel_suits = suits_the_cpu_too
        cube = observed(case, np.float32)
        told[name] = {
            "off": float(np.abs(cube - truth).max() / np.abs(truth).max()),
            "peak_K": float(truth.max()),
            "calls": len(called),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
