"""Verification of a shard folder: every checksum, header and member; and repair of what its tars can restore."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from shards import layout
from shards.encode_sample import decode
from shards.errors import ShardError, VersionError
from shards.finalize import failures_text, in_order, make_index, write_failures
from shards.index import Index, ShardEntry, ShardRecord, StoredArray
from shards.index_tars import scan_tar, split_of, write_records
from shards.reader import open_regular, read_member
from shards.set_plan import PlannedShard, PlanRecord
from shards.tar import file_checksum, walk

Progress = Callable[[int, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """A file that disagrees with its checksum, record, plan or index; `key` is that of the sample, if it is one's."""

    file: str
    what: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {f'sample {self.key}: ' if self.key else ''}{self.what}"


@dataclass
class VerifyReport:
    """The result of a verification; `notes` are about files that are not faults, but may be deleted."""

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults

    def add(self, file: str, what: str | ShardError, key: str | None = None) -> None:
        """Add a fault; an error becomes its message and hint."""
        if isinstance(what, ShardError):
            what = f"{what.message}{f' ({what.hint})' if what.hint else ''}"
        self.faults.append(Fault(file, what, key))

    def to_json(self) -> dict[str, Any]:
        return {"sound": self.sound, **asdict(self)}


def verify(folder: Path | str, *, on_progress: Progress = lambda steps, message: None) -> VerifyReport:
    """Read everything in a shard folder and compare. Faults are listed, not raised; the folder is not changed."""
    folder = _folder(folder)
    report = VerifyReport()
    index = _read(Index.open, folder, layout.INDEX, report)
    entries = {entry.name: entry for entry in index.shards} if index else {}
    records = []
    for name in sorted(entries.keys() | _tars(folder)):
        record = _check_shard(folder, name, entries.get(name), index, report)
        records += [record] if record else []
        on_progress(1, name)
    if any(record.build_digest for record in records) or (folder / layout.PLAN).exists():
        _check_plan(folder, index, report)
    if index:
        _check_set(folder, index, records, report)
    report.notes += [f"{path.name} was left by a killed job; delete it" for path in layout.leftovers(folder)]
    return report


def _folder(folder: Path | str) -> Path:
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise ShardError(f"shard folder {folder} does not exist")
    return folder


def _tars(folder: Path) -> set[str]:
    """Tars in the folder, and those that it has records of."""
    records = {path for path in folder.glob("*.json") if layout.is_shard_file(path.name)}
    return {path.name for path in folder.glob("*.tar")} | {
        f"{path.stem}.tar" for path in records if path.name not in (layout.INDEX, layout.PLAN)
    }


def _read(read: Callable[[Path], T], path: Path, file: str, report: VerifyReport) -> T | None:
    """What `read` makes of a path; None, and a fault of the file, where it cannot be read."""
    try:
        return read(path)
    except ShardError as error:
        report.add(file, error)
        return None


def _check_plan(folder: Path, index: Index | None, report: VerifyReport) -> None:
    """A set that this library wrote has a plan, which must agree with its index."""
    plan = _read(PlanRecord.read, folder, layout.PLAN, report)
    if plan is None:
        return
    for name in plan.unfinished(folder):
        report.add(name, "is planned, but has no finished record: build it with `--resume`")
    if index and (plan.made_from, plan.attributes) != (index.made_from, index.attributes):
        report.add(layout.PLAN, f"disagrees with {layout.INDEX}: one of them is of another set")


def _check_shard(
    folder: Path, name: str, entry: ShardEntry | None, index: Index | None, report: VerifyReport
) -> ShardRecord | None:
    record = _read(ShardRecord.read, folder / layout.record_name(name), layout.record_name(name), report)
    if record is None:
        return None
    _check_record(folder / name, record, entry, index, report)
    report.shards += bool(record.count)
    report.samples += record.count
    report.bytes += record.size
    return record


def _check_record(
    path: Path, record: ShardRecord, entry: ShardEntry | None, index: Index | None, report: VerifyReport
) -> None:
    """The record against its file's name and the index; then the tar against the record."""
    record_name = layout.record_name(path.name)
    if record.name != path.name:
        report.add(record_name, f"is the record of {record.name}: files were swapped")
        return
    if index is not None:
        if entry is None and record.count:
            report.add(path.name, f"is not in {layout.INDEX}")
        if entry is not None and ShardEntry.of(record) != entry:
            report.add(record_name, f"disagrees with {layout.INDEX}: one of them is of another set")
        if record.arrays != index.stored:
            report.add(record_name, f"names other arrays or encodings than {layout.INDEX}")
    if record.count:
        _check_tar(path, record, report)
    elif path.exists():
        report.add(path.name, "should not exist: according to its record no sample could be made")


def _check_tar(path: Path, record: ShardRecord, report: VerifyReport) -> None:
    """Members first, so that a fault names one; then the checksum of the whole file, for the bytes between them."""
    handle = _read(open_regular, path, path.name, report)
    if handle is None:
        return
    try:
        size = os.fstat(handle).st_size
        if size != record.size:
            report.add(path.name, f"has {size} bytes instead of {record.size}")
            return
        before = len(report.faults)
        _check_members(path.name, handle, record, report)
        _check_headers(path, record, report)
    finally:
        os.close(handle)
    if len(report.faults) == before and file_checksum(path) != record.checksum:
        report.add(path.name, "its checksum does not match: a header, or padding between members, is damaged")


def _check_members(name: str, handle: int, record: ShardRecord, report: VerifyReport) -> None:
    for kind, members in record.members.items():
        for row, key in enumerate(record.keys):
            try:
                data = read_member(handle, members, row)
                if kind in record.arrays:
                    decode(data, record.arrays[kind])
            except ValueError as error:
                report.add(name, f"{kind}: {error}", key)


def _check_headers(path: Path, record: ShardRecord, report: VerifyReport) -> None:
    """The tar, walked as any reader would, must hold the members of the record at their offsets."""
    expected = {
        (f"{key}.{record.arrays[kind].member if kind in record.arrays else kind}", offset, size)
        for kind, members in record.members.items()
        for key, offset, size in zip(record.keys, members.offset, members.size, strict=True)
    }
    members = _read(lambda tar: list(walk(tar)), path, path.name, report)
    if members is None:
        return
    for name, offset, size in sorted(expected - {(member.name, member.offset, member.size) for member in members}):
        report.add(path.name, f"member '{name}' ({size} bytes at {offset}) is missing")


def _check_set(folder: Path, index: Index, records: list[ShardRecord], report: VerifyReport) -> None:
    """The list of failures, and the index as a whole, must follow from the records."""
    path = folder / layout.FAILURES
    if (path.read_bytes() if path.is_file() else b"") != failures_text(records).encode():
        report.add(layout.FAILURES, "does not list the failures of the shards' records")
    try:
        rebuilt = make_index(folder, records, index.stored, index.attributes, index.made_from)
    except ShardError as error:
        report.add(layout.INDEX, error)
        return
    if report.sound and rebuilt.to_bytes() != index.to_bytes():
        report.add(layout.INDEX, "does not follow from the shards' records")


# --- repair -----------------------------------------------------------------------------------------------------------


def repair(folder: Path | str, *, on_progress: Progress = lambda steps, message: None) -> Index:
    """Rebuild records, plan and index from the tars that are sound; others are not touched and not in the index.

    ShardError when no tar is sound, when sound ones do not fit together, or for files of another version of the format.
    """
    folder = _folder(folder)
    old, plan = _undamaged(Index.open, folder), _undamaged(PlanRecord.read, folder)
    records = _sound_records(folder, old or plan, on_progress)
    if not any(record.count for record in records):
        raise ShardError(f"{folder} holds no sound tar", "write the set again, or copy it again")
    attributes = _first_nonempty([old, plan, *records])
    made_from = old.made_from if old else plan.made_from if plan else None
    index = make_index(folder, records, records[0].arrays, attributes, made_from)
    write_records(folder, records)
    write_failures(folder, records)
    if plan is None and all(record.build_digest for record in records):
        shards = tuple(PlannedShard(r.name, r.count + len(r.failed), r.build_digest) for r in in_order(records))
        layout.write_atomic(folder / layout.PLAN, PlanRecord(shards, index.stored, made_from, attributes).to_bytes())
    layout.write_atomic(folder / layout.INDEX, index.to_bytes())
    return index


def _undamaged(read: Callable[[Path], T], path: Path) -> T | None:
    """What `read` makes of a path; None where that is damaged. VersionError for a file of another version."""
    try:
        return read(path)
    except VersionError:
        raise
    except ShardError:
        return None


def _first_nonempty(sources: Iterable[Index | PlanRecord | ShardRecord | None]) -> dict[str, Any]:
    return next((source.attributes for source in sources if source and source.attributes), {})


def _sound_records(folder: Path, old: Index | PlanRecord | None, on_progress: Progress) -> list[ShardRecord]:
    """Sound records first: they hold the attributes of the arrays, which tars without a record lack."""
    names = sorted(_tars(folder))
    sound = {name: _sound_record(folder, name) for name in names}
    known = old.stored if old else next((r.arrays for r in sound.values() if r), {})
    attributes = _first_nonempty([old, *sound.values()])
    records = []
    for name in names:
        record = sound[name] or _scanned(folder, name, known, attributes)
        records += [record] if record else []
        on_progress(1, name)
    return records


def _sound_record(folder: Path, name: str) -> ShardRecord | None:
    record = _check_shard(folder, name, None, None, report := VerifyReport())
    return record if report.sound else None


def _scanned(
    folder: Path, name: str, known: Mapping[str, StoredArray], attributes: Mapping[str, Any]
) -> ShardRecord | None:
    """A new record for a tar whose own is lost; None if its record is intact, but the tar is not the one it describes.

    Also None if tar and record were renamed together: the new name may be of another split, and views of one galaxy
    would be on both sides of a split.
    """
    record = _undamaged(ShardRecord.read, folder / layout.record_name(name))
    with suppress(OSError):
        if record and (record.name == name or record.checksum == file_checksum(folder / name)):
            return None
    try:
        return scan_tar(folder / name, split_of(name), {n: s.schema.attributes for n, s in known.items()}, attributes)
    except ShardError:
        return None
