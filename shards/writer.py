"""Samples into shards: every shard is a slice of the input that is fixed before work starts.

Any shard can therefore be built alone, in any order, by any worker, rank or array task, and built again to the same
bytes. A shard is finished when its json stands beside it; whoever finishes last closes the set with index.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from shards import layout
from shards.codec import ArraySchema
from shards.encode_sample import Failure, Packed, Sample, pack, salvage
from shards.errors import ShardError
from shards.finalize import close_set, plan_body
from shards.index import Members, ShardRecord, StoredArray
from shards.pool import Map, crew
from shards.set_plan import Item, Recipe, SetPlan, ShardJob
from shards.statistics import Statistics, merge
from shards.tar import Writer

__all__ = ["ArraySchema", "Sample", "SetPlan", "SetReport", "ShardJob", "write_set"]

Progress = Callable[[int, str], None]


@dataclass
class SetReport:
    """What a run did. `failed` inputs are also in failures.jsonl; `complete` means that index.json stands."""

    shards_written: int = 0
    shards_kept: int = 0
    samples: int = 0
    failed: list[Failure] = field(default_factory=list)
    complete: bool = False
    worst_relative_error: float = 0.0
    worst_error_of_peak: float = 0.0

    def take(self, record: ShardRecord) -> None:
        self.samples += record.count
        self.failed += [Failure(record.name, f["item"], f["reason"]) for f in record.failed]
        whole = merge(record.statistics.values())
        self.worst_relative_error = max(self.worst_relative_error, whole.worst_relative_error)
        self.worst_error_of_peak = max(self.worst_error_of_peak, whole.worst_error_of_peak)


def write_set(
    folder: Path | str,
    plan: SetPlan,
    make: Callable[[Item], Sample],
    *,
    schema: Sequence[ArraySchema],
    attributes: Mapping[str, Any],
    fingerprint: Any = None,
    encoding: str = "float32",
    software: Mapping[str, str] | None = None,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    on_progress: Progress | None = None,
) -> SetReport:
    """Build this rank's shards (every `world`-th) and close the set if all are there.

    `make` is picklable and turns an item into a sample; whatever it raises is that input's failure. `fingerprint`
    (JSON) is everything besides the items that samples depend on: with `resume`, finished shards of the same
    fingerprint are kept, others refused by name; `retry_failed` also takes up the inputs that failed. `attributes`
    (JSON) goes into the index as it is. ShardError when the folder is in use or cannot be written, keys collide, or
    there is no such rank.
    """
    if not 0 <= rank < world:
        raise ShardError(f"there is no rank {rank} among {world}", "ranks count from 0")
    recipe = Recipe.of(schema, encoding, fingerprint, software or {})
    run = _Run(
        Path(folder).absolute(), plan, recipe, dict(attributes), rank, world, retry_failed, on_progress or _silent
    )
    run.prepare(resume=resume or retry_failed, overwrite=overwrite)
    return run.work(partial(_attempt, make, tuple(recipe.stored.values())), workers)


def _silent(steps: int, words: str) -> None:
    pass


def _attempt(make: Callable[[Item], Sample], stored: Sequence[StoredArray], item: Item) -> Packed | str:
    """In a worker: an item's packed sample, or the reason why there is none."""
    try:
        return pack(make(item), stored)
    except (
        Exception
    ) as error:  # one bad input must not end a week's work; the reason is kept, the run ends with failure
        return reason(error)


def reason(error: Exception) -> str:
    """One line."""
    words = f"{type(error).__name__}: {error}" if not hasattr(error, "hint") else str(error)
    return " ".join(words.split())


@dataclass
class _Run:
    """One process's part of writing a set."""

    folder: Path
    plan: SetPlan
    recipe: Recipe
    attributes: dict[str, Any]
    rank: int
    world: int
    retry_failed: bool
    on_progress: Progress
    report: SetReport = field(default_factory=SetReport)

    @cached_property
    def recipes(self) -> dict[str, str]:
        return {job.name: self.recipe.of_job(job) for job in self.plan.jobs}

    # --- before ---

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder in use, or make it ours: the plan stands before the first shard."""
        body = self._plan_body()
        used = self.folder.exists() and any(not p.name.endswith(".part") for p in self._content())
        if used and overwrite:
            self._clear()
        elif used and not resume and not self._joins(body):
            raise ShardError(
                f"output folder {self.folder} exists",
                "go on with `--resume`, replace it with `--overwrite`, or name another",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in layout.leftovers(self.folder):
            left.unlink(missing_ok=True)
        self._refuse_strangers()
        if _bytes_of(self.folder / layout.PLAN) != layout.seal(body):
            for job in () if overwrite else self.plan.jobs:
                self._finished(job)  # refuses shards of other options while the plan that they fit still stands
            layout.write_atomic(self.folder / layout.PLAN, layout.seal(body))

    def _content(self) -> list[Path]:
        if not self.folder.is_dir():
            raise ShardError(f"{self.folder} exists and is no folder", "name another")
        return list(self.folder.iterdir())

    def _plan_body(self) -> dict[str, Any]:
        shards = [[job.name, len(job.items), self.recipes[job.name]] for job in self.plan.jobs]
        return plan_body(shards, self.recipe.stored, self.recipe.fingerprint, self.attributes)

    def _joins(self, body: dict[str, Any]) -> bool:
        """Whether another rank of this very job has opened the folder."""
        return self.world > 1 and _bytes_of(self.folder / layout.PLAN) == layout.seal(body)

    def _clear(self) -> None:
        """Remove this library's files, and no others; of other ranks' shards only those that nobody will replace."""
        theirs = {job.name for job in self.plan.jobs} - {job.name for job in self._jobs()}
        keep = theirs | {layout.record_name(name) for name in theirs} | {layout.PLAN}
        for path in self._content():
            if layout.is_ours(path.name) and path.name not in keep and not path.name.endswith(".part"):
                path.unlink(missing_ok=True)
        for name in theirs:  # a record of other options is no other rank's work, and would count as a finished shard
            if self._is_stale(name):
                (self.folder / layout.record_name(name)).unlink(missing_ok=True)

    def _is_stale(self, name: str) -> bool:
        try:
            return ShardRecord.read(self.folder / layout.record_name(name)).recipe != self.recipes[name]
        except ShardError:
            return False

    def _refuse_strangers(self) -> None:
        planned = set(self.recipes)
        for path in sorted(self.folder.glob("*.tar")):
            if path.name not in planned:
                raise ShardError(
                    f"{path} is not part of what is being written",
                    "the inputs changed: use `--overwrite` or another folder",
                )

    # --- the work ---

    def _jobs(self) -> tuple[ShardJob, ...]:
        return self.plan.jobs[self.rank :: self.world]

    def work(self, function: Callable[[Item], Packed | str], workers: int) -> SetReport:
        todo = [job for job in self._jobs() if not self._keep(job)]
        if todo:
            (self.folder / layout.INDEX).unlink(missing_ok=True)  # it would not fit any more
            with crew(function, workers) as mapped:
                for job in todo:
                    self.report.take(self._write(job, mapped))
                    self.report.shards_written += 1
        self.report.complete = close_set(self.folder)
        return self.report

    def _keep(self, job: ShardJob) -> bool:
        """Whether a finished shard can stay. ShardError when it was made of other inputs or with other options."""
        record = self._finished(job)
        if record is None or (self.retry_failed and record.failed):
            return False
        self.report.take(record)
        self.report.shards_kept += 1
        self.on_progress(len(job.items), "")
        return True

    def _finished(self, job: ShardJob) -> ShardRecord | None:
        try:
            record = ShardRecord.read(self.folder / layout.record_name(job.name))
        except ShardError:
            return None  # absent or damaged: to be built
        if record.recipe != self.recipes[job.name]:
            raise ShardError(
                f"{self.folder / job.name} was made from other inputs or with other options",
                "use `--overwrite` or another folder",
            )
        size = _size_of(self.folder / job.name)
        return record if size == (record.size if record.count else None) else None

    def _write(self, job: ShardJob, mapped: Map) -> ShardRecord:
        try:
            return self._build(job, mapped)
        except OSError as error:
            self._note_unwritten(job, reason(error))
            raise ShardError(
                f"{self.folder / job.name} cannot be written: {error.strerror or error}",
                "nothing half-written was left; mend that, then go on with `--resume`",
            ) from None

    def _build(self, job: ShardJob, mapped: Map) -> ShardRecord:
        """Write a shard and then its json. Samples that an earlier attempt got are taken over as they are."""
        path = self.folder / job.name
        old = salvage(path, self._finished(job), job.items) if self.retry_failed else {}
        results = mapped(item for i, item in enumerate(job.items) if i not in old)
        shard = _Shard(self.recipe.stored)
        with layout.atomic_file(path) as file:
            writer = Writer(file)
            for i, item in enumerate(job.items):
                shard.add(writer, item, old[i] if i in old else next(results))
                failed = len(self.report.failed) + len(shard.failed)
                self.on_progress(1, f"{failed} failed" if failed else "")
            sum_ = writer.close()
        record = shard.record(job, writer.size, sum_, self)
        if not record.count:
            path.unlink()  # a tar without members is no shard; its json still says what failed
        layout.write_atomic(self.folder / layout.record_name(job.name), record.to_bytes())
        return record

    def _note_unwritten(self, job: ShardJob, why: str) -> None:
        lines = [Failure(job.name, item, why).to_line() for item in job.items]
        with suppress(OSError):  # a disk that cannot hold the shard may not hold this either; the error says it all
            layout.write_atomic(self.folder / layout.FAILURES, "".join(lines).encode())


class _Shard:
    """A shard in the making: what its record will say."""

    def __init__(self, stored: Mapping[str, StoredArray]) -> None:
        self.stored = dict(stored)
        self.keys: list[str] = []
        self.groups: list[str] = []
        self.members = {name: Members([], [], []) for name in (*stored, "json")}
        self.statistics: dict[str, list[Statistics]] = {name: [] for name in stored}
        self.failed: list[dict[str, Any]] = []

    def add(self, writer: Writer, item: Item, result: Packed | str) -> None:
        if isinstance(result, Packed) and result.key in self.keys:
            result = f"key '{result.key}' is already taken in this shard"
        if isinstance(result, str):
            self.failed.append({"item": item, "reason": result})
            return
        self.keys.append(result.key)
        self.groups.append(result.group)
        for kind, (suffix, data, sum_) in result.members.items():
            row = self.members[kind]
            row.offset.append(writer.add(f"{result.key}.{suffix}", data))
            row.size.append(len(data))
            row.checksum.append(sum_)
        for name, statistics in result.statistics.items():
            self.statistics[name].append(statistics)

    def record(self, job: ShardJob, size: int, sum_: str, run: _Run) -> ShardRecord:
        return ShardRecord(
            name=job.name,
            split=job.split,
            size=size if self.keys else 0,
            checksum=sum_ if self.keys else "",
            keys=self.keys,
            groups=self.groups,
            arrays=self.stored,
            members=self.members,
            statistics={name: merge(parts) for name, parts in self.statistics.items()},
            failed=self.failed,
            recipe=run.recipes[job.name],
            attributes=run.attributes,
            software=run.recipe.software,
        )


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
