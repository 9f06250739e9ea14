"""Damage to a shard folder."""

import json

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
