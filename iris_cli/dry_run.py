"""`--dry-run`: what a command would read, compute, write and need, without doing any of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iris_cli.console import emit, say, warn
from iris_cli.machine import disk, in_bytes, memory

#: Bytes that a process holds before any data: Python and numpy; with torch; with torch and numba.
PLAIN, WITH_TORCH, WITH_NUMBA = 100_000_000, 270_000_000, 450_000_000
#: Largest size of a figure on disk, in bytes.
FIGURE_BYTES = 2_000_000


@dataclass(frozen=True)
class DryRun:
    """Sizes are in bytes; `memory` is the estimated peak of all processes of this machine together."""

    computes: str
    reads: dict[Path, int] = field(default_factory=dict)
    writes: dict[Path, int] = field(default_factory=dict)
    memory: int = 0
    processes: int = 1
    #: Remarks, a line each: an output folder that exists, what a resumed run would keep.
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "dry_run": True,
            "computes": self.computes,
            "reads": self.reads,
            "writes": self.writes,
            "memory_bytes": self.memory,
            "processes": self.processes,
            "memory_available_bytes": memory().usable,
            "disk_free_bytes": {path: disk(path).free for path in self.writes},
            "notes": self.notes,
            "fits": not list(self.too_large()),
        }

    def too_large(self) -> Iterable[str]:
        """What exceeds the memory or the disk of this machine."""
        for path, size in self.writes.items():
            if size > disk(path).free:
                yield f"{path} needs {in_bytes(size)}, but {in_bytes(disk(path).free)} are free there"
        if self.memory > memory().usable:
            have = in_bytes(memory().usable)
            yield f"{in_bytes(self.memory)} of memory are needed, but {have} are free: try fewer workers"


def show(plan: DryRun, as_json: bool = False, **more: Any) -> None:
    """Prints the plan on stdout (`more`: further keys of the JSON), and a warning for each thing that does not fit."""
    if as_json:
        emit({**plan.to_dict(), **more})
    else:
        say(*_lines(plan))
    for problem in plan.too_large():
        warn(problem)


def _lines(plan: DryRun) -> Iterable[str]:
    for path, size in plan.reads.items():
        yield f"would read     {path}: {in_bytes(size)}"
    yield f"would compute  {plan.computes}"
    for path, size in plan.writes.items():
        there = disk(path)
        kind = f" ({there.kind})" if there.kind else ""
        yield f"would write    {path}: {in_bytes(size)}, of {in_bytes(there.free)} free{kind}"
    many = f" in {plan.processes} processes" if plan.processes > 1 else ""
    yield f"would need     about {in_bytes(plan.memory)} of memory{many}, of {in_bytes(memory().usable)} free"
    yield from (f"note           {note}" for note in plan.notes)


def exists(out: Path, options: str) -> tuple[str, ...]:
    """A note when the output exists, with the options that the run would need."""
    return (f"{out} exists: the run would need {options}",) if out.exists() else ()


def size_of(paths: Iterable[Path]) -> int:
    """Total size in bytes of the files that exist."""
    return sum(path.stat().st_size for path in paths if path.is_file())
