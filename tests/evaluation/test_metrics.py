import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index

from iris_cli.evaluation import metrics
from iris_cli.evaluation.bootstrap import Summary
from iris_cli.evaluation.evaluate import Totals
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import MEASURES, Maps, pixel_volume
from iris_cli.evaluation.report import Report, skill
from iris_cli.evaluation.statistics import Statistics
from tests.training.makers import GRID, images

LOSS = ScaledDensityLoss()


def maps(pred, true, mean_image=None):
    return Maps(pred.double()[None], true.double(), LOSS, mean_image, pixel_volume(GRID))


def random_maps(pairs, seed=0):
    return torch.rand(pairs, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 5 + 0.1


def halves(near, far):
    """A map with so much gas in each pixel of its nearer and its farther half."""
    return torch.cat([torch.full((1, 1, 16, 32), near), torch.full((1, 1, 16, 32), far)], dim=2)


def test_a_perfect_prediction_is_perfect_by_every_measure():
    true = random_maps(3)
    values = {name: function(maps(true, true)) for name, function in MEASURES.items()}
    perfect = dict.fromkeys(("loss", "rmse_dex", "near_far_error"), 0.0)
    perfect |= dict.fromkeys(("pearson_asinh", "ssim_asinh", "mass_ratio"), 1.0)
    for name, value in perfect.items():
        torch.testing.assert_close(values[name], torch.full((3,), value, dtype=torch.float64))


def test_a_tenth_of_the_gas_everywhere_is_one_dex_and_a_tenth_of_the_mass():
    true = random_maps(2)
    torch.testing.assert_close(metrics.rmse_dex(maps(true / 10, true)), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(metrics.mass_ratio(maps(true / 10, true)), torch.full((2,), 0.1, dtype=torch.float64))
    true[..., :16] = 0.0  # empty pixels do not enter
    wrong_where_empty = true.clone()
    wrong_where_empty[..., :16] = 50.0
    assert (metrics.rmse_dex(maps(wrong_where_empty, true)) == 0.0).all()


def test_pearson_is_that_of_numpy_and_zero_for_a_flat_map():
    pred, true = random_maps(3, 1), random_maps(3, 2)
    pred[2] = 0.0
    n = float(LOSS.normalization)
    flat = (torch.asinh(both.double() / n).flatten(1).numpy() for both in (pred[:2], true[:2]))
    expected = [*(np.corrcoef(p, t)[0, 1] for p, t in zip(*flat, strict=True)), 0.0]
    np.testing.assert_allclose(metrics.pearson_asinh(maps(pred, true)), expected, rtol=1e-5)


def test_the_split_is_positive_if_the_nearer_half_has_more_mass():
    split = maps(halves(3.0, 1.0), halves(3.0, 1.0)).split(halves(3.0, 1.0).double())
    assert split.item() == pytest.approx(0.5, abs=0.03)  # far pixels are a little larger


def test_the_near_far_sign_counts_for_uneven_galaxies_only():
    true = torch.cat([halves(3, 1), halves(3, 1), halves(1, 1), halves(1, 3)])
    pred = torch.cat([halves(2, 1), halves(1, 2), halves(9, 1), halves(0, 0)])
    signs = metrics.near_far_sign_right(maps(pred, true)).tolist()
    assert signs[0] == 1 and signs[1] == 0 and math.isnan(signs[2]) and signs[3] == 0


def test_trivial_predictors_are_an_empty_map_and_the_mean_image():
    true = random_maps(2)
    zero = LOSS.per_sample(torch.zeros(2, 1, 32, 32), true).double()
    torch.testing.assert_close(metrics.loss_of_zero(maps(true, true)), zero)
    mean = true.mean(dim=0, keepdim=True).double()
    assert (metrics.loss_of_mean_image(maps(true, true, mean)) > 0).all()
    assert metrics.loss_of_mean_image(maps(true, true)).isnan().all()
    # the skill is relative to the better one
    assert skill(0.3, 0.6, 0.5) == pytest.approx(0.4) and skill(0.3, 0.6, None) == pytest.approx(0.5)
    assert skill(None, 0.6) is None and skill(0.3, None) is None


def test_totals_do_not_depend_on_how_pairs_are_divided_among_ranks():
    values = {"a": torch.tensor([1.0, math.nan, 5.0, 2.0], dtype=torch.float64)}
    whole, first, second = (Totals(("a",)) for _ in range(3))
    for totals, part in ((whole, slice(4)), (first, slice(1)), (second, slice(1, 4))):
        totals.add({"a": values["a"][part]})
    first.table += second.table
    assert torch.equal(first.table, whole.table)
    assert whole.means() == {"a": pytest.approx(8 / 3)} and whole.count() == 4 and whole.count("a") == 3


def test_a_report_counts_the_pairs_behind_each_number():
    totals = Totals(MEASURES)
    true = torch.cat([halves(3, 1), halves(1, 1)])
    totals.add({name: function(maps(true, true)).double() for name, function in MEASURES.items()})
    report = Report.of(totals)
    assert (report.pairs, report.near_far_pairs, report.near_far_sign_right) == (2, 1, 1.0)
    assert report.loss_mean_image is None and report.skill == 1.0
    assert [row[0] for row in report.rows()][:3] == ["pairs", "loss", "loss_zero"]


def test_overlap_above_a_threshold_is_that_of_torchmetrics():
    true = torch.stack([torch.from_numpy(images(i, GRID)[1]) for i in range(4)]).double()
    pred = true.roll(2, dims=-1) * 1.3
    overlap = metrics.iou(maps(pred, true))
    for column, level in enumerate(metrics.THRESHOLDS):
        for row in range(4):
            above = [image[row] >= level * float(LOSS.normalization) for image in (pred, true)]
            expected = (
                binary_jaccard_index(*map(torch.Tensor.int, above)).item() if torch.cat(above).any() else math.nan
            )
            assert overlap[row, column].item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_mean_that_is_not_finite_is_none_in_a_report():
    one, infinite = np.array(1.0), np.array(np.inf)
    numbers = dict.fromkeys(MEASURES, Summary(one, one, one, one, np.array(1)))
    numbers["mass_ratio"] = Summary(infinite, one, one, one, np.array(1))
    report = Report.of_statistics(Statistics("normal", 1, 1, numbers, {}, {}, {}, {}))
    assert report.mass_ratio is None and report.rmse_dex == 1.0
