"""A whole test: every pair once on any share of ranks, ensembles, and inputs that no telescope brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_jaccard_index

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import evaluate, gather_per_pair
from iris_cli.evaluation.loss import ScaledDensityLoss
from iris_cli.evaluation.metrics import MEASURES, THRESHOLDS, Maps, iou, pixel_volume
from iris_cli.evaluation.per_pair import quantities
from iris_cli.evaluation.report import Report
from iris_cli.evaluation.statistics import Statistics, statistics_of
from iris_cli.evaluation.stress import Altered, has_symmetric_velocities, mirror_velocity, remove_emission
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import test_reverter as plain_test
from iris_cli.training.test import MIRRORED, NOISE_ONLY, NORMAL, inputs_of
from tests.pairs.test_bad_samples import damage
from tests.training.makers import GRID, another_sky, images, small_reverter, write_pairs


def hyper_of(shards: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(batch_size=3, noise=Noise(sigma_K=0.3), data=(str(shards),), **changes)


ALONE = World()


def look(feed: PairStream, world: World = ALONE, members: int = 1) -> dict[str, np.ndarray]:
    return per_pair([small_reverter(seed) for seed in range(members)], feed, world)


def per_pair(members: Sequence[Any], feed: PairStream, world: World = ALONE) -> dict[str, np.ndarray]:
    ensemble = Ensemble(members).on(ALONE.device)
    batches = evaluate(ensemble, ScaledDensityLoss(), feed, world)
    return gather_per_pair(batches, quantities(feed.pairs.grid, len(members)), feed, world)


def statistics(arrays: dict[str, np.ndarray], feed: PairStream) -> Statistics:
    return statistics_of(NORMAL, arrays, feed.pairs.groups(), feed.pairs.grid, 1e-19, 0)


class Together:
    """Ranks of a world, one after the other: each leaves what it has, the last takes the sum."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def rank(self, number: int, size: int) -> World:
        outer = self

        class Share(World):
            def sum(self, values: Tensor) -> Tensor:
                if values.dim() < 2:  # not the table
                    return values
                outer.total = values.clone() if outer.total is None else outer.total + values
                return values.copy_(outer.total)

        return Share(number, size)


def test_the_means_are_those_of_the_plain_test(shards: Path) -> None:
    hyper = hyper_of(shards)
    feed = inputs_of(hyper).normal
    report = plain_test(small_reverter(), PreObservedDataset(shards, "test"), hyper=hyper, quiet=True)
    found = Report.of_statistics(statistics(look(feed), feed))
    assert found.pairs == report.pairs == 7
    for name, value in report.to_dict().items():
        assert getattr(found, name) == (None if value is None else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_pair_has_its_own_row_on_any_number_of_ranks(shards: Path, ranks: int) -> None:
    feed, together = inputs_of(hyper_of(shards)).normal, Together()
    whole = look(feed)
    *early, last = (replace(feed, rank=rank, world=ranks) for rank in range(ranks))
    for share in early:
        with pytest.raises(DataError, match="not seen just once"):  # the others' rows are still missing
            look(share, together.rank(share.rank, ranks))
    joined = look(last, together.rank(ranks - 1, ranks))
    for name, values in whole.items():
        rounding = 1e-6 * np.nanmax(np.abs(values), initial=0.0)  # float32, in sums whose terms cancel
        np.testing.assert_allclose(joined[name], values, rtol=1e-5, atol=rounding, err_msg=name)


def test_a_pair_that_is_seen_twice_is_told(shards: Path) -> None:
    feed = inputs_of(hyper_of(shards)).normal

    class Echo(World):
        def sum(self, values: Tensor) -> Tensor:
            return values.mul_(2)

    with pytest.raises(DataError, match="7 of 7 samples"):
        look(feed, Echo())


def test_a_prediction_that_is_not_finite_is_named(shards: Path) -> None:
    class Broken(Reverter):
        def forward(self, observation: Tensor) -> Tensor:
            return torch.full_like(observation, torch.nan)

    with pytest.raises(DataError, match=r"g0100_v0.*not finite"):
        per_pair([Broken(32, "v_density"), small_reverter()], inputs_of(hyper_of(shards)).normal)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_true_density_that_is_not_finite_is_named_and_not_left_out(
    shards: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    read = PreObservedDataset.read

    def spoiled(self: PreObservedDataset, number: int, rows: Any) -> None:
        read(self, number, rows)
        if self.key(number) == "g0101_v0":
            rows["density"][0, 3, 3] = value

    monkeypatch.setattr(PreObservedDataset, "read", spoiled)
    said = r"the density of 'g0101_v0' of .* is not finite"
    with pytest.raises(DataError, match=said):
        look(inputs_of(hyper_of(shards)).normal)
    with pytest.raises(DataError, match=said):
        plain_test(small_reverter(), PreObservedDataset(shards, "test"), hyper=hyper_of(shards), quiet=True)


# --- ensembles --------------------------------------------------------------------------------------------------------


def test_an_ensemble_of_equal_members_is_its_member_and_has_no_spread(shards: Path) -> None:
    feed = inputs_of(hyper_of(shards)).normal
    alone = look(feed)
    both = per_pair([small_reverter(), small_reverter()], feed)
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=1e-6)
    assert both["variance"].max() < 1e-12
    np.testing.assert_allclose(both["crps"], both["mean_absolute_error"], rtol=1e-6)


def test_members_that_differ_spread_and_are_scored_together(shards: Path) -> None:
    feed = inputs_of(hyper_of(shards)).normal
    found = statistics(look(feed, members=3), feed)
    assert found.numbers["spread"].mean[0] > 0 and found.numbers["spread_skill"].mean[0] > 0
    np.testing.assert_allclose(found.curves["rank_share"].y.mean.sum(), 1.0)
    np.testing.assert_allclose(found.curves["coverage"].x, [0.5])
    assert found.curves["coverage"].y.low[0] <= found.curves["coverage"].y.mean[0] <= found.curves["coverage"].y.high[0]


def test_members_for_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="members 1 and 2 differ in quantity"):
        Ensemble([small_reverter(), Reverter(32, "temperature")])


# --- inputs that no telescope brings ----------------------------------------------------------------------------------


def test_noise_alone_holds_nothing_of_a_galaxy_and_no_litter(shards: Path, litter: Path) -> None:
    inputs = inputs_of(hyper_of(shards, litter=str(litter)), stress=True)
    seen = next(inputs.streams[NOISE_ONLY].epoch())
    other = next(replace(inputs.streams[NOISE_ONLY], pairs=Altered(inputs.normal.pairs, remove_emission)).epoch())
    assert torch.equal(seen.observation, other.observation)
    assert abs(seen.observation.mean().item()) < 0.01 < seen.observation.std().item()
    assert seen.density.max() > 1.0  # the truth is still the galaxy's
    silent = replace(inputs.streams[NOISE_ONLY], noise=None)
    assert next(silent.epoch()).observation.abs().max() == 0.0


def test_a_mirrored_galaxy_is_the_same_one_the_other_way_round(shards: Path) -> None:
    inputs = inputs_of(replace(hyper_of(shards), noise=Noise()), stress=True)
    normal, mirrored = (next(inputs.streams[name].epoch()) for name in (NORMAL, MIRRORED))
    assert torch.equal(mirrored.observation, normal.observation.flip(-1))
    assert torch.equal(mirrored.density, normal.density)


def test_an_axis_that_is_not_symmetric_is_not_mirrored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lopsided = write_pairs(tmp_path / "pairs", {"test": range(4)}, grid=another_sky(v_max_km_s=150.0))
    assert MIRRORED not in inputs_of(hyper_of(lopsided), stress=True).streams
    assert "not symmetric" in capfd.readouterr().err
    assert not has_symmetric_velocities(PreObservedDataset(lopsided))


def test_alterations_keep_keys_and_galaxies(shards: Path) -> None:
    pairs = PreObservedDataset(shards, "test")
    altered = Altered(pairs, mirror_velocity)
    assert altered.groups() == pairs.groups() and altered.key(3) == pairs.key(3) and len(altered) == len(pairs)


def test_another_family_is_a_set_of_its_own(shards: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "family", {"test": range(400, 403), "train": range(4)})
    inputs = inputs_of(hyper_of(shards), against=[str(other)])
    assert list(inputs.streams) == [NORMAL, "against family"] and inputs.streams["against family"].count == 3


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_overlap_above_a_threshold_is_that_of_torchmetrics() -> None:
    true = torch.stack([torch.from_numpy(images(i, GRID)[1]) for i in range(4)]).double()
    pred = true.roll(2, dims=-1) * 1.3
    loss = ScaledDensityLoss()
    ours = iou(Maps(pred[None], true, loss, None, pixel_volume(GRID)))
    for column, level in enumerate(THRESHOLDS):
        for row in range(4):
            above = [image[row] >= level * float(loss.normalization) for image in (pred, true)]
            if not (above[0] | above[1]).any():
                assert ours[row, column].isnan()
            else:
                expected = binary_jaccard_index(above[0].int(), above[1].int())
                assert ours[row, column].item() == pytest.approx(expected.item(), abs=1e-6)


def test_quantities_have_the_widths_that_they_declare(shards: Path) -> None:
    feed = inputs_of(hyper_of(shards)).normal
    found = look(feed, members=2)
    for quantity in quantities(GRID, 2):
        for name, width in quantity.widths.items():
            assert found[name].shape == (7, width), name
    assert set(MEASURES) <= set(found)


def test_the_network_module_is_left_in_eval_mode(shards: Path) -> None:
    reverter = small_reverter().train()
    per_pair([reverter], inputs_of(hyper_of(shards)).normal)
    assert not reverter.training


def test_what_cannot_be_read_is_left_out_of_the_numbers_if_it_may_be(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", {"test": range(200, 206)})
    damage(folder, 1)
    hyper = hyper_of(folder, on_bad_sample="skip", max_bad=2)
    feed = inputs_of(hyper).normal
    found = statistics(look(feed), feed)
    assert found.pairs == 5 and found.numbers["loss"].pairs[0] == 5 and np.isfinite(found.numbers["skill"].mean[0])
