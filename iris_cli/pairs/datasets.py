"""What a reverter learns from: data sets of pairs as torch knows them, and an endless one of litter."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from iris_cli.config.grid import Grid
from iris_cli.config.toml import from_dict
from iris_cli.errors import DataError
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.units import INNER
from shards.index import Index
from shards.order import random_below, stream_key
from shards.reader import Reader


class PreObservedDataset(Dataset):
    """The pairs of a shard folder, or the observations of a litter folder, in inner units.

    An item is (observation (1, L, V), density (1, R', L)), or the observation alone if there is no density. Opening
    reads the index and nothing else. ShardError or DataError when the folder is no such thing.
    """

    def __init__(self, folder: Path | str, split: str | None = None, *, checksums: bool = True) -> None:
        """With `checksums`, what is read for the first time is compared with its checksum."""
        self.folder, self.split = Path(folder), split
        self.index = Index.open(self.folder)
        self.numbers = self.index.numbers(split)
        self.attributes = self.index.attributes
        self.grid = from_dict(Grid, self._attribute("grid"), f"{self.folder}: grid")
        if OBSERVATION not in self.index.arrays:
            raise DataError(f"{self.folder} holds no array '{OBSERVATION}'", f"it has: {', '.join(self.index.arrays)}")
        names = [name for name in (OBSERVATION, DENSITY) if name in self.index.arrays]
        self.quantity: str = self._schema_attribute(OBSERVATION, "quantity")
        self.factors = {name: self._factor(name) for name in names}
        self.reader = Reader(self.index, names, checksums=checksums)

    @property
    def litter(self) -> bool:
        """Whether there are observations only."""
        return DENSITY not in self.factors

    @property
    def latitude(self) -> str:
        """How the cubes lost their latitude: "mean" or "max"."""
        return self._attribute("latitude")

    def groups(self) -> list[str]:
        """The galaxy of each item: a split never separates its views."""
        return [str(group) for group in self.index.samples(self.split).group]

    def keys(self, items: list[int]) -> list[str]:
        return [self.reader.key(int(self.numbers[item])) for item in items]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[Tensor, ...] | Tensor:
        rows = self.reader.read_new(int(self.numbers[item]))
        self.to_inner(rows)
        tensors = tuple(torch.from_numpy(rows[name]) for name in self.factors)
        return tensors[0] if self.litter else tensors

    def to_inner(self, rows: dict[str, np.ndarray]) -> None:
        """Bring arrays as they lie in the shards to inner units, in place."""
        for name, row in rows.items():
            if self.factors[name] != 1.0:
                row *= np.float32(self.factors[name])

    def _attribute(self, name: str) -> Any:
        if name not in self.attributes:
            raise DataError(
                f"the index of {self.folder} does not say '{name}'", "write the folder with `iris preobserve`"
            )
        return self.attributes[name]

    def _schema_attribute(self, array: str, name: str) -> Any:
        attributes = self.index.arrays[array].attributes
        if name not in attributes:
            raise DataError(
                f"the index of {self.folder} does not say the {name} of '{array}'",
                "write the folder with `iris preobserve`",
            )
        return attributes[name]

    def _factor(self, array: str) -> float:
        """What a number of the shards is multiplied with to be in inner units; exactly 1 where it is."""
        quantity = self._schema_attribute(array, "quantity")
        factor = INNER.per_SI(quantity) * float(self._schema_attribute(array, "SI_per_unit"))
        return 1.0 if abs(factor - 1.0) < 1e-9 else factor


class InfiniteDataset(IterableDataset):
    """Items of a data set without end, drawn with replacement; draw p of a seed is always the same item.

    As `litter` of a training it says what is drawn from, and with which seed.
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
