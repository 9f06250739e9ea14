"""Calibration of ensembles that are known to be calibrated, or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional import regression

from iris_cli.evaluation import calibration


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ranks(members: Tensor, true: Tensor, occupied: float = -100.0) -> np.ndarray:
    return calibration.ranks(members, true, occupied).mean(dim=0).numpy()


@pytest.mark.parametrize(("size", "occupied"), [(128, -100.0), (256, 1.5)])
def test_the_rank_of_a_truth_that_is_one_more_draw_is_uniform(size: int, occupied: float) -> None:
    """Also in occupied pixels, by truth and members alike; the members' mean alone would push ranks down."""
    shares = ranks(normal(5, 4, 1, size, size), normal(4, 1, size, size, seed=1), occupied)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.01)
    np.testing.assert_allclose(calibration.coverage(shares), calibration.nominal_coverage(5), atol=0.01)


def test_ranks_of_an_overconfident_ensemble_are_a_bowl_and_cover_too_little() -> None:
    shares = ranks(normal(5, 4, 1, 64, 64, scale=0.3), normal(4, 1, 64, 64, seed=1))
    assert shares[0] > 0.3 and shares[-1] > 0.3
    assert (calibration.coverage(shares) < 0.6 * calibration.nominal_coverage(5)).all()


def test_nominal_coverage_is_that_of_order_statistics() -> None:
    np.testing.assert_allclose(calibration.nominal_coverage(4), [0.6, 0.2])
    np.testing.assert_allclose(calibration.nominal_coverage(5), [4 / 6, 2 / 6])
    np.testing.assert_allclose(calibration.coverage(np.array([0.1, 0.2, 0.4, 0.2, 0.1])), [0.8, 0.4])


def test_ties_are_divided_among_the_ranks() -> None:
    empty = torch.zeros(3, 1, 1, 4, 4, dtype=torch.float64)
    np.testing.assert_allclose(ranks(empty, empty[0]), 0.25)
    assert np.isnan(ranks(empty, empty[0], occupied=1.0)).all()


def test_crps_of_a_calibrated_normal_ensemble_is_one_over_root_pi_and_of_one_member_its_absolute_error() -> None:
    for members in (2, 3, 10):
        score = calibration.crps(normal(members, 4, 1, 200, 200), normal(4, 1, 200, 200, seed=1)).mean().item()
        assert score == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)  # whatever the number of members
    member, true = normal(1, 3, 1, 8, 8), normal(3, 1, 8, 8, seed=1)
    torch.testing.assert_close(calibration.crps(member, true), (member[0] - true).abs().flatten(1).mean(1))


@pytest.mark.skipif(
    not hasattr(regression, "continuous_ranked_probability_score"), reason="the oldest torchmetrics has no CRPS"
)
def test_crps_is_that_of_torchmetrics_without_its_bias() -> None:
    """torchmetrics divides the members' distances by 2 K^2, the fair form by 2 K (K - 1)."""
    members, true = normal(6, 1, 1, 30, 30), normal(1, 1, 30, 30, seed=1)
    flat = members.flatten(1).T
    biased = regression.continuous_ranked_probability_score(flat, true.flatten())
    distances = (flat[:, :, None] - flat[:, None, :]).abs().sum(dim=(1, 2)).mean()
    fair = biased + distances / (2 * 36) - distances / (2 * 30)
    assert calibration.crps(members, true).item() == pytest.approx(fair.item(), rel=1e-9)


def test_spread_is_skill_for_a_calibrated_ensemble_of_any_size() -> None:
    for members in (2, 4, 9):
        found = calibration.spread_and_error(normal(members, 2, 1, 256, 256), normal(2, 1, 256, 256, seed=1))
        variance, error = (found[name].sum(dim=0).numpy()[-1:] for name in ("variance", "squared_error"))
        assert calibration.spread_skill(variance, error, members)[0] == pytest.approx(1.0, rel=0.02)
        overconfident = calibration.spread_skill(0.25 * variance, error, members)[0]
        assert overconfident == pytest.approx(0.5, rel=0.02)


def test_the_error_is_larger_where_the_members_spread_more() -> None:
    """Noise that grows across the map: in each bin of spread the error is what a calibrated ensemble has there.

    Of many members: the spread of a few is itself uncertain, and small by chance where the error is not.
    """
    size = torch.logspace(-2, 0.3, 128, dtype=torch.float64)
    found = calibration.spread_and_error(size * normal(64, 4, 1, 128, 128), size * normal(4, 1, 128, 128, seed=1))
    variance, error, pixels = (found[name].sum(dim=0).numpy() for name in ("variance", "squared_error", "pixels"))
    np.testing.assert_allclose(pixels[:-1].sum(), pixels[-1])
    np.testing.assert_allclose(error[:-1].sum(), error[-1])
    used = pixels[:-1] > 0.05
    assert used.sum() >= 5
    ratio = calibration.spread_skill(variance[:-1][used], error[:-1][used], 64)
    np.testing.assert_allclose(ratio, 1.0, rtol=0.1)
