"""Test a reverter from Python (`test_reverter`), and a run or an ensemble from folders on disk (`test_run`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from iris_cli.config.train import TEST, Noise, TrainConfig, is_run
from iris_cli.console import plural, progress, warn
from iris_cli.distributed import unwrap, world
from iris_cli.errors import DataError
from iris_cli.evaluation.distances import near_images, score_distances
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
from iris_cli.evaluation.statistics import statistics_of
from iris_cli.evaluation.stress import has_symmetric_velocities, mirror_velocity, remove_emission
from iris_cli.evaluation.trivial import Trivial
from iris_cli.files import write_text
from iris_cli.observers.observer import Observer
from iris_cli.pairs.datasets import InfiniteDataset, litter_of, pairs_of
from iris_cli.pairs.divide import litter_to_test, pairs_to_test, seen_by_any, split_to_test
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.overlap import Seen
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.distances import Distances
from iris_cli.reverter.reverter import Reverter
from iris_cli.text import to_json
from iris_cli.training.train import check_fits, image_noise_of, stream_of, threads_for
from iris_cli.training.trained_run import TrainedRun, ensemble_for, open_members


def test_reverter(
    reverter: Reverter,
    dataset: Any,
    noise: Noise | None = None,
    litter: InfiniteDataset | None = None,
    observer: Observer | str | None = None,
    hyper: TrainConfig | None = None,
    auto_startup: bool = True,
    auto_cleanup: bool = True,
    *,
    mean_image: Tensor | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Report:
    """Evaluate `reverter` on every pair of `dataset` once, in eval mode; the same numbers on any number of ranks.

    The skill is relative to the better of two trivial predictions: an empty map, and the training set's mean density
    `mean_image` (1, R', L) if it is given. The other arguments and the errors are those of `train_reverter`. Also
    DataError for a prediction or a true density that is not finite, ValueError for a `mean_image` of another shape.
    """
    hyper, reverter = hyper or TrainConfig(), cast(Reverter, unwrap(reverter))
    whole = test_stream(dataset, hyper, litter, noise, observer)
    check_fits(reverter, whole.pairs)
    wanted = whole.pairs.grid.density_shape
    if mean_image is not None and tuple(mean_image.shape) != wanted:
        raise ValueError(f"mean_image is of shape {tuple(mean_image.shape)}; a density of these pairs is of {wanted}")
    with world(device, auto_startup, auto_cleanup) as here, threads_for(reverter.image_size):
        stream = replace(whole, rank=here.rank, world=here.size)
        with progress("testing", stream.steps, quiet=quiet) as bar:
            ensemble = Ensemble([reverter]).on(here.device)
            batches = evaluate(ensemble, physical_loss(hyper), stream, here, mean_image, bar)
            totals = mean_scores(batches, MEASURES, stream, here)
        warn_of_unreadable(stream.count - totals.count(), stream.count)
        warn_of_bad_litter([stream], here)
        return Report.of(totals)


def test_stream(
    dataset: Any,
    hyper: TrainConfig,
    litter: InfiniteDataset | None = None,
    noise: Noise | None = None,
    observer: Observer | str | None = None,
    seen: Seen | None = None,
) -> PairStream:
    """Every pair of a data set once, in order, with the noise of a test and litter that was not `seen` in training.

    DataError if there is none.
    """
    pairs = pairs_of(dataset, observer)
    if len(pairs) == 0:
        raise DataError(f"{pairs.name} holds no sample to test on")
    image_noise, litter_pairs = image_noise_of(noise or hyper.noise, pairs), litter_of(litter, observer, pairs)
    pool = litter_to_test(litter_pairs, hyper, seen) if litter_pairs else None
    seed = litter.seed if litter else 0
    added = {"noise": image_noise, "litter": litter_pairs, "litter_numbers": pool, "litter_seed": seed}
    return stream_of("test", pairs, np.arange(len(pairs)), hyper, **added)


test_reverter.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it wherever it is imported
test_stream.__test__ = False  # type: ignore[attr-defined]


#: Names of the sets of inputs; another family of galaxies has the name of its folder.
NORMAL, NOISE_ONLY, MIRRORED = "normal", "noise only", "velocity mirrored"
#: Numbers in the samples of a batch, at most: 0.3 GB in float64, a few times as much while they are measured.
MOST_NUMBERS = 2**25
#: Galaxies of the normal set in the figures of a report; one of each other set.
SHOWN = 3
#: Samples that each sampler draws for these.
DRAWN = 32


@dataclass(frozen=True)
class Inputs:
    """What to test on: a stream for each set of inputs, the normal one first, and their split."""

    streams: dict[str, PairStream]
    split: str

    @property
    def normal(self) -> PairStream:
        return self.streams[NORMAL]


def inputs_of(
    hyper: TrainConfig,
    split: str | None = None,
    *,
    stress: bool = False,
    against: Sequence[str] = (),
    members: Sequence[TrainedRun] = (),
) -> Inputs:
    """The pairs of `hyper.data` with the noise and litter of `hyper`; with `stress` also changed inputs of these pairs.

    `against` are folders of other families of galaxies, each a set of its own. DataError for galaxies that the
    `members` have met, unless `hyper.overlap` leaves them out or allows them.
    """
    seen = seen_by_any([member.checkpoint.seen for member in members])

    def unseen(data: Sequence[str], split: str) -> PairStream:
        stream = open_stream(hyper, data, split, seen)
        if not members:
            return stream
        ensemble_for(members, stream.pairs)  # a network that cannot read them is the first thing to know
        return replace(stream, numbers=pairs_to_test(stream.pairs, split, seen, hyper.overlap))

    split = (split or "") if hyper.observer else split_to_test(hyper.data, split)
    normal = unseen(hyper.data, split)
    streams = {NORMAL: normal}
    if stress:
        streams[NOISE_ONLY] = replace(normal, alter=remove_emission, litter=None)
        if has_symmetric_velocities(normal.pairs.grid):
            streams[MIRRORED] = replace(normal, alter=mirror_velocity)
        else:
            warn(f"the velocity axis of {normal.pairs.name} is not symmetric about zero: no mirrored inputs")
    for folder in against:
        other = "" if hyper.observer else split_to_test([folder], None)
        name = Path(folder).name if len({Path(each).name for each in against}) == len(against) else folder
        streams[f"against {name}"] = unseen([folder], other)
    return Inputs(streams, split)


def open_stream(hyper: TrainConfig, data: Sequence[str], split: str, seen: Seen | None = None) -> PairStream:
    """The pairs of a split ("" for all) of these folders, with the noise of `hyper` and litter that was not `seen`."""
    dataset, observer = open_data(data, hyper.observer, split or None, checksums=hyper.checksums)
    return test_stream(dataset, hyper, open_litter(hyper), observer=observer, seen=seen)


def test_run(
    members: Sequence[TrainedRun],
    hyper: TrainConfig,
    inputs: Inputs,
    *,
    samples: int = 32,
    device: str = "auto",
    quiet: bool = False,
) -> RunReport:
    """Evaluate a run, or an ensemble's members together, on every pair of each set of inputs once.

    With so many `samples` by each sampler, where all members have one.
    The same numbers on any number of ranks. DataError when an input does not fit the network.
    """
    ensemble = ensemble_for(members, *(stream.pairs for stream in inputs.streams.values()), samples=samples)
    loss, mean_image, sets = physical_loss(hyper), members[0].checkpoint.mean_image, []
    with world(device) as here, threads_for(ensemble.image_size):
        ensemble = ensemble.on(here.device)
        for name, stream in inputs.streams.items():
            batch = min(stream.batch, max(1, MOST_NUMBERS // (max(ensemble.sizes.values()) * ensemble.image_size**2)))
            stream, pairs = replace(stream, rank=here.rank, world=here.size, batch=batch), stream.pairs
            title = "testing" if name == NORMAL else f"testing, {name}"
            with progress(title, stream.steps, quiet=quiet) as bar:
                batches = evaluate(ensemble, loss, stream, here, mean_image, bar)
                of = quantities(pairs.grid, ensemble.sizes, Trivial.of(stream, mean_image), len(members))
                arrays = gather_per_pair(batches, of, stream, here)
            normalization = hyper.density_normalization_kg_m3
            sets.append(statistics_of(name, arrays, stream.groups, pairs.grid, normalization, hyper.seed))
            warn_of_unreadable(stream.count - sets[-1].pairs, stream.count)
        warn_of_bad_litter(list(inputs.streams.values()), here)
        normal = replace(inputs.normal, rank=here.rank, world=here.size)
        where = None
        if networks := _distance_networks(members, normal):
            with progress("testing, near or far", normal.steps, quiet=quiet) as bar:
                where = score_distances(networks, normal, here, bar)
    path, epoch = str(members[0].path), members[0].checkpoint.progress.epoch
    data, litter = tuple(hyper.data), hyper.litter or None
    settings = Settings(inputs.split or "all", path, len(members), epoch, hyper.noise, litter, data, hyper.seed)
    return RunReport(sets, settings, where)


def _distance_networks(members: Sequence[TrainedRun], stream: PairStream) -> list[Distances]:
    """Those of the runs; none unless each run has one, and the pairs hold what they are tested on."""
    found = [network[0] for member in members if (network := member.distances())]
    return found if len(found) == len(members) and {LV_COLUMN, LV_NEARER} <= {*stream.pairs.further} else []


def warn_of_unreadable(missing: int, count: int) -> None:
    if missing:
        warn(f"{missing} of {plural(count, 'sample')} could not be read: left out")


test_run.__test__ = False  # type: ignore[attr-defined]


def save_headline(run: Path, report: RunReport, members: Sequence[TrainedRun]) -> None:
    """Write the headline numbers into the folder of a run or an ensemble; only a warning when that is not possible.

    Numbers of weights that a training has replaced meanwhile are not written.
    """
    if not is_run(run):
        return  # a checkpoint file
    if [now.checkpoint.progress for now in open_members(run)] != [then.checkpoint.progress for then in members]:
        warn(f"{run / TEST} is not written: a training has replaced the tested weights meanwhile")
        return
    try:
        write_text(run / TEST, to_json(report.headline()))
    except OSError as error:
        warn(f"{run / TEST} is not written: {error.strerror}")


def report_predictions(members: Sequence[TrainedRun], inputs: Inputs) -> dict[str, Predictions]:
    """A few galaxies of each set of inputs with their predictions, for the figures of a report."""
    most = {name: SHOWN if name == NORMAL else 1 for name in inputs.streams}
    found = {name: predictions_of(members, stream, most=most[name]) for name, stream in inputs.streams.items()}
    if networks := _distance_networks(members, inputs.normal):
        found[NORMAL].near.extend(near_images(networks, inputs.normal, SHOWN))
    return found


def predictions_of(
    members: Sequence[TrainedRun], stream: PairStream, items: Sequence[int] | None = None, most: int = 1
) -> Predictions:
    """The first `most` readable pairs among these items (positions), or of different galaxies, of a stream.

    The maps are those of the samplers, where all members have one.
    """
    ensemble = ensemble_for(members, stream.pairs, samples=DRAWN)
    return sample_predictions(ensemble, physical_loss(members[0].hyper), stream, items, most)
