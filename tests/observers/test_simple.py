from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli.axes import RHO, V_LOS, X_H2
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.mock import MockConfig
from iris_cli.config.observer import SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import UsageError
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.registry import make_observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.top_down import top_down_density
from iris_cli.observers.velocity_smoothing import KERNEL, gaussian_kernel, smooth

GRID = GRID_PRESETS["tiny"]


@pytest.fixture(scope="module")
def galaxy():
    return torch.from_numpy(draw_galaxy(MockConfig(), 0, 0).tensor(GRID, 25.0))


def one_cell(v_km_s, rho=2.0):
    tensor = torch.zeros(GRID.tensor_shape)
    tensor[V_LOS, 10, 20, 5], tensor[RHO, 10, 20, 5] = v_km_s, rho
    return tensor


def test_mass_inside_the_velocity_range_is_conserved(galaxy):
    narrow = replace(GRID, v_min_km_s=-60.0, v_max_km_s=60.0)  # much of the galaxy lies outside
    cube = SimpleObserver(narrow).cube(galaxy)
    seen = cube.double().sum(dim=-1)[0] * narrow.velocity.step
    edges = narrow.velocity.edges()
    inside = (galaxy[V_LOS] >= edges[0]) & (galaxy[V_LOS] < edges[-1])
    columns = (galaxy[RHO].double() * inside).sum(dim=0) * narrow.distance.step
    assert 0.2 < inside.double().mean() < 0.95
    assert (seen - columns).abs().max() < 1e-6 * columns.max()
    assert seen.sum().item() == pytest.approx(columns.sum().item(), rel=1e-6)


def test_a_receding_cloud_appears_at_positive_velocity():
    v = GRID.velocity.centres()
    for speed in (85.0, -85.0):
        spectrum = SimpleObserver(GRID).cube(one_cell(speed))[0, 20, 5].numpy()
        assert (spectrum * v).sum() / spectrum.sum() == pytest.approx(speed, rel=1e-5)


def test_a_column_is_divided_between_the_two_nearest_channels():
    v, step = GRID.velocity.centres(), GRID.velocity.step
    spectrum = SimpleObserver(GRID).cube(one_cell(v[30] + 0.25 * step))[0, 20, 5]
    expected = np.zeros(len(v))
    expected[30:32] = 2.0 * GRID.distance.step / step * np.array([0.75, 0.25])
    assert spectrum.numpy() == pytest.approx(expected, rel=1e-5, abs=0.0)


@pytest.mark.parametrize(("half_channels", "seen"), [(-1.01, 0.0), (-0.99, 1.0), (0.99, 1.0), (1.01, 0.0)])
def test_gas_more_than_half_a_channel_outside_adds_nothing(half_channels, seen):
    end = GRID.velocity.last if half_channels > 0 else GRID.velocity.first
    cube = SimpleObserver(GRID).cube(one_cell(end + 0.5 * half_channels * GRID.velocity.step))
    assert cube.sum().item() * GRID.velocity.step == pytest.approx(seen * 2.0 * GRID.distance.step, rel=1e-5)


def test_a_mirrored_galaxy_gives_the_mirrored_image_and_the_order_along_the_ray_none(galaxy):
    observe = SimpleObserver(GRID).observe
    approaching = galaxy.clone()
    approaching[V_LOS] *= -1
    seen = observe(galaxy)
    for changed, expected in ((galaxy.flip(2), seen.flip(1)), (approaching, seen.flip(2)), (galaxy.flip(1), seen)):
        assert observe(changed).numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_latitude_is_reduced_by_mean_or_maximum(galaxy):
    cube = SimpleObserver(GRID, smooth_velocity=False).cube(galaxy)
    assert torch.equal(SimpleObserver(GRID, "max", False).observe(galaxy), cube.max(dim=2).values)
    mean = SimpleObserver(GRID, "mean", False).observe(galaxy)
    assert mean.numpy() == pytest.approx(cube.double().mean(dim=2).numpy(), rel=1e-6, abs=1e-12)
    with pytest.raises(UsageError):
        SimpleObserver(GRID, "median")


def test_velocity_smoothing_changes_velocities_only(galaxy):
    smoothed = SimpleObserver(GRID).smoothed(galaxy)
    assert torch.equal(smoothed[1:], galaxy[1:])
    assert smoothed[V_LOS].diff(dim=1).abs().mean() < 0.8 * galaxy[V_LOS].diff(dim=1).abs().mean()
    assert torch.equal(top_down_density(smoothed, GRID), top_down_density(galaxy, GRID))


def test_velocity_smoothing_conserves_constants_and_slopes():
    steady = torch.full((6, 7, 8), 3.0)
    assert smooth(steady).numpy() == pytest.approx(steady.numpy())
    slope = torch.arange(9.0)[:, None, None] + 2 * torch.arange(9.0)[:, None] + torch.zeros(9, 9, 9)
    assert smooth(slope)[2:-2, 3:-3, 2:-2].numpy() == pytest.approx(slope[2:-2, 3:-3, 2:-2].numpy(), rel=1e-5)


def test_velocity_smoothing_is_the_gaussian_of_the_paper():
    spike = torch.zeros(7, 11, 7)
    spike[3, 5, 3] = 1.0
    spread, sigma = smooth(spike), 0.33 * np.array(KERNEL)
    for place, sigmas in (((4, 5, 3), 1 / sigma[0]), ((3, 7, 3), 2 / sigma[1])):
        assert (spread[place] / spread[3, 5, 3]).item() == pytest.approx(np.exp(-0.5 * sigmas**2), rel=1e-5)
    assert spread.sum().item() == pytest.approx(1.0)
    assert gaussian_kernel(5).sum().item() == pytest.approx(1.0)


def test_the_view_from_above_is_the_mean_molecular_density_over_latitude(galaxy):
    above, share = top_down_density(galaxy, GRID), 2 * 1.00784 / (1.00784 + 0.1 * 4.002602)
    assert above.shape == (1, 64, 64)
    assert above[0].numpy() == pytest.approx((galaxy[RHO] * galaxy[X_H2] * share).mean(dim=-1).numpy(), rel=1e-5)
    cropped = top_down_density(galaxy, replace(GRID, r_crop_min=16, r_crop_max=48))
    assert torch.equal(cropped, above[:, 16:48])


def test_an_observer_is_made_by_its_name_or_a_configuration(galaxy):
    by_name = make_observer(GRID, "simple", latitude="max")
    config = PreobserveConfig(observer="simple", latitude="max")
    assert torch.equal(by_name.observe(galaxy), make_observer(GRID, config).observe(galaxy))
    with pytest.raises(UsageError, match="the observer 'simple' has no lines"):
        make_observer(GRID, "simple", synthetic=SyntheticConfig())
    with pytest.raises(UsageError, match="unknown observer 'simpel'"):
        make_observer(GRID, "simpel")
