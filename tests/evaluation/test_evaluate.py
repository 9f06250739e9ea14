"""The evaluation loop: every pair once on any number of ranks, what is not finite, and ensembles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import evaluate, gather_per_pair, mean_scores
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import MEASURES
from iris_cli.evaluation.per_pair import quantities
from iris_cli.evaluation.report import Report
from iris_cli.evaluation.statistics import statistics_of
from iris_cli.evaluation.trivial import Trivial
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.reverter import Reverter
from shards.stream import BadSamples
from tests.pairs.test_bad_samples import damage
from tests.training.makers import GRID, small_reverter, write_pairs

ALONE, Patch = World(), pytest.MonkeyPatch
MEAN = torch.ones(1, 32, 32)


def stream_of(folder, **more):
    """Batches of 2 of the test split, with noise."""
    pairs = PreObservedDataset(folder, "test")
    return PairStream("test", pairs, np.arange(len(pairs)), 0, 2, noise=ImageNoise(0.3), **more)


@pytest.fixture(scope="module")
def stream(tiny_shards):
    return stream_of(tiny_shards)


def per_pair(stream, members=(), world=ALONE):
    ensemble = Ensemble(members or [small_reverter()]).on(ALONE.device)
    batches = evaluate(ensemble, ScaledDensityLoss(), stream, world)
    of = quantities(stream.pairs.grid, ensemble.sizes, Trivial.of(stream, MEAN), len(ensemble))
    return gather_per_pair(batches, of, stream, world)


def statistics(arrays, stream):
    return statistics_of("normal", arrays, stream.pairs.groups(), stream.pairs.grid, 1e-19, 0)


def test_the_means_of_a_validation_are_those_of_the_results_of_each_pair(stream):
    batches = evaluate(Ensemble([small_reverter()]).on(ALONE.device), ScaledDensityLoss(), stream, ALONE)
    means = Report.of(mean_scores(batches, MEASURES, stream, ALONE))
    found = Report.of_statistics(statistics(per_pair(stream), stream))
    assert found.pairs == means.pairs == 5
    for name, value in vars(means).items():
        assert getattr(found, name) == (None if value is None else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_pair_has_its_own_row_on_any_number_of_ranks(stream, ranks):
    """One rank after the other: each adds its table to the sum, the last takes the sum."""
    tables: list[Tensor] = []

    class Rank(World):
        def sum(self, values):
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


def test_a_pair_that_is_seen_twice_is_an_error(stream, monkeypatch):
    monkeypatch.setattr(World, "sum", lambda world, values: values.mul_(2))
    with pytest.raises(DataError, match="5 of 5 samples"):
        per_pair(stream)


def test_a_prediction_that_is_not_finite_is_an_error_that_names_the_pair(stream):
    broken = small_reverter()
    next(broken.parameters()).data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"g0100_v0.*not finite"):
        per_pair(stream, [broken, small_reverter()])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_true_density_that_is_not_finite_is_an_error(stream, monkeypatch, value):
    read = PreObservedDataset.read

    def spoiled(self, number, rows):
        read(self, number, rows)
        if self.key(number) == "g0101_v0":
            rows["density"][0, 3, 3] = value

    monkeypatch.setattr(PreObservedDataset, "read", spoiled)
    with pytest.raises(DataError, match=r"the density of 'g0101_v0' of .* is not finite"):
        per_pair(stream)


def test_pairs_that_may_be_skipped_are_left_out_of_the_numbers(tmp_path):
    folder = write_pairs(tmp_path / "pairs", {"test": range(200, 206)})
    damage(folder, 1)
    stream = stream_of(folder, bad=BadSamples(2))
    found = statistics(per_pair(stream), stream)
    assert found.pairs == 5 and found.numbers["loss"].pairs == 5 and np.isfinite(found.numbers["skill"].mean)


def test_quantities_have_the_widths_that_they_declare(stream):
    members = [small_reverter(0), small_reverter(1)]
    found, sizes = per_pair(stream, members), Ensemble(members).sizes
    of = quantities(GRID, sizes, Trivial.of(stream, MEAN), 2)
    widths = {name: (5, width) for quantity in of for name, width in quantity.widths.items()}
    assert {name: values.shape for name, values in found.items()} == widths and set(MEASURES) <= set(found)
    assert list(sizes.items()) == [("network", 1), ("ensemble", 2)]


def test_an_ensemble_of_equal_members_is_its_member_and_has_no_spread(stream):
    members = [small_reverter().train(), small_reverter()]
    alone, both = per_pair(stream), per_pair(stream, members)
    assert not members[0].training
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=1e-6)
    assert both["ensemble/variance"].max() < 1e-12
    np.testing.assert_allclose(both["ensemble/crps"], both["network/crps"], rtol=1e-6)
    np.testing.assert_allclose(both["runs/square"], 0.0, atol=1e-9)


def test_members_that_differ_have_a_spread_and_are_scored_together(stream):
    found = statistics(per_pair(stream, [small_reverter(seed) for seed in range(3)]), stream)
    ensemble = found.predictors["ensemble"]
    assert ensemble.numbers["spread"].mean > 0 and ensemble.numbers["spread_skill"].mean > 0
    covered = ensemble.numbers["coverage_50_pixels"]
    assert covered.low <= covered.mean <= covered.high and found.best == "ensemble"
    assert list(found.predictors) == ["network", "ensemble", "prior", "mean map", "empty map"]
    assert found.runs["difference"].mean > 0 and "shift_of_mean" not in found.runs


class Drawn(nn.Module):
    """A sampler whose samples are the observation with noise that depends on the key and the number of the sample."""

    def samples(self, observation, count, keys):
        seeds = [hash_of(f"{key} {number}") for number in range(count) for key in keys]
        noise = [torch.randn(observation.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds]
        return (observation + torch.stack(noise).unflatten(0, (count, -1))).abs()


def hash_of(text):
    return int.from_bytes(text.encode()[-6:], "big")


def test_samples_are_scored_in_the_place_of_members(stream):
    """Two runs with samplers: three predictors, the pooled samples the best, in batches of any size."""
    members = [small_reverter(0), small_reverter(1)]
    tables = []
    for batch in (2, 5):
        ensemble = Ensemble(members, [Drawn(), Drawn()], count=4)
        batched = replace(stream, batch=batch)
        of = quantities(GRID, ensemble.sizes, Trivial.of(batched, MEAN), 2)
        tables.append(gather_per_pair(evaluate(ensemble, ScaledDensityLoss(), batched, ALONE), of, batched, ALONE))
    for name, values in tables[0].items():
        np.testing.assert_allclose(values, tables[1][name], rtol=1e-4, atol=1e-6, err_msg=name)
    found = statistics(tables[0], stream)
    assert found.best == "samples" and found.predictors["samples"].samples == 8
    assert found.runs["shift_of_mean"].mean < 1e-6  # both draw the same
    assert found.numbers["mass_ratio"].mean == pytest.approx(found.predictors["samples"].numbers["mass_ratio"].mean)


def test_the_prior_is_other_galaxies_and_references_are_none_of_its_samples(stream):
    trivial = Trivial.of(stream)
    batch = next(replace(stream, batch=5).epoch())
    references, found = trivial.predict(batch)
    assert trivial.sizes == {"prior": 1, "empty map": 1} and trivial.references == 1 and len(trivial.galaxies) == 3
    for other in (references[0], found["prior"][0]):
        assert not (other == batch.density).flatten(1).all(dim=1).any()
    assert not (references[0] == found["prior"][0]).flatten(1).all(dim=1).any()
    assert found["empty map"].shape == (1, *batch.density.shape) and found["empty map"].sum() == 0
    one = Trivial.of(replace(stream, numbers=stream.numbers[:1]))  # no other galaxy: no prior and no TARP
    references, found = one.predict(batch)
    assert one.sizes == {"empty map": 1} and references.shape == (0, *batch.density.shape)


def test_members_for_other_images_are_refused():
    with pytest.raises(DataError, match="members 1 and 2 differ in quantity"):
        Ensemble([small_reverter(), Reverter(32, "temperature", network="paper")])
