"""Damage to a shard folder; random damage returns a description: bits flipped, files cut, swapped, lost, emptied."""

import json
import os

from shards import layout
from tests.shards.makers import records_of


def flip(path, offset, bit):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def rewrite(folder, change, name="index.json"):
    """Change a JSON file and update its checksum."""
    body = json.loads((folder / name).read_text())
    del body["self_checksum"]
    change(body)
    (folder / name).write_bytes(layout.checksummed_json(body["kind"], body))


def payload_of(folder, number, array="density"):
    """Tar and offset of a byte in the middle of one of a sample's arrays."""
    record, row = [(record, row) for record in records_of(folder) for row in range(record.count)][number]
    return folder / record.name, record.members[array].offset[row] + 200


def swap(a, b):
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def _any(rng, folder, pattern="*"):
    return rng.choice(sorted(folder.glob(pattern)))


def _flip_in(rng, path, low=0, high=None):
    offset, bit = rng.randrange(low, path.stat().st_size if high is None else high), rng.randrange(8)
    flip(path, offset, bit)
    return f"bit {bit} of byte {offset} of {path.name} flipped"


def _member(rng, folder):
    """A tar, and offset and size of one of its members."""
    record = rng.choice(records_of(folder))
    members = record.members[rng.choice(sorted(record.members))]
    row = rng.randrange(record.count)
    return folder / record.name, members.offset[row], members.size[row]


def in_header(rng, folder):
    path, offset, _ = _member(rng, folder)
    return _flip_in(rng, path, offset - 512, offset)


def in_payload(rng, folder):
    path, offset, size = _member(rng, folder)
    return _flip_in(rng, path, offset, offset + size)


def anywhere_in_tar(rng, folder):
    return _flip_in(rng, _any(rng, folder, "*.tar"))


def in_index(rng, folder):
    return _flip_in(rng, folder / "index.json")


def in_record(rng, folder):
    return _flip_in(rng, _any(rng, folder, "*.json"))


def cut(rng, folder):
    path = _any(rng, folder)
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def lengthened(rng, folder):
    path = _any(rng, folder)
    with path.open("ab") as file:
        file.write(b"\0" * rng.randrange(1, 20_000))
    return f"{path.name} lengthened"


def lost(rng, folder):
    path = _any(rng, folder)
    path.unlink()
    return f"{path.name} lost"


def emptied(rng, folder):
    path = _any(rng, folder)
    path.write_bytes(b"")
    return f"{path.name} emptied"


def zeroed(rng, folder):
    """A hole, as a lost block of a file system leaves it."""
    path, offset, size = _member(rng, folder)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * size)
    return f"{path.name}: {size} bytes at {offset} zeroed"


def swapped(rng, folder):
    a, b = rng.sample(sorted(folder.glob(rng.choice(["*.tar", "*-*.json"]))), 2)
    swap(a, b)
    return f"{a.name} and {b.name} swapped"


def both_swapped(rng, folder):
    """Two shards with their records: each pair is sound by itself."""
    a, b = rng.sample(sorted(folder.glob("*.tar")), 2)
    swap(a, b)
    swap(a.with_suffix(".json"), b.with_suffix(".json"))
    return f"{a.stem} and {b.stem} swapped with their records"


DAMAGES = (
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
