"""The one evaluation loop: every pair of a stream once, with the predictions for it, on any number of ranks.

`evaluate` yields batches with their predictions. Everything else is a function of these: `mean_scores` for validation
and for the plain test, `gather_per_pair` for the whole test of a run, `sample_predictions` for figures.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.console import Progress, plural, warn
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.distances import NearImages
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.evaluation.metrics import Maps, Measure, pixel_volume
from iris_cli.pairs.stream import PairBatch, PairStream, bad_litter_over_ranks


@dataclass(frozen=True)
class Evaluated:
    """A batch of pairs, and the maps that were predicted from it; both on the CPU.

    `maps` are those of the best predictor, the last of `predicted`: name -> (K, n, 1, R', L) of each.
    """

    batch: PairBatch
    maps: Maps
    predicted: dict[str, Tensor]


Batches = Generator[Evaluated, None, None]


@torch.no_grad()
def evaluate(
    ensemble: Ensemble,
    loss: PhysicalLoss,
    stream: PairStream,
    world: World,
    mean_image: Tensor | None = None,
    bar: Progress | None = None,
    check: Callable[[], None] = lambda: None,
    waiting: Callable[[], None] = lambda: None,
    position: int = 0,
) -> Batches:
    """Yield this rank's batches from `position` on, without the empty ones.

    `mean_image` is the training set's mean density (1, R', L). `check` is called before each batch, `waiting` while
    one is late; both may raise. DataError when a prediction or a true density is not finite.
    """
    ensemble.eval()
    volume, loss = pixel_volume(stream.pairs.grid), deepcopy(loss).cpu()
    image = None if mean_image is None else mean_image.double()[None]
    with closing(stream.epoch(position=position, waiting=waiting)) as batches:
        for batch in batches:
            check()
            if len(batch):
                hint = "write the set again without it"
                check_finite("the density of", batch.density.flatten(1), batch, stream, hint)
                observation = batch.observation.to(world.device, non_blocking=True)
                keys = [stream.pairs.key(int(number)) for number in batch.ids]
                predicted = {k: maps.cpu().double() for k, maps in ensemble.predict(observation, keys).items()}
                hint = "was it trained on another unit, or did its training diverge?"
                sums = torch.stack([maps.flatten(2).sum(dim=(0, 2)) for maps in predicted.values()], dim=1)
                check_finite("the reverter's prediction for", sums, batch, stream, hint)
                members = list(predicted.values())[-1]
                yield Evaluated(batch, Maps(members, batch.density.double(), loss, image, volume), predicted)
            if bar:
                bar.advance()


class Totals:
    """Float64 sums and counts of measures over pairs: `add` batches, sum `table` over ranks, then take `means`.

    A measure that a pair does not define (the split of an empty map) is NaN for it and does not enter its mean.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = (*names, "pairs")
        #: (sum or count, measure)
        self.table = torch.zeros(2, len(self.names), dtype=torch.float64)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """(n,) numbers of each measure."""
        pairs = len(next(iter(values.values())))
        columns = torch.stack([*(values[name] for name in self.names[:-1]), torch.ones(pairs, dtype=torch.float64)])
        self.table[0] += columns.nan_to_num(0.0).sum(dim=1)
        self.table[1] += (~columns.isnan()).sum(dim=1)

    def count(self, name: str = "pairs") -> int:
        return int(self.table[1, self.names.index(name)])

    def means(self) -> dict[str, float | None]:
        """Measure -> mean over the pairs that define it; None where no pair does."""
        sums, counts = self.table.tolist()
        return {name: s / n if n else None for name, s, n in zip(self.names[:-1], sums, counts, strict=False)}


def mean_scores(batches: Batches, measures: Mapping[str, Measure], stream: PairStream, world: World) -> Totals:
    """Totals over the batches of all ranks.

    DataError when more pairs are missing than were counted as unreadable, or when none could be read.
    """
    totals = Totals(measures)
    with closing(batches):
        for evaluated in batches:
            totals.add({name: measure(evaluated.maps).double() for name, measure in measures.items()})
    world.sum(totals.table)
    check_complete(stream, world, totals.count())
    return totals


@dataclass(frozen=True)
class Quantity:
    """Numbers that are measured together. `measure` maps a batch to (n, width) of each name.

    `widths` are declared because a rank without pairs needs them, too.
    """

    widths: dict[str, int]
    measure: Callable[[Evaluated], dict[str, Tensor]]


#: Name -> (pairs, width)
Arrays = dict[str, NDArray[np.float64]]


def gather_per_pair(batches: Batches, quantities: Sequence[Quantity], stream: PairStream, world: World) -> Arrays:
    """The quantities of every pair, the same on every rank; NaN for pairs that could not be read.

    Each rank fills the rows of its own pairs and one sum joins them, so that the result does not depend on ranks,
    batches or order. DataError when a pair was not seen exactly once, unless it was counted as unreadable, or when
    none could be read.
    """
    widths = {name: width for quantity in quantities for name, width in quantity.widths.items()}
    table = torch.zeros(stream.count, 1 + sum(widths.values()), dtype=torch.float64)  # column 0: how often it was seen
    with closing(batches):
        for evaluated in batches:
            values = {name: v for quantity in quantities for name, v in quantity.measure(evaluated).items()}
            ones = torch.ones(len(evaluated.batch), 1, dtype=torch.float64)
            rows = torch.from_numpy(evaluated.batch.positions)
            table[rows] += torch.cat([ones, *(values[name].double() for name in widths)], dim=1)
    world.sum(table)
    check_complete(stream, world, int((table[:, 0] > 0).sum()), int((table[:, 0] > 1).sum()))
    numbers = table.numpy()
    numbers[numbers[:, 0] == 0] = np.nan
    columns = np.split(numbers[:, 1:], np.cumsum(list(widths.values()))[:-1], axis=1)
    return dict(zip(widths, columns, strict=True))


@dataclass(frozen=True)
class Predictions:
    """A few galaxies, (L, V) each, with their `maps`, (R', L) each, in inner units.

    `maps` has a list for each title: the truth first, then what was predicted. `near` is what distance networks answer
    for the same galaxies.
    """

    grid: Grid
    quantity: str
    observations: list[NDArray[np.float32]] = field(default_factory=list)
    maps: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    near: list[NearImages] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: "Sequence[Predictions]") -> "Predictions":
        """Several on one grid as one."""
        observations, sources = (
            [one for part in parts for one in getattr(part, n)] for n in ("observations", "sources")
        )
        maps = {title: [one for part in parts for one in part.maps[title]] for title in parts[0].maps}
        return cls(parts[0].grid, parts[0].quantity, observations, maps, sources)


def sample_predictions(
    ensemble: Ensemble, loss: PhysicalLoss, stream: PairStream, items: Sequence[int] | None = None, most: int = 1
) -> Predictions:
    """The first `most` readable pairs among the `items` (positions) of a stream, as an evaluation sees them.

    Without `items`, the first pair of each galaxy.
    """
    groups = stream.groups
    shown = Predictions(stream.pairs.grid, stream.pairs.quantity)
    for item in [groups.index(name) for name in dict.fromkeys(groups)] if items is None else items:
        with closing(evaluate(ensemble, loss, replace(stream, batch=1), World(), position=item)) as batches:
            evaluated = next(batches, None)
        if evaluated is None or evaluated.batch.positions[0] != item:  # it could not be read
            continue
        shown.observations.append(evaluated.batch.observation[0, 0].numpy())
        columns = {"true": evaluated.batch.density[0, 0]} | _titled(ensemble, evaluated.maps.members[:, 0, 0].float())
        for title, column in columns.items():
            shown.maps.setdefault(title, []).append(column.numpy())
        shown.sources.append(stream.pairs.source(int(stream.numbers[item])))
        if len(shown.sources) == most:
            break
    return shown


def _titled(ensemble: Ensemble, maps: Tensor) -> dict[str, Tensor]:
    """What is shown of the maps (K, R', L) of the best predictor."""
    if len(maps) == 1:
        return {"predicted": maps[0]}
    if ensemble.samplers:
        return {"mean of the samples": maps.mean(dim=0), "one sample": maps[0]}
    return {"predicted": maps.mean(dim=0), "members' spread": maps.std(dim=0)}


def check_finite(what: str, values: Tensor, batch: PairBatch, stream: PairStream, hint: str) -> None:
    """DataError that names the first pair of which any of the values (n, …) is not finite."""
    for number in batch.ids[~values.isfinite().all(dim=1).numpy()]:
        raise DataError(f"{what} '{stream.pairs.key(int(number))}' of {stream.pairs.name} is not finite", hint)


def check_complete(stream: PairStream, world: World, seen: int, repeated: int = 0) -> None:
    """DataError unless every pair was evaluated once, except for those that were counted as unreadable."""
    missing = stream.count - seen
    wrong = repeated + (missing if missing and missing > len(stream.bad_over_ranks(world)) else 0)
    hint = "check them: iris shards verify"
    if wrong:
        what = f"{wrong} of {stream.count} samples of {stream.pairs.name} were not evaluated exactly once"
        raise DataError(what, hint)
    if missing == stream.count:
        raise DataError(f"none of the {stream.count} {stream.name} samples could be read", hint)


def warn_of_bad_litter(streams: Sequence[PairStream], world: World) -> None:
    """Warn when litter that could not be read was drawn; all ranks call this together."""
    if bad := bad_litter_over_ranks(streams, world):
        warn(f"{plural(len(bad), 'sample')} of the litter could not be read: others were drawn instead")
