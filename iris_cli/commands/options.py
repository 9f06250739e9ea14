"""Options of commands: those that several commands share, and those that a configuration declares.

`command` turns a function into what typer reads. A parameter of the function may be one option, a group of options (a
dataclass whose fields are options), or `Settings[TrainConfig]`: all flags that the configuration declares, and
`--config`.
"""

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer

from iris_cli.commands.complete import presets, splits, surveys
from iris_cli.commands.help import COMMON
from iris_cli.config.grid import GRID_PRESETS, Grid, grid_preset
from iris_cli.config.setting import Setting, setting_of, unit_of
from iris_cli.config.toml import from_dict, merged, plain_type, read_toml
from iris_cli.console import LOG_EVERY, QUIET, VERBOSE, emit, say
from iris_cli.errors import UsageError
from iris_cli.plugins import GROUPS, OWN, installed, trust

T = TypeVar("T")


def _set(variable: str) -> Callable[[Any], Any]:
    """A callback that keeps an option in the environment, where this process and those that it starts look for it."""

    def callback(value: Any) -> Any:
        if value not in (None, False):
            os.environ[variable] = "1" if value is True else str(value)
        return value

    return callback


def _trust(modules: list[str] | None) -> list[str] | None:
    for module in modules or ():
        trust(module)
    return modules


def preset(help: str, panel: str | None = None) -> Any:
    """An option for the name of a grid."""
    about: dict[str, Any] = {"metavar": f"[{'|'.join(GRID_PRESETS)}]", "autocompletion": presets}
    return typer.Option("--preset", help=help, rich_help_panel=panel, **about)


def one_grid(own: Grid | None, preset: str | None, foreground: bool = False) -> Grid | None:
    """The grid of a configuration or a preset, if either is given. UsageError for both."""
    if own and preset:
        raise UsageError("--preset and [grid] of the configuration both give a grid", "leave out one of them")
    return grid_preset(preset, foreground) if preset else own


_common = functools.partial(typer.Option, rich_help_panel=COMMON)
Seed = Annotated[int, typer.Option("--seed", help="Seed; the same seed gives the same bytes.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")]
Survey = Annotated[
    str | None,
    typer.Option("--survey", autocompletion=surveys, help="Survey to observe as; `iris surveys` lists them."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep the finished part of an earlier run and continue it.")]
ConfigFile = Annotated[Path | None, _common("--config", help="Configuration file (TOML); flags override it.")]
DryRun = Annotated[bool, _common("--dry-run", help="Print what would be read, written and needed, and stop.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="MODULE",
        callback=_trust,
        help="Import this module where a run or a configuration names a network or a loss in it; may be repeated.",
    ),
]
Json = Annotated[bool, _common("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, _common("--quiet", "-q", callback=_set(QUIET), help="No progress on stderr.")]
Verbose = Annotated[
    bool, _common("--verbose", "-v", callback=_set(VERBOSE), help="Print more, and tracebacks of errors.")
]
LogEvery = Annotated[
    float | None,
    _common("--log-every", min=0.1, callback=_set(LOG_EVERY), help="Seconds between log lines.  [default: 10]"),
]


@dataclass(frozen=True)
class Output:
    """How a command prints its result and its progress."""

    as_json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False

    def result(self, values: Any, *lines: object) -> None:
        """Prints a result on stdout: the values as JSON, or the lines."""
        emit(values) if self.as_json else say(*lines)


@dataclass(frozen=True)
class LongOutput(Output):
    """The same for a command that takes long."""

    log_every: LogEvery = None


Number = Annotated[int, typer.Option("--number", "-n", min=0, help="Number of the sample or tensor, from 0.")]


@dataclass(frozen=True)
class Sample:
    """A sample of a shard folder, by key or by number within a split; a tensor of a data set, by number."""

    number: Number = 0
    split: Annotated[
        str | None,
        typer.Option(autocompletion=splits, help="Count within this split of the shards.  [default: all]"),
    ] = None
    key: Annotated[str | None, typer.Option("--key", help="Key of the sample, instead of its number.")] = None

    def of(self, data: Path) -> "Sample":
        """The same. UsageError for a choice where there is none."""
        if data.is_file() and self != Sample():
            what = f"{data} is a file with one image; --number, --key and --split choose among those of a folder"
            raise UsageError(what, "leave them out")
        return self


# --- options that a configuration declares ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings(Generic[T]):
    """What the user gave of a configuration: a file, and flags by their dotted keys (`noise.sigma_K`)."""

    cls: type[T]
    file: Path | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self, base: Mapping[str, Any] | None = None, **changes: Any) -> T:
        """The configuration: defaults, `base`, the file, the flags and `changes` (None: no change), in rising order.

        UsageError for an unknown key or a value that is not allowed.
        """
        values = merged(dict(base or {}), read_toml(self.file) if self.file else {})
        given: dict[str, Any] = {}
        for key, value in {**self.flags, **changes}.items():
            table, _, name = key.rpartition(".")
            if value is not None:
                (given.setdefault(table, {}) if table else given)[name] = value
        for table, inner in given.items():
            if isinstance(inner, dict) and not isinstance(values.get(table, {}), dict):
                raise UsageError(f"{self.file}: {table} must be a table, not {values[table]!r}")
        return from_dict(self.cls, merged(values, given), str(self.file or "command line"))


class Only:
    """`Annotated[Settings[…], Only("noise", "seed")]`: just the flags of these keys and tables.

    `default` is printed as the default of all of them.
    """

    def __init__(self, *keys: str, default: str = "") -> None:
        self.keys, self.default = keys, default

    def has(self, key: str) -> bool:
        return not self.keys or any(key == own or key.startswith(f"{own}.") for own in self.keys)


@dataclass(frozen=True)
class Flag:
    """A key of a configuration as an option."""

    key: str
    setting: Setting
    kind: Any
    default: Any

    @property
    def parameter(self) -> str:
        return self.key.replace(".", "__")

    def annotation(self, default: str) -> Any:
        """What typer reads; `default` is printed instead of the default of the configuration."""
        kind: Any = str if self.setting.read else list[str] if self.kind is tuple else self.kind
        return Annotated[kind | None, self.option(default)]

    def option(self, default: str = "") -> Any:
        about: Any = {"help": self._help(default), "metavar": self._metavar(), "autocompletion": self._complete}
        return typer.Option(*self.setting.flags, rich_help_panel=self.setting.panel or None, **about)

    def _complete(self, incomplete: str) -> list[str]:
        """Names that a shell proposes."""
        names = [*(self.setting.choices or self.setting.known), *(installed(self.key) if self.key in GROUPS else ())]
        return [name for name in dict.fromkeys(names) if name and name != OWN and name.startswith(incomplete)]

    def value(self, given: Any) -> Any:
        """The value of a configuration. UsageError for text that cannot be read."""
        if self.setting.read is None:
            return given
        try:
            return self.setting.read(given)
        except ValueError as error:
            raise UsageError(f"{self.setting.flags[0]} {given}: {error}") from None

    def _help(self, default: str) -> str:
        default = default or self._default()
        noted = "; ".join(filter(None, (unit_of(self.key), f"default: {default}" if default else "")))
        return f"{self.setting.help}{f'  [{noted}]' if noted else ''}"

    def _default(self) -> str:
        if self.default is None or self.default in ("", ()):
            return self.setting.unset
        if isinstance(self.default, bool):
            on, _, off = self.setting.flags[0].partition("/")
            return (on if self.default else off).removeprefix("--") if off else ""
        if self.setting.interval:
            low, high = self.default
            return f"{low:g}" if low == high else f"{low:g}:{high:g}"
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def _metavar(self) -> str | None:
        values = list(filter(None, self.setting.choices or self.setting.known))
        listed = "<str>" if self.kind is tuple else None
        return self.setting.metavar or (f"[{'|'.join(values)}]" if values else listed)


def flags_of(config: Any, only: Only | None = None, table: str = "") -> Iterator[Flag]:
    """The flags that a configuration and its tables declare; `config` holds the defaults."""
    hints = get_type_hints(type(config))
    for each in dataclasses.fields(config):
        setting, default, key = setting_of(each), getattr(config, each.name), f"{table}{each.name}"
        if dataclasses.is_dataclass(default):
            inner = setting.inner_flags
            for flag in flags_of(default, only, f"{key}."):
                if inner is None or flag.key.removeprefix(f"{key}.") in inner:
                    yield flag
        elif setting.flags and (only is None or only.has(key)):
            kind = plain_type(hints[each.name])
            yield Flag(key, setting, get_origin(kind) or kind, default)


def option(cls: type, key: str) -> Any:
    """One option that a configuration declares."""
    return next(flag for flag in flags_of(cls()) if flag.key == key).option()


# --- functions as commands --------------------------------------------------------------------------------------------


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function with groups of options, as one with the single options, which is what typer reads.

    Its attribute `collected` makes the arguments of `function` of the options that typer has read. ValueError when two
    options have the same name.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    collect: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        spread, collect[parameter.name] = _spread(parameter, hints[parameter.name])
        parameters += spread

    def collected(given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: collected_from(given) for name, collected_from in collect.items()}

    @functools.wraps(function)
    def flat(**given: Any) -> None:
        function(**collected(given))

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flat.collected = collected  # type: ignore[attr-defined]
    return flat


def _spread(parameter: inspect.Parameter, hint: Any) -> tuple[list[inspect.Parameter], Callable]:
    """A parameter's options, by keyword only, and what makes its argument of them."""
    only = next((about for about in getattr(hint, "__metadata__", ()) if isinstance(about, Only)), Only())
    settings = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(settings) is Settings:
        return _spread_settings(get_args(settings)[0], only)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        defaults = {f.name: f.default for f in dataclasses.fields(hint)}
        missing = {dataclasses.MISSING: inspect.Parameter.empty}
        spread = [_keyword(name, hints[name], missing.get(default, default)) for name, default in defaults.items()]
        return spread, lambda given: hint(**{name: given[name] for name in defaults})  # type: ignore[operator]
    return [_keyword(parameter.name, hint, parameter.default)], lambda given: given[parameter.name]


def _spread_settings(cls: type, only: Only) -> tuple[list[inspect.Parameter], Callable]:
    flags = list(flags_of(cls(), only))
    spread = [_keyword(flag.parameter, flag.annotation(only.default), None) for flag in flags]

    def settings(given: Mapping[str, Any]) -> Settings:
        values = {flag: given[flag.parameter] for flag in flags if given[flag.parameter] not in (None, [])}
        return Settings(cls, given["config"], {flag.key: flag.value(value) for flag, value in values.items()})

    return [*spread, _keyword("config", ConfigFile, None)], settings


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def paths_of(given: list[Path]) -> list[Path]:
    """The paths, with `-` replaced by those on standard input, and `@FILE` by those in a file, one per line.

    UsageError when a list is absent or empty.
    """
    return [path for one in given for path in _listed(str(one))]


def _listed(given: str) -> list[Path]:
    if given != "-" and not given.startswith("@"):
        return [Path(given)]
    where = "standard input" if given == "-" else given[1:]
    try:
        text = sys.stdin.read() if given == "-" else Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {where} cannot be read: {error}") from None
    paths = [Path(line.strip()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not paths:
        raise UsageError(f"the list {where} contains no path", "write one path per line")
    return paths
