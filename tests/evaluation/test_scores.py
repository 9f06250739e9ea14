"""Proper scores against closed forms and other codes."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional import regression

from iris_cli.evaluation import scores


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_crps_of_normal_samples_is_that_of_the_normal_distribution():
    """sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)), Gneiting et al. 2005, whatever the number of samples."""
    sigma, true = 0.7, torch.tensor([0.0, 0.5, -2.0], dtype=torch.float64)
    z = true / sigma
    density, below = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi), 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    expected = sigma * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))
    for members in (2, 3, 20):
        many = true[:, None].expand(3, 60_000)
        found = scores.crps(normal(members, 3, 60_000, scale=sigma), many)
        torch.testing.assert_close(found, expected, atol=0.006, rtol=0)
    member, one = normal(1, 3, 1, 8, 8), normal(3, 1, 8, 8, seed=1)
    torch.testing.assert_close(scores.crps(member, one), (member[0] - one).abs().flatten(1).mean(1))


@pytest.mark.skipif(
    not hasattr(regression, "continuous_ranked_probability_score"), reason="the oldest torchmetrics has no CRPS"
)
def test_crps_is_that_of_torchmetrics_without_its_bias():
    """torchmetrics divides the members' distances by 2 K^2, the fair form by 2 K (K - 1)."""
    members, true = normal(6, 1, 1, 30, 30), normal(1, 1, 30, 30, seed=1)
    flat = members.flatten(1).T
    biased = regression.continuous_ranked_probability_score(flat, true.flatten())
    distances = (flat[:, :, None] - flat[:, None, :]).abs().sum(dim=(1, 2)).mean()
    fair = biased + distances / (2 * 36) - distances / (2 * 30)
    assert scores.crps(members, true).item() == pytest.approx(fair.item(), rel=1e-9)


def test_energy_score_is_its_double_sum_and_for_one_pixel_the_crps():
    members, true = normal(5, 3, 1, 4, 4), normal(3, 1, 4, 4, seed=1)
    x, y = members[:, 0].flatten(1).numpy(), true[0].flatten().numpy()
    error = np.mean([np.linalg.norm(a - y) for a in x])
    double = sum(np.linalg.norm(a - b) for a in x for b in x)
    assert scores.energy_score(members, true)[0].item() == pytest.approx((error - double / 40) / 4, rel=1e-9)
    pixel, one = normal(7, 2, 1, 1, 1), normal(2, 1, 1, 1, seed=1)
    torch.testing.assert_close(scores.energy_score(pixel, one), scores.crps(pixel, one))
    torch.testing.assert_close(scores.energy_score(members[:1], true), (members[0] - true).flatten(1).norm(dim=1) / 4)


def test_the_energy_score_sees_pixels_that_do_not_vary_together_where_the_crps_does_not():
    together = normal(40, 200, 1, 1, 1).expand(40, 200, 1, 4, 4)
    true, apart = normal(200, 1, 1, 1, seed=1).expand(200, 1, 4, 4), normal(40, 200, 1, 4, 4, seed=2)
    assert scores.crps(apart, true).mean().item() == pytest.approx(scores.crps(together, true).mean().item(), rel=0.03)
    assert scores.energy_score(apart, true).mean() > 1.1 * scores.energy_score(together, true).mean()


def test_scores_of_an_event_are_proper_and_do_not_depend_on_the_number_of_members():
    generator, chance = torch.Generator().manual_seed(0), 0.3

    def mean_brier(members, predicted):
        share = (torch.rand(members, 100_000, generator=generator) < predicted).double().mean(dim=0)
        happened = (torch.rand(100_000, generator=generator) < chance).double()
        return float(scores.brier(share, happened, members).mean())

    best = chance * (1 - chance)
    assert mean_brier(2, chance) == pytest.approx(best, abs=0.005)
    assert mean_brier(50, chance) == pytest.approx(best, abs=0.005)
    assert min(mean_brier(50, p) for p in (0.1, 0.5, 0.9)) > best + 0.02
    one = torch.ones(1, dtype=torch.float64)
    assert scores.log_score(one * 0.0, one, 8).item() == pytest.approx(math.log(10))  # no member, yet not impossible
    assert scores.log_score(one * 0.5, one, 8).item() == pytest.approx(math.log(2))
    assert scores.brier(one * 0.5, one, 1).item() == 0.25
