"""Galaxies that are in two splits, or that a network was trained on: found by digests of their identity and content.

A galaxy is known by its identity, which its views, augmented copies and observations share, and its map by its content,
which finds copies under another name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.console import log, plural, warn
from iris_cli.errors import DataError
from shards.order import Numbers
from shards.splits import filling_seed

Digests = NDArray[np.uint64]
NONE: Digests = np.zeros(0, np.uint64)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
#: Options that get around a refusal.
LEAVE_OUT = "`--overlap leave-out` leaves these out, `--overlap allow` uses them"


def digests(texts: Iterable[str]) -> Digests:
    """64 bits of each text; 0 of an empty one, which means "not known"."""
    values = (xxhash.xxh3_64_intdigest(t.encode("utf-8", "surrogateescape")) if t else 0 for t in texts)
    return np.fromiter(values, np.uint64)


def is_in(some: Digests, known: Digests) -> NDArray[np.bool_]:
    """Which of `some` are known. NumPy 2.0's other method overflows with digests of the upper half."""
    return np.isin(some, known, kind="sort")


@dataclass(frozen=True)
class Marks:
    """Digests of each item: of its galaxy's identity, of its density, and of the whole pair; 0 where not known."""

    galaxy: Digests
    density: Digests
    pair: Digests

    def of(self, numbers: Numbers) -> "Marks":
        return Marks(self.galaxy[numbers], self.density[numbers], self.pair[numbers])

    @classmethod
    def joined(cls, parts: "Iterable[Marks]") -> "Marks":
        columns = zip(*((part.galaxy, part.density, part.pair) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @property
    def known(self) -> Digests:
        """All galaxies and densities, sorted."""
        return np.setdiff1d(np.concatenate([self.galaxy, self.density]), np.zeros(1, np.uint64))

    @property
    def galaxies(self) -> int:
        return len(np.unique(self.galaxy))

    def among(self, known: Digests) -> NDArray[np.bool_]:
        """Of each item, whether its galaxy or its density is known."""
        return is_in(self.galaxy, known) | is_in(self.density, known)

    def first_time(self) -> NDArray[np.bool_]:
        """Of each item, whether no earlier one is the same pair."""
        _, first = np.unique(self.pair, return_index=True)
        seen = self.pair == 0
        seen[first] = True
        return seen


@dataclass(frozen=True)
class Seen:
    """What a network has met: digests of the galaxies that it was trained on and validated with, and of litter."""

    trained: Digests = field(default_factory=lambda: NONE)
    validated: Digests = field(default_factory=lambda: NONE)
    litter_trained: Digests = field(default_factory=lambda: NONE)
    litter_validated: Digests = field(default_factory=lambda: NONE)

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(*(np.union1d(getattr(self, f.name), getattr(other, f.name)) for f in fields(Seen)))

    @property
    def litter(self) -> Digests:
        return np.union1d(self.litter_trained, self.litter_validated)

    def to_tensors(self) -> dict[str, Tensor]:
        """As a checkpoint holds them: int64, because torch supports little else of uint64."""
        return {f.name: torch.from_numpy(getattr(self, f.name).view(np.int64).copy()) for f in fields(Seen)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Seen":
        """Inverse of `to_tensors`. KeyError or TypeError for missing or unknown names."""
        return cls(**{name: tensor.numpy().view(np.uint64) for name, tensor in tensors.items()})


def resolved(numbers: Numbers, found: NDArray[np.bool_], what: str, rule: str, hint: str = "") -> Numbers:
    """The items that remain when those `found` are refused, left out or allowed."""
    if rule == "refuse":
        raise DataError(what, f"{hint or 'write all folders with one --split-seed and equal fractions'}; {LEAVE_OUT}")
    if rule == "allow":
        warn(f"{what}: allowed by --overlap allow")
        return numbers
    log(f"{what}: {found.sum()} of {plural(len(numbers), 'pair')} left out")
    return numbers[~found]


def once(numbers: Numbers, marks: Marks, name: str, split: str) -> Numbers:
    """Each pair once; a note where some occur several times."""
    first = marks.of(numbers).first_time()
    if not first.all():
        log(f"{plural(int((~first).sum()), 'pair')} of the {split} split of {name} occur twice: each is used once")
    return numbers[first]


def few_galaxies(
    groups: list[str], fractions: Mapping[str, float], parts: Mapping[str, list[int]], seed: int, name: str
) -> str:
    """How many galaxies are in each split, and a seed with which none is empty."""
    counts = ", ".join(f"{len({groups[i] for i in parts[s]})} {s}" for s, share in fractions.items() if share > 0)
    other = filling_seed(groups, fractions)
    too_few = "there are too few galaxies; --validation-fraction 0 needs none to validate with"
    advice = too_few if other is None else f"with --split-seed {other} none is empty"
    return f"the galaxies of {name} with split seed {seed}: {counts}; {advice}"
