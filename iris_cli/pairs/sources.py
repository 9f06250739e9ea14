"""Any data set as numbered pairs: grid, units and galaxies known, an item read straight into the row of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset

from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError
from iris_cli.observers.observer import Observer
from iris_cli.observers.top_down import top_down_density
from iris_cli.pairs.datasets import InfiniteDataset, PreObservedDataset
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.standard.dataset import StandardDataset
from shards.codec import ArraySchema
from shards.errors import ShardError
from shards.index import group_split
from shards.order import stream_key

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Stored:
    """What a stage of `shards.stream` asks about an array."""

    schema: ArraySchema


class Pairs(ABC):
    """Items 0 ... len - 1. `sizes` are the runs that lie together on disk; `latitude` is "mean" or "max"."""

    name: str
    grid: Grid
    quantity: str
    latitude: str
    litter: bool
    sizes: list[int]
    fingerprint: str
    #: Name -> GHz of the spectral lines in the observations; none where they are not known.
    lines: dict[str, float]
    #: Whether reading an item observes it, which takes long.
    on_the_fly: bool = False

    @abstractmethod
    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill `rows["observation"]` (1, L, V) and, unless this is litter, `rows["density"]` (1, R', L)."""

    @abstractmethod
    def groups(self) -> list[str]:
        """The galaxy of each item."""

    @abstractmethod
    def key(self, number: int) -> str:
        """What an item is called."""

    def split(self, name: str) -> Numbers:
        """The items of a split that the data set itself has made; none if it has not."""
        return np.zeros(0, np.int64)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def arrays(self) -> dict[str, Stored]:
        shapes = {OBSERVATION: self.grid.observation_shape}
        if not self.litter:
            shapes[DENSITY] = self.grid.density_shape
        return {name: Stored(ArraySchema(name, shape, "float32", {})) for name, shape in shapes.items()}


class ShardPairs(Pairs):
    """Pairs that were observed before, from shards."""

    def __init__(self, dataset: PreObservedDataset) -> None:
        self.dataset, self.name = dataset, str(dataset.folder)
        self.grid, self.quantity, self.latitude = dataset.grid, dataset.quantity, dataset.latitude
        self.litter, self.sizes = dataset.litter, dataset.index.sizes(dataset.split)
        self.fingerprint = f"{dataset.index.fingerprint}:{dataset.split or ''}"
        self.lines = spectral_lines(dataset.attributes.get("observer", {}))

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        self.dataset.reader.read(int(self.dataset.numbers[number]), rows)
        if DENSITY in rows and (low := rows[DENSITY].min()) < 0:  # of NaN, the loss tells
            what = f"{self.name}: the density of {self.key(number)} goes down to {low:g}"
            raise ShardError(what, "none can be negative: write the shards again, or --on-bad-sample skip")
        self.dataset.to_inner(dict(rows))

    def groups(self) -> list[str]:
        return self.dataset.groups()

    def key(self, number: int) -> str:
        return self.dataset.keys([number])[0]

    def split(self, name: str) -> Numbers:
        own = self.dataset
        if own.split is not None or name not in own.index.splits:
            return super().split(name)
        return own.index.numbers(name)


class ObservedPairs(Pairs):
    """Physical tensors, observed when they are asked for: the same numbers as from shards, much later."""

    litter = False
    on_the_fly = True

    def __init__(self, dataset: StandardDataset, observer: Observer) -> None:
        self.dataset, self.observer, self.name = dataset, observer, str(dataset.folder)
        self.grid, self.quantity, self.latitude = dataset.grid, observer.quantity, observer.latitude
        self.sizes = [1] * len(dataset)
        what = [to_dict(self.grid), dataset.sources, observer.describe(), observer.latitude]
        self.fingerprint = f"{stream_key(what):016x}"
        self.lines = spectral_lines(observer.describe())
        if observer.grid != dataset.grid:
            raise DataError(f"the observer's grid is not that of {self.name}", "make the observer with dataset.grid")

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        try:
            tensor = torch.from_numpy(self.dataset[number])
        except DataError as error:  # who reads ahead, and may skip, knows a shard's errors
            raise ShardError(error.message, error.hint) from None
        rows[OBSERVATION][...] = self.observer(tensor[None])[0].numpy()
        if DENSITY in rows:
            rows[DENSITY][...] = top_down_density(tensor, self.grid).numpy()

    def groups(self) -> list[str]:
        return self.dataset.sources

    def key(self, number: int) -> str:
        return self.dataset.entries[number].file


class JoinedPairs(Pairs):
    """Several as one. DataError unless all are on one grid and measure one quantity."""

    def __init__(self, parts: Sequence[Pairs]) -> None:
        for part in parts[1:]:
            check_alike(parts[0], part)
        first = parts[0]
        self.parts, self.name = parts, " + ".join(part.name for part in parts)
        self.grid, self.quantity, self.latitude, self.litter = first.grid, first.quantity, first.latitude, first.litter
        self.sizes = [size for part in parts for size in part.sizes]
        self.fingerprint = ":".join(part.fingerprint for part in parts)
        self.lines = {name: frequency for part in parts for name, frequency in part.lines.items()}
        self.on_the_fly = any(part.on_the_fly for part in parts)
        self._starts = np.cumsum([0, *map(len, parts)])

    def _part(self, number: int) -> tuple[Pairs, int]:
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.parts[part], number - int(self._starts[part])

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        part, own = self._part(number)
        part.read(own, rows)

    def groups(self) -> list[str]:
        return [group for part in self.parts for group in part.groups()]

    def key(self, number: int) -> str:
        part, own = self._part(number)
        return part.key(own)

    def split(self, name: str) -> Numbers:
        return np.concatenate([s + part.split(name) for s, part in zip(self._starts, self.parts, strict=False)])


def spectral_lines(observer: Mapping[str, Any]) -> dict[str, float]:
    """Name -> GHz of the lines of an observer, as `Observer.describe` and the index of shards have them."""
    return {f"{line['molecule']} {line['transition']}": line["frequency_GHz"] for line in observer.get("lines", ())}


# --- what a caller may bring ------------------------------------------------------------------------------------------


def pairs_of(dataset: Any, observer: Observer | None = None) -> Pairs:
    """A PreObservedDataset, a StandardDataset with an observer, or a ConcatDataset of them.

    ValueError when a standard data set comes without an observer, or when it is none of these.
    """
    if isinstance(dataset, ConcatDataset):
        return JoinedPairs([pairs_of(part, observer) for part in dataset.datasets])
    if isinstance(dataset, PreObservedDataset):
        return ShardPairs(dataset)
    if not isinstance(dataset, StandardDataset):
        raise ValueError(
            f"cannot learn from a {type(dataset).__name__}: give a PreObservedDataset or a StandardDataset"
        )
    if observer is None:
        raise ValueError("a StandardDataset must be observed: give an observer, or pre-observe it")
    return ObservedPairs(dataset, observer)


def litter_of(litter: Any, observer: Observer | None, pairs: Pairs) -> Pairs | None:
    """What an InfiniteDataset of litter draws from. ValueError when it is none; DataError when it does not fit."""
    if litter is None:
        return None
    if not isinstance(litter, InfiniteDataset):
        raise ValueError(f"litter must be an InfiniteDataset, not a {type(litter).__name__}")
    drawn = pairs_of(litter.dataset, observer)
    check_litter(pairs, drawn)
    return Observations(drawn)


class Observations(Pairs):
    """Pairs without their densities."""

    litter = True

    def __init__(self, pairs: Pairs) -> None:
        self.pairs, self.name = pairs, pairs.name
        self.grid, self.quantity, self.latitude = pairs.grid, pairs.quantity, pairs.latitude
        self.sizes, self.fingerprint, self.lines = pairs.sizes, pairs.fingerprint, pairs.lines

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        self.pairs.read(number, rows)

    def groups(self) -> list[str]:
        return self.pairs.groups()

    def key(self, number: int) -> str:
        return self.pairs.key(number)


# --- what must fit ----------------------------------------------------------------------------------------------------

_SKY = ("lon_min_deg", "lon_max_deg", "lon_steps", "v_min_km_s", "v_max_km_s", "v_steps")


def check_alike(a: Pairs, b: Pairs) -> None:
    """DataError unless two sets are on one grid and of one quantity."""
    if a.litter != b.litter:
        litter, other = (a, b) if a.litter else (b, a)
        raise DataError(f"{litter.name} holds litter, and {other.name} pairs", "name litter after --litter")
    _check_grid(a, b, [f.name for f in fields(Grid)], "are on two different grids", "train on them one after the other")
    _check_quantity(a, b)


def check_litter(pairs: Pairs, litter: Pairs) -> None:
    """DataError unless litter is on the longitude and velocity axes of the observations, and of their quantity."""
    _check_grid(
        pairs, litter, _SKY, "do not share their longitude and velocity axes", "observe the litter on that grid"
    )
    _check_quantity(pairs, litter)


def _check_grid(a: Pairs, b: Pairs, names: Iterable[str], what: str, hint: str) -> None:
    different = [n for n in names if getattr(a.grid, n) != getattr(b.grid, n)]
    if different:
        first, one, other = different[0], getattr(a.grid, different[0]), getattr(b.grid, different[0])
        raise DataError(f"{a.name} and {b.name} {what}: {first} = {one} and {other}", hint)


def _check_quantity(a: Pairs, b: Pairs) -> None:
    for name in ("quantity", "latitude"):
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            raise DataError(f"{a.name} and {b.name} differ in {name}: '{one}' and '{other}'", "observe both alike")


def image_size(pairs: Pairs) -> int:
    """Pixels across. DataError unless there are densities, square and of the observations' size."""
    if pairs.litter:
        raise DataError(
            f"{pairs.name} holds litter: observations without densities",
            "name a folder of pairs, and this one after --litter",
        )
    lon, v, r = *pairs.grid.observation_shape[1:], pairs.grid.density_shape[1]
    if not lon == v == r:
        raise DataError(
            f"{pairs.name} has {r} distances, {lon} longitudes and {v} velocities; the reverter needs square images",
            "observe on a grid with equal numbers of steps",
        )
    return lon


# --- training and validation ------------------------------------------------------------------------------------------


def divide(pairs: Pairs, hyper: TrainConfig) -> tuple[Numbers, Numbers]:
    """The items to train on and those to validate with: the data set's own splits, else a share of the galaxies.

    DataError when nothing is left to train on.
    """
    validation = pairs.split("validation")
    train = pairs.split("train")
    if len(train) == 0 and len(validation) == 0:
        share = hyper.validation_data_fraction
        parts = group_split(pairs.groups(), {"train": 1.0 - share, "validation": share}, hyper.split_seed)
        train, validation = (np.array(parts[name], np.int64) for name in ("train", "validation"))
    if len(train) == 0:
        raise DataError(f"{pairs.name} holds no sample to train on", "it needs a split 'train' with galaxies in it")
    return train, validation
