"""Terminal or log: rich bars on a terminal, time-stamped lines elsewhere; results on stdout, all else on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, cast

from iris_cli.errors import IrisError, UsageError
from iris_cli.ranks import is_rank_0

#: Environment variables behind `--log-every`, `-v` and `-q`, so that what this process starts hears of them too.
LOG_EVERY, VERBOSE, QUIET = "IRIS_LOG_EVERY", "IRIS_VERBOSE", "IRIS_QUIET"


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
        self._bar.update(self._task, advance=steps, **({"words": words} if words else {}))


class _Lines:
    """A line every `every_s` seconds and one at the end: rich alone would print nothing into a batch log."""

    def __init__(self, title: str, total: int | None, every_s: float) -> None:
        self.title, self.total, self.every_s = title, total, every_s
        self.done, self.words, self.start = 0, "", time.monotonic()
        #: When and how far: the rate is that of the last few lines, as what a resumed job kept went by in no time.
        self.marks = deque([(self.start, 0)], maxlen=6)

    def advance(self, steps: int = 1, words: str = "") -> None:
        self.done, self.words = self.done + steps, words or self.words
        if time.monotonic() - self.marks[-1][0] >= self.every_s:
            self._say(self._left())

    def end(self) -> None:
        self._say(f", {clock(time.monotonic() - self.start)} in all")

    def _say(self, time_told: str) -> None:
        self.marks.append((time.monotonic(), self.done))
        of = "" if self.total is None else f"/{self.total}"
        words = f", {self.words}" if self.words else ""
        log(f"{self.title} {self.done}{of}, {self._rate():.3g}/s{time_told}{words}")

    def _rate(self) -> float:
        (then, before), now = self.marks[0], time.monotonic()
        return (self.done - before) / (now - then) if now > then else 0.0

    def _left(self) -> str:
        rate = self._rate()
        return f", {clock((self.total - self.done) / rate)} left" if self.total and rate else ""


def plural(number: int, one: str, many: str = "") -> str:
    """`1 galaxy`, `24 galaxies`; without `many`, an s makes the plural."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02d}:{s:02d}"


def on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def log(message: str) -> None:
    """One line on stderr, with the time in front where nobody watches."""
    if not is_rank_0():
        return
    stamp = "" if on_terminal() else time.strftime("%Y-%m-%dT%H:%M:%S ")
    with suppress(BrokenPipeError):  # for those who have not settled their streams
        print(f"{stamp}{message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    log(f"warning: {message}")


def verbose() -> bool:
    """Whether `-v` was given, to this process or to the one that started it."""
    return _set(VERBOSE)


def _set(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def detail(message: str) -> None:
    """What only those want to know who asked with `-v`."""
    if verbose():
        log(message)


def seconds_between_lines() -> float:
    """Of `--log-every`, or of the environment."""
    try:
        return max(0.1, float(os.environ.get(LOG_EVERY) or 10))
    except ValueError:
        raise UsageError(f"{LOG_EVERY} = {os.environ[LOG_EVERY]!r} is no number of seconds", "unset it") from None


@contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """`with progress("observing", 640) as p: p.advance()`"""
    if quiet or _set(QUIET) or not is_rank_0():
        yield _Silent()
    elif on_terminal():
        with _rich_bar(title, total) as bar:
            yield bar
    else:
        lines = _Lines(title, total, seconds_between_lines())
        try:
            yield lines
        finally:
            lines.end()


@contextmanager
def _rich_bar(title: str, total: int | None) -> Iterator[Progress]:
    """The cursor waits at the start of the bar's line, not at its end. A terminal that is made narrower breaks the
    line into two or more, and from there all of them can be erased.
    """
    from rich.console import Console, RenderHook
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.segment import ControlType, Segment, Segments
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.3g}/s")

    class FromLineStart(RenderHook):
        def process_renderables(self, renderables: list[Any]) -> list[Any]:
            erase, back = "\r\x1b[J", "\r"
            return [_control(erase), *renderables, _control(back)]

    def _control(code: str) -> Segments:
        return Segments([Segment(code, None, [(ControlType.CARRIAGE_RETURN,)])])

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    console = Console(stderr=True)
    with RichProgress(*columns, console=console) as bar:
        console.push_render_hook(FromLineStart())
        try:
            yield _Bar(bar, bar.add_task(title, total=total, words=""))
        finally:
            console.pop_render_hook()


class UnwrittenError(IrisError):
    """A result has nowhere to go."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the result cannot be written: {reason}", "send it elsewhere: > FILE, or > /dev/null")


class _Closed(io.TextIOBase):
    """Standard output that takes nothing: a result that goes there is lost, and says so."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise UnwrittenError("standard output is closed")


class _Told:
    """Standard output; a full disk behind it is told as what it is. A reader who has gone is no failure of ours."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._tell(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._tell(self._stream.flush)

    def _tell(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except BrokenPipeError:
            raise
        except OSError as error:
            sys.stdout = _Closed()  # what is in the buffer would be tried again at exit, and told a second time
            raise UnwrittenError(error.strerror or str(error)) from None


class _Overheard:
    """Standard error. A reader who has gone (`2>&1 | head`), or a terminal that was closed, must not end the work."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # what is in the buffer goes there, too


def guard_streams() -> None:
    """Standard streams as commands may rely on them.

    Where a shell closed one (`>&-`), its number is held: the next file opened would get it, and take in what libraries
    print. Python has None for such a stream, and would print into nothing as if all were well.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        os.open(os.devnull, os.O_WRONLY)
        sys.stdout = _Closed()
    elif not isinstance(sys.stdout, (_Closed, _Told)):
        sys.stdout = cast(Any, _Told(sys.stdout))
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif not isinstance(sys.stderr, _Overheard):
        sys.stderr = cast(Any, _Overheard(sys.stderr))


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
