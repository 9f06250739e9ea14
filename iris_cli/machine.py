"""Resources that this machine grants to a process: cores, memory, disk, the type of a file system.

Read from /proc and /sys on Linux; on other systems, unknown values are None.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Spaces and the like in /proc/self/mountinfo.
_OCTAL = re.compile(r"\\([0-7]{3})")
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cores:
    """Cores `present` in the machine, `allowed` for this process, and the `quota` of its control group, if any."""

    present: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        return self.allowed if self.quota is None else max(1, min(self.allowed, round(self.quota)))


def cores(cgroups: Path = CGROUPS, proc: Path = PROC) -> Cores:
    present = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    return Cores(present, allowed, _cpu_quota(cgroups, proc))


def _cpu_quota(cgroups: Path, proc: Path) -> float | None:
    """The lowest quota of the group and its parents, in cores (cgroup version 2, then 1)."""
    found = []
    for folder in _groups(cgroups, proc, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            found.append(int(quota) / int(period))
    return min(found, default=None)


@dataclass(frozen=True)
class Memory:
    """Bytes of the machine, available to this process now, and the `limit` of control group or `ulimit -v`, if any."""

    total: int
    available: int
    limit: int | None

    @property
    def usable(self) -> int:
        return self.available if self.limit is None else min(self.available, self.limit)


def memory(cgroups: Path = CGROUPS, proc: Path = PROC) -> Memory:
    values = dict(line.split(":", 1) for line in _text(proc / "meminfo").splitlines() if ":" in line)
    kB = {name: int(text.split()[0]) for name, text in values.items() if name in ("MemTotal", "MemAvailable")}
    total = 1024 * kB["MemTotal"] if "MemTotal" in kB else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [
        int(text)
        for folder in _groups(cgroups, proc, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _text(folder / name)).isdigit() and int(text) < total
    ]
    if (address_space := address_space_limit()) is not None:
        limits.append(address_space)
    return Memory(total, 1024 * kB["MemAvailable"] if "MemAvailable" in kB else total, min(limits, default=None))


def address_space_limit() -> int | None:
    """Bytes that `ulimit -v` allows to this process; None if it is unlimited."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _groups(cgroups: Path, proc: Path, controller: str) -> Iterator[Path]:
    """This process's control group and its parents; version 2 has one tree, version 1 one for each controller."""
    for line in _text(proc / "self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            tree = cgroups if number == "0" else cgroups / controller
            inner = tree / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder == tree or tree in folder.parents)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Disk:
    """Free bytes and inodes at a path, which need not exist yet, and the type of its file system ("" if unknown)."""

    where: Path
    free: int
    inodes: int | None
    kind: str


def disk(path: Path) -> Disk:
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    statistics = os.statvfs(there)
    inodes = statistics.f_favail if statistics.f_files else None  # some file systems count none
    return Disk(there, shutil.disk_usage(there).free, inodes, file_system(there))


def file_system(path: Path, proc: Path = PROC) -> str:
    """`ext4`, `nfs4`, `lustre` …: the type of the innermost mount that contains `path`."""
    best, kind = "", ""
    for line in filter(None, _text(proc / "self/mountinfo").split("\n")):  # a name may hold other ends of lines
        before, _, after = line.partition(" - ")
        mount = _OCTAL.sub(lambda found: chr(int(found[1], 8)), before.split(" ")[4])
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind


def in_bytes(size: float) -> str:
    """`3.2 GB`"""
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next(((u, n) for u, n in units if size >= u), (1.0, "bytes"))
    return f"{size / unit:.1f} {name}" if unit > 1 else f"{size:.0f} {name}"
