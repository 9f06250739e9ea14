"""The plan of a set, fixed before work starts: which item belongs to which shard, and what all shards are made of."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shards import layout
from shards.codec import ArraySchema, codec_named
from shards.errors import ShardError
from shards.index import StoredArray, check_file_name
from shards.typed import typed

Item = Any


@dataclass(frozen=True)
class ShardJob:
    """One shard to write: its name and the items that it will hold."""

    name: str
    split: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class SetPlan:
    """The items (any JSON values) of each split, in order, and how many of them a shard holds."""

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
            ShardJob(f"{layout.check_split(split)}-{start // size:06d}.tar", split, tuple(items[start : start + size]))
            for split, items in sorted(self.splits.items(), key=lambda entry: layout.split_order(entry[0]))
            for start in range(0, len(items), size)
        )


@dataclass(frozen=True)
class SetSpec:
    """What all shards of a set have in common; shards of equal spec and equal items have the same bytes."""

    stored: dict[str, StoredArray]
    made_from: Any
    software: dict[str, str]

    @classmethod
    def of(cls, schema: Sequence[ArraySchema], encoding: str, made_from: Any, software: Mapping[str, str]) -> "SetSpec":
        """`encoding` is for arrays of float32; others keep their type, unless it is one for all types."""
        stored = {}
        for array in schema:
            chosen = encoding if array.dtype == "float32" or encoding == "shuffle-zlib" else array.dtype
            stored[array.name] = StoredArray(array, chosen, f"{array.name}.{codec_named(chosen).suffix}")
        return cls(stored, made_from, {"python": platform.python_version(), "numpy": np.__version__, **software})

    def digest(self, job: ShardJob) -> str:
        """SHA-256 of everything that a shard is made from."""
        arrays = [stored.to_json() for stored in self.stored.values()]
        content = [layout.FORMAT_VERSION, self.made_from, arrays, job.name, job.split, list(job.items)]
        return hashlib.sha256(layout.canonical(content).encode()).hexdigest()


@dataclass(frozen=True)
class PlannedShard:
    """A shard in plan.json: its name, its number of items, and the digest of what it is made from."""

    name: str
    items: int
    build_digest: str | None


@dataclass(frozen=True)
class PlanRecord:
    """The content of plan.json, from which any process can finish the set."""

    shards: tuple[PlannedShard, ...]
    stored: dict[str, StoredArray]
    made_from: Any
    attributes: dict[str, Any]

    def to_bytes(self) -> bytes:
        body = {
            "shards": [asdict(shard) for shard in self.shards],
            "arrays": [stored.to_json() for stored in self.stored.values()],
            "made_from": self.made_from,
            "attributes": self.attributes,
        }
        return layout.checksummed_json("plan", body)

    @classmethod
    def read(cls, folder: Path) -> "PlanRecord":
        """ShardError when plan.json is absent, damaged or something else."""
        path, hint = folder / layout.PLAN, "is that a shard folder? Write it again with `--resume` to renew its plan"
        body = layout.read_checksummed_json(path, "plan", hint)
        try:
            shards = typed(tuple[PlannedShard, ...], body["shards"])
            for shard in shards:
                check_file_name(shard.name, path)
            attributes = typed(dict[str, Any], body["attributes"])
            return cls(shards, StoredArray.by_name(body["arrays"]), body["made_from"], attributes)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShardError(f"{path} is not the plan of a set: {error!r}", hint) from None

    def unfinished(self, folder: Path) -> list[str]:
        """The shards that have no record yet."""
        found = {path.name for path in folder.iterdir()}
        return [shard.name for shard in self.shards if layout.record_name(shard.name) not in found]
