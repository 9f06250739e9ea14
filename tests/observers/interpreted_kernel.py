"""The Triton kernel on the CPU: `TRITON_INTERPRET=1 python -m tests.observers.interpreted_kernel`.

Runs in its own process, because Triton decides at import whether it interprets. Prints one JSON object: for each case,
the largest difference between the kernel's cube and that of float64 torch operations, relative to the cube's peak, and
the number of kernel calls. "check" holds the errors that the kernel's own check finds.
"""

import json
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.observers import observe_arrays
from iris_cli.observers.backends import torch_windows
from iris_cli.observers.transfer import Thick
from iris_cli.units import M_PER_PC
from tests.observers.gas import uniform

THICK = {"dust_opacity_m2_kg": 1e-3, "populations": "lte"}
MASER = {"populations": "non-lte", "transition": "1-0", "gas": "maser"}
CASES: dict[str, dict[str, Any]] = {
    "lte": THICK,
    "non-lte": THICK | {"populations": "non-lte"},
    "in-cell gradient": THICK | {"in_cell_gradient": True},
    "broad, in-cell gradient": THICK | {"in_cell_gradient": True, "turbulence_m_s": 3000.0},
    "without dust": THICK | {"dust_opacity_m2_kg": 0.0},
    "opaque dust": THICK | {"dust_opacity_m2_kg": 1.0},
    "masers": MASER,
    "masers clipped": MASER | {"masers": "clip"},
    "one cell": THICK | {"gas": "one cell"},
    "beyond the range": THICK | {"gas": "beyond"},
    "several blocks": THICK | {"subsamples": 41},
    "selective": THICK | {"regime": "selective"},
    "thin": THICK | {"regime": "thin"},
}


def gas(kind: str) -> dict[str, NDArray]:
    """Three rays of seven cells, some of them empty or hot."""
    rng = np.random.default_rng(4)
    cells, rays = (1 if kind == "one cell" else 7), 3
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


def check_errors() -> dict[str, float]:
    """The error that the kernel's own check finds, by the field of a cell that was changed."""
    from iris_cli.observers.backends import triton_kernel  # no Triton is needed to name the cases

    correct, device = triton_kernel.records, torch.device("cpu")
    errors = {"unchanged": triton_kernel.check(device)}
    for field in range(triton_kernel.FIELDS.value):

        def changed(*given: Any, field: int = field) -> torch.Tensor:
            records = correct(*given)
            shift = {triton_kernel.FIRST.value: 9.0, triton_kernel.LAST.value: -60.0}.get(field)
            records[..., field] = records[..., field] * 1.01 if shift is None else records[..., field] + shift
            return records

        with mock.patch.object(triton_kernel, "records", changed):
            try:
                triton_kernel.check(device)
            except triton_kernel.WrongSpectra as error:
                errors[str(field)] = error.error
    return errors


def main() -> None:
    from iris_cli.observers.backends import triton_kernel

    results = {"check": check_errors()}
    for name, case in CASES.items():
        truth = observed(case, np.float64)
        with (
            mock.patch.object(triton_kernel, "spectra", wraps=triton_kernel.spectra) as spectra,
            mock.patch.object(torch_windows, "triton_kernel_applies", lambda _, regime: isinstance(regime, Thick)),
        ):
            cube = observed(case, np.float32)
        error = float(np.abs(cube - truth).max() / np.abs(truth).max())
        results[name] = {"error": error, "peak_K": float(truth.max()), "calls": spectra.call_count}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
