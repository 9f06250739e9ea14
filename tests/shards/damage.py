"""Damage to a shard folder; random damage returns a description: bits flipped, files cut, swapped, lost, emptied."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards import layout
from shards.index import Index


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


def payload_of(folder: Path, number: int) -> tuple[Path, int]:
    """Tar and offset of a byte in the middle of a sample's density."""
    index = Index.open(folder)
    table = index.samples()
    return folder / index.shards[table.shard[number]].name, int(table.offset["density"][number]) + 200


def swap(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def _any(rng: random.Random, folder: Path, pattern: str = "*") -> Path:
    return rng.choice(sorted(folder.glob(pattern)))


def _flip_in(rng: random.Random, path: Path, low: int = 0, high: int | None = None) -> str:
    offset, bit = rng.randrange(low, path.stat().st_size if high is None else high), rng.randrange(8)
    flip(path, offset, bit)
    return f"bit {bit} of byte {offset} of {path.name} flipped"


def _member(rng: random.Random, folder: Path) -> tuple[Path, int, int]:
    """A tar, and offset and size of one of its members."""
    index = Index.open(folder)
    shard = rng.randrange(len(index.shards))
    record = index.record(shard)
    members = record.members[rng.choice(sorted(record.members))]
    row = rng.randrange(record.count)
    return folder / record.name, members.offset[row], members.size[row]


def in_header(rng: random.Random, folder: Path) -> str:
    path, offset, _ = _member(rng, folder)
    return _flip_in(rng, path, offset - 512, offset)


def in_payload(rng: random.Random, folder: Path) -> str:
    path, offset, size = _member(rng, folder)
    return _flip_in(rng, path, offset, offset + size)


def anywhere_in_tar(rng: random.Random, folder: Path) -> str:
    return _flip_in(rng, _any(rng, folder, "*.tar"))


def in_index(rng: random.Random, folder: Path) -> str:
    return _flip_in(rng, folder / "index.json")


def in_record(rng: random.Random, folder: Path) -> str:
    return _flip_in(rng, _any(rng, folder, "*.json"))


def cut(rng: random.Random, folder: Path) -> str:
    path = _any(rng, folder)
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def lengthened(rng: random.Random, folder: Path) -> str:
    path = _any(rng, folder)
    with path.open("ab") as file:
        file.write(b"\0" * rng.randrange(1, 20_000))
    return f"{path.name} lengthened"


def lost(rng: random.Random, folder: Path) -> str:
    path = _any(rng, folder)
    path.unlink()
    return f"{path.name} lost"


def emptied(rng: random.Random, folder: Path) -> str:
    path = _any(rng, folder)
    path.write_bytes(b"")
    return f"{path.name} emptied"


def zeroed(rng: random.Random, folder: Path) -> str:
    """A hole, as a lost block of a file system leaves it."""
    path, offset, size = _member(rng, folder)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * size)
    return f"{path.name}: {size} bytes at {offset} zeroed"


def swapped(rng: random.Random, folder: Path) -> str:
    a, b = rng.sample(sorted(folder.glob(rng.choice(["*.tar", "*-*.json"]))), 2)
    swap(a, b)
    return f"{a.name} and {b.name} swapped"


def both_swapped(rng: random.Random, folder: Path) -> str:
    """Two shards with their records: each pair is sound by itself."""
    a, b = rng.sample(sorted(folder.glob("*.tar")), 2)
    swap(a, b)
    swap(a.with_suffix(".json"), b.with_suffix(".json"))
    return f"{a.stem} and {b.stem} swapped with their records"


DAMAGES: tuple[Callable[[random.Random, Path], str], ...] = (
    in_header,
    in_payload,
    anywhere_in_tar,
    in_index,
    in_record,
    cut,
    lengthened,
    lost,
    emptied,
    zeroed,
    swapped,
    both_swapped,
)
