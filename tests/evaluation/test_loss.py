import math

import pytest
import torch

from iris_cli.config.train import TrainConfig
from iris_cli.errors import UsageError
from iris_cli.evaluation.loss import PhysicalLoss, ScaledDensityLoss, asinh_of_square, physical_loss
from iris_cli.units import INNER, SI


def test_the_loss_is_the_mean_asinh_of_the_squared_residual():
    n = 1e-19 * INNER.density_per_SI
    pred, true = torch.tensor([[[[3.0 * n, 0.0]]]]), torch.tensor([[[[1.0 * n, 0.0]]]])
    assert float(ScaledDensityLoss()(pred, true)) == pytest.approx(math.asinh(4.0) / 2)


def test_the_loss_does_not_depend_on_the_unit_of_density():
    pred, true = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(s)) * 20 for s in (1, 2))
    inner = ScaledDensityLoss(density_per_SI=INNER.density_per_SI)(pred, true)
    in_metres = ScaledDensityLoss(density_per_SI=SI.density_per_SI)
    metres = in_metres(pred / INNER.density_per_SI, true / INNER.density_per_SI)
    torch.testing.assert_close(metres, inner, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("images", [1, 3])
def test_the_loss_of_each_image_averages_to_that_of_the_batch(images):
    loss, pred, true = ScaledDensityLoss(), torch.rand(images, 1, 8, 8), torch.rand(images, 1, 8, 8)
    assert PhysicalLoss.per_sample(loss, pred[:0], true[:0]).shape == (0,)
    torch.testing.assert_close(loss.per_sample(pred, true).mean(), loss(pred, true))
    torch.testing.assert_close(PhysicalLoss.per_sample(loss, pred, true), loss.per_sample(pred, true))


@pytest.mark.parametrize("r", [0.0, 1e-8, 0.3, -0.3, 1.0, 77.0, -9.99e3, 1e6, 9.9e8])
def test_the_loss_and_its_slope_are_exact_for_every_physical_residual(r):
    x = torch.full((2, 1, 3, 3), r, requires_grad=True)
    value = asinh_of_square(x)
    value.sum().backward()
    assert value[1, 0, 2, 2].item() == pytest.approx(math.asinh(r * r), rel=2e-6)
    assert x.grad is not None and x.grad[0, 0, 1, 1].item() == pytest.approx(2 * r / math.sqrt(1 + r**4), rel=1e-5)


@pytest.mark.parametrize("r", [1e10, -1e30, 3e38])
def test_the_loss_stays_finite_and_keeps_its_slope_s_sign_for_every_float32(r):
    x = torch.tensor(r, requires_grad=True)
    value = asinh_of_square(x)
    value.backward()
    assert value.item() == pytest.approx(math.asinh(1e18), rel=1e-6)
    assert x.grad is not None and math.isfinite(x.grad) and x.grad.item() * r > 0


class AbsoluteLoss(PhysicalLoss):
    def forward(self, pred, true):
        return self.normed_residual(pred, true).abs().mean()


def test_a_subclass_is_found_by_its_name_and_an_unknown_one_is_refused_with_the_nearest():
    assert isinstance(physical_loss(TrainConfig(physical_loss="AbsoluteLoss")), AbsoluteLoss)
    with pytest.raises(UsageError) as refused:
        physical_loss(TrainConfig(physical_loss="ScaledDensityLos"))
    assert "ScaledDensityLoss" in refused.value.hint


def test_an_infinite_residual_gives_nan():
    """It comes of data or of weights that are broken; a step with it must not count."""
    assert asinh_of_square(torch.tensor([1e30])).isfinite().all()
    assert not asinh_of_square(torch.tensor([torch.inf, -torch.inf, torch.nan])).isfinite().any()
