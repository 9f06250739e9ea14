"""Records for tars that have none, by reading each member: for tars of other programs, and for repair."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards import layout
from shards.codec import ArraySchema, array_of_member, codec_named
from shards.encode_sample import decode
from shards.errors import ShardError
from shards.finalize import make_index
from shards.index import Index, Members, ShardRecord, StoredArray
from shards.reader import open_regular, read_exactly, rebuild_hint
from shards.statistics import Statistics, measure, merge
from shards.tar import Member, file_checksum, walk

#: WebDataset's rule: the key ends at the first dot after the last slash.
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
_SHARD_NAME = re.compile(r"([a-z][a-z0-9_]*)-\d+\.tar")
_DEFAULT_SPLIT = "train"


@dataclass
class _Scan:
    """A tar being read, and the content of its record so far.

    `known` are the attributes of arrays, which the tar does not hold. `expected` are the
    checksums in the samples' own JSON, `found` those of the members, both by member name.
    """

    path: Path
    known: Mapping[str, Mapping[str, Any]]
    handle: int
    keys: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, StoredArray] = field(default_factory=dict)
    members: dict[str, Members] = field(default_factory=dict)
    statistics: dict[str, list[Statistics]] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def add(self, member: Member) -> None:
        parts = _NAME.fullmatch(member.name)
        if parts is None:
            return  # a name without a dot belongs to no sample, as in WebDataset
        key, suffix = parts.groups()
        if suffix == "json":
            self._begin(key)
            self._add_json(key, member)
        elif named := array_of_member(suffix):
            self._begin(key)
            self._add_array(key, suffix, *named, member)

    def _begin(self, key: str) -> None:
        """A new key begins a new sample; to WebDataset, a key that occurs again later is another sample."""
        if self.keys and self.keys[-1] == key:
            return
        if key in self.groups:
            raise self._fault(key, "the key occurs twice")
        self._check_last_complete()
        self.keys.append(key)
        self.groups[key] = ""

    def _add_json(self, key: str, member: Member) -> None:
        data = self._content(key, member, "json")
        try:
            info = json.loads(data)
        except (ValueError, RecursionError):
            raise self._fault(key, "its json is not valid") from None
        if isinstance(info, dict):
            self.groups[key] = str(info.get("group", ""))
            if isinstance(checksums := info.get("checksums"), dict):
                self.expected.update({f"{key}.{suffix}": checksum for suffix, checksum in checksums.items()})

    def _add_array(self, key: str, suffix: str, name: str, encoding: str | None, member: Member) -> None:
        data = self._content(key, member, name)
        try:
            codec = codec_named(encoding or "float32")
            shape, dtype = codec.describe(memoryview(data))
            attributes = dict(self.known.get(name, {}))
            here = StoredArray(ArraySchema(name, shape, dtype.name, attributes), encoding or dtype.name, suffix)
            stored = self.arrays.setdefault(name, here)
            if here != stored:
                found, usual = (f"{s.schema.dtype} {s.schema.shape} ({s.member})" for s in (here, stored))
                raise ValueError(f"holds {found} instead of {usual}")
            self.statistics.setdefault(name, []).append(measure(decode(data, stored)))
        except ValueError as error:
            raise self._fault(key, f"{suffix} {error}") from None
        except ShardError as error:
            raise self._fault(key, error.message) from None

    def _content(self, key: str, member: Member, kind: str) -> bytes:
        data = bytearray(member.size)
        if not read_exactly(self.handle, [data], member.offset):
            raise self._fault(key, "the file ends before it")
        checksum = self.found[member.name] = layout.member_checksum(data)
        rows = self.members.setdefault(kind, Members())
        if len(rows.offset) != len(self.keys) - 1:
            raise self._fault(key, f"'{kind}' occurs twice, or is missing in an earlier sample")
        rows.add(member.offset, data, checksum)
        return bytes(data)

    def _check_last_complete(self) -> None:
        for kind, rows in self.members.items():
            if len(rows.offset) != len(self.keys):
                raise self._fault(self.keys[-1], f"'{kind}' is missing")

    def finish(self) -> None:
        """ShardError unless every sample is complete and matches the checksums in its own JSON."""
        self._check_last_complete()
        for row, key in enumerate(self.keys):
            self.groups[key] = self.groups[key] or self._content_name(row)
        if not self.arrays:
            raise ShardError(f"{self.path} holds no .npy arrays", "there is nothing in it to index")
        for name, checksum in self.expected.items():
            if self.found.get(name, checksum) != checksum:
                what = f"{self.path}: member '{name}' is damaged: its checksum does not match"
                raise ShardError(what, rebuild_hint(self.path))

    def _content_name(self, row: int) -> str:
        """The group of a sample that names none: by its arrays, since other sets may use the same keys."""
        sums = "".join(self.members[name].checksum[row] for name in sorted(self.arrays))
        return f"content-{layout.member_checksum(sums.encode())}"

    def _fault(self, key: str, what: str) -> ShardError:
        return ShardError(f"{self.path}: sample '{key}': {what}", rebuild_hint(self.path))


def scan_tar(
    path: Path,
    split: str,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> ShardRecord:
    """A record made by reading the whole tar; `known` are the attributes of its arrays, by their names.

    ShardError names the tar and the first sample that is damaged.
    """
    handle = open_regular(path)
    try:
        scan = _Scan(path, known or {}, handle)
        for member in walk(path):
            scan.add(member)
        scan.finish()
        size = os.fstat(handle).st_size
    finally:
        os.close(handle)
    return ShardRecord(
        name=path.name,
        split=split,
        size=size,
        checksum=file_checksum(path),
        keys=scan.keys,
        groups=[scan.groups[key] for key in scan.keys],
        arrays=scan.arrays,
        members=scan.members,
        statistics={name: merge(parts) for name, parts in scan.statistics.items()},
        attributes=dict(attributes or {}),
    )


def split_of(name: str) -> str:
    """`validation` for validation-0012.tar; `train` for a name without a split."""
    found = _SHARD_NAME.fullmatch(name)
    return found[1] if found else _DEFAULT_SPLIT


def index_tars(
    folder: Path | str,
    *,
    split: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    check: Callable[[Mapping[str, ArraySchema]], None] = lambda arrays: None,
    overwrite: bool = False,
    on_progress: Callable[[int, str], None] = lambda steps, message: None,
) -> Index:
    """Index the tars of a folder that another program wrote; `split` overrides the split in their names.

    `attributes` are those of the set, `known` those of its arrays; `check` may raise before anything is written. Writes
    a record beside each tar, and index.json. ShardError when there is an index already (with `overwrite`: of shards
    that this library wrote), no tar, a damaged tar, a file in the place of a record, or when samples do not fit
    together.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise ShardError(f"folder {folder} does not exist")
    if split is not None:
        layout.check_split(split)
    if (folder / layout.PLAN).exists():
        hint = f"to rebuild: `iris shards verify {folder} --repair`"
        raise ShardError(f"{folder} holds shards of this program", hint)
    if (folder / layout.INDEX).exists() and not overwrite:
        hint = f"to rebuild it: `iris shards verify {folder} --repair`; to describe the tars anew: --overwrite"
        raise ShardError(f"{folder} has an {layout.INDEX} already", hint)
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise ShardError(f"{folder} holds no .tar file", "compressed tars must be unpacked first")
    refuse_other_json(folder, tars)
    records = []
    for path in tars:
        records.append(scan_tar(path, split or split_of(path.name), known, attributes))
        on_progress(1, path.name)
    index = make_index(folder, records, records[0].arrays, dict(attributes or {}), None)
    check(index.arrays)
    write_records(folder, records)
    layout.write_atomic(folder / layout.INDEX, index.to_bytes())
    return index


def write_records(folder: Path, records: Iterable[ShardRecord]) -> None:
    for record in records:
        layout.write_atomic(folder / layout.record_name(record.name), record.to_bytes())


def refuse_other_json(folder: Path, tars: Iterable[Path]) -> None:
    """ShardError when a JSON file beside a tar is not a record: it may be the user's."""
    for tar in tars:
        path = folder / layout.record_name(tar.name)
        with suppress(FileNotFoundError, ValueError, RecursionError):  # absent or damaged: nothing is lost
            body = json.loads(path.read_bytes())
            if not isinstance(body, dict) or body.get("format") != layout.FORMAT:
                raise ShardError(f"{path} is in the way: the shard's record would replace it", "move it elsewhere")
