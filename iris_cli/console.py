"""Progress bars on a terminal, time-stamped lines in a log; results on stdout, everything else on stderr.

Everything that is printed passes through `text.printable`: names and titles from outside cannot act on the terminal.
"""

import errno
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from textwrap import wrap
from typing import Any, Protocol, cast

from iris_cli.errors import IrisError, UsageError
from iris_cli.ranks import is_rank_0
from iris_cli.text import PLAIN, printable, to_json

#: Environment variables behind `--log-every`, `-v` and `-q`, so that processes started from here have them, too.
LOG_EVERY, VERBOSE, QUIET = "IRIS_LOG_EVERY", "IRIS_VERBOSE", "IRIS_QUIET"


class Progress(Protocol):
    """Progress of a long job: steps done, and a short text (a loss, a rate) beside the bar."""

    def advance(self, steps: int = 1, text: str = "") -> None: ...


class _Counted:
    """Steps done, their rate over the last few marks, and the time left: for all steps, or what `left` says."""

    def __init__(self, title: str, total: int | None, left: Callable[[], float | None] | None = None) -> None:
        self.title, self.total, self._of_all = title, total, left
        self.done, self.text, self.start = 0, "", time.monotonic()
        #: Times and steps, which give the rate: the steps that a resumed job kept took no time.
        self.marks = deque([(self.start, 0)], maxlen=6)

    def advance(self, steps: int = 1, text: str = "") -> None:
        self.done, self.text = self.done + steps, text or self.text

    def mark(self) -> None:
        self.marks.append((time.monotonic(), self.done))

    def rate(self) -> float:
        (then, before), now = self.marks[0], time.monotonic()
        return (self.done - before) / (now - then) if now > then else 0.0

    def left(self) -> str:
        """`0:12:03 left`; empty where it is not known."""
        rate = self.rate()
        own = (self.total - self.done) / rate if self.total and rate else None
        seconds = self._of_all() if self._of_all else own
        return "" if seconds is None else f"{clock(seconds)} left"

    @property
    def of_total(self) -> str:
        return f"{self.done}" + ("" if self.total is None else f"/{self.total}")


class _Bar(_Counted):
    """Lines for a terminal of any width: a bar with its numbers, the text, and what `below` draws."""

    def __init__(self, title: str, total: int | None, left: Any, below: Callable[[int], Sequence[str]] | None) -> None:
        super().__init__(title, total, left)
        self._below = below

    def advance(self, steps: int = 1, text: str = "") -> None:
        super().advance(steps, text)
        if time.monotonic() - self.marks[-1][0] > 1.0:
            self.mark()

    def lines(self, width: int, full: str = "━", empty: str = "─") -> list[str]:
        """None is longer than the terminal is wide: the bar is the first to give way, then the rate, then the title."""
        rate, is_done = self.rate(), self.done == self.total and not self._of_all
        times = f"{clock(time.monotonic() - self.start)} in all" if is_done else self.left()
        numbers = [self.of_total, *([f"{rate:.3g}/s"] if rate else []), *filter(None, [times])]
        if len(numbers) > 2 and len(" ".join([self.title, *numbers])) > width:
            del numbers[1]
        parts = [self.title, *numbers]
        room = min(20, width - len(" ".join(parts)) - 1)
        if self.total and room >= 3:
            filled = min(room, room * self.done // self.total)
            parts.insert(1, full * filled + empty * (room - filled))
        found = " ".join(parts)
        lines = [found if len(found) <= width else " ".join(numbers)]
        lines += _wrapped(self.text, width)
        return [line[:width] for line in [*lines, *(self._below(width) if self._below else ())]]


def _wrapped(text: str, width: int) -> list[str]:
    """Broken after commas."""
    lines: list[str] = []
    for part in filter(None, text.split(", ")):
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


class _Lines(_Counted):
    """A line every `every_s` seconds and one at the end. (rich prints nothing into a batch log until the end.)"""

    def __init__(self, title: str, total: int | None, every_s: float, left: Any = None) -> None:
        super().__init__(title, total, left)
        self.every_s = every_s

    def advance(self, steps: int = 1, text: str = "") -> None:
        super().advance(steps, text)
        if time.monotonic() - self.marks[-1][0] >= self.every_s:
            self._log(self.left())

    def end(self) -> None:
        self._log(f"{clock(time.monotonic() - self.start)} in all")

    def _log(self, time_text: str) -> None:
        self.mark()
        log(", ".join(filter(None, (f"{self.title} {self.of_total}", f"{self.rate():.3g}/s", time_text, self.text))))


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


def paragraph(text: str, stream: Any = None) -> list[str]:
    """Prose in lines that a terminal, by default that of stdout, does not break within a word; elsewhere one line."""
    stream = stream or sys.stdout
    text = printable(text)
    if not stream.isatty():
        return [text]
    width = os.get_terminal_size(stream.fileno()).columns
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) if 0 < width < len(text) else [text]


def log(message: str, every_rank: bool = False) -> None:
    """One line on stderr, from rank 0 only unless `every_rank`; in a log with the time in front."""
    if not (every_rank or is_rank_0()):
        return
    stamp = "" if on_terminal() else time.strftime("%Y-%m-%dT%H:%M:%S ")
    with suppress(BrokenPipeError):  # where `guard_streams` was not called
        print(*paragraph(f"{stamp}{message}", sys.stderr), sep="\n", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """One line on stderr, unless `-q` was given."""
    if not _is_set(QUIET):
        log(message)


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
    first, *rest = paragraph(f"error: {message}", sys.stderr)
    print(f"{red}error:{plain}{first.removeprefix('error:')}", *rest, sep="\n", file=with_codes(sys.stderr))
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
def progress(
    title: str,
    total: int | None = None,
    *,
    quiet: bool = False,
    left: Callable[[], float | None] | None = None,
    below: Callable[[int], Sequence[str]] | None = None,
    last_line: bool = True,
) -> Iterator[Progress]:
    """`with progress("observing", 640) as p: p.advance()`

    `left` gives the seconds that the whole job needs, if this is a part of it; `below` lines that are drawn below a bar
    on a terminal of a width. Without `last_line`, nothing remains when it is done.
    """
    if quiet or _is_set(QUIET) or not is_rank_0():
        yield _Counted(title, total)
    elif on_terminal():
        with _live(_Bar(printable(title), total, left, below), last_line) as bar:
            yield bar
    else:
        lines = _Lines(title, total, seconds_between_lines(), left)
        try:
            yield lines
        finally:
            if last_line:
                lines.end()


@contextmanager
def _live(bar: _Bar, remains: bool) -> Iterator[Progress]:
    """A bar whose cursor is left at the start of its line. When a terminal is made narrower, the line is broken into
    several, which can all be erased from there.
    """
    from rich.console import Console, RenderHook
    from rich.live import Live
    from rich.segment import ControlType, Segment, Segments
    from rich.text import Text

    class FromLineStart(RenderHook):
        def process_renderables(self, renderables: list[Any]) -> list[Any]:
            return [_control("\r\x1b[J"), *renderables, _control("\r")]  # erases, and goes back

    def _control(code: str) -> Segments:
        return Segments([Segment(code, None, [(ControlType.CARRIAGE_RETURN,)])])

    console = Console(file=with_codes(sys.stderr), highlight=False)
    signs = ("#", "-") if console.options.ascii_only else ("━", "─")

    def drawn() -> Text:
        text = Text("\n".join(map(printable, bar.lines(console.width - 1, *signs))), no_wrap=True)
        text.highlight_regex(f"{signs[0]}{{2,}}", "green")
        text.highlight_regex("─{2,}", "bright_black")
        return text

    with Live(get_renderable=drawn, console=console, refresh_per_second=10, transient=not remains):
        console.push_render_hook(FromLineStart())
        try:
            yield bar
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


def emit(result: Any) -> None:
    """Prints a record, or dicts and lists of records, as JSON on stdout."""
    print(to_json(result), end="", flush=True)


def table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Prints a table on stdout. Its cells are text, in which rich finds no markup, and are wrapped, not cut off."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for name in header:
        drawn.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=with_codes(sys.stdout)).print(Text(printable(title)), drawn)
