"""The warning for partly atomic gas and molecules without rates for hydrogen atoms, whose lines are too faint."""

import numpy as np
import pytest
import torch

from iris_cli import axes
from iris_cli.config.grid import Grid
from iris_cli.observers import checks, make_observer
from iris_cli.observers.checks import tracer_mean_x_H2
from iris_cli.observers.emission import Matter
from tests.observers.gas import see, stacked, uniform

WARNING = "partly atomic"


@pytest.fixture(autouse=True)
def no_warnings_so_far(monkeypatch):
    monkeypatch.setattr(checks, "_warned_lines", set())


@pytest.fixture
def warnings(capsys):
    """The number of warnings of one observation."""

    def look(gas, **options):
        see(gas, **({"populations": "non-lte"} | options))
        return capsys.readouterr().err.count(WARNING)

    return look


def test_atomic_gas_causes_one_warning_per_line(warnings):
    atomic = uniform(x_H2=0.1)
    assert [warnings(atomic), warnings(atomic), warnings(atomic, transition="1-0")] == [1, 0, 1]


def test_molecular_gas_and_lte_cause_no_warning(warnings):
    assert warnings(uniform(x_H2=0.48)) == 0
    assert warnings(uniform(x_H2=0.1), populations="lte") == 0


@pytest.mark.slow  # its level table takes 5 s to compute
def test_a_lamda_file_with_rates_for_atoms_causes_no_warning(warnings, lamda_13co):
    assert warnings(uniform(x_H2=0.1), molecule=lamda_13co, tracer_per_CO=0.04) == 0


def test_an_opaque_line_of_thin_populations_causes_one_warning(capsys):
    def warned(n_H_cm3, populations):
        see(uniform(n_H_cm3=n_H_cm3), populations=populations)
        return capsys.readouterr().err.count("an optical depth above 1")

    assert [warned(1.0, "non-lte"), warned(1e4, "lte"), warned(1e4, "non-lte"), warned(1e4, "non-lte")] == [0, 0, 1, 0]


def test_gas_without_tracer_or_too_hot_for_it_does_not_count(warnings):
    for other, expected in (({"x_CO": 0.0}, 0), ({"T_K": np.inf}, 0), ({}, 1)):
        assert warnings(stacked(uniform(x_H2=0.5), uniform(20, x_H2=0.0, **other))) == expected
    assert warnings(uniform(x_CO=0.0, x_H2=0.0)) == 0


def test_the_mean_is_weighted_with_the_tracer():
    one = torch.ones(2, 1)
    x_H2, x_CO = torch.tensor([[0.5], [0.1]]), torch.tensor([[3e-4], [1e-4]])
    matter = Matter(v_km_s=one, rho_kg_m3=one, T_K=10 * one, x_H2=x_H2, x_CO=x_CO, T_dust_K=one)
    assert tracer_mean_x_H2(matter, 5e4) == pytest.approx(0.4)


def test_the_observer_of_tensors_warns_once(capsys):
    grid = Grid().scaled(4, 2, 2, 8)
    observer, tensor = make_observer(grid, "synthetic"), torch.full(grid.tensor_shape, 20.0)
    tensor[axes.X_CO] = 1e-4
    for x_H2, expected in ((0.48, 0), (0.1, 1), (0.1, 0)):
        tensor[axes.X_H2] = x_H2
        observer.observe(tensor)
        assert capsys.readouterr().err.count(WARNING) == expected
