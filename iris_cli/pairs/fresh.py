"""Mock galaxies that are made as they are needed: a training set without end, of which no galaxy is met twice.

Galaxy n of epoch e is number `e * count + n` of a seed, so that it depends on nothing else: not on ranks, processes or
interruptions. The seed is derived from that of the training and belongs to no data set of `iris mock`.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError
from iris_cli.machine import cores
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.observer import Observer
from iris_cli.observers.registry import make_observer
from iris_cli.pairs.datasets import JoinedPairs, ObservedPairs, Pairs, PreObservedDataset, spectral_lines
from iris_cli.pairs.divide import divide
from iris_cli.pairs.pair import FURTHER, observed_pair
from shards.errors import ShardError
from shards.order import Numbers, stream_key
from shards.pool import submitting


@dataclass(frozen=True)
class MakePair:
    """The number of a galaxy, and names -> these arrays of its pair, in any process."""

    config: MockConfig
    observer: Observer
    seed: int

    def name(self, number: int) -> str:
        return f"mock-{self.seed}-{number:06d}"

    def __call__(self, wanted: tuple[int, tuple[str, ...]]) -> dict[str, NDArray]:
        """DataError for values that are not finite."""
        number, names = wanted
        galaxy = draw_galaxy(self.config, self.seed, number)
        view_deg = galaxy.views_deg(1)[0]
        tensor = torch.from_numpy(galaxy.tensor(self.observer.grid, view_deg))
        arrays = observed_pair(self.observer, tensor, names, self.name(number), view_deg)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            what = f"fresh galaxy {number} holds values that are not finite"
            raise DataError(what, "are those of [fresh] too large?")
        return arrays


def _in_worker(make: MakePair, wanted: tuple[int, tuple[str, ...]]) -> dict[str, NDArray]:
    """The same in a worker process, which has its core to itself."""
    torch.set_num_threads(1)
    return make(wanted)


class FreshPairs(Pairs):
    """Pairs of galaxies that are made when they are read, `count` in an epoch, on the grid of an observer."""

    litter = False
    fresh = True
    further = FURTHER

    def __init__(self, config: MockConfig, observer: Observer, seed: int, count: int) -> None:
        self.make = MakePair(config, observer, stream_key("fresh", seed) >> 1)
        self.name = "the fresh galaxies"
        self.grid, self.quantity, self.latitude = observer.grid, observer.quantity, observer.latitude
        self.channels, self.coverage = observer.channels, observer.coverage
        self.lines, self.sizes = spectral_lines(observer.describe()), [count]
        what = [to_dict(config), to_dict(self.grid), observer.describe(), observer.latitude, self.make.seed]
        self.fingerprint = f"{stream_key(what):016x}"
        self._submit: Callable[[tuple[int, tuple[str, ...]]], Future] | None = None

    @contextmanager
    def workers(self, count: int) -> Iterator[None]:
        """Within it, galaxies are made by so many processes; by the threads that read where there are none."""
        if count == 0:
            yield
            return
        with submitting(partial(_in_worker, self.make), count) as self._submit:
            try:
                yield
            finally:
                self._submit = None

    def others(self, name: str) -> "FreshPairs":
        """As many others, for a stage of this name."""
        return FreshPairs(self.make.config, self.make.observer, stream_key(self.make.seed, name), self.sizes[0])

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        wanted = number, tuple(rows)
        try:
            arrays = self._submit(wanted).result() if self._submit else self.make(wanted)
        except BrokenProcessPool:
            hint = "try fewer of them: --fresh-workers"
            raise ShardError("a process that makes galaxies died, perhaps because memory ran out", hint) from None
        except DataError as error:
            raise ShardError(error.message, error.hint) from None
        for name, row in rows.items():
            row[...] = arrays[name]

    def groups(self) -> list[str]:
        return [self.key(number) for number in range(len(self))]

    def key(self, number: int) -> str:
        return self.make.name(number)

    source = key


def observer_of(pairs: Pairs) -> Observer:
    """The observer that has made the observations of a set. DataError where it is not known, or not one alone."""
    if isinstance(pairs, ObservedPairs):
        return pairs.observer
    if isinstance(pairs, JoinedPairs):
        observers = [observer_of(part) for part in pairs.parts]
        if any(other.describe() != observers[0].describe() for other in observers):
            hint = "name one of them, as --fresh observes its galaxies"
            raise DataError(f"{pairs.name} were not observed alike", hint)
        return observers[0]
    assert isinstance(pairs, PreObservedDataset)
    made: dict[str, Any] = pairs.attributes.get("observer", {})
    if "config" in pairs.attributes and made.get("name") != "imported":
        config = from_dict(PreobserveConfig, pairs.attributes["config"], f"the configuration of {pairs.name}")
        observer = make_observer(pairs.grid, config)
        if observer.describe() == made:
            return observer
    what = f"how {pairs.name} was observed cannot be repeated"
    raise DataError(what, "fresh galaxies need pairs that this release of `iris preobserve` has written")


def training_set(pairs: Pairs, hyper: TrainConfig) -> tuple[Pairs, Numbers, Numbers]:
    """The pairs to train on and their numbers, and the numbers of `pairs` to validate with.

    DataError as of `divide`, and when fresh galaxies cannot be observed as `pairs` were.
    """
    train, validation = divide(pairs, hyper)
    if hyper.fresh is None:
        return pairs, train, validation
    fresh = FreshPairs(hyper.fresh, observer_of(pairs), hyper.seed, hyper.fresh_galaxies)
    return fresh, np.arange(len(fresh)), validation


def workers_of(hyper: TrainConfig, environment: Mapping[str, str]) -> int:
    """Processes that make galaxies for this rank."""
    ranks_here = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, cores().usable // ranks_here - 1) if hyper.fresh_workers is None else hyper.fresh_workers
