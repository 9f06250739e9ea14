"""Closing a set: when every planned shard is finished, index.json says so. Harmless to try at any time, by anyone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shards import layout
from shards.encode_sample import Failure
from shards.errors import ShardError
from shards.index import Index, ShardEntry, ShardRecord, StoredArray
from shards.statistics import Statistics, merge


def close_set(folder: Path) -> bool:
    """Write index.json and failures.jsonl if all shards of plan.json are finished; whether they are.

    ShardError when finished shards do not fit together: other inputs, other arrays, or a key twice.
    """
    plan = read_plan(folder)
    if missing_shards(folder, plan):
        return False
    records = [ShardRecord.read(folder / layout.record_name(name)) for name, _, _ in plan["shards"]]
    if lost_tars(folder, records):
        return False
    for record, (name, _, recipe) in zip(records, plan["shards"], strict=True):
        if record.recipe != recipe:
            raise ShardError(f"{folder / name} was made from other inputs or with other options", "write it again")
    arrays = [StoredArray.from_json(a) for a in plan["arrays"]]
    index = make_index(folder, records, {a.schema.name: a for a in arrays}, plan["attributes"], plan["fingerprint"])
    write_failures(folder, records)
    layout.write_atomic(folder / layout.INDEX, index.to_bytes())
    return True


def merge_set(folder: Path | str) -> Index:
    """Close a set that several jobs wrote. ShardError names the shards that are missing."""
    folder = Path(folder).absolute()
    if not close_set(folder):
        plan = read_plan(folder)
        missing = missing_shards(folder, plan)
        there = [name for name, _, _ in plan["shards"] if name not in missing]
        missing += lost_tars(folder, [ShardRecord.read(folder / layout.record_name(name)) for name in there])
        names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        shards = "1 finished shard" if len(missing) == 1 else f"{len(missing)} finished shards"
        raise ShardError(f"{folder} lacks {shards}: {names}", "build them with `--resume`")
    return Index.open(folder)


def plan_body(
    shards: list[list[Any]], stored: Mapping[str, StoredArray], fingerprint: Any, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of plan.json; a row of `shards` is a tar's name, its number of inputs and its recipe."""
    return {
        "format": layout.FORMAT,
        "version": layout.FORMAT_VERSION,
        "kind": "plan",
        "shards": shards,
        "arrays": [s.to_json() for s in stored.values()],
        "fingerprint": fingerprint,
        "attributes": attributes,
    }


def read_plan(folder: Path) -> dict[str, Any]:
    hint = "is that a set's folder? Writing it again with `--resume` renews its plan"
    plan = layout.unseal(folder / layout.PLAN, hint)
    if plan.get("kind") != "plan":
        raise ShardError(f"{folder / layout.PLAN} is no plan")
    return plan


def missing_shards(folder: Path, plan: dict[str, Any]) -> list[str]:
    there = {path.name for path in folder.iterdir()}
    return [name for name, _, _ in plan["shards"] if layout.record_name(name) not in there]


def lost_tars(folder: Path, records: Iterable[ShardRecord]) -> list[str]:
    """Shards whose record stands and whose tar is gone, or of another size."""
    return [r.name for r in records if r.count and _size_of(folder / r.name) != r.size]


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def make_index(
    folder: Path,
    records: Sequence[ShardRecord],
    stored: dict[str, StoredArray],
    attributes: dict[str, Any],
    recipe: Any,
) -> Index:
    """The index of some finished shards. ShardError on mixed arrays or encodings, or a key that occurs twice."""
    records = in_order(records)
    for record in records:
        if record.arrays != stored:
            raise ShardError(f"{folder / record.name} holds other arrays or encodings than the set", "write it again")
    refuse_duplicates(folder, records)
    software = {layout.canonical(r.software): r.software for r in records}
    return Index(
        folder=folder,
        shards=tuple(ShardEntry.of(r) for r in records if r.count),
        stored=stored,
        statistics=_by_split(records, stored),
        attributes=attributes,
        failed=sum(len(r.failed) for r in records),
        recipe=recipe,
        software=[software[text] for text in sorted(software)],
    )


def in_order(records: Iterable[ShardRecord]) -> list[ShardRecord]:
    """The order of a set's shards, whoever wrote them and when."""
    return sorted(records, key=lambda r: (layout.split_order(r.split), r.name))


def refuse_duplicates(folder: Path, records: Iterable[ShardRecord]) -> None:
    seen: dict[str, str] = {}
    for record in records:
        for key in record.keys:
            if key in seen:
                raise ShardError(
                    f"{folder}: key '{key}' is in {seen[key]} and in {record.name}",
                    "name the inputs apart and write again",
                )
            seen[key] = record.name


def _by_split(records: Sequence[ShardRecord], arrays: Iterable[str]) -> dict[str, dict[str, Statistics]]:
    splits = dict.fromkeys(r.split for r in records)
    return {split: {a: merge(r.statistics[a] for r in records if r.split == split) for a in arrays} for split in splits}


def write_failures(folder: Path, records: Iterable[ShardRecord]) -> None:
    """failures.jsonl, a line per failed input; no file when there is none."""
    text = failures_text(records)
    if text:
        layout.write_atomic(folder / layout.FAILURES, text.encode())
    else:
        (folder / layout.FAILURES).unlink(missing_ok=True)


def failures_text(records: Iterable[ShardRecord]) -> str:
    return "".join(Failure(r.name, f["item"], f["reason"]).to_line() for r in in_order(records) for f in r.failed)
