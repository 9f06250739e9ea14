"""Terminal or log: rich bars on a terminal, time-stamped lines elsewhere; results on stdout, all else on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """What a long job reports: how far it is, and a few words (a loss, a rate) beside the bar."""

    def advance(self, steps: int = 1, words: str = "") -> None: ...


class _Silent:
    def advance(self, steps: int = 1, words: str = "") -> None:
        pass


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def advance(self, steps: int = 1, words: str = "") -> None:
        self._bar.update(self._task, advance=steps, words=words)


class _Lines:
    """A line every `every_s` seconds and one at the end: rich alone would print nothing into a batch log."""

    def __init__(self, title: str, total: int | None, every_s: float) -> None:
        self.title, self.total, self.every_s = title, total, every_s
        self.done, self.words, self.start = 0, "", time.monotonic()
        self._last = self.start

    def advance(self, steps: int = 1, words: str = "") -> None:
        self.done, self.words = self.done + steps, words or self.words
        if time.monotonic() - self._last >= self.every_s:
            self.say()

    def say(self) -> None:
        self._last = time.monotonic()
        seconds = self._last - self.start
        rate = self.done / seconds if seconds > 0 else 0.0
        of = f"/{self.total}" if self.total is not None else ""
        left = (
            f", {clock((self.total - self.done) / rate)} left" if self.total and rate and self.done < self.total else ""
        )
        log(f"{self.title} {self.done}{of}, {rate:.3g}/s{left}{'  ' + self.words if self.words else ''}")


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02d}:{s:02d}"


def speaks() -> bool:
    """Rank 0 alone speaks."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def log(message: str) -> None:
    """One line on stderr, with the time in front where nobody watches."""
    if not speaks():
        return
    stamp = "" if on_terminal() else time.strftime("%Y-%m-%dT%H:%M:%S ")
    print(f"{stamp}{message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    log(f"warning: {message}")


@contextmanager
def progress(
    title: str, total: int | None = None, *, log_every_s: float = 10.0, quiet: bool = False
) -> Iterator[Progress]:
    """`with progress("observing", 640) as p: p.advance()`"""
    if quiet or not speaks():
        yield _Silent()
    elif on_terminal():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(),
                   TimeRemainingColumn(), TextColumn("{task.fields[words]}"))  # fmt: skip
        with RichProgress(*columns, console=Console(stderr=True)) as bar:
            yield _Bar(bar, bar.add_task(title, total=total, words=""))
    else:
        lines = _Lines(title, total, log_every_s)
        try:
            yield lines
        finally:
            lines.say()


def emit(result: dict[str, Any]) -> None:
    """A result for machines, on stdout."""
    print(json.dumps(result, indent=2, allow_nan=False), flush=True)


def table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A result for people, on stdout."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*header, title=title)
    for row in rows:
        drawn.add_row(*row)
    Console().print(drawn)
