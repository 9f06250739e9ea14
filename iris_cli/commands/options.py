"""Options that several commands share, said once: one by one, or in groups that `grouped` spreads."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from iris_cli.config.toml import from_dict, read_toml
from iris_cli.console import LOG_EVERY, QUIET, VERBOSE
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


def _hush(asked: bool) -> bool:
    if asked:
        os.environ[QUIET] = "1"
    return asked


Seed = Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands in the output folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep what an earlier run finished and go on.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be read, written and needed.")]
#: These three are taken up by their callbacks: whatever prints, here or in a process started from here, looks there.
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_hush, help="No progress on stderr.")]
LogEvery = Annotated[
    float | None,
    typer.Option("--log-every", min=0.1, callback=_set_pace, help="Seconds between two lines of a log.  [default: 10]"),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_speak_up, help="Say more; an error comes with its traceback.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration (TOML); flags win over it.")]


@dataclass(frozen=True)
class Speech:
    """How a command tells its result, and how much besides."""

    as_json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False


@dataclass(frozen=True)
class LongSpeech(Speech):
    """The same of a command that takes its time."""

    log_every: LogEvery = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes dataclasses of options, as one that takes the options themselves, which is what typer reads.

    A group's fields are `Annotated` with a `typer.Option`; the command gets it back whole. ValueError when two of its
    options share a name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    spread = [
        each
        for parameter in inspect.signature(command).parameters.values()
        for each in _spread(parameter, hints[parameter.name])
    ]

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        command(
            **{
                name: taken(groups[name], given) if name in groups else given[name]
                for name in hints
                if name != "return"
            }
        )

    flat.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return flat


def taken(group: type[T], given: Mapping[str, Any]) -> T:
    """A group of options, out of all that a command was given."""
    return group(**{field.name: given[field.name] for field in dataclasses.fields(cast(Any, group))})


def _spread(parameter: inspect.Parameter, hint: Any) -> Iterator[inspect.Parameter]:
    """By keyword only, so that one without a default may follow one that has it."""
    if not dataclasses.is_dataclass(hint):
        yield parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in dataclasses.fields(hint):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )


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
