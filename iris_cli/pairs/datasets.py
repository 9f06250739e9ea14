"""Any data set as numbered pairs: grid, quantity and galaxies are known, an item is read into the row of a batch.

In: a shard folder, or a standard data set and an observer, or several of them. Out: `Pairs`, which `stream` reads.
`PreObservedDataset` and `InfiniteDataset` are torch data sets as well.
"""

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.console import warn
from iris_cli.errors import DataError
from iris_cli.observers.observer import Observer
from iris_cli.observers.registry import make_observer
from iris_cli.pairs.overlap import NONE, TEST, TRAIN, VALIDATION, Marks, digests, few_galaxies
from iris_cli.pairs.pair import (
    DENSITY,
    FURTHER,
    LV_NEARER,
    OBSERVATION,
    check_alike,
    check_arrays,
    observed_pair,
    schemas,
)
from iris_cli.standard.dataset import StandardDataset
from iris_cli.units import INNER
from shards.codec import ArraySchema
from shards.errors import ShardError
from shards.index import Index
from shards.layout import member_checksum
from shards.order import Numbers, random_below, stream_key
from shards.reader import Reader
from shards.splits import empty_splits, group_split
from shards.typed import typed


class Pairs(ABC):
    """Items 0 ... len - 1 in inner units; litter has observations only.

    `sizes` are the numbers of items that are together on disk; `latitude` is the reduction of the cubes to images,
    "mean", "max" or "moments". `channels` are the images of an observation, `further` the arrays of `pair.FURTHER` that
    items have. Equal fingerprints mean equal items.
    """

    name: str
    grid: Grid
    quantity: str
    latitude: str
    litter: bool
    channels: int = 1
    further: tuple[str, ...] = ()
    sizes: list[int]
    fingerprint: str
    #: Name -> GHz of the spectral lines in the observations; none where they are not known.
    lines: dict[str, float]
    #: The part of the sky that was observed; observations are dark elsewhere.
    coverage: Coverage = Coverage()
    #: Whether reading an item observes it, which takes long.
    on_the_fly: bool = False
    #: Whether every epoch has other items: those of epoch e are number e * len and more.
    fresh: bool = False
    #: Whether it consists of several sets.
    joined: bool = False

    @abstractmethod
    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill `rows["observation"]` (channel, L, V) and, where asked for, "density" (1, R', L) and further arrays.

        ShardError when the item is bad.
        """

    @abstractmethod
    def groups(self) -> list[str]:
        """The identity of each item's galaxy: a split never separates its views."""

    @cached_property
    def marks(self) -> Marks:
        """What each item is recognized by in other sets: its galaxy, where its content is not known."""
        unknown = np.zeros(len(self), np.uint64)
        return Marks(digests(self.groups()), unknown, unknown)

    @abstractmethod
    def key(self, number: int) -> str:
        """The name of an item."""

    @abstractmethod
    def source(self, number: int) -> str:
        """The name of an item's galaxy, for people."""

    def pieces(self) -> list[str]:
        """What litter is divided by: galaxies, or single views if there are fewer galaxies than splits."""
        groups = self.groups()
        return groups if len(set(groups)) > 2 else self.views()

    def views(self) -> list[str]:
        """The identity of the galaxy of each item, and the name of the item."""
        return [f"{group} {self.key(i)}" for i, group in enumerate(self.groups())]

    def splits(self, validation: float, seed: int) -> dict[str, Numbers]:
        """The items to train on, to validate with and to test on: own splits, else a share of the galaxies."""
        own = {name: self.own_split(name) for name in (TRAIN, VALIDATION, TEST)}
        if len(own[TRAIN]) or len(own[VALIDATION]):
            return own
        all_groups, rest = self.groups(), np.setdiff1d(np.arange(len(self)), own[TEST])
        groups, fractions = [all_groups[i] for i in rest], {TRAIN: 1.0 - validation, VALIDATION: validation}
        parts = group_split(groups, fractions, seed)
        if groups and empty_splits(parts, fractions):
            warn(few_galaxies(groups, fractions, parts, seed, self.name))
        return own | {name: rest[np.array(parts[name], np.int64)] for name in fractions}

    def own_split(self, name: str) -> Numbers:
        """The items of a split that the data set itself has; none if it has no such split."""
        return np.zeros(0, np.int64)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def arrays(self) -> dict[str, ArraySchema]:
        made = schemas(self.grid, self.quantity, channels=self.channels, litter=self.litter, further=self.further)
        return {schema.name: schema for schema in made}


class PreObservedDataset(Pairs, Dataset):
    """The pairs of a shard folder, or the observations of a litter folder, in inner units.

    An item is (observation (channel, L, V), density (1, R', L)), or the observation alone if there is no density.
    Opening reads the index and nothing else. ShardError or DataError when the folder is no such thing.
    """

    def __init__(self, folder: Path | str, split: str | None = None, *, checksums: bool = True) -> None:
        """With `checksums`, what is read for the first time is compared with its checksum."""
        self.folder, self.split, self.name = Path(folder), split, str(Path(folder))
        self.index = Index.open(self.folder)
        self.attributes = self.index.attributes
        self.numbers, self.sizes = self.index.numbers(split), self.index.sizes(split)
        self.fingerprint = f"{self.index.fingerprint}:{split or ''}"
        try:
            self.lines = spectral_lines(self.attributes.get("observer", {}))
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"the index of {self.name} has a wrong 'observer'", "write the folder again") from None
        grid = _attribute(self.attributes, "grid", self.name, dict[str, Any])
        self.grid = from_dict(Grid, grid, f"{self.folder}: grid")
        observing = self.attributes.get("config", {})
        self.coverage = from_dict(Coverage, observing.get("coverage", {}), f"{self.folder}: coverage")
        found = self.index.arrays
        if OBSERVATION not in found:
            raise DataError(f"{self.folder} holds no array '{OBSERVATION}'", f"it has: {', '.join(found)}")
        names = [name for name in (OBSERVATION, DENSITY) if name in found]
        self.litter = DENSITY not in names
        self.channels = found[OBSERVATION].shape[0] if len(found[OBSERVATION].shape) == 3 else 1
        self.further = () if self.litter else tuple(name for name in FURTHER if name in found)
        self.quantity = self._schema_attribute(OBSERVATION, "quantity", str)
        self.factors = {name: self._factor(name) for name in (*names, *self.further)}
        self.reader = Reader(self.index, self.factors, checksums=checksums)

    @property
    def latitude(self) -> str:  # type: ignore[override]  # sets from elsewhere can be opened without it
        return _attribute(self.attributes, "latitude", self.name, str)

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Converts arrays from the unit of the shards to inner units."""
        self.reader.read(int(self.numbers[number]), rows)
        if DENSITY in rows and (low := rows[DENSITY].min()) < 0:  # NaN is reported by the loss
            what = f"{self.name}: the density of {self.key(number)} goes down to {low:g}"
            raise ShardError(what, "none can be negative: write the shards again, or --on-bad-sample skip")
        for name, row in rows.items():
            if self.factors[name] != 1.0:
                row *= np.float32(self.factors[name])

    @cached_property
    def _identities(self) -> tuple[list[bytes], Marks]:
        """The galaxies' names of each shard, packed, and the marks: 41 bytes a pair; its record has 1.2 kB."""
        names, parts, empty = [], [Marks(NONE, NONE, NONE)], self._empty_map()
        for shard in self.index.shard_numbers(self.split):
            entry = self.index.shards[shard]
            groups, sums = [f"{entry.name} {row}" for row in range(entry.count)], {}
            with suppress(ShardError):  # a shard that cannot be read has no samples that can
                record = self.index.record(shard)
                groups, sums = record.groups, {name: record.members[name].checksum for name in self.factors}
            observations, densities = (sums.get(name, [""] * entry.count) for name in (OBSERVATION, DENSITY))
            pairs = (a and a + b for a, b in zip(observations, densities, strict=True))
            known = ("" if d == empty else d for d in densities)
            parts.append(Marks(digests(groups), digests(known), digests(pairs)))
            names.append(zlib.compress(json.dumps(groups).encode(), 1))
        return names, Marks.joined(parts)

    def _empty_map(self) -> str:
        """The checksum of an empty map: those of different galaxies are equal."""
        density = self.index.stored.get(DENSITY)
        if density is None:
            return ""
        return member_checksum(density.codec.encode(np.zeros(density.schema.shape, density.schema.dtype)))

    def groups(self) -> list[str]:
        return [group for of_shard in self._identities[0] for group in json.loads(zlib.decompress(of_shard))]

    @property
    def marks(self) -> Marks:
        return self._identities[1]

    def key(self, number: int) -> str:
        return self.reader.key(int(self.numbers[number]))

    def source(self, number: int) -> str:
        return str(self.reader.info(int(self.numbers[number])).get("source") or self.groups()[number])

    def own_split(self, name: str) -> Numbers:
        if self.split is not None or name not in self.index.splits:
            return super().own_split(name)
        return self.index.numbers(name)

    def __getitem__(self, item: int) -> tuple[Tensor, ...] | Tensor:
        names = (OBSERVATION,) if self.litter else (OBSERVATION, DENSITY)
        rows = {name: np.empty(self.arrays[name].shape, np.float32) for name in names}
        self.read(item, rows)
        tensors = tuple(map(torch.from_numpy, rows.values()))
        return tensors[0] if self.litter else tensors

    def _schema_attribute(self, array: str, name: str, kind: Any) -> Any:
        return _attribute(self.index.arrays[array].attributes, name, self.name, kind, f" of '{array}'")

    def _factor(self, array: str) -> float:
        """Inner units per unit of the shards; exactly 1 where they are the same, and for pure numbers."""
        if array == LV_NEARER:
            return 1.0
        quantity = self._schema_attribute(array, "quantity", str)
        factor = INNER.per_SI(quantity) * self._schema_attribute(array, "SI_per_unit", float)
        if not 1e-37 < factor < 1e37:  # float32 has no other numbers
            raise DataError(f"the unit of '{array}' in {self.name} is {factor:g} inner units", "write the set again")
        return 1.0 if abs(factor - 1.0) < 1e-9 else factor


def _attribute(attributes: Mapping[str, Any], name: str, folder: str, kind: Any, of: str = "") -> Any:
    if name not in attributes:
        index = f"`iris shards index {folder} --overwrite --preset NAME --quantity NAME`"
        hint = f"write the folder with `iris preobserve`; for tars of another program: {index}"
        raise DataError(f"the index of {folder} lacks '{name}'{of}", hint)
    try:
        return typed(kind, attributes[name])
    except TypeError as error:
        raise DataError(f"the index of {folder}: '{name}'{of} is wrong: {error}", "write the folder again") from None


class ObservedPairs(Pairs):
    """Tensors of a standard data set, observed when they are read: the same numbers as from shards, more slowly."""

    litter = False
    on_the_fly = True
    further = FURTHER

    def __init__(self, dataset: StandardDataset, observer: Observer) -> None:
        """DataError unless the observer is made for the data set's grid."""
        self.dataset, self.observer, self.name = dataset, observer, str(dataset.folder)
        self.grid, self.quantity, self.latitude = dataset.grid, observer.quantity, observer.latitude
        self.channels, self.coverage = observer.channels, observer.coverage
        self.lines, self.sizes = spectral_lines(observer.describe()), [1] * len(dataset)
        entries = [to_dict(entry) for entry in dataset.entries]
        what = [to_dict(self.grid), entries, dataset.origin, observer.describe(), observer.latitude]
        self.fingerprint = f"{stream_key(what):016x}"
        if observer.grid != dataset.grid:
            raise DataError(f"the observer's grid is not that of {self.name}", "make the observer with dataset.grid")

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        try:
            tensor = torch.from_numpy(self.dataset[number])
        except DataError as error:  # as a bad sample, which a stream may leave out
            raise ShardError(error.message, error.hint) from None
        entry, galaxy = self.dataset.entries[number], self.dataset.identities[number]
        for name, array in observed_pair(self.observer, tensor, rows, galaxy, entry.view_deg).items():
            rows[name][...] = array

    def groups(self) -> list[str]:
        return self.dataset.identities

    def key(self, number: int) -> str:
        return self.dataset.entries[number].file

    def source(self, number: int) -> str:
        return self.dataset.entries[number].source


class JoinedPairs(Pairs):
    """Several sets as one. DataError unless all are on one grid and measure one quantity, each once."""

    joined = True

    def __init__(self, parts: Sequence[Pairs]) -> None:
        first, seen = parts[0], dict[str, str]()
        for part in parts:
            check_pairs(first, part)
            if part.fingerprint in seen:
                what = f"{seen[part.fingerprint]} and {part.name} hold the same pairs"
                raise DataError(what, "name each folder once")
            seen[part.fingerprint] = part.name
        self.parts, self.name = parts, " + ".join(part.name for part in parts)
        self.grid, self.quantity, self.latitude, self.litter = first.grid, first.quantity, first.latitude, first.litter
        self.channels = first.channels
        self.further = tuple(name for name in first.further if all(name in part.further for part in parts))
        self.sizes = [size for part in parts for size in part.sizes]
        self.coverage = first.coverage
        self.lines = {name: frequency for part in parts for name, frequency in part.lines.items()}
        self.on_the_fly = any(part.on_the_fly for part in parts)
        self.fingerprint = ":".join(part.fingerprint for part in parts)
        self._starts = np.cumsum([0, *map(len, parts)])

    def _part(self, number: int) -> tuple[Pairs, int]:
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.parts[part], number - int(self._starts[part])

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        part, own = self._part(number)
        part.read(own, rows)

    def groups(self) -> list[str]:
        return [group for part in self.parts for group in part.groups()]

    @cached_property
    def marks(self) -> Marks:
        return Marks.joined(part.marks for part in self.parts)

    def key(self, number: int) -> str:
        part, own = self._part(number)
        return part.key(own)

    def source(self, number: int) -> str:
        part, own = self._part(number)
        return part.source(own)

    def own_split(self, name: str) -> Numbers:
        return np.concatenate([s + part.own_split(name) for s, part in zip(self._starts, self.parts, strict=False)])

    def splits(self, validation: float, seed: int) -> dict[str, Numbers]:
        parts = [part.splits(validation, seed) for part in self.parts]
        starts = self._starts[:-1]
        return {n: np.concatenate([s + p[n] for s, p in zip(starts, parts, strict=True)]) for n in parts[0]}


def spectral_lines(observer: Mapping[str, Any]) -> dict[str, float]:
    """Name -> GHz of the lines of an observer, as `Observer.describe` and the index of shards have them."""
    return {f"{line['molecule']} {line['transition']}": line["frequency_GHz"] for line in observer.get("lines", ())}


class InfiniteDataset(IterableDataset):
    """Items of a data set without end, drawn with replacement; draw p of a seed is always the same item.

    As the `litter` of a training it names the data set to draw from, and the seed.
    """

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        """ValueError when there is nothing to draw from."""
        if not isinstance(dataset, Sized) or len(dataset) == 0:
            raise ValueError("an infinite data set needs a data set with at least one item to draw from")
        self.dataset: Any = dataset
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        key = stream_key("infinite", self.seed)
        for position in count():
            yield self.dataset[int(random_below(key, np.array([position]), len(self.dataset))[0])]


# --- what a program passes --------------------------------------------------------------------------------------------


def pairs_of(dataset: Any, observer: Observer | str | None = None, *, any_grid: bool = False) -> Pairs:
    """The pairs of a PreObservedDataset, of a StandardDataset with an observer, or of a ConcatDataset of them.

    An observer may be given by its name, "simple" or "synthetic". With `any_grid` a standard data set is observed on
    its own grid, whatever the observer's. ValueError when a standard data set comes without an observer, or for any
    other type.
    """
    if isinstance(dataset, ConcatDataset):
        return JoinedPairs([pairs_of(part, observer, any_grid=any_grid) for part in dataset.datasets])
    if isinstance(dataset, PreObservedDataset):
        check_arrays(dataset.index.arrays, dataset.arrays.values(), dataset.name)
        return dataset
    if not isinstance(dataset, StandardDataset):
        kind = type(dataset).__name__
        raise ValueError(f"cannot learn from a {kind}: give a PreObservedDataset or a StandardDataset")
    if observer is None:
        raise ValueError("a StandardDataset must be observed: give an observer, or pre-observe it")
    if isinstance(observer, str):
        observer = make_observer(dataset.grid, observer)
    return ObservedPairs(dataset, observer.on_grid(dataset.grid) if any_grid else observer)


def litter_of(litter: Any, observer: Observer | str | None, pairs: Pairs) -> Pairs | None:
    """The pairs that litter for `pairs` is drawn from. ValueError when `litter` is not an InfiniteDataset, DataError
    when its observations cannot be added to those of `pairs`.
    """
    if litter is None:
        return None
    if not isinstance(litter, InfiniteDataset):
        raise ValueError(f"litter must be an InfiniteDataset, not a {type(litter).__name__}")
    drawn = pairs_of(litter.dataset, observer, any_grid=True)  # litter is at other distances
    check_litter(pairs, drawn)
    return drawn


# --- checks -----------------------------------------------------------------------------------------------------------

_SKY = ("lon_min_deg", "lon_max_deg", "lon_steps", "v_min_km_s", "v_max_km_s", "v_steps")
_LATITUDES = ("lat_min_deg", "lat_max_deg", "lat_steps")


def check_pairs(a: Pairs, b: Pairs) -> None:
    """DataError unless two sets are on one grid, of one quantity, and both of pairs."""
    if a.litter != b.litter:
        litter, other = (a, b) if a.litter else (b, a)
        raise DataError(f"{litter.name} holds litter, and {other.name} pairs", "name litter after --litter")
    check_alike(a, b, "cannot be trained on together", "observe both alike, or train on one of them")


def check_litter(pairs: Pairs, litter: Pairs) -> None:
    """DataError unless litter is on the longitude and velocity axes of the observations, and of their quantity.

    Latitude moments are of one range of latitudes.
    """
    names = (*_SKY, *_LATITUDES) if pairs.latitude == "moments" else _SKY
    check_alike(pairs, litter, "cannot be added", "observe the litter on that grid, and alike", names)


def image_size(pairs: Pairs) -> int:
    """Pixels across. DataError unless there are densities, square and of the observations' size."""
    if pairs.litter:
        what = f"{pairs.name} holds litter: observations without densities"
        raise DataError(what, "name a folder of pairs, and this one after --litter")
    lon, v, r = *pairs.grid.observation_shape[1:], pairs.grid.density_shape[1]
    if not lon == v == r:
        what = f"{pairs.name} has {r} distances, {lon} longitudes and {v} velocities; the reverter needs square images"
        raise DataError(what, "observe on a grid with equal numbers of steps")
    return lon
