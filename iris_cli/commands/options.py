"""Options that several commands share, said once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from iris_cli.config.toml import from_dict, read_toml
from iris_cli.console import LOG_EVERY, VERBOSE
from iris_cli.errors import UsageError

T = TypeVar("T")


def _set_pace(seconds: float | None) -> float | None:
    if seconds is not None:
        os.environ[LOG_EVERY] = str(seconds)
    return seconds


def _speak_up(asked: bool) -> bool:
    if asked:
        os.environ[VERBOSE] = "1"
    return asked


Seed = Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands in the output folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep what an earlier run finished and go on.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be read, written and needed.")]
#: These two are taken up by their callbacks: whatever speaks, here or in a process started from here, looks there.
LogEvery = Annotated[
    float | None,
    typer.Option("--log-every", min=0.1, callback=_set_pace, help="Seconds between two lines of a log.  [default: 10]"),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_speak_up, help="Say more; an error comes with its traceback.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration (TOML); flags win over it.")]


def configured(cls: type[T], file: Path | None, **flags: object) -> T:
    """A configuration from its defaults, a TOML file, and the flags that were given (not None), in rising order."""
    values = read_toml(file) if file else {}
    values.update({name: value for name, value in flags.items() if value is not None})
    return from_dict(cls, values, str(file) if file else "command line")


def listed(paths: list[Path]) -> list[Path]:
    """The paths, with `-` replaced by those on standard input, and `@FILE` by those in a file: one a line.

    UsageError when a list is absent or names nothing.
    """
    return [path for given in paths for path in _paths_of(str(given))]


def _paths_of(given: str) -> list[Path]:
    if given != "-" and not given.startswith("@"):
        return [Path(given)]
    where = "standard input" if given == "-" else given[1:]
    try:
        text = sys.stdin.read() if given == "-" else Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {where} cannot be read: {error}") from None
    paths = [Path(line.strip()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not paths:
        raise UsageError(f"{where} names no path", "one a line")
    return paths
