"""Plain tar: a writer of ustar headers without time or owner, and a strict walk through any uncompressed tar."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from shards.errors import ShardError

BLOCK = 512
#: tar writes in records of twenty blocks; two zero blocks end an archive.
RECORD = 20 * BLOCK


def header(name: str, size: int) -> bytes:
    """One block. The same name and size give the same bytes: no time, no owner."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o444, 0
    return entry.tobuf(tarfile.USTAR_FORMAT)


def padded(size: int) -> int:
    """Bytes that a member's content takes up in the archive."""
    return -(-size // BLOCK) * BLOCK


class Writer:
    """Appends members; keeps track of their offsets and of the checksum of the whole file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = xxhash.xxh3_128()
        self.size = 0

    def add(self, name: str, data: bytes) -> int:
        """Write one member and return the offset of its content."""
        self._put(header(name, len(data)))
        offset = self.size
        self._put(data)
        self._put(bytes(padded(len(data)) - len(data)))
        return offset

    def close(self) -> str:
        """Write the end and return the checksum of the file."""
        end = self.size + 2 * BLOCK
        self._put(bytes(-(-end // RECORD) * RECORD - self.size))
        return self._sum.hexdigest()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)
        self.size += len(data)


@dataclass(frozen=True)
class Member:
    name: str
    offset: int
    size: int


def walk(path: Path) -> Iterator[Member]:
    """The regular files in an uncompressed tar, in order; folders are skipped.

    ShardError names the tar on anything else: an empty or cut file, a damaged header, a link or device, no end mark.
    """
    size = path.stat().st_size
    if size == 0:
        raise ShardError(f"{path} is empty (0 bytes)", "it was not written completely: build or copy it again")
    try:
        with tarfile.open(path, "r:") as archive:
            end = 0
            for entry in archive:
                end = entry.offset_data + (0 if entry.isdir() else padded(entry.size))
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    what = f"{path}: member '{entry.name}' is not a regular file"
                    raise ShardError(what, "write it without this one")
                yield Member(entry.name, entry.offset_data, entry.size)
            _check_end(path, end, size)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, MemoryError, RecursionError) as error:
        raise ShardError(f"{path} is not a sound, uncompressed tar: {error}", "build or copy it again") from None


def _check_end(path: Path, end: int, size: int) -> None:
    """After the last member there must be two zero blocks, and nothing but zeros to the end of the file."""
    if size < end + 2 * BLOCK:
        raise ShardError(f"{path} was cut short at {size} bytes", "build or copy it again")
    with path.open("rb") as file:
        file.seek(end)
        while chunk := file.read(1 << 20):
            if chunk.count(0) != len(chunk):
                raise ShardError(f"{path} is damaged after its last member", "build or copy it again")


def file_checksum(path: Path) -> str:
    """xxh3 of a whole file, 128 bits, hexadecimal; the same that `Writer.close` returns."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
