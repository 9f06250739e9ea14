"""Progress bars on a terminal, time-stamped lines in a log; results on stdout, everything else on stderr.

Everything that is printed passes through `text.printable`: names and titles from outside cannot act on the terminal.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, cast

from iris_cli.errors import IrisError, UsageError
from iris_cli.ranks import is_rank_0
from iris_cli.text import PLAIN, printable

#: Environment variables behind `--log-every`, `-v` and `-q`, so that processes started from here have them, too.
LOG_EVERY, VERBOSE, QUIET = "IRIS_LOG_EVERY", "IRIS_VERBOSE", "IRIS_QUIET"


class Progress(Protocol):
    """Progress of a long job: steps done, and a short text (a loss, a rate) beside the bar."""

    def advance(self, steps: int = 1, text: str = "") -> None: ...


class _Silent:
    def advance(self, steps: int = 1, text: str = "") -> None:
        pass


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def advance(self, steps: int = 1, text: str = "") -> None:
        self._bar.update(self._task, advance=steps, **({"text": printable(text)} if text else {}))


class _Lines:
    """A line every `every_s` seconds and one at the end. (rich prints nothing into a batch log until the end.)"""

    def __init__(self, title: str, total: int | None, every_s: float) -> None:
        self.title, self.total, self.every_s = title, total, every_s
        self.done, self.text, self.start = 0, "", time.monotonic()
        #: Times and steps of the last few lines, which give the rate: the steps that a resumed job kept took no time.
        self.marks = deque([(self.start, 0)], maxlen=6)

    def advance(self, steps: int = 1, text: str = "") -> None:
        self.done, self.text = self.done + steps, text or self.text
        if time.monotonic() - self.marks[-1][0] >= self.every_s:
            self._log(self._left())

    def end(self) -> None:
        self._log(f", {clock(time.monotonic() - self.start)} in all")

    def _log(self, time_text: str) -> None:
        self.marks.append((time.monotonic(), self.done))
        of = "" if self.total is None else f"/{self.total}"
        text = f", {self.text}" if self.text else ""
        log(f"{self.title} {self.done}{of}, {self._rate():.3g}/s{time_text}{text}")

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


def log(message: str, every_rank: bool = False) -> None:
    """One line on stderr, from rank 0 only unless `every_rank`; in a log with the time in front."""
    if not (every_rank or is_rank_0()):
        return
    stamp = "" if on_terminal() else time.strftime("%Y-%m-%dT%H:%M:%S ")
    with suppress(BrokenPipeError):  # where `guard_streams` was not called
        print(f"{stamp}{printable(message)}", file=sys.stderr, flush=True)


def say(*lines: object) -> None:
    """Prints lines on stdout; a line break within one is an escape."""
    print(*(printable(str(line), keep="\t") for line in lines), sep="\n", flush=True)


def say_exactly(text: str) -> None:
    """Prints text on stdout as it is, in UTF-8, such as a script that is redirected to a file."""
    if isinstance(sys.stdout, _Stdout):
        sys.stdout.write_bytes(text.encode("utf-8", "surrogateescape"))
    else:
        print(text, end="", flush=True)


def say_in_colour(lines: Iterable[str]) -> None:
    """Prints lines that hold terminal codes of our own on stdout."""
    print(*lines, sep="\n", file=with_codes(sys.stdout), flush=True)


def say_error(message: str, hint: str) -> None:
    """Prints an error, red on a terminal, and a hint, a line each."""
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error:{plain} {printable(message)}", file=with_codes(sys.stderr))
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def warn(message: str) -> None:
    log(f"warning: {message}")


def verbose() -> bool:
    """Whether `-v` was given, to this process or to the one that started it."""
    return _is_set(VERBOSE)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def detail(message: str) -> None:
    """One line on stderr with `-v` only."""
    if verbose():
        log(message)


def seconds_between_lines() -> float:
    """The value of `--log-every`, or of the environment variable."""
    try:
        return max(0.1, float(os.environ.get(LOG_EVERY) or 10))
    except ValueError:
        raise UsageError(f"{LOG_EVERY} = {os.environ[LOG_EVERY]!r} is not a number of seconds", "unset it") from None


@contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """`with progress("observing", 640) as p: p.advance()`"""
    if quiet or _is_set(QUIET) or not is_rank_0():
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
    """A bar whose cursor is left at the start of its line. When a terminal is made narrower, the line is broken into
    several, which can all be erased from there.
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
            return [_control("\r\x1b[J"), *renderables, _control("\r")]  # erases, and goes back

    def _control(code: str) -> Segments:
        return Segments([Segment(code, None, [(ControlType.CARRIAGE_RETURN,)])])

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    console = Console(file=with_codes(sys.stderr))
    with RichProgress(*columns, console=console) as bar:
        console.push_render_hook(FromLineStart())
        try:
            yield _Bar(bar, bar.add_task(printable(title), total=total, text=""))
        finally:
            console.pop_render_hook()


class UnwrittenError(IrisError):
    """A result cannot be written to standard output."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the result cannot be written: {reason}", "redirect it: > FILE, or > /dev/null")


class _Closed(io.TextIOBase):
    """A closed standard output; a write raises an error, since the result would be lost."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise UnwrittenError("standard output is closed")


class _Stdout:
    """Standard output; a failed write, such as to a full disk, is an UnwrittenError, except to a closed pipe.

    Hidden characters are written as escapes, also those in messages of libraries, unless `codes`. Characters that the
    terminal's encoding lacks are replaced.
    """

    def __init__(self, stream: Any, codes: bool = False) -> None:
        self._stream, self._codes = stream, codes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def with_codes(self) -> Any:
        """The same stream for text with our own terminal codes."""
        return type(self)(self._stream, codes=True)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text if self._codes else printable(text, keep="\n\t")))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        self._try(lambda: (self._stream.flush(), self._stream.buffer.write(data)))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except BrokenPipeError:
            raise
        except OSError as error:
            sys.stdout = _Closed()  # else Python would write the buffer, and fail, again at exit
            raise UnwrittenError(error.strerror or str(error)) from None


class _Stderr(_Stdout):
    """Standard error; a closed pipe (`2>&1 | head`) or a closed terminal does not end the work."""

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # also the buffer is written there


def guard_streams() -> None:
    """Makes the standard streams reliable.

    Where a shell closed one (`>&-`), its number is kept in use: else the next opened file would get the number, and
    the output of libraries. For such a stream Python has None, into which `print` writes without an error.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        os.open(os.devnull, os.O_WRONLY)
        sys.stdout = _Closed()
    elif not isinstance(sys.stdout, (_Closed, _Stdout)):
        sys.stdout = cast(Any, _Stdout(sys.stdout))
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif not isinstance(sys.stderr, _Stderr):
        sys.stderr = cast(Any, _Stderr(sys.stderr))


def with_codes(stream: Any) -> Any:
    """The stream for text that holds terminal codes of our own, and nothing from outside that is not `printable`."""
    return stream.with_codes() if isinstance(stream, _Stdout) else stream


def emit(result: dict[str, Any]) -> None:
    """Prints a result as JSON on stdout."""
    print(json.dumps(result, indent=2, allow_nan=False), flush=True)


def table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Prints a table on stdout. Its cells are text, in which rich finds no markup, and are wrapped, not cut off."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(printable(title)))
    for name in header:
        drawn.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=with_codes(sys.stdout)).print(drawn)
