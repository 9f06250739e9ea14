"""Is a shard folder what it promises to be? Every checksum, header and member; and what can be mended, mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shards import layout
from shards.encode_sample import decode
from shards.errors import ShardError
from shards.finalize import failures_text, in_order, make_index, missing_shards, plan_body, read_plan, write_failures
from shards.index import Index, ShardEntry, ShardRecord, StoredArray
from shards.index_tars import scan_tar, split_of, write_records
from shards.reader import open_regular, read_exactly
from shards.tar import file_checksum, walk

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Fault:
    """Something that is not as promised: the file, the sample if one is to blame, and what is wrong."""

    file: str
    what: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {f'sample {self.key}: ' if self.key else ''}{self.what}"


@dataclass
class Verdict:
    """What verification found; `notes` are remarkable, but no faults."""

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        return {"sound": self.sound, **asdict(self)}


def verify(folder: Path | str, *, on_progress: Progress | None = None) -> Verdict:
    """Read everything in a shard folder and compare. Faults are listed, never raised; the folder is not touched."""
    folder = _folder(folder)
    verdict = Verdict()
    index = _open(folder, verdict)
    entries = {entry.name: entry for entry in index.shards} if index else {}
    records = []
    for name in sorted(entries.keys() | _tars(folder) | _recorded(folder)):
        record = _check_shard(folder, name, entries.get(name), index, verdict)
        records += [record] if record else []
        if on_progress:
            on_progress(1, name)
    if any(record.recipe for record in records) or (folder / layout.PLAN).exists():
        _check_plan(folder, index, verdict)
    if index:
        _check_rest(folder, index, records, verdict)
    verdict.notes += [f"{path.name} was left by a killed job; delete it" for path in layout.leftovers(folder)]
    return verdict


def _folder(folder: Path | str) -> Path:
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise ShardError(f"shard folder {folder} does not exist")
    return folder


def _tars(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.tar")}


def _recorded(folder: Path) -> set[str]:
    """The tars that finished records speak of."""
    ours = {layout.INDEX, layout.PLAN}
    return {f"{path.stem}.tar" for path in folder.glob("*.json") if path.name not in ours and layout.is_ours(path.name)}


def _open(folder: Path, verdict: Verdict) -> Index | None:
    try:
        return Index.open(folder)
    except ShardError as error:
        verdict.faults.append(Fault(layout.INDEX, _with_hint(error)))
        return None


def _with_hint(error: ShardError) -> str:
    return f"{error.message}{f' ({error.hint})' if error.hint else ''}"


def _check_plan(folder: Path, index: Index | None, verdict: Verdict) -> None:
    """A set that this library wrote has a plan, which must fit its index."""
    try:
        plan = read_plan(folder)
    except ShardError as error:
        verdict.faults.append(Fault(layout.PLAN, _with_hint(error)))
        return
    for name in missing_shards(folder, plan):
        verdict.faults.append(Fault(name, "is planned, but has no finished record: build it with `--resume`"))
    if index and (plan["fingerprint"], plan["attributes"]) != (index.recipe, index.attributes):
        verdict.faults.append(Fault(layout.PLAN, f"disagrees with {layout.INDEX}: one of them is of another set"))


def _check_shard(
    folder: Path, name: str, entry: ShardEntry | None, index: Index | None, verdict: Verdict
) -> ShardRecord | None:
    path = folder / name
    try:
        record = ShardRecord.read(folder / layout.record_name(name))
    except ShardError as error:
        verdict.faults.append(Fault(layout.record_name(name), _with_hint(error)))
        return None
    faults = list(_faults_of(path, record, entry, index))
    verdict.faults += faults
    verdict.shards, verdict.samples, verdict.bytes = (
        verdict.shards + bool(record.count),
        verdict.samples + record.count,
        verdict.bytes + record.size,
    )
    return record


def _faults_of(path: Path, record: ShardRecord, entry: ShardEntry | None, index: Index | None) -> Iterator[Fault]:
    if record.name != path.name:
        yield Fault(layout.record_name(path.name), f"is the record of {record.name}: files were swapped")
        return
    if index is not None:
        if entry is None and record.count:
            yield Fault(path.name, f"is not in {layout.INDEX}")
        if entry is not None and ShardEntry.of(record) != entry:
            yield Fault(layout.record_name(path.name), f"disagrees with {layout.INDEX}: one of them is of another set")
        if record.arrays != index.stored:
            yield Fault(layout.record_name(path.name), f"names other arrays or encodings than {layout.INDEX}")
    if record.count == 0:
        if path.exists():
            yield Fault(path.name, "should not exist: its record says that no sample could be made")
        return
    yield from _faults_of_tar(path, record)


def _faults_of_tar(path: Path, record: ShardRecord) -> Iterator[Fault]:
    """Members first, so that a fault has a name; the whole file's checksum for what lies between them."""
    try:
        handle = open_regular(path)
    except ShardError as error:
        yield Fault(path.name, _with_hint(error))
        return
    try:
        size = os.fstat(handle).st_size
        if size != record.size:
            yield Fault(path.name, f"has {size} bytes instead of {record.size}")
            return
        found = list(_faults_of_members(path.name, handle, record)) + list(_faults_of_headers(path, record))
    finally:
        os.close(handle)
    yield from found
    if not found and file_checksum(path) != record.checksum:
        yield Fault(path.name, "its checksum does not fit: a header, or padding between members, is damaged")


def _faults_of_members(name: str, handle: int, record: ShardRecord) -> Iterator[Fault]:
    for kind, members in record.members.items():
        stored = record.arrays.get(kind)
        for key, offset, size, sum_ in zip(record.keys, members.offset, members.size, members.checksum, strict=True):
            data = bytearray(size)
            if not read_exactly(handle, [data], offset):
                yield Fault(name, f"{kind}: the file ends before it", key)
            elif layout.member_checksum(data) != sum_:
                yield Fault(name, f"{kind}: its checksum does not fit", key)
            elif stored is not None and (why := _undecodable(bytes(data), stored)):
                yield Fault(name, f"{kind}: {why}", key)


def _undecodable(data: bytes, stored: StoredArray) -> str | None:
    try:
        decode(data, stored)
    except ValueError as error:
        return str(error)
    return None


def _faults_of_headers(path: Path, record: ShardRecord) -> Iterator[Fault]:
    """The tar, walked as any reader would, must hold the members that the record names, where it says."""
    suffixes = {kind: record.arrays[kind].member if kind in record.arrays else kind for kind in record.members}
    promised = {
        (f"{key}.{suffixes[kind]}", offset, size)
        for kind, members in record.members.items()
        for key, offset, size in zip(record.keys, members.offset, members.size, strict=True)
    }
    try:
        there = {(member.name, member.offset, member.size) for member in walk(path)}
    except ShardError as error:
        yield Fault(path.name, _with_hint(error))
        return
    for name, offset, size in sorted(promised - there):
        yield Fault(path.name, f"member '{name}' ({size} bytes at {offset}) is missing")


def _check_rest(folder: Path, index: Index, records: list[ShardRecord], verdict: Verdict) -> None:
    """What the index says of the set as a whole, and the list of failures."""
    path = folder / layout.FAILURES
    if (path.read_bytes() if path.is_file() else b"") != failures_text(records).encode():
        verdict.faults.append(Fault(layout.FAILURES, "does not list what the shards' records list"))
    try:
        again = make_index(folder, records, index.stored, index.attributes, index.recipe)
    except ShardError as error:
        verdict.faults.append(Fault(layout.INDEX, _with_hint(error)))
        return
    if verdict.sound and again.to_bytes() != index.to_bytes():
        verdict.faults.append(Fault(layout.INDEX, "does not follow from the shards' records"))


# --- repair -----------------------------------------------------------------------------------------------------------


def repair(folder: Path | str, *, on_progress: Progress | None = None) -> Index:
    """Rebuild records, plan and index from the tars that are sound; others are left alone and out of the index.

    ShardError when no tar is sound, or when sound ones do not fit together.
    """
    folder = _folder(folder)
    old, plan = _open(folder, Verdict()), _plan(folder)
    records = _sound_records(folder, old, on_progress)
    if not any(record.count for record in records):
        raise ShardError(f"{folder} holds no sound tar", "write the set again, or copy it again")
    attributes = _first(old.attributes if old else None, plan.get("attributes"), *(r.attributes for r in records))
    fingerprint = old.recipe if old else plan.get("fingerprint")
    index = make_index(folder, records, records[0].arrays, attributes, fingerprint)
    write_records(folder, records)
    write_failures(folder, records)
    if not plan and all(record.recipe for record in records):
        shards = [[r.name, r.count + len(r.failed), r.recipe] for r in in_order(records)]
        layout.write_atomic(folder / layout.PLAN, layout.seal(plan_body(shards, index.stored, fingerprint, attributes)))
    layout.write_atomic(folder / layout.INDEX, index.to_bytes())
    return index


def _first(*choices: dict[str, Any] | None) -> dict[str, Any]:
    """The first that says anything."""
    return next((choice for choice in choices if choice), {})


def _sound_records(folder: Path, old: Index | None, on_progress: Progress | None) -> list[ShardRecord]:
    """True records first: what they know of arrays and attributes serves the tars whose records are lost."""
    names = sorted(_tars(folder) | _recorded(folder))
    true = {name: _true_record(folder, name) for name in names}
    known = old.stored if old else next((r.arrays for r in true.values() if r), {})
    attributes = _first(old.attributes if old else None, *(r.attributes for r in true.values() if r))
    records = []
    for name in names:
        record = true[name] or _scanned(folder, name, known, attributes)
        records += [record] if record else []
        if on_progress:
            on_progress(1, name)
    return records


def _true_record(folder: Path, name: str) -> ShardRecord | None:
    try:
        record = ShardRecord.read(folder / layout.record_name(name))
    except ShardError:
        return None
    return None if any(_faults_of(folder / name, record, None, None)) else record


def _scanned(
    folder: Path, name: str, known: Mapping[str, StoredArray], attributes: Mapping[str, Any]
) -> ShardRecord | None:
    """A new record for a tar whose own is lost; none if the record stands and says that this is not its tar.

    Neither if tar and record were renamed together: the new name may be of another split, and galaxies would leak.
    """
    try:
        record = ShardRecord.read(folder / layout.record_name(name))
        if record.name == name or record.checksum == file_checksum(folder / name):
            return None
    except (ShardError, OSError):
        pass
    try:
        return scan_tar(folder / name, split_of(name), known, attributes)
    except ShardError:
        return None


def _plan(folder: Path) -> dict[str, Any]:
    try:
        return read_plan(folder)
    except ShardError:
        return {}
