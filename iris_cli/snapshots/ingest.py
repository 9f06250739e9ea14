"""Snapshots of simulations in, a standard data set out: views around each galaxy, shared out, resumable.

Each tensor is a function of the snapshot and the configuration alone, so that any process can make any of them, in any
order. A tensor is finished when its record stands in `records/`; whoever finds all of them writes standard.json.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from iris_cli import __version__, axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.console import plural, progress, warn
from iris_cli.errors import DataError, IrisError
from iris_cli.files import read_json, to_json
from iris_cli.snapshots.augment import draw_sight
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.galaxy import FOR_CELLS, Galaxy, load_galaxy
from iris_cli.snapshots.reader import Snapshot
from iris_cli.snapshots.view import View, h2_mass_per_row
from iris_cli.standard.dataset import INDEX, Entry, write_index
from shards.layout import atomic_file, leftovers, write_atomic
from shards.pool import share_of_job, worker_pool

PLAN, RECORDS = "ingest.json", "records"
_GIB = float(1 << 30)


@dataclass(frozen=True)
class Item:
    """One tensor to make: its place in the plan, its snapshot, its view."""

    number: int
    snapshot: int
    view: int

    @property
    def file(self) -> str:
        return f"tensor_{self.number:06d}.npy"

    @property
    def record(self) -> str:
        return f"{RECORDS}/tensor_{self.number:06d}.json"


@dataclass
class IngestReport:
    """What a run did: its own tensors, and whether standard.json stands."""

    made: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)
    complete: bool = False
    told: dict[str, dict[str, Any]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _galaxy(snapshot: Snapshot, config: IngestConfig, memory_bytes: float, margin: float) -> Galaxy | DataError:
    """The last galaxy is kept for its next view; so is the reason why there is none."""
    try:
        return load_galaxy(snapshot, config, memory_bytes, margin)
    except DataError as error:
        return error


# --- one tensor -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Make:
    """Item -> its record, in whichever process; a failure of the data is a record too."""

    snapshots: tuple[Snapshot, ...]
    sources: tuple[str, ...]
    config: IngestConfig
    folder: Path
    plan: str
    memory_bytes: float
    threads: int

    def __call__(self, item: Item) -> dict[str, Any]:
        try:
            record = self.make(item)
        except DataError as error:
            record = {"failed": f"{error.message}{f' ({error.hint})' if error.hint else ''}"}
        except MemoryError:
            record = {
                "failed": f"{self.snapshots[item.snapshot].where}: out of memory (less --memory, or fewer --workers)"
            }
        record["plan"] = self.plan
        write_atomic(self.folder / item.record, to_json(record).encode())
        return {**record, "source": self.sources[item.snapshot]}

    def make(self, item: Item) -> dict[str, Any]:
        snapshot, config = self.snapshots[item.snapshot], self.config
        galaxy, view = self.look(item, 1.0)
        if view.bound_pc > galaxy.margin_pc:  # cells so far apart that the nearest may not have been read
            galaxy, view = self.look(item, float("inf"))
        mass = write_view(view, self.folder / item.file, (1.0 - FOR_CELLS) * self.memory_bytes, self.threads)
        change, sight = galaxy.change, draw_sight(config, snapshot.digest, galaxy.change, item.view)
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
        entry = Entry(item.file, self.sources[item.snapshot], round(sight.view_deg, 6), info)
        return {"entry": to_dict(entry), "facts": galaxy.facts}

    def look(self, item: Item, margin: float) -> tuple[Galaxy, View]:
        snapshot, config = self.snapshots[item.snapshot], self.config
        galaxy = _galaxy(snapshot, config, self.memory_bytes, margin)
        if isinstance(galaxy, DataError):
            raise galaxy
        sight = draw_sight(config, snapshot.digest, galaxy.change, item.view)
        return galaxy, View.of(galaxy.gas, galaxy.change, sight, config.grid, snapshot.where)


def write_view(view: View, path: Path, memory_bytes: float, threads: int) -> float:
    """A view in SI to disk, whole or not at all, never whole in memory. Returns the mass of H2 on the grid, M_sun."""
    grid, masses = view.cone.grid, []
    with atomic_file(path) as file:
        write = TensorRows(file, grid.tensor_shape)
        for rows, slab in view.slabs(memory_bytes, threads):
            masses.append(h2_mass_per_row(slab, grid, rows))
            for channel, quantity in enumerate(axes.CHANNEL_QUANTITIES):
                si = units.convert(quantity, units.INNER, units.SI) if quantity else 1.0
                write(channel, rows, slab[channel] * np.float32(si))
    return float(f"{np.concatenate(masses).sum():.6g}")


class TensorRows:
    """A float32 .npy file of a tensor (6, R, L, B) that is written rows by rows."""

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int, int]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        self.file, self.shape, self.start = file, shape, file.tell()

    def __call__(self, channel: int, rows: slice, values: NDArray[np.float32]) -> None:
        _, r, lon, lat = self.shape
        self.file.seek(self.start + 4 * lon * lat * (channel * r + rows.start))
        self.file.write(np.ascontiguousarray(values, "<f4").data)


# --- the set ----------------------------------------------------------------------------------------------------------


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
    """Make this process's share of all views of all snapshots, and close the set if all are there.

    Shares the work with the other torchrun ranks, srun tasks or array tasks of the same job. DataError when a snapshot
    cannot be understood (before anything is written) or the folder is in use; snapshots whose numbers are bad are told
    in the report.
    """
    snapshots = tuple(Snapshot.open(files, config) for files in find_snapshots(paths))
    names = sources(snapshots)
    items = tuple(Item(s * config.views + v, s, v) for s in range(len(snapshots)) for v in range(config.views))
    rank, world = share_of_job(os.environ)
    plan = plan_text(snapshots, names, config)
    opened = Folder(out, plan, items, items[rank * len(items) // world : (rank + 1) * len(items) // world], world > 1)
    opened.prepare(resume, overwrite, 4.0 * float(np.prod(config.grid.tensor_shape)))
    todo = opened.todo()
    report = IngestReport(kept=len(opened.mine) - len(todo))
    threads = threads or max(1, _cores() // workers)
    make = Make(snapshots, names, config, out, opened.mark, memory_GiB * _GIB / workers, threads)
    _galaxy.cache_clear()  # a file may have been mended since
    with progress("ingesting", len(opened.mine), quiet=quiet) as bar, worker_pool(make, workers) as mapped:
        bar.advance(report.kept)
        for record in mapped(todo):
            _take(report, record)
            bar.advance()
    origin = {
        "maker": "ingest",
        "software": {"iris": __version__},
        "snapshots": [s.describe() for s in snapshots],
        "config": to_dict(config),
    }
    report.complete = opened.close(config.grid, origin)
    if report.failed and not report.made and not report.kept:
        opened.abandon()
    return report


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _take(report: IngestReport, record: dict[str, Any]) -> None:
    if "failed" in record:
        if record["failed"] not in report.failed:
            report.failed.append(record["failed"])
        return
    report.made += 1
    if record["source"] not in report.told:
        report.told[record["source"]] = {**record["facts"], "h2_mass_M_sun": record["entry"]["info"]["h2_mass_M_sun"]}
        for caution in record["facts"]["cautions"]:
            warn(f"{record['source']}: {caution}")


def sources(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """A name for each galaxy that another file of the same name, or another run of this program, does not take.

    The file's name and the digest of its cells. Two files with the same cells are one galaxy in two places: they are
    kept apart, as they were named apart, and a warning says so.
    """
    names: list[str] = []
    for snapshot in snapshots:
        name = f"{snapshot.files.name}-{snapshot.digest[:8]}"
        copies = sum(other.digest == snapshot.digest for other in snapshots[: len(names)])
        if copies:
            warn(
                f"{snapshot.where} holds the same cells as another snapshot named here; leave it out, or views of one "
                "galaxy may come into training and test"
            )
        names.append(f"{name}-copy{copies}" if name in names else name)
    return tuple(names)


def plan_text(snapshots: Sequence[Snapshot], names: Sequence[str], config: IngestConfig) -> str:
    """ingest.json: what the tensors depend on, and nothing else."""
    galaxies = [{"source": n, **s.describe()} for s, n in zip(snapshots, names, strict=True)]
    return to_json({"format": "iris-ingest", "version": 1, "snapshots": galaxies, "config": to_dict(config)})


@dataclass(frozen=True)
class Folder:
    """The output folder: plan first, tensors with their records, index last."""

    path: Path
    plan: str
    items: tuple[Item, ...]
    mine: tuple[Item, ...]
    shared: bool

    @property
    def mark(self) -> str:
        """Stands in every record, so that those of another plan are known."""
        import xxhash

        return xxhash.xxh3_64_hexdigest(self.plan.encode())

    def prepare(self, resume: bool, overwrite: bool, tensor_bytes: float) -> None:
        """Refuse a folder in use or a disk too small, or make the folder ours: its plan stands before a tensor does."""
        old = self._old_plan()
        if old is not None or (self.path.exists() and not self.path.is_dir()):
            if not self.path.is_dir():
                raise DataError(f"{self.path} exists and is no folder", "name another")
            same = old == self.plan
            if overwrite:
                self._clear(keep_others=same and self.shared)
            elif resume and not same:
                raise DataError(
                    f"{self.path} was begun from other snapshots or with other options",
                    "repeat those, --overwrite it, or name another folder",
                )
            elif not resume and not (same and self.shared):
                raise DataError(
                    f"{self.path} exists", "go on with --resume, replace it with --overwrite, or name another"
                )
        self._check_room(tensor_bytes)
        (self.path / RECORDS).mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / RECORDS):
            for left in leftovers(folder):
                left.unlink(missing_ok=True)
        if self._old_plan() != self.plan:
            write_atomic(self.path / PLAN, self.plan.encode())

    def _old_plan(self) -> str | None:
        """The plan that stands there; other content counts as an unknown one."""
        if not self.path.is_dir():
            return None
        if (self.path / PLAN).is_file():
            return (self.path / PLAN).read_text(encoding="utf-8")
        return "" if any(not p.name.endswith(".part") and p.name != RECORDS for p in self.path.iterdir()) else None

    def _clear(self, keep_others: bool) -> None:
        """Remove what this program wrote, no other files; of the same job's other ranks only what is nobody's."""
        (self.path / INDEX).unlink(missing_ok=True)
        theirs = {i.file for i in self.items} - {i.file for i in self.mine} if keep_others else set()
        for path in [*self.path.glob("tensor_*.npy"), *self.path.glob(f"{RECORDS}/tensor_*.json")]:
            if f"{path.stem}.npy" not in theirs:
                path.unlink(missing_ok=True)

    def _check_room(self, tensor_bytes: float) -> None:
        place = next(p for p in (self.path.absolute(), *self.path.absolute().parents) if p.exists())
        needed = tensor_bytes * sum(not (self.path / item.file).exists() for item in self.mine)
        free = shutil.disk_usage(place).free
        if needed > free:
            need = plural(len(self.mine), "tensor needs", "tensors need")
            raise DataError(
                f"{need} {needed / _GIB:.3g} GiB; {place} has {free / _GIB:.3g}",
                "fewer --views, a smaller --preset, or another disk",
            )

    def todo(self) -> list[Item]:
        """My tensors that are not finished; failures are tried again. The index goes if there are any."""
        todo = [item for item in self.mine if "entry" not in (self._record(item) or {})]
        if todo:
            (self.path / INDEX).unlink(missing_ok=True)
        return todo

    def _record(self, item: Item) -> dict[str, Any] | None:
        """A finished tensor's record, or a failure's; None when there is none of this plan."""
        with suppress(IrisError):
            record = read_json(self.path / item.record)
            if record.get("plan") == self.mark and ("failed" in record or (self.path / item.file).is_file()):
                return record
        return None

    def close(self, grid: Grid, origin: dict[str, Any]) -> bool:
        """Write standard.json if every tensor is finished or has failed; whether it stands."""
        records = [self._record(item) for item in self.items]
        if any(record is None for record in records):
            return False
        entries = tuple(from_dict(Entry, r["entry"], str(self.path)) for r in records if r and "entry" in r)
        failed = sorted({r["failed"] for r in records if r and "failed" in r})
        if entries:
            facts = {r["entry"]["source"]: r["facts"] for r in records if r and "entry" in r}
            write_index(self.path, grid, entries, {**origin, "facts": facts, "failed": failed})
        return bool(entries)

    def abandon(self) -> None:
        """Nothing came of it: leave nothing, unless others are at work here."""
        if self.shared:
            return
        for item in self.mine:
            (self.path / item.record).unlink(missing_ok=True)
        (self.path / PLAN).unlink(missing_ok=True)
        with suppress(OSError):  # somebody's files are left alone, and so is their folder
            (self.path / RECORDS).rmdir()
            self.path.rmdir()
