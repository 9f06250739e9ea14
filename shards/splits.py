"""Which split a group belongs to: a pure function of the group's name, the seed and the fractions.

A set that grows therefore never moves a group, and two sets that are written with the same seed agree.
"""

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache

from shards.errors import ShardError

#: 2^64 divided by the golden ratio. Multiples of it, modulo 2^64, are spread evenly (Knuth 1973, section 6.4).
_STEP = 0x9E3779B97F4A7C15
_NUMBERED = re.compile(r"(.*?)(\d*)", re.DOTALL)
#: Seeds that `filling_seed` tries.
_TRIES = 1000


def place(group: Hashable, seed: int) -> float:
    """The place of a group in [0, 1).

    Groups whose names differ in the number at their end only (`mock-0-000007`) are at steps of the golden ratio, so
    that the shares of a few of them are closer to the fractions than those of random places.
    """
    family, number = _NUMBERED.fullmatch(str(group)).groups()  # type: ignore[union-attr]  # it matches any text
    return ((_start(family, seed) + int(number[-18:] or 0) * _STEP) % (1 << 64) >> 11) / (1 << 53)


@lru_cache(maxsize=1 << 16)
def _start(family: str, seed: int) -> int:
    text = f"place {seed}:{family}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def group_split(groups: Sequence[Hashable], fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Indices of `groups` for each split, so that equal groups are never separated.

    The last split has the places from 0 on, the ones before it those below 1, and the first all between: a larger
    fraction moves groups out of the first split only. A split of few groups may be empty. ShardError unless the
    fractions are not negative and sum to 1.
    """
    if not (all(f >= 0 for f in fractions.values()) and abs(sum(fractions.values()) - 1.0) <= 1e-6):
        raise ShardError(f"split fractions {dict(fractions)} are not shares of 1", "give fractions that sum to 1")
    first, *others = fractions
    intervals, top = {}, 1.0
    for name in others[:-1]:
        intervals[name], top = (top - fractions[name], top), top - fractions[name]
    if others:
        intervals[others[-1]] = (0.0, fractions[others[-1]])
    places = {group: place(group, seed) for group in set(groups)}

    def split_of(group: Hashable) -> str:
        return next((name for name, (low, high) in intervals.items() if low <= places[group] < high), first)

    split: dict[str, list[int]] = {name: [] for name in fractions}
    for i, group in enumerate(groups):
        split[split_of(group)].append(i)
    return split


def empty_splits(split: Mapping[str, Sequence[int]], fractions: Mapping[str, float]) -> list[str]:
    """The splits that should have a share of the groups and have none."""
    return [name for name, fraction in fractions.items() if fraction > 0 and not split[name]]


def filling_seed(groups: Sequence[Hashable], fractions: Mapping[str, float], first: int = 0) -> int | None:
    """The first seed from `first` on with which no split is empty; None when there are too few groups."""
    distinct = sorted(set(groups), key=str)
    if len(distinct) < sum(fraction > 0 for fraction in fractions.values()):
        return None
    tried = ((seed, group_split(distinct, fractions, seed)) for seed in range(first, first + _TRIES))
    return next((seed for seed, split in tried if not empty_splits(split, fractions)), None)
