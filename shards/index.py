"""The content of a shard folder: the finished set (`Index`), and a shard (`ShardRecord`).

Opening a set reads index.json alone, whatever its size. The record of a shard, with the offset of each member, is read
together with the first of its samples.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from shards import layout
from shards.codec import ArraySchema, Codec, codec_named
from shards.errors import ShardError
from shards.remote import fetch
from shards.statistics import Statistics
from shards.tar import BLOCK
from shards.typed import typed

#: Bytes of a file name.
LONGEST_NAME = 255
#: The hint of errors about an index.
REBUILD_INDEX = "rebuild it with `iris shards verify --repair FOLDER`, or copy the folder again"


@dataclass(frozen=True)
class StoredArray:
    """An array as stored in the shards: its encoding, and the part of its members' names after the key."""

    schema: ArraySchema
    encoding: str
    member: str

    @cached_property
    def codec(self) -> Codec:
        return codec_named(self.encoding)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.schema), "encoding": self.encoding, "member": self.member}

    @staticmethod
    def by_name(bodies: Sequence[Mapping[str, Any]]) -> "dict[str, StoredArray]":
        """The arrays of a list in JSON."""
        made = {}
        for body in typed(list[dict[str, Any]], bodies):
            schema = {name: body[name] for name in ("name", "shape", "dtype", "attributes")}
            stored = StoredArray(typed(ArraySchema, schema), typed(str, body["encoding"]), typed(str, body["member"]))
            made[stored.schema.name] = stored
        return made


@dataclass(frozen=True)
class Members:
    """The places of the members of one kind in a shard: a row per sample."""

    offset: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    checksum: list[str] = field(default_factory=list)

    def add(self, offset: int, data: bytes | bytearray, checksum: str) -> None:
        self.offset.append(offset)
        self.size.append(len(data))
        self.checksum.append(checksum)


@dataclass(frozen=True)
class Failure:
    """An input that could not be made into a sample of its shard."""

    shard: str
    item: Any
    reason: str

    def to_line(self) -> str:
        return layout.canonical(asdict(self)) + "\n"


@dataclass(frozen=True)
class ShardRecord:
    """The JSON file beside a tar, with the place and checksum of every member; it exists when the tar is complete.

    `build_digest` covers all that the shard was made from; None for tars from elsewhere.
    """

    name: str
    split: str
    size: int
    checksum: str
    keys: list[str]
    groups: list[str]
    arrays: dict[str, StoredArray]
    members: dict[str, Members]
    statistics: dict[str, Statistics]
    failed: list[Failure] = field(default_factory=list)
    build_digest: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.keys)

    def to_bytes(self) -> bytes:
        body = {
            **vars(self),
            "count": self.count,
            "arrays": [stored.to_json() for stored in self.arrays.values()],
            "members": {name: vars(members) for name, members in self.members.items()},
            "statistics": {name: s.to_json() for name, s in self.statistics.items()},
            "failed": [{"item": f.item, "reason": f.reason} for f in self.failed],
        }
        return layout.checksummed_json("shard", body)

    @classmethod
    def read(cls, path: Path) -> "ShardRecord":
        """ShardError when the record is absent, damaged or not the record of a shard."""
        hint = f"build {path.stem} again (`--resume`), or run `iris shards verify --repair {path.parent}`"
        body = layout.read_checksummed_json(path, "shard", hint)
        plain = ("name", "split", "size", "checksum", "keys", "groups", "build_digest", "attributes", "software")
        hints = get_type_hints(cls)
        try:
            record = cls(
                **{name: typed(hints[name], body[name]) for name in plain},
                failed=[typed(Failure, {"shard": body["name"], **f}) for f in body["failed"]],
                arrays=StoredArray.by_name(body["arrays"]),
                members=typed(dict[str, Members], body["members"]),
                statistics={name: Statistics.from_json(s) for name, s in body["statistics"].items()},
            )
            check_file_name(record.name, path)
            record.check()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShardError(f"{path} is not the record of a shard: {error!r}", hint) from None
        return record

    def check(self) -> None:
        """ValueError unless all columns have a row per sample, and all members are within the file."""
        columns = [column for m in self.members.values() for column in (m.offset, m.size, m.checksum)]
        if any(len(column) != self.count for column in (self.groups, *columns)):
            raise ValueError(f"its columns do not have {self.count} rows each")
        if missing := set(self.arrays) - (self.members.keys() & self.statistics.keys()):
            raise ValueError(f"no members or no statistics of {', '.join(sorted(missing))}")
        for members in self.members.values():
            for offset, size in zip(members.offset, members.size, strict=True):
                if not BLOCK <= offset <= self.size - size:
                    raise ValueError(f"a member of {size} bytes at {offset} is not within {self.size} bytes")


@dataclass(frozen=True)
class ShardEntry:
    """A shard in the index; `record` is the checksum of its record's file."""

    name: str
    split: str
    count: int
    size: int
    checksum: str
    record: str

    @classmethod
    def of(cls, record: ShardRecord) -> "ShardEntry":
        digest = layout.checksum(record.to_bytes())
        return cls(record.name, record.split, record.count, record.size, record.checksum, digest)


@dataclass(frozen=True)
class Index:
    """A finished set of shards. Samples are numbered through the shards in the order of `shards`, from 0.

    `made_from` is what the samples depend on besides their inputs, as the program that wrote the set passed it.
    """

    folder: Path
    shards: tuple[ShardEntry, ...]
    stored: dict[str, StoredArray]
    statistics: dict[str, dict[str, Statistics]]
    attributes: dict[str, Any]
    failed: int
    made_from: Any
    software: list[dict[str, str]]

    @classmethod
    def open(cls, folder: Path | str) -> "Index":
        """Read index.json. ShardError names what is missing, damaged or newer, and how to fix it."""
        folder = Path(folder).absolute()
        if not folder.is_dir():
            what = f"{folder} is not a folder" if folder.exists() else f"shard folder {folder} does not exist"
            raise ShardError(what)
        path = folder / layout.INDEX
        if not path.exists():
            raise ShardError(f"{folder} has no {layout.INDEX}", _why_unfinished(folder))
        body = layout.read_checksummed_json(path, "index", REBUILD_INDEX)
        try:
            shards = typed(tuple[ShardEntry, ...], body["shards"])
            for entry in shards:
                check_file_name(entry.name, path)
                layout.check_split(entry.split)
            statistics = {
                split: {name: Statistics.from_json(s) for name, s in of_arrays.items()}
                for split, of_arrays in body["statistics"].items()
            }
            hints, names = get_type_hints(cls), ("attributes", "failed", "made_from", "software")
            plain = {name: typed(hints[name], body[name]) for name in names}
            made = cls(folder, shards, StoredArray.by_name(body["arrays"]), statistics, **plain)
            if missing := [s for s in made.splits if set(made.stored) - set(statistics.get(s, {}))]:
                raise ValueError(f"no statistics of {', '.join(missing)}")
            return made
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShardError(f"{path} is not the index of a set: {error!r}", REBUILD_INDEX) from None

    def to_bytes(self) -> bytes:
        body = {
            "splits": self.splits,
            "shards": [asdict(entry) for entry in self.shards],
            "arrays": [stored.to_json() for stored in self.stored.values()],
            "statistics": {
                split: {name: s.to_json() for name, s in arrays.items()} for split, arrays in self.statistics.items()
            },
            "attributes": self.attributes,
            "failed": self.failed,
            "made_from": self.made_from,
            "software": self.software,
            "fingerprint": self.fingerprint,
        }
        return layout.checksummed_json("index", body)

    @property
    def arrays(self) -> dict[str, ArraySchema]:
        return {name: stored.schema for name, stored in self.stored.items()}

    @property
    def splits(self) -> dict[str, int]:
        """Split -> number of samples, in the order of the shards."""
        counts: dict[str, int] = {}
        for entry in self.shards:
            counts[entry.split] = counts.get(entry.split, 0) + entry.count
        return counts

    def count(self, split: str | None = None) -> int:
        """Samples of a split, or of all. ShardError when there is no such split."""
        return sum(self.sizes(split))

    def sizes(self, split: str | None = None) -> list[int]:
        """Samples of each shard of a split."""
        return [self.shards[i].count for i in self.shard_numbers(split)]

    def shard_numbers(self, split: str | None = None) -> list[int]:
        if split is not None and split not in self.splits:
            raise ShardError(f"{self.folder} has no split '{split}'", f"it has: {', '.join(self.splits) or 'none'}")
        return [i for i, entry in enumerate(self.shards) if split in (None, entry.split)]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(shards + 1,) the number of each shard's first sample, and the total."""
        return np.cumsum([0, *(entry.count for entry in self.shards)], dtype=np.int64)

    def numbers(self, split: str | None = None) -> NDArray[np.int64]:
        """The sample numbers of a split, ascending."""
        ranges = [np.arange(self.starts[i], self.starts[i + 1]) for i in self.shard_numbers(split)]
        return np.concatenate([np.zeros(0, np.int64), *ranges])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any byte of any shard and with nothing else: folders may be copied or renamed."""
        content = [[e.name, e.split, e.count, e.size, e.checksum] for e in self.shards]
        return hashlib.sha256(layout.canonical(content).encode()).hexdigest()

    def record(self, shard: int) -> ShardRecord:
        """The record of a shard, compared with this index."""
        entry = self.shards[shard]
        path = self.folder / layout.record_name(entry.name)
        fetch(path)
        record = ShardRecord.read(path)
        if ShardEntry.of(record) != entry:
            what = f"{path} disagrees with {layout.INDEX}: it is of another set, or one of them is old"
            raise ShardError(what, REBUILD_INDEX)
        if record.arrays != self.stored:
            raise ShardError(f"{path} holds other arrays or encodings than {layout.INDEX}", REBUILD_INDEX)
        return record

    def keys(self, split: str | None = None) -> list[str]:
        """The key of each sample of a split, from all records; a stream does not need them."""
        return [key for shard in self.shard_numbers(split) for key in self.record(shard).keys]


def check_file_name(name: str, path: Path) -> None:
    """ShardError unless the name is that of a file beside `path`: not of another folder, a URL or a pipe.

    UnicodeEncodeError, a ValueError, when no file can have it.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > LONGEST_NAME:
        raise ShardError(f"{path} names the shard {name[:40]!r}, which is not a file beside it")


def _why_unfinished(folder: Path) -> str:
    if (folder / layout.PLAN).exists():
        return f"it is still being written: finish with `--resume`, or with `iris shards merge {folder}`"
    if any(folder.glob("*.tar")):
        return f"make one with `iris shards index {folder}`"
    return "it is not a shard folder"
