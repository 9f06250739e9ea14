"""Samples -> shards: every shard is a slice of the input that is fixed before work starts.

Any worker, rank or array task can therefore build any shard, in any order, and again with the same bytes. A shard is
finished when its record (JSON) exists beside it; the process that finishes the last one writes index.json.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from shards import layout
from shards.codec import ArraySchema
from shards.encode_sample import EncodedSample, Sample, encode_sample, finished_samples
from shards.errors import ShardError
from shards.finalize import file_size, finalize_set
from shards.index import Failure, Members, ShardRecord, StoredArray
from shards.owner import owned
from shards.pool import Map, worker_pool
from shards.set_plan import Item, PlannedShard, PlanRecord, SetPlan, SetSpec, ShardJob
from shards.statistics import Statistics, merge
from shards.tar import Writer

__all__ = ["ArraySchema", "Sample", "SetPlan", "SetReport", "ShardJob", "write_set"]

Progress = Callable[[int, str], None]


@dataclass
class SetReport:
    """The result of one process. `failed` inputs are also in failures.jsonl; when `complete`, index.json exists."""

    shards_written: int = 0
    shards_kept: int = 0
    samples: int = 0
    failed: list[Failure] = field(default_factory=list)
    complete: bool = False
    worst_relative_error: float = 0.0
    worst_error_of_peak: float = 0.0

    def add(self, record: ShardRecord) -> None:
        self.samples += record.count
        self.failed += record.failed
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
    made_from: Any = None,
    encoding: str = "float32",
    software: Mapping[str, str] | None = None,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    on_progress: Progress = lambda steps, message: None,
) -> SetReport:
    """Build this rank's shards (every `world`-th), and finish the set if all shards exist.

    `make` is picklable and turns an item into a sample; an exception that it raises is a failure of that item.
    `made_from` (JSON) is everything besides the items that samples depend on: with `resume`, finished shards made from
    the same are kept and others refused by name; `retry_failed` also repeats the items that failed. `attributes`
    (JSON) is copied into the index. ShardError when the folder is in use or cannot be written, keys collide, or there
    is no such rank.
    """
    if not 0 <= rank < world:
        raise ShardError(f"there is no rank {rank} among {world}", "ranks count from 0")
    spec = SetSpec.of(schema, encoding, made_from, software or {})
    run = _SetWriter(Path(folder).absolute(), plan, spec, dict(attributes), rank, world, retry_failed, on_progress)
    with owned(run.folder, work=run.work, part=rank, parts=world):
        run.prepare(resume=resume or retry_failed, overwrite=overwrite)
        return run.write(partial(_try_to_make, make, tuple(spec.stored.values())), workers)


def _try_to_make(make: Callable[[Item], Sample], stored: Sequence[StoredArray], item: Item) -> EncodedSample | str:
    """In a worker: an item's encoded sample, or the reason why there is none."""
    try:
        return encode_sample(make(item), stored)
    except Exception as error:  # one bad input must not end a long run: its reason is kept, and the run reports it
        return reason(error)


def reason(error: Exception) -> str:
    """One line."""
    text = f"{type(error).__name__}: {error}" if not hasattr(error, "hint") else str(error)
    return " ".join(text.split())


@dataclass
class _SetWriter:
    """One process's part of writing a set."""

    folder: Path
    plan: SetPlan
    spec: SetSpec
    attributes: dict[str, Any]
    rank: int
    world: int
    retry_failed: bool
    on_progress: Progress
    report: SetReport = field(default_factory=SetReport)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What each shard is made from, by its name."""
        return {job.name: self.spec.digest(job) for job in self.plan.jobs}

    @property
    def work(self) -> str:
        """What all ranks of a job have in common."""
        return layout.checksum(layout.canonical(self.digests).encode())

    # --- before ---

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder in use, or clear and prepare it: the plan is written before the first shard."""
        shards = tuple(PlannedShard(job.name, len(job.items), self.digests[job.name]) for job in self.plan.jobs)
        plan = PlanRecord(shards, self.spec.stored, self.spec.made_from, self.attributes).to_bytes()
        used = self.folder.exists() and any(not p.name.endswith(".part") for p in self._content())
        begun = self.world > 1 and self._plan_bytes() == plan  # by another rank of this job
        if used and overwrite:
            self._clear()
        elif used and not resume and not begun:
            hint = "continue with `--resume`, replace it with `--overwrite`, or name another"
            raise ShardError(f"output folder {self.folder} exists", hint)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in layout.leftovers(self.folder):
            left.unlink(missing_ok=True)
        for path in sorted(self.folder.glob("*.tar")):
            if path.name not in self.digests:
                hint = "the inputs changed: use `--overwrite` or another folder"
                raise ShardError(f"{path} is not part of the set that is being written", hint)
        if self._plan_bytes() != plan:
            for job in () if overwrite else self.plan.jobs:
                self._finished(job)  # refuses shards of other options before the plan that they belong to is replaced
            layout.write_atomic(self.folder / layout.PLAN, plan)

    def _content(self) -> list[Path]:
        if not self.folder.is_dir():
            raise ShardError(f"{self.folder} exists and is not a folder", "name another")
        return list(self.folder.iterdir())

    def _plan_bytes(self) -> bytes | None:
        """The plan in the folder, if any."""
        path = self.folder / layout.PLAN
        return path.read_bytes() if path.is_file() else None

    def _clear(self) -> None:
        """Remove this library's files only; of other ranks' shards only those that no rank will replace."""
        others = {job.name for job in self.plan.jobs} - {job.name for job in self._jobs()}
        keep = others | {layout.record_name(name) for name in others} | {layout.PLAN}
        for path in self._content():
            if layout.is_shard_file(path.name) and path.name not in keep and not path.name.endswith(".part"):
                path.unlink(missing_ok=True)
        for name in others:  # a record of other options is not by a rank of this job, and would count as finished
            path = self.folder / layout.record_name(name)
            with suppress(ShardError):
                if ShardRecord.read(path).build_digest != self.digests[name]:
                    path.unlink(missing_ok=True)

    # --- the work ---

    def _jobs(self) -> tuple[ShardJob, ...]:
        return self.plan.jobs[self.rank :: self.world]

    def write(self, function: Callable[[Item], EncodedSample | str], workers: int) -> SetReport:
        todo = [job for job in self._jobs() if not self._keep(job)]
        if todo:
            (self.folder / layout.INDEX).unlink(missing_ok=True)  # it would no longer describe the set
            with worker_pool(function, workers) as mapped:
                for job in todo:
                    self.report.add(self._write(job, mapped))
                    self.report.shards_written += 1
        self.report.complete = finalize_set(self.folder)
        return self.report

    def _keep(self, job: ShardJob) -> bool:
        """Whether a finished shard can stay. ShardError when it was made of other inputs or with other options."""
        record = self._finished(job)
        if record is None or (self.retry_failed and record.failed):
            return False
        self.report.add(record)
        self.report.shards_kept += 1
        self.on_progress(len(job.items), "")
        return True

    def _finished(self, job: ShardJob) -> ShardRecord | None:
        try:
            record = ShardRecord.read(self.folder / layout.record_name(job.name))
        except ShardError:
            return None  # absent or damaged: to be built
        if record.build_digest != self.digests[job.name]:
            what = f"{self.folder / job.name} was made from other inputs or with other options"
            raise ShardError(what, "use `--overwrite` or another folder")
        size = file_size(self.folder / job.name)
        return record if size == (record.size if record.count else None) else None

    def _write(self, job: ShardJob, mapped: Map) -> ShardRecord:
        try:
            return self._build(job, mapped)
        except OSError as error:
            lines = [Failure(job.name, item, reason(error)).to_line() for item in job.items]
            with suppress(OSError):  # a disk that is full may have no room for this either; the raised error is enough
                layout.write_atomic(self.folder / layout.FAILURES, "".join(lines).encode())
            what = f"{self.folder / job.name} cannot be written: {error.strerror or error}"
            raise ShardError(what, "no partial file was left; fix that, then continue with `--resume`") from None

    def _build(self, job: ShardJob, mapped: Map) -> ShardRecord:
        """Write a shard and then its record. With `retry_failed`, the samples of an earlier run are copied."""
        path = self.folder / job.name
        old = finished_samples(path, self._finished(job), job.items) if self.retry_failed else {}
        results = mapped(item for i, item in enumerate(job.items) if i not in old)
        shard = _ShardBuilder(job, self.spec.stored)
        with layout.atomic_file(path) as file:
            writer = Writer(file)
            for i, item in enumerate(job.items):
                shard.add(writer, item, old[i] if i in old else next(results))
                failed = len(self.report.failed) + len(shard.failed)
                self.on_progress(1, f"{failed} failed" if failed else "")
            checksum = writer.close()
        record = shard.record(writer.size, checksum, self)
        if not record.count:
            path.unlink()  # a tar without members is not a shard; the record still lists the failures
        layout.write_atomic(self.folder / layout.record_name(job.name), record.to_bytes())
        return record


class _ShardBuilder:
    """A shard that is being written, and the content of its record so far."""

    def __init__(self, job: ShardJob, stored: Mapping[str, StoredArray]) -> None:
        self.job, self.stored = job, dict(stored)
        self.keys: list[str] = []
        self.groups: list[str] = []
        self.members = {name: Members() for name in (*stored, "json")}
        self.statistics: dict[str, list[Statistics]] = {name: [] for name in stored}
        self.failed: list[Failure] = []

    def add(self, writer: Writer, item: Item, result: EncodedSample | str) -> None:
        if isinstance(result, EncodedSample) and result.key in self.keys:
            result = f"key '{result.key}' is already taken in this shard"
        if isinstance(result, str):
            self.failed.append(Failure(self.job.name, item, result))
            return
        self.keys.append(result.key)
        self.groups.append(result.group)
        for kind, (suffix, data, checksum) in result.members.items():
            self.members[kind].add(writer.add(f"{result.key}.{suffix}", data), data, checksum)
        for name, statistics in result.statistics.items():
            self.statistics[name].append(statistics)

    def record(self, size: int, checksum: str, run: _SetWriter) -> ShardRecord:
        return ShardRecord(
            name=self.job.name,
            split=self.job.split,
            size=size if self.keys else 0,
            checksum=checksum if self.keys else "",
            keys=self.keys,
            groups=self.groups,
            arrays=self.stored,
            members=self.members,
            statistics={name: merge(parts) for name, parts in self.statistics.items()},
            failed=self.failed,
            build_digest=run.digests[self.job.name],
            attributes=run.attributes,
            software=run.spec.software,
        )
