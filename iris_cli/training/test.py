"""Test a reverter from Python (`test_reverter`), and a run or an ensemble from folders on disk (`test_run`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import Noise, TrainConfig
from iris_cli.console import plural, progress, warn
from iris_cli.distributed import World, world
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import (
    Predictions,
    evaluate,
    gather_per_pair,
    mean_scores,
    sample_predictions,
    warn_of_bad_litter,
)
from iris_cli.evaluation.loss import physical_loss
from iris_cli.evaluation.metrics import MEASURES
from iris_cli.evaluation.per_pair import quantities
from iris_cli.evaluation.report import Report, RunReport, Settings
from iris_cli.evaluation.statistics import Statistics, statistics_of
from iris_cli.evaluation.stress import Altered, mirror_velocity, mirrors_itself, put_out
from iris_cli.observers.observer import Observer
from iris_cli.pairs.batch import Feed
from iris_cli.pairs.datasets import InfiniteDataset
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.sources import Pairs, litter_of, pairs_of
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.checkpoint import Checkpoint, load
from iris_cli.training.run_folder import RunFolder, member_folders
from iris_cli.training.test_split import split_to_test, tell, trained_on
from iris_cli.training.train import check_fits, image_noise_of, reading_options, threads_for


def test_reverter(
    reverter: Reverter,
    dataset: Any,
    noise: Noise | None = None,
    litter: InfiniteDataset | None = None,
    observer: Observer | None = None,
    hyper: TrainConfig | None = None,
    auto_startup: bool = True,
    auto_cleanup: bool = True,
    *,
    mean_image: Tensor | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Report:
    """Measure `reverter` on every pair of `dataset` once, in eval mode; the same numbers on any number of ranks.

    `mean_image` (1, R', L), the training set's mean density, is the better of the two trivial predictors that the skill
    is counted from; without it, predicting nothing is. Everything else as in `train_reverter`, with its errors; a
    prediction or a true density that is not finite is a DataError, too, a `mean_image` of another shape a ValueError.
    """
    hyper = hyper or TrainConfig()
    whole = test_feed(dataset, hyper, litter, noise, observer)
    check_fits(reverter, whole.pairs)
    wanted = whole.pairs.grid.density_shape
    if mean_image is not None and tuple(mean_image.shape) != wanted:
        raise ValueError(f"mean_image is of shape {tuple(mean_image.shape)}; a density of these pairs is of {wanted}")
    with world(device, auto_startup, auto_cleanup) as here, threads_for(reverter.image_size):
        feed = replace(whole, rank=here.rank, world=here.size)
        with progress("testing", feed.plan().steps, quiet=quiet) as bar:
            ensemble = Ensemble([reverter]).on(here.device)
            batches = evaluate(ensemble, physical_loss(hyper), feed, here, mean_image, bar)
            totals = mean_scores(batches, MEASURES, feed, here)
        if missing := feed.count - totals.count():
            warn(f"{missing} of {plural(feed.count, 'sample')} could not be read: left out")
        warn_of_bad_litter([feed], here)
        return Report.of(totals)


def test_feed(
    dataset: Any,
    hyper: TrainConfig,
    litter: InfiniteDataset | None = None,
    noise: Noise | None = None,
    observer: Observer | None = None,
) -> Feed:
    """Every pair of a data set once, in order, with the noise and the litter of a test. DataError if there is none."""
    pairs = pairs_of(dataset, observer)
    if len(pairs) == 0:
        raise DataError(f"{pairs.name} holds no sample to test on")
    return Feed(
        "test",
        pairs,
        np.arange(len(pairs)),
        hyper.seed,
        hyper.batch_size,
        noise=image_noise_of(noise or hyper.noise, pairs),
        litter=litter_of(litter, observer, pairs),
        litter_seed=litter.seed if litter else 0,
        **reading_options(hyper),
    )


test_feed.__test__ = False  # type: ignore[attr-defined]
test_reverter.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it wherever it is imported


#: What the sets of inputs are called; another family goes by its folder's name.
NORMAL, NOISE_ONLY, MIRRORED = "normal", "noise only", "velocity mirrored"


@dataclass(frozen=True)
class Trained:
    """A checkpoint, where it lies, and the configuration that it was trained with."""

    path: Path
    checkpoint: Checkpoint
    hyper: TrainConfig


def open_run(run: Path) -> Trained:
    """The best checkpoint of a run folder, or the checkpoint file itself. DataError when it is neither."""
    if run.is_file():
        path, checkpoint = run, load(run)
    elif run.is_dir():
        path, checkpoint = RunFolder(run).best()
    else:
        raise DataError(f"{run} does not exist", "name the folder of `iris train --out`, or a checkpoint in it")
    return Trained(path, checkpoint, from_dict(TrainConfig, checkpoint.config, str(path)))


def open_members(run: Path) -> list[Trained]:
    """A run, or each member of an ensemble, by its best checkpoint. DataError when there is none."""
    return [open_run(folder) for folder in member_folders(run)]


def ensemble_of(members: Sequence[Trained]) -> Ensemble:
    return Ensemble([member.checkpoint.make_reverter() for member in members])


@dataclass(frozen=True)
class Inputs:
    """What to test on: a feed for each set, the normal one first, and the split that it shows."""

    feeds: dict[str, Feed]
    split: str

    @property
    def normal(self) -> Feed:
        return self.feeds[NORMAL]


def inputs_of(
    hyper: TrainConfig,
    split: str | None = None,
    *,
    stress: bool = False,
    against: Sequence[str] = (),
    members: Sequence[Trained] = (),
) -> Inputs:
    """The pairs of `hyper.data` with the noise and litter of `hyper`; with `stress` also what no telescope brings.

    `against` are folders of another family of galaxies, each a set of its own. Says so where the `members` that are to
    be tested were, or may have been, trained on these pairs.
    """
    checkpoints = [member.checkpoint for member in members]
    split = (split or "") if hyper.observer else split_to_test(hyper.data, split, checkpoints)
    feeds = {NORMAL: feed_of(hyper, hyper.data, split)}
    pairs = feeds[NORMAL].pairs
    if hyper.observer and trained_on(checkpoints, pairs.fingerprint):
        tell(pairs.name, None, True)
    if stress:
        feeds |= _stressed(feeds[NORMAL])
    for folder in against:
        other = "" if hyper.observer else split_to_test([folder], None, checkpoints)
        name = Path(folder).name if len({Path(each).name for each in against}) == len(against) else folder
        feeds[f"against {name}"] = feed_of(hyper, [folder], other)
    return Inputs(feeds, split)


def feed_of(hyper: TrainConfig, data: Sequence[str], split: str) -> Feed:
    """The pairs of a split ("" for all) of these folders, with the noise and litter of `hyper`."""
    dataset, observer = open_data(data, hyper.observer, split or None, checksums=hyper.checksums)
    return test_feed(dataset, hyper, open_litter(hyper), observer=observer)


def _stressed(normal: Feed) -> dict[str, Feed]:
    made = {NOISE_ONLY: replace(normal, pairs=Altered(normal.pairs, put_out), litter=None)}
    if mirrors_itself(normal.pairs):
        made[MIRRORED] = replace(normal, pairs=Altered(normal.pairs, mirror_velocity))
    else:
        warn(f"the velocity axis of {normal.pairs.name} is not symmetric about zero: nothing is mirrored")
    return made


def check_grids(members: Sequence[Trained], pairs: Pairs) -> None:
    """DataError when an axis of the images is not that of the training, whose pixels are then other places.

    Only a warning where the latitudes differ: pixels stay where they are, but the gas in them is another's.
    """
    here = {**to_dict(pairs.grid), "latitude": pairs.latitude}
    for member in members:
        data = member.checkpoint.data
        there = {**to_dict(data.grid), "latitude": data.latitude}
        differ = [name for name in there if name in here and here[name] != there[name]]
        said = "; ".join(f"{name} = {there[name]} then, {here[name]} in {pairs.name}" for name in differ)
        if any(not name.startswith("lat") for name in differ):
            raise DataError(f"{member.path} was trained on another grid: {said}", "observe on the grid of its training")
        if differ:
            warn(f"{member.path} was trained on other latitudes: {said}")


def test_run(
    members: Sequence[Trained], hyper: TrainConfig, inputs: Inputs, *, device: str = "auto", quiet: bool = False
) -> RunReport:
    """Evaluate a run, or an ensemble's members together, on every pair of each set of inputs once.

    The same numbers on any number of ranks. DataError when an input does not fit the network.
    """
    ensemble, mean_image = ensemble_of(members), members[0].checkpoint.mean_image
    for feed in inputs.feeds.values():
        check_fits(ensemble, feed.pairs)  # type: ignore[arg-type]  # it reads size and quantity alone
        check_grids(members, feed.pairs)
    sets = []
    with world(device) as here, threads_for(ensemble.image_size):
        ensemble = ensemble.on(here.device)
        for name, feed in inputs.feeds.items():
            share = replace(feed, rank=here.rank, world=here.size)
            sets.append(_statistics(name, ensemble, hyper, share, here, mean_image, quiet))
            if missing := feed.count - sets[-1].pairs:
                warn(f"{missing} of {plural(feed.count, 'sample')} could not be read: left out")
        warn_of_bad_litter(list(inputs.feeds.values()), here)
    settings = Settings(
        split=inputs.split or "all",
        checkpoint=str(members[0].path),
        members=len(members),
        epoch=members[0].checkpoint.progress.epoch,
        noise=hyper.noise,
        litter=hyper.litter or None,
        data=tuple(hyper.data),
        seed=hyper.seed,
    )
    return RunReport(sets, settings)


def _statistics(
    name: str,
    ensemble: Ensemble,
    hyper: TrainConfig,
    feed: Feed,
    here: World,
    mean_image: Tensor | None,
    quiet: bool,
) -> Statistics:
    """Of one set of inputs, over all ranks."""
    pairs = feed.pairs
    with progress("testing" if name == NORMAL else f"testing, {name}", feed.plan().steps, quiet=quiet) as bar:
        batches = evaluate(ensemble, physical_loss(hyper), feed, here, mean_image, bar)
        arrays = gather_per_pair(batches, quantities(pairs.grid, len(ensemble)), feed, here)
    return statistics_of(name, arrays, pairs.groups(), pairs.grid, hyper.density_normalization_kg_m3, hyper.seed)


test_run.__test__ = False  # type: ignore[attr-defined]


#: Galaxies of the normal set in the figures of a report; one of each other set.
SHOWN = 3


def report_predictions(members: Sequence[Trained], inputs: Inputs) -> dict[str, Predictions]:
    """A few galaxies of each set of inputs with their predictions, for the figures of a report."""
    return {
        name: predictions_of(members, feed, most=SHOWN if name == NORMAL else 1) for name, feed in inputs.feeds.items()
    }


def predictions_of(
    members: Sequence[Trained], feed: Feed, items: Sequence[int] | None = None, most: int = 1
) -> Predictions:
    """The first `most` readable pairs among these items, or of different galaxies, of a feed that shows all pairs."""
    ensemble = ensemble_of(members)
    check_fits(ensemble, feed.pairs)  # type: ignore[arg-type]  # it reads size and quantity alone
    check_grids(members, feed.pairs)
    return sample_predictions(ensemble, physical_loss(members[0].hyper), feed, items, most)
