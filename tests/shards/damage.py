"""Damage to a shard folder: bits flipped, files cut, swapped, lost, emptied."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards import layout
from shards.index import Index
from tests.shards.makers import records_of


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any], name: str = "index.json") -> None:
    """Change a JSON file and update its checksum."""
    body = json.loads((folder / name).read_text())
    del body["self_checksum"]
    change(body)
    (folder / name).write_bytes(layout.checksummed_json(body["kind"], body))


def payload_of(folder: Path, number: int, array: str = "density") -> tuple[Path, int]:
    """Tar and offset of a byte in the middle of one of a sample's arrays."""
    record, row = [(record, row) for record in records_of(folder) for row in range(record.count)][number]
    return folder / record.name, record.members[array].offset[row] + 200


def swap(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def _file(dice: random.Random, folder: Path, pattern: str = "*") -> Path:
    return dice.choice(sorted(folder.glob(pattern)))


def _flip_in(dice: random.Random, path: Path, low: int = 0, high: int | None = None) -> None:
    flip(path, dice.randrange(low, path.stat().st_size if high is None else high), dice.randrange(8))


def _member(dice: random.Random, folder: Path) -> tuple[Path, int, int]:
    """A tar, and offset and size of one of its members."""
    index = Index.open(folder)
    record = index.record(dice.randrange(len(index.shards)))
    members = record.members[dice.choice(sorted(record.members))]
    row = dice.randrange(record.count)
    return folder / record.name, members.offset[row], members.size[row]


def in_header(dice: random.Random, folder: Path) -> None:
    path, offset, _ = _member(dice, folder)
    _flip_in(dice, path, offset - 512, offset)


def in_payload(dice: random.Random, folder: Path) -> None:
    path, offset, size = _member(dice, folder)
    _flip_in(dice, path, offset, offset + size)


def zeroed(dice: random.Random, folder: Path) -> None:
    """A hole, as a lost block of a file system leaves it."""
    path, offset, size = _member(dice, folder)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * size)


def lengthened(dice: random.Random, folder: Path) -> None:
    with _file(dice, folder).open("ab") as file:
        file.write(b"\0" * dice.randrange(1, 20_000))


def cut(dice: random.Random, folder: Path) -> None:
    path = _file(dice, folder)
    os.truncate(path, dice.randrange(path.stat().st_size))


def swapped(dice: random.Random, folder: Path) -> None:
    swap(*dice.sample(sorted(folder.glob(dice.choice(["*.tar", "*-*.json"]))), 2))


def both_swapped(dice: random.Random, folder: Path) -> None:
    """Two shards with their records: each pair is sound by itself."""
    a, b = dice.sample(sorted(folder.glob("*.tar")), 2)
    swap(a, b)
    swap(a.with_suffix(".json"), b.with_suffix(".json"))


DAMAGES: dict[str, Callable[[random.Random, Path], object]] = {
    **{damage.__name__: damage for damage in (in_header, in_payload, zeroed, lengthened, cut, swapped, both_swapped)},
    "anywhere in a tar": lambda dice, folder: _flip_in(dice, _file(dice, folder, "*.tar")),
    "in the index": lambda dice, folder: _flip_in(dice, folder / "index.json"),
    "in a record": lambda dice, folder: _flip_in(dice, _file(dice, folder, "*.json")),
    "lost": lambda dice, folder: _file(dice, folder).unlink(),
    "emptied": lambda dice, folder: _file(dice, folder).write_bytes(b""),
}
