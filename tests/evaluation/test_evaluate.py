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

ALONE = World()


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


class Together:
    """Ranks of a world, one after the other: each adds its table to the sum, the last takes the sum."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def rank(self, number: int, size: int) -> World:
        outer = self

        class Rank(World):
            def sum(self, values: Tensor) -> Tensor:
                if values.dim() < 2:  # not the table
                    return values
                outer.total = values.clone() if outer.total is None else outer.total + values
                return values.copy_(outer.total)

        return Rank(number, size)


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_pair_has_its_own_row_on_any_number_of_ranks(stream: PairStream, ranks: int) -> None:
    together, whole = Together(), per_pair(stream)
    *early, last = (replace(stream, rank=rank, world=ranks) for rank in range(ranks))
    for share in early:
        with pytest.raises(
            DataError, match="not evaluated exactly once"
        ):  # the rows of the other ranks are still missing
            per_pair(share, world=together.rank(share.rank, ranks))
    joined = per_pair(last, world=together.rank(ranks - 1, ranks))
    for name, values in whole.items():
        rounding = 1e-6 * np.nanmax(np.abs(values), initial=0.0)  # float32, in sums whose terms cancel
        np.testing.assert_allclose(joined[name], values, rtol=1e-5, atol=rounding, err_msg=name)


def test_a_pair_that_is_seen_twice_is_an_error(stream: PairStream) -> None:
    class Doubled(World):
        def sum(self, values: Tensor) -> Tensor:
            return values.mul_(2)

    with pytest.raises(DataError, match="5 of 5 samples"):
        per_pair(stream, world=Doubled())


def test_a_prediction_that_is_not_finite_is_an_error_that_names_the_pair(stream: PairStream) -> None:
    class Broken(Reverter):
        def forward(self, observation: Tensor) -> Tensor:
            return torch.full_like(observation, torch.nan)

    with pytest.raises(DataError, match=r"g0100_v0.*not finite"):
        per_pair(stream, [Broken(32, "v_density"), small_reverter()])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_true_density_that_is_not_finite_is_an_error_that_names_the_pair(
    stream: PairStream, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
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
    for quantity in quantities(GRID, 2):
        for name, width in quantity.widths.items():
            assert found[name].shape == (5, width), name
    assert set(MEASURES) <= set(found)


def test_the_network_is_left_in_eval_mode(stream: PairStream) -> None:
    reverter = small_reverter().train()
    per_pair(stream, [reverter])
    assert not reverter.training


# --- ensembles --------------------------------------------------------------------------------------------------------


def test_an_ensemble_of_equal_members_is_its_member_and_has_no_spread(stream: PairStream) -> None:
    alone, both = per_pair(stream), per_pair(stream, [small_reverter(), small_reverter()])
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
