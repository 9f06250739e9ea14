"""Calibration of samples that are known to be calibrated, or not."""

import numpy as np
import pytest
import torch

from iris_cli.evaluation import calibration


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ranks(members, true, occupied=-100.0):
    counted = calibration.reached(members, true, occupied)
    return calibration.ranks(members, true, counted).mean(dim=0).numpy()


@pytest.mark.parametrize(("size", "occupied"), [(128, -100.0), (256, 1.5)])
def test_the_rank_of_a_truth_that_is_one_more_draw_is_uniform(size, occupied):
    """Also in occupied pixels, by truth and members alike; the members' mean alone would push ranks down."""
    shares = ranks(normal(5, 4, 1, size, size), normal(4, 1, size, size, seed=1), occupied)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.01)
    np.testing.assert_allclose(calibration.coverage(shares), calibration.nominal_coverage(5), atol=0.01)


def test_ranks_of_an_overconfident_ensemble_are_a_bowl_and_cover_too_little():
    shares = ranks(normal(5, 4, 1, 64, 64, scale=0.3), normal(4, 1, 64, 64, seed=1))
    assert shares[0] > 0.3 and shares[-1] > 0.3
    assert (calibration.coverage(shares) < 0.6 * calibration.nominal_coverage(5)).all()


def test_nominal_coverage_is_that_of_order_statistics():
    np.testing.assert_allclose(calibration.nominal_coverage(4), [0.6, 0.2])
    np.testing.assert_allclose(calibration.nominal_coverage(5), [4 / 6, 2 / 6])
    np.testing.assert_allclose(calibration.coverage(np.array([0.1, 0.2, 0.4, 0.2, 0.1])), [0.8, 0.4])


def test_ties_are_divided_among_the_ranks():
    empty = torch.zeros(3, 1, 1, 4, 4, dtype=torch.float64)
    np.testing.assert_allclose(ranks(empty, empty[0]), 0.25)
    assert np.isnan(ranks(empty, empty[0], occupied=1.0)).all()


@pytest.mark.parametrize("members", [7, 24, 64])
def test_the_coverage_of_any_interval_is_its_probability_whatever_the_number_of_members(members):
    """68 and 92 % fall between two members."""
    samples, true = normal(members, 8, 1, 128, 128), normal(8, 1, 128, 128, seed=1)
    shares = ranks(samples, true)
    for level in (0.3, *calibration.levels(members)):
        assert calibration.coverage_at(shares, level) == pytest.approx(level, abs=0.006)
        mean = calibration.inside(samples, true, level).mean().item()
        assert mean == pytest.approx(calibration.coverage_at(shares, level), abs=1e-9)
    too_narrow = ranks(0.5 * samples, true)
    assert calibration.coverage_at(too_narrow, 0.68) == pytest.approx(0.38, abs=0.06)
    np.testing.assert_allclose(calibration.rank_histogram(shares), 1.0, atol=0.1)
    assert calibration.rank_histogram(shares).mean() == pytest.approx(1.0)


def test_an_interval_wider_than_the_members_is_not_reported():
    assert calibration.levels(64) == calibration.levels(24) == [0.68, 0.92]
    assert calibration.levels(23) == calibration.levels(6) == [0.68]
    assert calibration.levels(3) == [0.5] and calibration.levels(1) == []


def test_tarp_is_the_diagonal_for_an_exact_posterior_and_off_it_for_a_narrow_or_shifted_one():
    """y = x + noise with Gaussian x: the posterior is known exactly; references are other x."""
    x, pairs, dimensions = normal(400, 1, 3, 3, seed=2), 400, (1, 3, 3)
    y = x + normal(pairs, *dimensions, seed=3)
    exact = 0.5 * y + 0.5**0.5 * normal(50, pairs, *dimensions, seed=4)
    references = normal(4, pairs, *dimensions, seed=5)

    def deviation(samples):
        shares = calibration.tarp_ranks(samples, x, references).mean(dim=0).numpy()
        return float(np.abs(np.cumsum(shares) - np.arange(1, 52) / 51).max())

    mean = exact.mean(dim=0)
    assert deviation(exact) < 0.05
    assert deviation(mean + 0.5 * (exact - mean)) > 0.12 and deviation(exact + 1.0) > 0.12
    prior = normal(50, pairs, *dimensions, seed=6)  # calibrated, though it knows nothing
    assert deviation(prior) < 0.05


def test_tarp_is_that_of_its_definition():
    """f, the share of samples nearer to the reference than the truth is (Lemos et al. 2023, algorithm 2)."""
    samples, true, reference = normal(9, 5, 1, 2, 2), normal(5, 1, 2, 2, seed=1), normal(1, 5, 1, 2, 2, seed=2)
    near = ((samples - reference).flatten(2).norm(dim=2) < (true - reference[0]).flatten(1).norm(dim=1)).sum(dim=0)
    assert calibration.tarp_ranks(samples, true, reference).argmax(dim=1).tolist() == near.tolist()


def test_probabilities_that_come_true_are_on_the_diagonal():
    chance = torch.rand(500, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    happened = (torch.rand(500, 20, generator=torch.Generator().manual_seed(1)) < chance).double()
    happened[0, :5] = torch.nan
    count, probability, events = calibration.reliability(chance, happened).sum(dim=0)
    assert count.sum() == 9995 and len(count) == 10
    torch.testing.assert_close(events / count, probability / count, atol=0.05, rtol=0)
    assert (calibration.reliability(torch.ones(1, 1).double(), torch.ones(1, 1).double())[0, 0] > 0).tolist()[-1]


def test_spread_is_skill_for_a_calibrated_ensemble_of_any_size():
    for members in (2, 4, 9):
        found = calibration.spread_and_error(normal(members, 2, 1, 256, 256), normal(2, 1, 256, 256, seed=1))
        variance, error = (found[name].sum(dim=0).numpy()[-1:] for name in ("variance", "squared_error"))
        assert calibration.spread_skill(variance, error, members)[0] == pytest.approx(1.0, rel=0.02)
        overconfident = calibration.spread_skill(0.25 * variance, error, members)[0]
        assert overconfident == pytest.approx(0.5, rel=0.02)


def test_the_error_is_larger_where_the_members_spread_more():
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
