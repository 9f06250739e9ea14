"""The posterior of predictors whose calibration is known, and of trivial ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from iris_cli.evaluation.bootstrap import Resampling
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import Maps, pixel_volume
from iris_cli.evaluation.posterior import RANKED, Posterior, meaning
from iris_cli.evaluation.runs import MEANING, between_runs, names, of_one_map, statistics
from tests.training.makers import GRID

LOSS = ScaledDensityLoss()
PAIRS, SAMPLES = 150, 26


def fields(*shape, seed, size=4):
    """Gaussian numbers on a coarse lattice."""
    return torch.randn(*shape, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def densities(logs):
    """(..., 1, size, size) logarithms -> (..., 1, 16, 16) smooth densities of the order of the normalization."""
    smooth = interpolate(logs.flatten(0, -4), size=16, mode="bilinear")
    return (float(LOSS.normalization) * smooth.exp()).reshape(*logs.shape[:-2], 16, 16)


CENTRE = fields(PAIRS, seed=0)
TRUE = densities(CENTRE + 0.5 * fields(PAIRS, seed=1))
VOLUME = pixel_volume(GRID.scaled(16, 16, 8, 16))


def maps_of(width, samples=SAMPLES, seed=2, shift=0.0):
    """Samples about what is known of each truth; a `width` of 0.5 is calibrated."""
    members = densities(CENTRE + shift + width * fields(samples, PAIRS, seed=seed))
    return Maps(members, TRUE, LOSS, None, VOLUME)


def found_for(maps):
    posterior = Posterior(len(maps.members), tarp=True)
    measured = posterior.measure(maps, torch.stack([TRUE.roll(k, 0) for k in range(1, 5)]))
    arrays = {name: value.numpy() for name, value in measured.items()}
    assert {name: value.shape for name, value in arrays.items()} == {k: (PAIRS, w) for k, w in posterior.widths.items()}
    posterior = Posterior.of(arrays)
    return posterior.statistics(arrays, Resampling.of([str(pair // 2) for pair in range(PAIRS)], resamples=200))


@pytest.fixture(scope="module")
def calibrated():
    return found_for(maps_of(0.5))


@pytest.fixture(scope="module")
def narrow():
    return found_for(maps_of(0.2))


def test_calibrated_samples_cover_what_they_should_in_every_respect(calibrated):
    for what in RANKED:
        for level in (0.68, 0.92):
            number = calibrated.numbers[f"coverage_{100 * level:.0f}_{what}"]
            assert number.mean == pytest.approx(level, abs=0.09) and number.low <= number.mean <= number.high
        np.testing.assert_allclose(calibrated.curves[f"ranks_{what}"].y.mean, 1.0, atol=0.75)
    assert calibrated.numbers["tarp_deviation"].mean < 0.07
    assert calibrated.numbers["spread_skill"].mean == pytest.approx(1.0, abs=0.05)
    assert calibrated.numbers["mass_ratio"].mean == pytest.approx(1.0, abs=0.03)
    reliable = calibrated.curves["reliability_longitude"]
    np.testing.assert_allclose(reliable.y.mean, reliable.x, atol=0.15)
    assert calibrated.coverage_level == 0.68 and calibrated.coverage_map is not None
    assert np.nanmean(calibrated.coverage_map) == pytest.approx(0.68, abs=0.03)


def test_samples_that_are_too_narrow_are_found_by_every_measure(calibrated, narrow):
    for what in RANKED:
        number = narrow.numbers[f"coverage_68_{what}"]
        assert number.high < 0.55, what
    assert narrow.numbers["tarp_deviation"].mean > 0.2 and narrow.numbers["spread_skill"].mean < 0.5
    for score in ("crps", "energy_score", "crps_mass_dex", "crps_near", "brier_near", "log_near"):
        assert narrow.numbers[score].mean > calibrated.numbers[score].mean, score
    assert all(meaning(name) for name in narrow.numbers)


def test_stripes_in_samples_are_correlations_along_rows_that_true_maps_do_not_have(calibrated):
    even, true = (calibrated.numbers[name] for name in ("row_correlation", "row_correlation_true"))
    assert true.low < even.mean < true.high
    stripes = fields(SAMPLES, PAIRS, seed=2)[..., :1].expand(-1, -1, -1, -1, 4)
    striped = found_for(replace(maps_of(0.5), members=densities(CENTRE + 0.5 * stripes))).numbers
    assert striped["row_correlation"].mean > 0.5 > 0.2 > striped["row_correlation_true"].high


def test_samples_of_too_little_mass_are_found(calibrated):
    low = found_for(maps_of(0.5, shift=-0.3)).numbers
    assert low["mass_ratio"].mean == pytest.approx(np.exp(-0.3) * calibrated.numbers["mass_ratio"].mean, rel=1e-6)
    assert low["mass_scatter_dex"].mean == pytest.approx(calibrated.numbers["mass_scatter_dex"].mean, rel=1e-6)
    assert low["coverage_68_mass"].high < 0.5


def test_a_single_map_has_scores_and_no_calibration(calibrated):
    one = found_for(replace(maps_of(0.5), members=maps_of(0.5).members[:1]))
    assert not one.curves and "spread" not in one.numbers and one.coverage_map is None
    assert one.numbers["crps"].mean > 1.3 * calibrated.numbers["crps"].mean
    empty = found_for(replace(maps_of(0.5), members=torch.zeros(1, *TRUE.shape, dtype=torch.float64)))
    assert empty.numbers["brier_near"].mean == 0.25 and empty.numbers["mass_ratio"].mean == 0.0
    assert np.isfinite(empty.numbers["crps_mass_dex"].mean) and np.isnan(empty.numbers["mass_scatter_dex"].mean)


# --- consistency between runs -----------------------------------------------------------------------------------------


def consistency(*runs):
    maps = replace(runs[0], members=torch.cat([run.members for run in runs]))
    arrays = {name: value[:, None].numpy() for name, value in between_runs(maps, len(runs)).items()}
    assert set(arrays) == set(names(len(runs[0].members)))
    found = statistics(arrays, Resampling.of([str(pair) for pair in range(PAIRS)], resamples=50))
    return {name: float(number.mean) for name, number in found.items()}


@pytest.mark.parametrize("samples", [8, 26])
def test_runs_of_one_posterior_differ_by_nothing_whatever_the_number_of_samples(samples):
    found = consistency(*(maps_of(0.5, samples, seed) for seed in (2, 3, 4)))
    assert set(found) == set(MEANING)
    for name, value in found.items():
        assert abs(value) < 0.2, name  # the root of a small square, which may have either sign


def test_a_shift_is_measured_in_standard_deviations():
    """A shift of all logarithms by d is d/0.5 deviations where densities are low or high alike."""
    found = consistency(maps_of(0.5), maps_of(0.5, seed=3, shift=0.25))
    assert found["shift_of_mean"] == pytest.approx(0.25 / 0.4, rel=0.2)  # interpolation narrows the samples
    assert found["energy_distance"] > 0.05 and 0.05 < found["difference_over_error"] < 1.0
    further = consistency(maps_of(0.5), maps_of(0.5, seed=3, shift=0.5))
    assert further["shift_of_mean"] > 1.7 * found["shift_of_mean"]


def test_single_maps_are_compared_by_their_difference_over_their_error():
    one, other = maps_of(0.5, 1), maps_of(0.5, 1, seed=3)
    found = consistency(one, other)
    assert set(found) == set(MEANING) - {"shift_of_mean", "energy_distance"}
    assert found["difference_over_error"] == pytest.approx(1.0, abs=0.1)  # both are as far from the truth
    assert 0.1 < found["near_difference"] < 1.0
    first = replace(
        one, members=torch.cat([one.members, other.members])[:, :1], true=torch.full_like(TRUE[:1], torch.nan)
    )
    assert set(of_one_map(first, 2)) == {"difference", "near_difference", "near_difference_columns"}
