"""Sample -> encoded members with checksums and statistics, ready to append to a tar: what worker processes compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards import layout
from shards.errors import ShardError
from shards.index import ShardRecord, StoredArray
from shards.reader import OpenShard, read_member
from shards.statistics import Statistics, losses, measure

#: Entries of a sample's JSON that this library writes.
RESERVED = ("key", "group", "checksums")


@dataclass(frozen=True)
class Sample:
    """Named arrays with a key. A split never separates samples of one `group`; `info` becomes <key>.json."""

    key: str
    group: str
    arrays: Mapping[str, NDArray]
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedSample:
    """Members by kind (an array's name, or "json"): suffix of the name, content, checksum."""

    key: str
    group: str
    members: dict[str, tuple[str, bytes, str]]
    statistics: dict[str, Statistics]


def encode_sample(sample: Sample, stored: Sequence[StoredArray]) -> EncodedSample:
    """ShardError when key, arrays or info do not fit the schema."""
    layout.check_key(sample.key)
    if not isinstance(sample.group, str):
        raise ShardError(f"sample '{sample.key}': the group {sample.group!r} is not a string")
    if set(sample.arrays) != {s.schema.name for s in stored}:
        names = ", ".join(s.schema.name for s in stored)
        raise ShardError(f"sample '{sample.key}' has the arrays {', '.join(sample.arrays)}; the set has {names}")
    members, statistics = {}, {}
    for s in stored:
        name = s.schema.name
        data, statistics[name] = _encode(sample.arrays[name], s, f"sample '{sample.key}': {name}")
        members[name] = (s.member, data, layout.member_checksum(data))
    info = _info(sample, {suffix: checksum for suffix, _, checksum in members.values()})
    members["json"] = ("json", info, layout.member_checksum(info))
    return EncodedSample(sample.key, sample.group, members, statistics)


def _encode(array: NDArray, stored: StoredArray, what: str) -> tuple[bytes, Statistics]:
    """A member's content, and the statistics of the array that a reader decodes from it."""
    schema = stored.schema
    if array.shape != schema.shape or array.dtype != np.dtype(schema.dtype):
        raise ShardError(f"{what} is {array.dtype} {array.shape}; the set holds {schema.dtype} {schema.shape}")
    array = np.ascontiguousarray(array)
    try:
        data = stored.codec.encode(array)
    except ValueError as error:
        raise ShardError(f"{what}: {error}", "use the encoding float32") from None
    if stored.codec.lossless:
        return data, measure(array)
    decoded = decode(data, stored)
    return data, measure(decoded, losses(array, decoded))


def decode(data: bytes, stored: StoredArray) -> NDArray:
    """A member's array. ValueError when its bytes do not give one."""
    try:
        out = np.empty(stored.schema.shape, stored.schema.dtype)
    except MemoryError:
        raise ValueError(f"claims the shape {stored.schema.shape}, which does not fit into memory") from None
    tail = stored.codec.tail(out)
    cut = len(data) - len(tail)
    if cut < 0:
        raise ValueError(f"has {len(data)} bytes, too few for the array")
    tail[:] = data[cut:]
    stored.codec.finish(memoryview(data)[:cut], out)
    return out


def _info(sample: Sample, checksums: Mapping[str, str]) -> bytes:
    """The sample's JSON. It repeats the checksums, so that a tar without its record can still be verified."""
    if taken := set(sample.info) & set(RESERVED):
        raise ShardError(f"sample '{sample.key}': info uses the reserved names {', '.join(sorted(taken))}")
    body = {**sample.info, "key": sample.key, "group": sample.group, "checksums": dict(checksums)}
    try:
        return (layout.canonical(body) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ShardError(f"sample '{sample.key}': info is not plain JSON: {error}") from None


def finished_samples(path: Path, record: ShardRecord | None, items: Sequence[Any]) -> dict[int, EncodedSample]:
    """The samples of a finished shard by the position of their item, as first encoded; empty if there is no shard."""
    if record is None or not record.count:
        return {}
    failed = {layout.canonical(failure.item) for failure in record.failed}
    positions = [i for i, item in enumerate(items) if layout.canonical(item) not in failed]
    shard = OpenShard(path, record)
    return {position: _read_encoded(shard, row) for row, position in enumerate(positions)}


def _read_encoded(shard: OpenShard, row: int) -> EncodedSample:
    record, hint = shard.record, "delete its json and resume with `--resume`"
    members, statistics = {}, {}
    for kind in (*record.arrays, "json"):
        try:
            data = read_member(shard.handle, record.members[kind], row)
        except ValueError as error:
            raise ShardError(f"{shard.path} is damaged: {error}", hint) from None
        stored = record.arrays.get(kind)
        members[kind] = (stored.member if stored else "json", data, record.members[kind].checksum[row])
        if stored:
            worst = record.statistics[kind]
            errors = worst.worst_relative_error, worst.worst_error_of_peak
            statistics[kind] = measure(decode(data, stored), errors)
    return EncodedSample(record.keys[row], record.groups[row], members, statistics)
