"""One sample at a time, from its place in a shard into rows that the caller owns: one positional read per member.

Safe to call from many threads at once. Nothing but regular files beside the index is ever opened.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards import layout
from shards.errors import ShardError
from shards.index import Index, Members, ShardRecord, StoredArray
from shards.tar import BLOCK

#: Shards held open at once; a process may usually have 1024 files.
MOST_OPEN = 128


class OpenShard:
    """A tar, open for reading, and its record. Closed when nobody holds it any more."""

    def __init__(self, path: Path, record: ShardRecord) -> None:
        self.path, self.record = path, record
        self.handle = open_regular(path)
        size = os.fstat(self.handle).st_size
        if size != record.size:
            raise ShardError(f"{path} has {size} bytes; its index promises {record.size}", mend_shard(path))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


def mend_shard(path: Path) -> str:
    return (
        f"delete {path.name} and {layout.record_name(path.name)} and write the set with `--resume`, or copy them again"
    )


def open_regular(path: Path) -> int:
    """A file descriptor. ShardError unless there is a regular file (or a link to one) of that name."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        what = "is a link to nothing" if path.is_symlink() else "is missing"
        raise ShardError(f"shard {path} {what}", mend_shard(path)) from None
    except OSError as error:
        raise ShardError(f"shard {path} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ShardError(f"shard {path} is not a regular file")
    return handle


def read_exactly(handle: int, buffers: list[Any], offset: int) -> bool:
    """Fill the buffers from `offset` on; False when the file ends before."""
    wanted = sum(len(b) for b in buffers)
    done = os.preadv(handle, buffers, offset)
    while 0 < done < wanted:  # a signal or a network file system may cut a read short
        rest = memoryview(bytearray(wanted - done))
        more = os.preadv(handle, [rest], offset + done)
        _scatter(rest[:more], buffers, done)
        done = done + more if more else 0
    return done == wanted


def _scatter(data: memoryview, buffers: list[Any], start: int) -> None:
    """Copy `data` to where it belongs if the buffers were one, `start` bytes in."""
    for buffer in buffers:
        here = data[: max(len(buffer) - start, 0)]
        if start < len(buffer):
            memoryview(buffer)[start : start + len(here)] = here
            data = data[len(here) :]
        start = max(start - len(buffer), 0)


class Reader:
    """Reads chosen arrays of an index's samples by number.

    With `checksums`, a member's bytes are compared with its checksum when this reader meets it for the first time.
    """

    def __init__(self, index: Index, arrays: Iterable[str] | None = None, *, checksums: bool = True) -> None:
        self.index = index
        self.arrays = {name: self._stored(name) for name in (arrays if arrays is not None else index.stored)}
        self._starts = index.starts.tolist()
        self._shard_of = np.repeat(np.arange(len(index.shards), dtype=np.int32), np.diff(index.starts))
        self._unchecked = {name: bytearray(b"\1" * index.count()) if checksums else None for name in self.arrays}
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = threading.Lock()

    def _stored(self, name: str) -> StoredArray:
        if name not in self.index.stored:
            raise ShardError(f"{self.index.folder} has no array '{name}'", f"it has: {', '.join(self.index.stored)}")
        return self.index.stored[name]

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill `rows[name]` (C-contiguous, of the array's shape and dtype). ShardError names shard, key and remedy."""
        shard, row = self._find(number)
        for name, out in rows.items():
            self._read_array(shard, row, self.arrays[name], out, self._unchecked[name], number)

    def read_new(self, number: int) -> dict[str, NDArray]:
        """The sample's arrays in memory of their own."""
        rows = {name: np.empty(s.schema.shape, s.schema.dtype) for name, s in self.arrays.items()}
        self.read(number, rows)
        return rows

    def key(self, number: int) -> str:
        shard, row = self._find(number)
        return shard.record.keys[row]

    def info(self, number: int) -> dict[str, Any]:
        """The sample's json; empty if the set holds none."""
        shard, row = self._find(number)
        members = shard.record.members.get("json")
        if members is None:
            return {}
        data = bytearray(members.size[row])
        if not read_exactly(shard.handle, [data], members.offset[row]):
            raise fault(shard, row, "json", "the file ends before it")
        if layout.member_checksum(data) != members.checksum[row]:
            raise fault(shard, row, "json", "its checksum does not fit")
        return json.loads(data)

    def _find(self, number: int) -> tuple[OpenShard, int]:
        shard = int(self._shard_of[number])
        return self._shard(shard), number - self._starts[shard]

    def _shard(self, shard: int) -> OpenShard:
        with self._lock:
            found = self._open.get(shard)
            if found is not None:
                self._open.move_to_end(shard)
                return found
        opened = OpenShard(self.index.folder / self.index.shards[shard].name, self.index.record(shard))
        with self._lock:
            self._open[shard] = opened
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return opened

    def _read_array(
        self, shard: OpenShard, row: int, stored: StoredArray, out: NDArray, unchecked: bytearray | None, number: int
    ) -> None:
        members = shard.record.members[stored.schema.name]
        tail = stored.codec.tail(out)
        head = self._read_member(shard, row, stored.member, members, tail)
        if unchecked is not None and unchecked[number]:
            if layout.member_checksum(head, tail) != members.checksum[row]:
                raise fault(shard, row, stored.member, "its checksum does not fit")
            unchecked[number] = 0
        try:
            stored.codec.finish(head, out)
        except ValueError as error:
            raise fault(shard, row, stored.member, str(error)) from None

    def _read_member(self, shard: OpenShard, row: int, suffix: str, members: Members, tail: memoryview) -> memoryview:
        """What precedes the tail, which is read straight to its place. The tar header in front must bear the name."""
        before = members.size[row] - len(tail)
        if before < 0:
            raise fault(shard, row, suffix, f"it has {members.size[row]} bytes, too few for the array")
        block = bytearray(BLOCK + before)
        try:
            whole = read_exactly(shard.handle, [block, tail], members.offset[row] - BLOCK)
        except OSError as error:
            raise fault(shard, row, suffix, f"it cannot be read: {error.strerror}") from None
        if not whole:
            raise fault(shard, row, suffix, "the file ends before it")
        name = f"{shard.record.keys[row]}.{suffix}".encode()
        if len(name) < 100 and not block.startswith(name + b"\0"):
            raise fault(shard, row, suffix, "another member lies in its place")
        return memoryview(block)[BLOCK:]


def fault(shard: OpenShard, row: int, suffix: str, what: str) -> ShardError:
    key = shard.record.keys[row]
    return ShardError(f"{shard.path}: member '{key}.{suffix}' is damaged: {what}", mend_shard(shard.path))
