"""What a set will be, said before work starts: which item goes into which shard, and what all shards are made of."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from shards import layout
from shards.codec import ArraySchema, codec_named
from shards.errors import ShardError
from shards.index import StoredArray

Item = Any


@dataclass(frozen=True)
class ShardJob:
    """One shard to be: its name and the items that it will hold."""

    name: str
    split: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class SetPlan:
    """Which items (any JSON values) go into which split, in which order, and how many into a shard."""

    splits: Mapping[str, Sequence[Item]]
    samples_per_shard: int = layout.DEFAULT_SAMPLES_PER_SHARD

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ShardError(f"samples per shard = {self.samples_per_shard}; a shard holds at least one")
        seen: set[str] = set()
        for item in (item for items in self.splits.values() for item in items):
            text = layout.canonical(item)
            if text in seen:
                raise ShardError(f"the input {text} is listed twice", "list each input once")
            seen.add(text)

    @cached_property
    def jobs(self) -> tuple[ShardJob, ...]:
        size = self.samples_per_shard
        return tuple(
            ShardJob(layout.shard_name(split, start // size), split, tuple(items[start : start + size]))
            for split, items in sorted(self.splits.items(), key=lambda entry: layout.split_order(entry[0]))
            for start in range(0, len(items), size)
        )


@dataclass(frozen=True)
class Recipe:
    """What all shards of a set have in common; two shards of one recipe and the same items have the same bytes."""

    stored: dict[str, StoredArray]
    fingerprint: Any
    software: dict[str, str]

    @classmethod
    def of(cls, schema: Sequence[ArraySchema], encoding: str, fingerprint: Any, software: Mapping[str, str]) -> Recipe:
        suffix = codec_named(encoding).suffix
        stored = {a.name: StoredArray(a, encoding, f"{a.name}.{suffix}") for a in schema}
        return cls(stored, fingerprint, {"python": platform.python_version(), "numpy": np.__version__, **software})

    def of_job(self, job: ShardJob) -> str:
        arrays = [stored.to_json() for stored in self.stored.values()]
        made_of = [layout.FORMAT_VERSION, self.fingerprint, arrays, job.name, job.split, list(job.items)]
        return hashlib.sha256(layout.canonical(made_of).encode()).hexdigest()
