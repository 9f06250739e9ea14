"""Against RADMC-3D and a float64 integration that agree to 2e-6: 13CO(2-1), LTE, dust and CMB."""

import numpy as np
import pytest

from iris_cli.observers import observe_arrays


@pytest.fixture(scope="module")
def case(shared_data):
    path = shared_data / "radmc_case_a.npz"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


#: Names of `observe_arrays` -> names in the file.
FIELDS = {"rho_kg_m3": "rho", "T_gas_K": "T_gas", "x_H2": "x_H2", "x_CO": "x_13CO"}
FIELDS |= {"T_dust_K": "T_dust", "v_los_m_s": "v_los"}


def observed(case, rays, **options):
    given = {name: case[key][:, rays] for name, key in FIELDS.items()}
    defaults = {"dust_opacity_m2_kg": 1e-3, "background_K": 2.725, "populations": "lte", "masers": "clip"}
    return observe_arrays(
        **given, dr_m=float(case["dr_m"]), v_edges_m_s=case["v_edges_m_s"], tracer_per_CO=1.0, **(defaults | options)
    ).astype(float)


@pytest.mark.parametrize(("backend_name", "rays"), [("auto", 24), ("compiled", 24), ("torch", 24), ("reference", 2)])
def test_the_cube_agrees_with_radmc(case, backend_name, rays):
    truth = case["T_line_bf"][:, :rays].astype(float)
    cube = observed(case, slice(rays), backend_name=backend_name)
    moment, true_moment = cube.sum(axis=0) * 0.78125, case["mom0_bf"][:rays]
    lit = true_moment > 0.01 * case["mom0_bf"].max()
    assert np.sqrt(((cube - truth) ** 2).mean() / (truth**2).mean()) < 1e-3
    assert np.abs(moment / true_moment - 1)[lit].max() < 1e-3
