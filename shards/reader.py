"""One sample at a time, read from its place in a shard into rows that the caller owns.

Safe to call from many threads at once. Only regular files beside the index are opened.
"""

import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards import layout
from shards.codec import ArraySchema
from shards.errors import ShardError
from shards.index import Index, Members, ShardRecord, StoredArray
from shards.remote import fetch
from shards.tar import BLOCK

#: Shards held open at once; most systems allow a process 1024 files.
MOST_OPEN = 128
#: Members with at most so many bytes between them are read together: another read would take longer.
READ_GAP = 1 << 16
#: A tar header holds names up to this length, and only a part of longer ones.
LONGEST_PLAIN_NAME = 100


class OpenShard:
    """A tar, open for reading, and its record. Closed when it is no longer referenced."""

    def __init__(self, path: Path, record: ShardRecord) -> None:
        self.path, self.record = path, record
        self.handle = open_regular(path)
        size = os.fstat(self.handle).st_size
        if size != record.size:
            raise ShardError(f"{path} has {size} bytes instead of {record.size}", rebuild_hint(path))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


def rebuild_hint(path: Path) -> str:
    record = layout.record_name(path.name)
    return f"delete {path.name} and {record} and write the set with `--resume`, or copy them again"


def open_regular(path: Path) -> int:
    """A file descriptor. ShardError unless there is a regular file (or a link to one) of that name."""
    fetch(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        what = "is a link to nothing" if path.is_symlink() else "is missing"
        raise ShardError(f"shard {path} {what}", rebuild_hint(path)) from None
    except OSError as error:
        raise ShardError(f"shard {path} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ShardError(f"shard {path} is not a regular file")
    return handle


def read_exactly(handle: int, buffers: list[Any], offset: int) -> bool:
    """Fill the buffers from `offset` on; False when the file ends before."""
    rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while rest:
        done = os.preadv(handle, rest, offset)
        if done == 0:
            return False
        offset += done
        while rest and done >= len(rest[0]):
            done -= len(rest.pop(0))
        if rest:  # a signal or a network file system may cut a read short
            rest[0] = rest[0][done:]
    return True


def read_member(handle: int, members: Members, row: int) -> bytes:
    """The content of one member. ValueError when it does not match its checksum."""
    data = bytearray(members.size[row])
    if not read_exactly(handle, [data], members.offset[row]):
        raise ValueError("the file ends before it")
    if layout.member_checksum(data) != members.checksum[row]:
        raise ValueError("its checksum does not match")
    return bytes(data)


class Reader:
    """Reads chosen arrays of an index's samples by number.

    With `checksums`, a member's bytes are compared with its checksum the first time that this reader reads it.
    """

    def __init__(self, index: Index, arrays: Iterable[str] | None = None, *, checksums: bool = True) -> None:
        self.index = index
        self.stored: dict[str, StoredArray] = {}
        for name in arrays if arrays is not None else index.stored:
            if name not in index.stored:
                raise ShardError(f"{index.folder} has no array '{name}'", f"it has: {', '.join(index.stored)}")
            self.stored[name] = index.stored[name]
        self._starts = index.starts.tolist()
        self._shard_of = np.repeat(np.arange(len(index.shards), dtype=np.int32), np.diff(index.starts))
        self._unchecked = {name: bytearray(b"\1" * index.count()) if checksums else None for name in self.stored}
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def arrays(self) -> dict[str, ArraySchema]:
        return {name: stored.schema for name, stored in self.stored.items()}

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill `rows[name]` (C-contiguous, of the array's shape and dtype). ShardError names shard and key."""
        shard, row = self._find(number)
        pieces = [_piece(shard, row, self.stored[name], out) for name, out in rows.items()]
        pieces.sort(key=lambda piece: piece.start)
        for run in _runs(pieces):
            _fetch(shard, row, run)
        for piece in pieces:
            self._check(shard, row, piece, number)

    def read_new(self, number: int) -> dict[str, NDArray]:
        """The sample's arrays in new memory."""
        rows = {name: np.empty(s.schema.shape, s.schema.dtype) for name, s in self.stored.items()}
        self.read(number, rows)
        return rows

    def key(self, number: int) -> str:
        shard, row = self._find(number)
        return shard.record.keys[row]

    def split(self, number: int) -> str:
        return self.index.shards[int(self._shard_of[number])].split

    def info(self, number: int) -> dict[str, Any]:
        """The sample's JSON; empty if the set holds none."""
        shard, row = self._find(number)
        members = shard.record.members.get("json")
        if members is None:
            return {}
        try:
            return json.loads(read_member(shard.handle, members, row))
        except ValueError as error:
            raise fault(shard, row, "json", str(error)) from None

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

    def _check(self, shard: OpenShard, row: int, piece: "_Piece", number: int) -> None:
        """The tar header before the member must have its name, the checksum must match, and the bytes must decode."""
        member, name = piece.stored.member, f"{shard.record.keys[row]}.{piece.stored.member}".encode()
        if len(name) < LONGEST_PLAIN_NAME and not piece.block.startswith(name + b"\0"):
            raise fault(shard, row, member, "another member is in its place")
        unchecked, head = self._unchecked[piece.stored.schema.name], memoryview(piece.block)[BLOCK:]
        if unchecked is not None and unchecked[number]:
            if layout.member_checksum(head, piece.tail) != piece.checksum:
                raise fault(shard, row, member, "its checksum does not match")
            unchecked[number] = 0
        try:
            piece.stored.codec.finish(head, piece.out)
        except ValueError as error:
            raise fault(shard, row, member, str(error)) from None


@dataclass(frozen=True)
class _Piece:
    """A member and the tar header before it: `block` (the header and the member's head), then `tail` (the row)."""

    stored: StoredArray
    out: NDArray
    start: int
    block: bytearray
    tail: memoryview
    checksum: str

    @property
    def stop(self) -> int:
        return self.start + len(self.block) + len(self.tail)


def _piece(shard: OpenShard, row: int, stored: StoredArray, out: NDArray) -> _Piece:
    members = shard.record.members[stored.schema.name]
    tail, size = stored.codec.tail(out), members.size[row]
    if size < len(tail):
        raise fault(shard, row, stored.member, f"it has {size} bytes, too few for the array")
    block = bytearray(BLOCK + size - len(tail))
    return _Piece(stored, out, members.offset[row] - BLOCK, block, tail, members.checksum[row])


def _runs(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Members close to one another, to be read together: on a slow file system the number of reads matters."""
    run: list[_Piece] = []
    for piece in pieces:
        if run and not 0 <= piece.start - run[-1].stop <= READ_GAP:
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _fetch(shard: OpenShard, row: int, run: list[_Piece]) -> None:
    buffers: list[Any] = []
    at = run[0].start
    for piece in run:
        buffers += [bytearray(piece.start - at), piece.block, piece.tail]
        at = piece.stop
    try:
        whole = read_exactly(shard.handle, buffers, run[0].start)
    except OSError as error:
        raise fault(shard, row, run[0].stored.member, f"it cannot be read: {error.strerror}") from None
    if not whole:
        raise fault(shard, row, run[-1].stored.member, "the file ends before it")


def fault(shard: OpenShard, row: int, suffix: str, what: str) -> ShardError:
    key = shard.record.keys[row]
    return ShardError(f"{shard.path}: member '{key}.{suffix}' is damaged: {what}", rebuild_hint(shard.path))
