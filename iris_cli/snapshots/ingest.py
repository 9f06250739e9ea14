"""The work of `iris ingest`: snapshots of simulations in, a standard data set of views around each galaxy out.

Each tensor depends on the snapshot and the configuration alone, so any process can make any tensor, in any order, and
an interrupted run can be resumed. A tensor is finished when its record is in `records/`. The process that finds all
records writes standard.json.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.console import plural, progress, warn
from iris_cli.errors import DataError, IrisError
from iris_cli.files import read_json, write_text
from iris_cli.machine import cores, disk
from iris_cli.ranks import share_of_job
from iris_cli.snapshots.augment import Sight, draw_sight
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.galaxy import FOR_CELLS, Galaxy, GalaxyFacts, load_galaxy
from iris_cli.snapshots.reader import Snapshot
from iris_cli.snapshots.view import View, h2_mass_per_row
from iris_cli.standard.dataset import INDEX, Entry, write_index, write_slabs
from iris_cli.text import to_json
from shards.layout import leftovers
from shards.owner import owned
from shards.pool import worker_pool

PLAN, RECORDS = "ingest.json", "records"
_GIB = float(1 << 30)


@dataclass(frozen=True)
class Item:
    """One tensor to make: its number in the data set, its snapshot, its view."""

    number: int
    snapshot: int
    view: int

    @property
    def file(self) -> str:
        return f"tensor_{self.number:06d}.npy"

    @property
    def record(self) -> str:
        return f"{RECORDS}/tensor_{self.number:06d}.json"


@dataclass(frozen=True)
class TensorRecord:
    """The result of one tensor: its entry in the index and the facts of its galaxy, or the reason of a failure.

    `plan` is the hash of the plan that it belongs to.
    """

    entry: Entry | None = None
    facts: GalaxyFacts | None = None
    failed: str | None = None
    plan: str = ""


@dataclass
class IngestReport:
    """The result of a run: the numbers of its tensors, the facts of each galaxy, whether the set is complete."""

    made: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)
    complete: bool = False
    galaxies: dict[str, GalaxyFacts] = field(default_factory=dict)

    def add(self, record: TensorRecord) -> None:
        """Counts a record. Prints the warnings of a galaxy with its first record."""
        if record.entry is None or record.facts is None:
            if record.failed and record.failed not in self.failed:
                self.failed.append(record.failed)
            return
        self.made += 1
        if record.entry.source not in self.galaxies:
            mass = record.entry.info["h2_mass_M_sun"]
            self.galaxies[record.entry.source] = replace(record.facts, h2_mass_M_sun=mass)
            for warning in record.facts.warnings:
                warn(f"{record.entry.source}: {warning}")


@lru_cache(maxsize=1)
def _galaxy(snapshot: Snapshot, config: IngestConfig, memory_bytes: float, margin: float) -> Galaxy | DataError:
    """The galaxy, or the error in its data; cached for the next view."""
    try:
        return load_galaxy(snapshot, config, memory_bytes, margin)
    except DataError as error:
        return error


# --- one tensor -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorMaker:
    """Makes the tensor of an item and writes its record, in any process. A failure of the data has a record too."""

    snapshots: tuple[Snapshot, ...]
    sources: tuple[str, ...]
    config: IngestConfig
    folder: Path
    plan: str
    memory_bytes: float
    threads: int

    def __call__(self, item: Item) -> TensorRecord:
        try:
            record = self.make(item)
        except DataError as error:
            record = TensorRecord(failed=f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        except MemoryError:
            where = self.snapshots[item.snapshot].where
            record = TensorRecord(failed=f"{where}: out of memory (less --memory, or fewer --workers)")
        record = replace(record, plan=self.plan)
        write_text(self.folder / item.record, to_json(to_dict(record)))
        return record

    def make(self, item: Item) -> TensorRecord:
        snapshot, config = self.snapshots[item.snapshot], self.config
        galaxy, sight, view = self.view(item, 1.0)
        if view.bound_pc > galaxy.margin_pc:  # cells so far apart that the nearest may not have been read
            galaxy, sight, view = self.view(item, float("inf"))
        mass = write_view(view, self.folder / item.file, (1.0 - FOR_CELLS) * self.memory_bytes, self.threads)
        change = galaxy.change
        info = {
            "seed": config.seed,
            "scale": round(change.scale, 6),
            "density": round(change.density, 6),
            "skew": round(change.skew, 6),
            "skew_axis_deg": round(change.skew_axis_deg, 3),
            "farther_pc": round(sight.farther_pc, 4),
            "longitude_deg": round(sight.longitude_deg, 6),
            "snapshot": snapshot.files.name,
            "h2_mass_M_sun": mass,
        }
        source, identity = self.sources[item.snapshot], f"cells-{snapshot.digest}"
        return TensorRecord(Entry(item.file, source, round(sight.view_deg, 6), info, identity), galaxy.facts)

    def view(self, item: Item, margin: float) -> tuple[Galaxy, Sight, View]:
        snapshot, config = self.snapshots[item.snapshot], self.config
        galaxy = _galaxy(snapshot, config, self.memory_bytes, margin)
        if isinstance(galaxy, DataError):
            raise galaxy
        sight = draw_sight(config, snapshot.digest, galaxy.change, item.view)
        return galaxy, sight, View.of(galaxy.gas, galaxy.change, sight, config.grid, snapshot.where)


def write_view(view: View, path: Path, memory_bytes: float, threads: int) -> float:
    """Writes a view in SI units without holding all of it in memory. Returns the mass of H2 on the grid, M_sun."""
    grid, masses = view.cone.grid, []

    def weighed() -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for rows, slab in view.slabs(memory_bytes, threads):
            masses.append(h2_mass_per_row(slab, grid, rows))
            yield rows, slab

    write_slabs(path, grid.tensor_shape, weighed())
    return float(f"{np.concatenate(masses).sum():.6g}")


# --- the data set -----------------------------------------------------------------------------------------------------


def ingest(
    paths: Sequence[Path],
    out: Path,
    config: IngestConfig,
    *,
    memory_GiB: float = 8.0,
    threads: int = 0,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> IngestReport:
    """Makes this process's share of all views of all snapshots, and writes the index if all tensors exist.

    The other torchrun ranks, srun tasks or array tasks of the same job make the other shares. Raises DataError when a
    snapshot cannot be read (before anything is written) or the folder is in use. Snapshots with impossible values are
    listed in the report.
    """
    snapshots = tuple(Snapshot.open(files, config) for files in find_snapshots(paths, config.cutouts))
    names = source_names(snapshots)
    items = tuple(Item(s * config.views + v, s, v) for s in range(len(snapshots)) for v in range(config.views))
    rank, world = share_of_job(os.environ)
    own = items[rank * len(items) // world : (rank + 1) * len(items) // world]
    galaxies = [{"source": name, **s.describe()} for name, s in zip(names, snapshots, strict=True)]
    plan = {"format": "iris-ingest", "version": 1, "snapshots": galaxies, "config": to_dict(config)}
    folder = IngestFolder(out, to_json(plan), items, own, world > 1)
    with owned(out, work=folder.plan_hash, part=rank, parts=world):
        folder.prepare(resume, overwrite, 4.0 * float(np.prod(config.grid.tensor_shape)))
        unfinished = folder.unfinished()
        report = IngestReport(kept=len(own) - len(unfinished))
        threads = threads or max(1, cores().allowed // workers)
        make = TensorMaker(snapshots, names, config, out, folder.plan_hash, memory_GiB * _GIB / workers, threads)
        _galaxy.cache_clear()  # a file may have been replaced since
        with progress("ingesting", len(own), quiet=quiet) as bar, worker_pool(make, workers) as mapped:
            bar.advance(report.kept)
            for record in mapped(unfinished):
                report.add(record)
                bar.advance()
        origin = {"maker": "ingest", "software": {"iris": __version__}, "snapshots": [s.describe() for s in snapshots]}
        report.complete = folder.finalize(config.grid, {**origin, "config": to_dict(config)})
        if report.failed and not report.made and not report.kept:
            folder.discard()
        return report


def source_names(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """A unique name for each galaxy: the name of the file and the digest of its cells.

    Two files with the same cells get different names and cause a warning; they are one galaxy to every split.
    """
    names: list[str] = []
    for snapshot in snapshots:
        name = f"{snapshot.files.name}-{snapshot.digest[:8]}"
        copies = sum(other.digest == snapshot.digest for other in snapshots[: len(names)])
        if copies:
            same = f"{snapshot.where} holds the same cells as another snapshot named here"
            warn(f"{same}; both count as views of one galaxy")
        names.append(f"{name}-copy{copies}" if name in names else name)
    return tuple(names)


@dataclass(frozen=True)
class IngestFolder:
    """The output folder: the plan, which is all that the tensors depend on, is written first, then tensors with their
    records, then the index.
    """

    path: Path
    plan: str
    items: tuple[Item, ...]
    own: tuple[Item, ...]
    shared: bool

    @property
    def plan_hash(self) -> str:
        """Part of every record, so that records of another plan are recognized."""
        return xxhash.xxh3_64_hexdigest(self.plan.encode())

    def prepare(self, resume: bool, overwrite: bool, tensor_bytes: float) -> None:
        """Writes the plan. Raises DataError for a folder in use and for a disk that is too small."""
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path} exists and is not a folder", "choose another name")
        if (old := self._old_plan()) is not None:
            same = old == self.plan
            if overwrite:
                self._clear(keep_others=same and self.shared)
            elif resume and not same:
                what = f"{self.path} was begun from other snapshots or with other options"
                raise DataError(what, "repeat those, --overwrite it, or choose another folder")
            elif not resume and not (same and self.shared):
                hint = "continue with --resume, replace it with --overwrite, or choose another"
                raise DataError(f"{self.path} exists", hint)
        self._check_room(tensor_bytes)
        (self.path / RECORDS).mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / RECORDS):
            for left in leftovers(folder):
                left.unlink(missing_ok=True)
        if self._old_plan() != self.plan:
            write_text(self.path / PLAN, self.plan)

    def _old_plan(self) -> str | None:
        """The plan in the folder; "" for other content, None for an empty or missing folder."""
        if not self.path.is_dir():
            return None
        if (self.path / PLAN).is_file():
            return (self.path / PLAN).read_text(encoding="utf-8")
        return "" if any(not p.name.endswith(".part") and p.name != RECORDS for p in self.path.iterdir()) else None

    def _clear(self, keep_others: bool) -> None:
        """Removes files that this program wrote; with `keep_others`, not those of the job's other processes."""
        (self.path / INDEX).unlink(missing_ok=True)
        others = {i.file for i in self.items} - {i.file for i in self.own} if keep_others else set()
        for path in [*self.path.glob("tensor_*.npy"), *self.path.glob(f"{RECORDS}/tensor_*.json")]:
            if f"{path.stem}.npy" not in others:
                path.unlink(missing_ok=True)

    def _check_room(self, tensor_bytes: float) -> None:
        needed = tensor_bytes * sum(not (self.path / item.file).exists() for item in self.own)
        free = disk(self.path)
        if needed > free.free:
            need = f"{plural(len(self.own), 'tensor needs', 'tensors need')} {needed / _GIB:.3g} GiB"
            what = f"{need}; {free.where} has {free.free / _GIB:.3g}"
            raise DataError(what, "fewer --views, a smaller --preset, or another disk")

    def unfinished(self) -> list[Item]:
        """This process's tensors that are not finished, including failures. Removes the index if there are any."""
        unfinished = [item for item in self.own if (record := self._record(item)) is None or record.entry is None]
        if unfinished:
            (self.path / INDEX).unlink(missing_ok=True)
        return unfinished

    def _record(self, item: Item) -> TensorRecord | None:
        """The record of a finished or failed tensor; None when there is none of this plan."""
        with suppress(IrisError):
            record = from_dict(TensorRecord, read_json(self.path / item.record))
            if record.plan == self.plan_hash and (record.failed or (self.path / item.file).is_file()):
                return record
        return None

    def finalize(self, grid: Grid, origin: dict[str, Any]) -> bool:
        """Writes standard.json if every tensor is finished or has failed. Returns whether it exists."""
        records = [record for item in self.items if (record := self._record(item))]
        if len(records) < len(self.items):
            return False
        entries = tuple(record.entry for record in records if record.entry)
        failed = sorted({record.failed for record in records if record.failed})
        if entries:
            facts = {r.entry.source: to_dict(r.facts) for r in records if r.entry and r.facts}
            write_index(self.path, grid, entries, {**origin, "facts": facts, "failed": failed})
        return bool(entries)

    def discard(self) -> None:
        """Removes the folder of a run that made nothing, unless other processes or other files use it."""
        if self.shared:
            return
        for item in self.own:
            (self.path / item.record).unlink(missing_ok=True)
        (self.path / PLAN).unlink(missing_ok=True)
        with suppress(OSError):  # a folder with other files is kept
            (self.path / RECORDS).rmdir()
            self.path.rmdir()
