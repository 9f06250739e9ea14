"""Gradients of the differentiable backends against finite differences."""

import pytest
import torch

from iris_cli import axes
from iris_cli.config.grid import Grid
from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import UsageError
from iris_cli.observers import make_observer
from iris_cli.observers.backends.backend import backend
from iris_cli.observers.builtin_molecules import builtin_molecule
from iris_cli.observers.emission import Matter, line_setup
from iris_cli.observers.populations import ThinEquilibrium
from iris_cli.observers.sampling import Accuracy
from iris_cli.observers.transfer import REGIMES
from iris_cli.units import M_PER_PC

EDGES = torch.linspace(-6.0, 6.0, 17, dtype=torch.float64)
FIELDS = ("v_km_s", "rho_kg_m3", "T_K", "x_CO")


def matter():
    """Three rays of five cells that record gradients."""
    g = torch.Generator().manual_seed(0)
    ranges = ((-3, 3), (2e-19, 4e-18), (12, 60), (0.2, 0.5), (1e-5, 9e-5), (15, 30))
    fields = (low + (high - low) * torch.rand(5, 3, dtype=torch.float64, generator=g) for low, high in ranges)
    return Matter(*(field.requires_grad_() for field in fields))


def brightness(name, gas, regime, gradient):
    options = {"tracer_per_CO": 0.04, "dust_opacity_m2_kg": 1e-3, "background_K": 2.73, "in_cell_gradient": gradient}
    options |= {"clump_n_H_cm3": 300.0, "clump_km_s": 1.5}
    setup = line_setup(builtin_molecule("13co"), "2-1", ThinEquilibrium(), **options)
    weights = torch.linspace(0.5, 2.0, len(EDGES) - 1, dtype=torch.float64)
    spectra = backend(name).spectra(gas, setup, REGIMES[regime], M_PER_PC, EDGES, Accuracy(subsamples=12))
    return (spectra.line_K * weights).sum()


@pytest.mark.parametrize("name", ["torch", "reference"])
@pytest.mark.parametrize("regime", list(REGIMES))
@pytest.mark.parametrize("gradient", [False, True])
def test_gradients_agree_with_finite_differences(name, regime, gradient):
    gas = matter()
    brightness(name, gas, regime, gradient).backward()
    for field in FIELDS:
        value = getattr(gas, field)
        for cell in ((0, 0), (2, 1), (4, 2)):
            step = 1e-5 * value.detach().abs().max()
            sides = []
            for sign in (1.0, -1.0):
                moved = value.detach().clone()
                moved[cell] += sign * step
                with torch.no_grad():
                    sides.append(brightness(name, Matter(**{**vars(gas), field: moved}), regime, gradient))
            difference = ((sides[0] - sides[1]) / (2 * step)).item()
            largest = value.grad.abs().max().item()
            assert value.grad[cell].item() == pytest.approx(difference, rel=2e-3, abs=2e-4 * largest), (field, cell)


def test_auto_takes_a_backend_with_gradients_where_they_are_asked_for_and_compiled_refuses():
    grid = Grid().scaled(4, 2, 2, 8)
    tensor = torch.zeros(grid.tensor_shape)
    tensor[axes.V_LOS], tensor[axes.RHO], tensor[axes.T_GAS], tensor[axes.T_DUST] = 5.0, 3.0, 30.0, 20.0
    tensor[axes.X_H2], tensor[axes.X_CO] = 0.4, 5e-5
    auto, compiled = (
        make_observer(grid, "synthetic", synthetic=SyntheticConfig(backend=name, device="cpu"))
        for name in ("auto", "compiled")
    )
    assert auto.describe()["backend"] == "compiled"
    recording = tensor.clone().requires_grad_()
    image = auto.observe(recording)
    image.sum().backward()
    assert recording.grad is not None and recording.grad[axes.RHO].abs().sum() > 0
    torch.testing.assert_close(image.detach(), auto.observe(tensor), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="'compiled' computes no gradients"):
        compiled.observe(recording)
    with torch.no_grad():
        assert torch.equal(compiled.observe(recording), auto.observe(tensor))
