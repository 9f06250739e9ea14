"""The Triton kernel on the CPU, compared with torch operations in float64. `test_triton_kernel` runs this file in its
own process with TRITON_INTERPRET=1, because Triton decides at import whether it interprets.
"""

from unittest import mock

import numpy as np
import pytest
import torch

from iris_cli.observers import observe_arrays
from iris_cli.observers.backends import torch_windows, triton_kernel
from iris_cli.observers.transfer import Thick
from iris_cli.units import M_PER_PC
from tests.observers.gas import uniform

THICK = {"dust_opacity_m2_kg": 1e-3, "populations": "lte"}
MASER = {"populations": "non-lte", "transition": "1-0", "gas": "maser"}
CASES = {
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


def gas(kind):
    """Three rays of seven cells, some of them empty or hot."""
    rng = np.random.default_rng(4)
    size = (1 if kind == "one cell" else 7, 3, 1)
    made = {name: np.broadcast_to(field, size).copy() for name, field in uniform(size[0]).items()}
    warm, dense = ((2.2, 2.5), (-16.9, -16.2)) if kind == "maser" else ((0.9, 2.5), (-20.0, -16.5))
    reach = 40e3 if kind == "beyond" else 11e3
    made["rho_kg_m3"] = 10.0 ** rng.uniform(*dense, size)
    made["T_gas_K"] = 10.0 ** rng.uniform(*warm, size)
    made["v_los_m_s"] = rng.uniform(-reach, reach, size)
    made["T_dust_K"] = rng.uniform(10.0, 50.0, size)
    made["rho_kg_m3"][-1, 0], made["T_gas_K"][0, 1] = 0.0, np.inf
    return made


def observed(name, precision):
    options = dict(CASES[name])
    fields = {field: values.astype(precision) for field, values in gas(options.pop("gas", "")).items()}
    edges = np.linspace(-10e3, 10e3, 14)
    return observe_arrays(**fields, dr_m=M_PER_PC, v_edges_m_s=edges, backend_name="torch", **options)


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_agrees_with_torch_operations(name):
    truth = observed(name, np.float64)
    with (
        mock.patch.object(triton_kernel, "spectra", wraps=triton_kernel.spectra) as spectra,
        mock.patch.object(torch_windows, "triton_kernel_applies", lambda _, regime: isinstance(regime, Thick)),
    ):
        cube = observed(name, np.float32)
    assert spectra.call_count == (name not in ("selective", "thin"))  # the march of these is a sum
    assert truth.max() > 0.01 and np.abs(cube - truth).max() < 1e-5 * np.abs(truth).max()


def test_the_maser_case_contains_masers():
    assert observed("masers", np.float64).max() > 1.001 * observed("masers clipped", np.float64).max()


@pytest.mark.parametrize("field", range(triton_kernel.FIELDS.value))
def test_the_check_finds_an_error_of_one_percent_in_any_field(field, monkeypatch):
    assert triton_kernel.check(torch.device("cpu")) < 1e-5
    correct = triton_kernel.records

    def changed(*given):
        records = correct(*given)
        shift = {triton_kernel.FIRST.value: 9.0, triton_kernel.LAST.value: -60.0}.get(field)
        records[..., field] = records[..., field] * 1.01 if shift is None else records[..., field] + shift
        return records

    monkeypatch.setattr(triton_kernel, "records", changed)
    with pytest.raises(triton_kernel.WrongSpectra) as found:
        triton_kernel.check(torch.device("cpu"))
    assert found.value.error > 5e-4
