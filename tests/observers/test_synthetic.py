"""The synthetic observer on tensors and grids, and errors for impossible input."""

import inspect
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli import axes, units
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.mock import MockConfig
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import DataError, IrisError, UsageError
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers import make_observer, observe_arrays
from iris_cli.observers.synthetic import SyntheticObserver
from tests.observers.gas import BACKENDS, CHANNEL_KM_S, cube, see, uniform

GRID = GRID_PRESETS["tiny"].scaled(24, 20, 6, 48)


@pytest.fixture(scope="module")
def galaxy():
    return torch.from_numpy(draw_galaxy(MockConfig(), 0, 0).tensor(GRID, 25.0))


def observer(latitude="mean", smooth_velocity=False, **config):
    return SyntheticObserver(GRID, latitude, smooth_velocity, SyntheticConfig(**config))


def test_the_observer_agrees_with_observe_arrays_in_si_units(galaxy):
    seen = observer(beam_fwhm_arcsec=0.0).cube(galaxy)[0]
    fields = {"T_gas_K": axes.T_GAS, "x_H2": axes.X_H2, "x_CO": axes.X_CO, "T_dust_K": axes.T_DUST}
    arrays = observe_arrays(
        **{name: galaxy[channel].numpy().astype(float) for name, channel in fields.items()},
        rho_kg_m3=galaxy[axes.RHO].numpy() * (units.KG_PER_SOLAR_MASS / units.M_PER_PC**3),
        v_los_m_s=galaxy[axes.V_LOS].numpy() * 1e3,
        dr_m=GRID.distance.step * units.M_PER_PC,
        v_edges_m_s=GRID.velocity.edges() * 1e3,
        in_cell_gradient=True,
        clump_n_H_cm3=700.0,
        clump_m_s=30e3,
    )
    assert seen.shape == (20, 6, 48)
    assert seen.permute(2, 0, 1).numpy() == pytest.approx(arrays, abs=1e-4 * float(arrays.max()))


def test_the_highest_image_is_the_maximum_of_the_cube(galaxy):
    assert torch.equal(observer(latitude="max").observe(galaxy), observer().cube(galaxy).amax(dim=2))


@pytest.mark.parametrize("smooth_velocity", [False, True])
def test_the_mean_image_is_the_mean_of_the_cube(galaxy, smooth_velocity):
    tested = observer(smooth_velocity=smooth_velocity, beam_fwhm_arcsec=2000.0)
    assert tested.observe(galaxy).numpy() == pytest.approx(tested.cube_in(galaxy, "K").mean(dim=2).numpy(), abs=1e-5)


def test_several_lines_are_several_images(galaxy):
    lines = (LineConfig(), LineConfig("c18o", "1-0"))
    both, *each = (observer(lines=of, populations="lte").observe(galaxy) for of in (lines, lines[:1], lines[1:]))
    assert both.shape == (2, 20, 48) and torch.equal(both, torch.cat(each))


def test_planck_temperatures_are_above_rayleigh_jeans_and_those_of_opaque_gas(galaxy):
    assert observer(brightness="planck").observe(galaxy).max() > observer().observe(galaxy).max()
    spectrum = see(uniform(6, n_H_cm3=1e5, T_K=30.0), unit="K (Planck)", turbulence_m_s=1500.0, background_K=2.73)
    assert spectrum.max() == pytest.approx(30.0 - 2.73, rel=1e-3)


def test_janskys_are_kelvin_times_2_k_nu_squared_over_c_squared():
    ratio = see(uniform(1), unit="Jy/sr").max() / see(uniform(1)).max()
    assert ratio == pytest.approx(2e26 * units.BOLTZMANN_J_K * (220.3986841e9 / units.LIGHT_SPEED_M_S) ** 2, rel=1e-6)


def test_one_and_two_threads_give_the_same_bytes(galaxy):
    assert torch.equal(observer(threads=1).observe(galaxy), observer(threads=2).observe(galaxy))


def test_an_observer_can_be_pickled(galaxy):
    pickled = pickle.loads(pickle.dumps(observer()))  # noqa: S301
    assert torch.equal(pickled.observe(galaxy), observer().observe(galaxy))


def test_the_description_is_plain_json_and_depends_on_the_physics_alone():
    description = observer().describe()
    assert json.loads(json.dumps(description)) == description
    for changed in ({"regime": "thin"}, {"lines": (LineConfig("c18o"),)}, {"beam_fwhm_arcsec": 20.0}):
        assert observer(**changed).describe() != description
    assert observer(threads=2, memory_GiB=1.0).describe() == description


def test_litter_is_gas_of_the_disc_without_the_wide_lines_of_the_centre():
    made = {litter: make_observer(GRID, PreobserveConfig(litter=litter)).describe() for litter in (False, True)}
    assert (made[False]["clump_km_s"], made[True]["clump_km_s"]) == (30.0, 0.0)
    assert made[False]["clump_n_H_cm3"] == made[True]["clump_n_H_cm3"] == 700.0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("T_gas_K", 0.0, "T_K must be above 0"),
        ("T_gas_K", np.nan, "T_K must be above 0"),
        ("rho_kg_m3", -1e-20, "rho_kg_m3 must be finite and not negative"),
        ("rho_kg_m3", np.inf, "rho_kg_m3"),
        ("x_H2", 0.7, "x_H2 must lie in 0 … 0.5"),
        ("x_CO", np.nan, "x_CO"),
        ("T_dust_K", -3.0, "T_dust_K"),
        ("v_los_m_s", np.nan, "v_km_s"),
    ],
)
def test_impossible_gas_is_refused_with_its_cell(field, value, says):
    gas = uniform(5)
    gas[field][3] = value
    with pytest.raises(DataError, match=says) as error:
        see(gas)
    assert "(3, 0, 0)" in error.value.message


OPTIONS = inspect.signature(observe_arrays).parameters.values()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", [o.name for o in OPTIONS if o.annotation in ("float", "float | None", "int")])
def test_an_impossible_number_is_refused(name, value):
    """A negative abundance would give masers; NaN would give zero in the compiled backend."""
    if name == "temperature_ceiling_K" and value == np.inf:  # no ceiling
        assert np.isfinite(see(uniform(2), temperature_ceiling_K=value)).all()
        return
    with pytest.raises(UsageError, match=f"{name} = {value}; it must be"):
        see(uniform(2), **{name: value})
    with pytest.raises(UsageError, match="dr_m = 0"):  # a ray of cells without length
        see(uniform(2), dr_m=0.0)


def test_an_empty_cell_needs_no_temperature():
    gas = uniform(4)
    gas["rho_kg_m3"][1], gas["T_gas_K"][1] = 0.0, 0.0
    for backend_name in BACKENDS:
        assert np.isfinite(see(gas, backend_name=backend_name)).all()


def test_fields_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"x_CO has the shape \(3, 1, 1\)"):
        see(uniform(4) | {"x_CO": np.zeros((3, 1, 1))})


def test_a_velocity_range_without_gas_gives_zero_and_a_warning(capfd):
    assert not see(uniform(v_km_s=300.0)).any()
    assert "no gas in the velocity range" in capfd.readouterr().err


def test_a_channel_much_wider_than_the_line_has_its_flux():
    whole = see(uniform(), v_edges_m_s=np.array([-1e6, 1e6]))
    assert whole[0] * 2000.0 == pytest.approx(see(uniform()).sum() * CHANNEL_KM_S, rel=0.02)


@pytest.mark.parametrize("edges", [[0.0], [0.0, 1.0, 3.0], [1.0, 0.0], [0.0, np.nan, 2.0]])
def test_edges_must_ascend_evenly(edges):
    with pytest.raises(DataError, match="v_edges_m_s"):
        see(uniform(), v_edges_m_s=np.array(edges))


@pytest.mark.parametrize("backend_name", ["reference", "torch"])
def test_little_memory_gives_smaller_bundles_and_too_little_an_error(backend_name):
    gas = {name: np.repeat(field, 6, axis=1) for name, field in uniform().items()}
    plenty, little = (cube(gas, backend_name=backend_name, memory_GiB=memory) for memory in (4.0, 4e-4))
    assert little == pytest.approx(plenty, rel=1e-6)
    with pytest.raises(IrisError, match="GiB"):
        cube(gas, backend_name=backend_name, memory_GiB=1e-6)


def test_unknown_choices_are_refused():
    wrong = {"regime": "thck", "unit": "Kelvin", "backend_name": "compild", "masers": "clipp", "populations": "LTE"}
    for option, name in wrong.items():
        with pytest.raises(UsageError, match=f"'{name}'"):
            see(uniform(), **{option: name})
    with pytest.raises(UsageError, match="no line to observe"):
        SyntheticConfig(lines=())


def test_the_molecule_of_a_file_needs_an_abundance(lamda_13co):
    with pytest.raises(UsageError, match="relative to CO is not known"):
        see(uniform(), molecule=lamda_13co)
    assert see(uniform(), molecule=lamda_13co, tracer_per_CO=0.04) == pytest.approx(see(uniform()), abs=1e-3)


def test_grids_of_two_latitudes_are_observed_with_a_beam(galaxy):
    narrow = replace(GRID, lat_steps=2)
    assert torch.isfinite(SyntheticObserver(narrow, smooth_velocity=False).observe(galaxy[..., :2])).all()
