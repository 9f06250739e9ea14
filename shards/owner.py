"""The processes that write a folder: one, or the parts of one job. Another process is refused.

A process that writes a folder keeps a file `.in-use.PART.NUMBER.part` in it (beside it, where the folder itself is
replaced), with its machine, process and start time. No `flock` is needed, which some network file systems lack:

- The file is created with O_EXCL, so that of two processes that start together one is refused.
- A process on this machine that has ended is recognized by its number and its start time.
- A process on another machine is not visible. It renews the file's time every 20 s; 90 s without a change mean that
  it has ended, for example with its machine. Clocks are not compared.
- A file that was left is replaced by one with the next number, so that only one process can take over.
"""

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from shards.errors import ShardError

#: Seconds between two renewals of a file, and without any before its process counts as ended.
RENEW_EVERY_S, SILENCE_S = 20.0, 90.0
_FILE = re.compile(r"\.in-use(-[0-9a-f]{12})?\.(?P<part>\d+)\.(?P<number>\d+)\.part")
#: Folders that a thread of this process writes: it may enter them again.
_held: dict[Path, int] = {}


@dataclass(frozen=True)
class Owner:
    """A process that writes a folder. `part` of `parts` of a job; all parts do the same `work`."""

    work: str = ""
    part: int = 0
    parts: int = 1
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=lambda: _machine())
    process: int = field(default_factory=os.getpid)
    process_start: str = field(default_factory=lambda: process_start(os.getpid()) or "")
    since: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @classmethod
    def read(cls, path: Path) -> "Owner | None":
        """None for a file that is absent or just being written, or damaged."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine, where processes can be looked up."""
        return self.machine == _machine()

    def lives(self) -> bool:
        """Whether a process of this machine still runs; another one may have its number by now."""
        start = process_start(self.process)
        return start is not None and (not start or not self.process_start or start == self.process_start)

    def shares_with(self, other: "Owner") -> bool:
        """Whether both are parts of one job."""
        same = (self.work, self.parts) == (other.work, other.parts)
        return same and self.parts > 1 and self.part != other.part


@dataclass(frozen=True)
class Held:
    """A folder that this process writes, by its file."""

    folder: Path
    file: Path
    owner: Owner

    def check(self) -> None:
        """ShardError when another process has taken over, such as after this one was suspended for minutes."""
        if Owner.read(self.file) != self.owner:
            what = f"{self.folder} is no longer written by this process: it was moved, removed or taken over"
            raise ShardError(what, "look for a second job that writes it")


@contextmanager
def owned(
    folder: Path,
    *,
    work: str = "",
    part: int = 0,
    parts: int = 1,
    beside: bool = False,
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[Held]:
    """Within the block this process, or this part of a job, alone writes `folder`, which is created if it is absent.

    ShardError when another process writes it. `beside`: the folder itself is not created, since it will be replaced.
    `while_waiting` is called each second while a process of another machine is observed, and may raise.
    """
    folder = Path(os.path.realpath(folder))
    me = Owner(work, part, parts)
    if _held.get(folder) == threading.get_ident() or (folder.exists() and not folder.is_dir()):
        yield Held(folder, folder, me)  # what is no folder is refused where it is used
        return
    created = [] if beside else [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        held, ended = Held(folder, _take(folder, me, beside, while_waiting), me), threading.Event()
    except OSError as error:
        raise ShardError(f"{folder} cannot be written: {error.strerror}", "choose another folder") from None
    threading.Thread(target=_renew, args=(held, ended), daemon=True).start()
    _held[folder] = threading.get_ident()
    try:
        yield held
    finally:
        ended.set()
        del _held[folder]
        if Owner.read(held.file) == me:
            held.file.unlink(missing_ok=True)
        with suppress(OSError):  # a folder in which nothing was written
            for each in created:
                each.rmdir()


def writer_of(folder: Path) -> Owner | None:
    """The process that writes a folder now, as far as this machine can see: one of another machine has given a sign in
    the last SILENCE_S by this machine's clock.
    """
    for path in _files(Path(os.path.realpath(folder))):
        owner, renewed = Owner.read(path), _time_of(path)
        if owner and (owner.lives() if owner.here else renewed and time.time() - renewed * 1e-9 < SILENCE_S):
            return owner
    return None


def _take(folder: Path, me: Owner, beside: bool, while_waiting: Callable[[], None]) -> Path:
    """Create this process's file. ShardError when another process has one."""
    left = _refuse_others(folder, me, while_waiting)
    names = [found for path in left if (found := _FILE.fullmatch(path.name))]
    mine = [int(found["number"]) for found in names if int(found["part"]) == me.part]
    if not beside:
        folder.mkdir(parents=True, exist_ok=True)
    name = f".in-use.{me.part}.{max(mine, default=0) + 1}.part"
    file = folder.with_name(name.replace("use", f"use-{_short(folder)}", 1)) if beside else folder / name
    try:
        with file.open("xb") as opened:
            opened.write(json.dumps(asdict(me)).encode())
    except FileExistsError:  # created since
        _refuse_others(folder, me, while_waiting)
        raise _in_use(folder, Owner.read(file)) from None
    except OSError:
        file.unlink(missing_ok=True)
        raise
    try:
        _refuse_others(folder, me, while_waiting, but=file)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    for path in left:
        path.unlink(missing_ok=True)
    return file


def _refuse_others(folder: Path, me: Owner, while_waiting: Callable[[], None], but: Path | None = None) -> list[Path]:
    """The files of processes that have ended. ShardError for one of a process that runs and does not belong to us."""
    left = []
    for path in _files(folder):
        if (owner := Owner.read(path)) is None:
            time.sleep(0.1)  # a file without content may just be written
            owner = Owner.read(path)
        if path == but or (owner and owner.shares_with(me) and not owner.here):
            continue
        if owner.lives() if owner and owner.here else _renewed(path, while_waiting):
            if owner is None or not owner.shares_with(me):
                raise _in_use(folder, owner or Owner.read(path))
        else:
            left.append(path)
    return left


def _files(folder: Path) -> list[Path]:
    inside = sorted(folder.glob(".in-use.*.part")) if folder.is_dir() else []
    beside = sorted(folder.parent.glob(f".in-use-{_short(folder)}.*.part")) if folder.parent.is_dir() else []
    return [path for path in (*inside, *beside) if _FILE.fullmatch(path.name)]


def _short(folder: Path) -> str:
    """Of any name 12 hexadecimal digits: a long one leaves no room for more."""
    return sha256(os.fsencode(folder.name)).hexdigest()[:12]


def _in_use(folder: Path, owner: Owner | None) -> ShardError:
    who = f"process {owner.process} on {owner.host}, since {owner.since}" if owner else "another process"
    return ShardError(f"{folder} is being written by {who}", "wait until it has ended, end it, or name another folder")


def _renewed(path: Path, while_waiting: Callable[[], None]) -> bool:
    """Whether the file's time changes within `SILENCE_S`. (Opening it asks the server of a network file system.)"""
    first, end = _time_of(path), time.monotonic() + SILENCE_S
    if first is not None:
        who = Owner.read(path)
        where = f"process {who.process} on {who.host}" if who else "a process of another machine"
        print(f"{path.parent}: waiting up to {SILENCE_S:.0f} s for a sign of {where}", file=sys.stderr, flush=True)
    while first is not None and time.monotonic() < end:
        time.sleep(min(1.0, SILENCE_S / 10.0))
        while_waiting()
        now = _time_of(path)
        if now != first:
            return now is not None
    return False


def _time_of(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _renew(held: Held, ended: threading.Event) -> None:
    while not ended.wait(RENEW_EVERY_S):
        with suppress(OSError):
            if Owner.read(held.file) == held.owner:
                os.utime(held.file)


def _machine() -> str:
    """Of this boot and this container: where equal numbers mean equal processes."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def process_start(process: int) -> str | None:
    """A process's start, in ticks since boot; "" where that is not known, None when it has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # of another user
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if state in "ZX" else fields[18]
