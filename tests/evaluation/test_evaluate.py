"""The evaluation loop: every pair once on any number of ranks, what is not finite, and ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import evaluate, gather_per_pair, mean_scores
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import MEASURES
from iris_cli.evaluation.per_pair import quantities
from iris_cli.evaluation.report import Report
from iris_cli.evaluation.statistics import Statistics, statistics_of
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.reverter import Reverter
from shards.stream import BadSamples
from tests.pairs.test_bad_samples import damage
from tests.training.makers import GRID, small_reverter, write_pairs

ALONE, Patch = World(), pytest.MonkeyPatch


def stream_of(folder: Path, **more: Any) -> PairStream:
    """Batches of 2 of the test split, with noise."""
    pairs = PreObservedDataset(folder, "test")
    return PairStream("test", pairs, np.arange(len(pairs)), 0, 2, noise=ImageNoise(0.3), **more)


@pytest.fixture(scope="module")
def stream(tiny_shards: Path) -> PairStream:
    return stream_of(tiny_shards)


def per_pair(stream: PairStream, members: Sequence[Any] = (), world: World = ALONE) -> dict[str, np.ndarray]:
    ensemble = Ensemble(members or [small_reverter()]).on(ALONE.device)
    batches = evaluate(ensemble, ScaledDensityLoss(), stream, world)
    return gather_per_pair(batches, quantities(stream.pairs.grid, len(ensemble)), stream, world)


def statistics(arrays: dict[str, np.ndarray], stream: PairStream) -> Statistics:
    return statistics_of("normal", arrays, stream.pairs.groups(), stream.pairs.grid, 1e-19, 0)


def test_the_means_of_a_validation_are_those_of_the_results_of_each_pair(stream: PairStream) -> None:
    batches = evaluate(Ensemble([small_reverter()]).on(ALONE.device), ScaledDensityLoss(), stream, ALONE)
    means = Report.of(mean_scores(batches, MEASURES, stream, ALONE))
    found = Report.of_statistics(statistics(per_pair(stream), stream))
    assert found.pairs == means.pairs == 5
    for name, value in means.to_dict().items():
        assert getattr(found, name) == (None if value is None else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_pair_has_its_own_row_on_any_number_of_ranks(stream: PairStream, ranks: int) -> None:
    """One rank after the other: each adds its table to the sum, the last takes the sum."""
    tables: list[Tensor] = []

    class Rank(World):
        def sum(self, values: Tensor) -> Tensor:
            if values.dim() < 2:  # not the table
                return values
            tables.append(values.clone())
            return values.copy_(sum(tables))

    whole = per_pair(stream)
    *early, last = (replace(stream, rank=rank, world=ranks) for rank in range(ranks))
    for share in early:
        with pytest.raises(DataError, match="not evaluated exactly once"):  # the last rows are missing
            per_pair(share, world=Rank(share.rank, ranks))
    joined = per_pair(last, world=Rank(ranks - 1, ranks))
    for name, values in whole.items():
        rounding = 1e-6 * np.nanmax(np.abs(values), initial=0.0)  # float32, in sums whose terms cancel
        np.testing.assert_allclose(joined[name], values, rtol=1e-5, atol=rounding, err_msg=name)


def test_a_pair_that_is_seen_twice_is_an_error(stream: PairStream, monkeypatch: Patch) -> None:
    monkeypatch.setattr(World, "sum", lambda world, values: values.mul_(2))
    with pytest.raises(DataError, match="5 of 5 samples"):
        per_pair(stream)


def test_a_prediction_that_is_not_finite_is_an_error_that_names_the_pair(stream: PairStream) -> None:
    broken = small_reverter()
    next(broken.parameters()).data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"g0100_v0.*not finite"):
        per_pair(stream, [broken, small_reverter()])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_true_density_that_is_not_finite_is_an_error(stream: PairStream, monkeypatch: Patch, value: float) -> None:
    read = PreObservedDataset.read

    def spoiled(self: PreObservedDataset, number: int, rows: Any) -> None:
        read(self, number, rows)
        if self.key(number) == "g0101_v0":
            rows["density"][0, 3, 3] = value

    monkeypatch.setattr(PreObservedDataset, "read", spoiled)
    with pytest.raises(DataError, match=r"the density of 'g0101_v0' of .* is not finite"):
        per_pair(stream)


def test_pairs_that_may_be_skipped_are_left_out_of_the_numbers(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", {"test": range(200, 206)})
    damage(folder, 1)
    stream = stream_of(folder, bad=BadSamples(2))
    found = statistics(per_pair(stream), stream)
    assert found.pairs == 5 and found.numbers["loss"].pairs[0] == 5 and np.isfinite(found.numbers["skill"].mean[0])


def test_quantities_have_the_widths_that_they_declare(stream: PairStream) -> None:
    found = per_pair(stream, [small_reverter(0), small_reverter(1)])
    widths = {name: (5, width) for quantity in quantities(GRID, 2) for name, width in quantity.widths.items()}
    assert {name: values.shape for name, values in found.items()} == widths and set(MEASURES) <= set(found)


def test_an_ensemble_of_equal_members_is_its_member_and_has_no_spread(stream: PairStream) -> None:
    members = [small_reverter().train(), small_reverter()]
    alone, both = per_pair(stream), per_pair(stream, members)
    assert not members[0].training
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=1e-6)
    assert both["variance"].max() < 1e-12
    np.testing.assert_allclose(both["crps"], both["mean_absolute_error"], rtol=1e-6)


def test_members_that_differ_have_a_spread_and_are_scored_together(stream: PairStream) -> None:
    found = statistics(per_pair(stream, [small_reverter(seed) for seed in range(3)]), stream)
    assert found.numbers["spread"].mean[0] > 0 and found.numbers["spread_skill"].mean[0] > 0
    coverage = found.curves["coverage"]
    np.testing.assert_allclose(found.curves["rank_share"].y.mean.sum(), 1.0)
    np.testing.assert_allclose(coverage.x, [0.5])
    assert coverage.y.low[0] <= coverage.y.mean[0] <= coverage.y.high[0]


def test_members_for_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="members 1 and 2 differ in quantity"):
        Ensemble([small_reverter(), Reverter(32, "temperature")])
