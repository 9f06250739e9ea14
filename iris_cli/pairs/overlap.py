"""Galaxies that are in two splits, or that a network was trained on: found by digests of their identity and content.

A galaxy is known by its identity, which its views, augmented copies and observations share, and its map by its content,
which finds copies under another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.train import TrainConfig
from iris_cli.console import log, plural, warn
from iris_cli.errors import DataError, IrisError
from shards.order import Numbers
from shards.splits import filling_seed, group_split, place

if TYPE_CHECKING:
    from iris_cli.pairs.datasets import Pairs

Digests = NDArray[np.uint64]
NONE: Digests = np.zeros(0, np.uint64)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
#: Shares of the pieces of litter.
LITTER_FRACTIONS = {TRAIN: 0.6, VALIDATION: 0.2, TEST: 0.2}
#: Options that get around a refusal.
LEAVE_OUT = "`--overlap leave-out` leaves these out, `--overlap allow` uses them"


def digests(texts: Iterable[str]) -> Digests:
    """64 bits of each text; 0 of an empty one, which stands for "not known"."""
    values = (xxhash.xxh3_64_intdigest(t.encode("utf-8", "surrogateescape")) if t else 0 for t in texts)
    return np.fromiter(values, np.uint64)


@dataclass(frozen=True)
class Marks:
    """Digests of each item: of its galaxy's identity, of its density, and of the whole pair; 0 where not known."""

    galaxy: Digests
    density: Digests
    pair: Digests

    def of(self, numbers: Numbers) -> Marks:
        return Marks(self.galaxy[numbers], self.density[numbers], self.pair[numbers])

    @classmethod
    def joined(cls, parts: Iterable[Marks]) -> Marks:
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
        return np.isin(self.galaxy, known) | np.isin(self.density, known)

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

    def __or__(self, other: Seen) -> Seen:
        return Seen(*(np.union1d(getattr(self, f.name), getattr(other, f.name)) for f in fields(Seen)))

    @property
    def litter(self) -> Digests:
        return np.union1d(self.litter_trained, self.litter_validated)

    def to_tensors(self) -> dict[str, Tensor]:
        """As a checkpoint holds them: int64, because torch supports little else of uint64."""
        return {f.name: torch.from_numpy(getattr(self, f.name).view(np.int64).copy()) for f in fields(Seen)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Seen:
        """Inverse of `to_tensors`. KeyError or TypeError for missing or unknown names."""
        return cls(**{name: tensor.numpy().view(np.uint64) for name, tensor in tensors.items()})


# --- splits -----------------------------------------------------------------------------------------------------------


def divide(pairs: Pairs, hyper: TrainConfig) -> tuple[Numbers, Numbers]:
    """The items to train on and those to validate with: the data sets' own splits, else a share of the galaxies.

    DataError when no item is left to train on, or when a galaxy is in two splits, unless `hyper.overlap` says what to
    do about it.
    """
    splits = pairs.splits(hyper.validation_data_fraction, hyper.split_seed)
    marks = pairs.marks
    if pairs.joined:
        splits = {name: once(numbers, marks, pairs.name, name) for name, numbers in splits.items()}
    held_out, before = NONE, ""
    for name in (TEST, VALIDATION, TRAIN):
        found = marks.of(splits[name]).among(held_out)
        if found.any():
            both = marks.of(splits[name][found]).galaxies, marks.of(splits[name]).galaxies
            what = f"{both[0]} of {plural(both[1], 'galaxy', 'galaxies')} in the {name} split of {pairs.name} "
            splits[name] = resolved(
                splits[name], found, f"{what}{'is' if both[0] == 1 else 'are'} also in {before}", hyper.overlap
            )
        held_out = np.union1d(held_out, marks.of(splits[name]).known)
        before = f"{before} or {name}" if before else f"its {name}"
    if len(splits[TRAIN]) == 0:
        raise DataError(f"{pairs.name} holds no sample to train on", "it needs a split 'train' with galaxies in it")
    return splits[TRAIN], splits[VALIDATION]


def resolved(
    numbers: Numbers, found: NDArray[np.bool_], what: str, rule: str, hint: str = "", error: type[IrisError] = DataError
) -> Numbers:
    """The items that remain when those `found` are refused, left out or allowed."""
    if rule == "refuse":
        raise error(what, f"{hint or 'write all folders with one --split-seed and equal fractions'}; {LEAVE_OUT}")
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


def share_of_galaxies(pairs: Pairs, share: float, seed: int) -> dict[str, Numbers]:
    """The items of a set without splits of its own (but perhaps a test split) to train on and to validate with."""
    groups, test = pairs.groups(), pairs.own_split(TEST)
    rest = np.setdiff1d(np.arange(len(pairs)), test)
    fractions = {TRAIN: 1.0 - share, VALIDATION: share}
    chosen = [groups[i] for i in rest]
    parts = group_split(chosen, fractions, seed)
    if share > 0 and len(rest) and not (parts[TRAIN] and parts[VALIDATION]):
        warn(few_galaxies(chosen, fractions, parts, seed, pairs.name))
    return {**{name: rest[np.array(parts[name], np.int64)] for name in fractions}, TEST: test}


def few_galaxies(
    groups: list[str], fractions: Mapping[str, float], parts: Mapping[str, list[int]], seed: int, name: str
) -> str:
    """How many galaxies are in each split, and a seed with which none is empty."""
    counts = ", ".join(f"{len({groups[i] for i in parts[s]})} {s}" for s, share in fractions.items() if share > 0)
    other = filling_seed(groups, fractions)
    advice = "there are too few galaxies" if other is None else f"with --split-seed {other} none is empty"
    return f"the galaxies of {name} with split seed {seed}: {counts}; {advice}"


def litter_parts(litter: Pairs, hyper: TrainConfig) -> dict[str, Numbers]:
    """The items of litter for training, validation and test: disjoint pieces, by their identity and `split_seed`.

    A part that would be empty takes one piece of the largest part. Views of fewer than three galaxies are pieces of
    their own. DataError for fewer than three images, unless overlaps are allowed.
    """
    everything = np.arange(len(litter))
    if hyper.overlap == "allow":
        return dict.fromkeys(LITTER_FRACTIONS, everything)
    pieces = litter.pieces()
    if len(set(pieces)) < len(LITTER_FRACTIONS):
        what = (
            f"{litter.name} holds {plural(len(litter), 'image')} of litter; training, validation and test need one each"
        )
        raise DataError(what, "write more, or `--overlap allow` uses the same in all")
    parts = group_split(pieces, LITTER_FRACTIONS, hyper.split_seed)
    for empty in [name for name, items in parts.items() if not items]:
        richest = max(parts, key=lambda name: len({pieces[i] for i in parts[name]}))
        moved = min({pieces[i] for i in parts[richest]}, key=lambda piece: place(piece, hyper.split_seed))
        parts[empty] = [i for i in parts[richest] if pieces[i] == moved]
        parts[richest] = [i for i in parts[richest] if pieces[i] != moved]
    return {name: np.array(items, np.int64) for name, items in parts.items()}
