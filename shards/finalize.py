"""Finishing a set: when every planned shard is complete, index.json is written. Any process may try it at any time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shards import layout
from shards.errors import ShardError
from shards.index import Index, ShardEntry, ShardRecord, StoredArray
from shards.set_plan import PlanRecord
from shards.statistics import merge


def finalize_set(folder: Path) -> bool:
    """Write index.json and failures.jsonl if all shards of plan.json are complete, and return whether they are.

    ShardError when complete shards do not fit together: other inputs, other arrays, or a key twice.
    """
    plan = PlanRecord.read(folder)
    if plan.unfinished(folder):
        return False
    records = [ShardRecord.read(folder / layout.record_name(shard.name)) for shard in plan.shards]
    if missing_tars(folder, records):
        return False
    for record, shard in zip(records, plan.shards, strict=True):
        if record.build_digest != shard.build_digest:
            what = f"{folder / shard.name} was made from other inputs or with other options"
            raise ShardError(what, "write it again")
    index = make_index(folder, records, plan.stored, plan.attributes, plan.made_from)
    write_failures(folder, records)
    layout.write_atomic(folder / layout.INDEX, index.to_bytes())
    return True


def merge_set(folder: Path | str) -> Index:
    """Finish a set that several jobs wrote. ShardError names the shards that are missing."""
    folder = Path(folder).absolute()
    if not finalize_set(folder):
        plan = PlanRecord.read(folder)
        missing = plan.unfinished(folder)
        finished = [shard.name for shard in plan.shards if shard.name not in missing]
        missing += missing_tars(folder, [ShardRecord.read(folder / layout.record_name(name)) for name in finished])
        names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        shards = "1 finished shard" if len(missing) == 1 else f"{len(missing)} finished shards"
        raise ShardError(f"{folder} lacks {shards}: {names}", "build them with `--resume`")
    return Index.open(folder)


def missing_tars(folder: Path, records: Iterable[ShardRecord]) -> list[str]:
    """Shards that have a record, but no tar, or one of another size."""
    return [r.name for r in records if r.count and file_size(folder / r.name) != r.size]


def file_size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def make_index(
    folder: Path,
    records: Sequence[ShardRecord],
    stored: dict[str, StoredArray],
    attributes: dict[str, Any],
    made_from: Any,
) -> Index:
    """The index of some finished shards. ShardError on mixed arrays or encodings, or a key that occurs twice."""
    records = in_order(records)
    for record in records:
        if record.arrays != stored:
            raise ShardError(f"{folder / record.name} holds other arrays or encodings than the set", "write it again")
    seen: dict[str, str] = {}
    for key, name in ((key, record.name) for record in records for key in record.keys):
        if key in seen:
            what = f"{folder}: key '{key}' is in {seen[key]} and in {name}"
            raise ShardError(what, "give the inputs different names and write again")
        seen[key] = name
    splits = dict.fromkeys(r.split for r in records)
    of_split = {split: [r.statistics for r in records if r.split == split] for split in splits}
    software = {layout.canonical(r.software): r.software for r in records}
    return Index(
        folder=folder,
        shards=tuple(ShardEntry.of(r) for r in records if r.count),
        stored=stored,
        statistics={split: {a: merge(s[a] for s in each) for a in stored} for split, each in of_split.items()},
        attributes=attributes,
        failed=sum(len(r.failed) for r in records),
        made_from=made_from,
        software=[software[text] for text in sorted(software)],
    )


def in_order(records: Iterable[ShardRecord]) -> list[ShardRecord]:
    """The shards of a set in the order of its index, whatever the order in which they were written."""
    return sorted(records, key=lambda r: (layout.split_order(r.split), r.name))


def write_failures(folder: Path, records: Iterable[ShardRecord]) -> None:
    """failures.jsonl, a line per failed input; no file when there is none."""
    if text := failures_text(records):
        layout.write_atomic(folder / layout.FAILURES, text.encode())
    else:
        (folder / layout.FAILURES).unlink(missing_ok=True)


def failures_text(records: Iterable[ShardRecord]) -> str:
    return "".join(failure.to_line() for record in in_order(records) for failure in record.failed)
