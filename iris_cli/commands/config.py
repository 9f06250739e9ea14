"""`iris config show|validate`: the defaults of a command, and whether a file is valid."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import complete, names, options
from iris_cli.commands.help import Command, Group
from iris_cli.config import catalogue
from iris_cli.config.survey import surveys
from iris_cli.config.toml import from_dict, to_dict, to_toml
from iris_cli.console import emit, paragraph, say
from iris_cli.errors import DataError, IrisError, UsageError

app = typer.Typer(cls=Group, help="Show configurations, or check a file.", no_args_is_help=True)

WHAT = "A configuration, preset, survey, TOML file, or run, shard or standard folder."
For = Annotated[str | None, typer.Option("--for", help="Name of the configuration, where several fit the file.")]

#: Program that made a standard data set, as its index names it, and the configuration of that program.
MAKERS = {"Galaxies": "mock", "Foregrounds": "foreground", "ingest": "ingest"}
#: The file by which a folder is recognized.
RUN, SHARDS, STANDARD, PAPER_FORMAT = "config.toml", "index.json", "standard.json", "attributes.json"


@dataclass(frozen=True)
class Shown:
    """A configuration to show; `related` are others that belong to it, such as the grid of a data set."""

    name: str
    config: Any
    related: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        related = {key: to_dict(value) for key, value in self.related.items()}
        return {"configuration": self.name, "values": to_dict(self.config), **related}


@app.command(cls=Command)
@options.command
def show(
    what: Annotated[str | None, typer.Argument(autocompletion=complete.configurations, help=WHAT)] = None,
    *,
    name: For = None,
    output: options.Output,
) -> None:
    """Print a configuration with all its defaults, as TOML for --config; without WHAT, list what there is.

    Examples:
        iris config show train > train.toml
        iris config show RUN
        iris config show --json
    """
    if what is None:
        _print_catalogue(output.as_json)
        return
    shown = _resolve(what, name)
    emit(shown.to_dict()) if output.as_json else _print(shown)


@app.command(cls=Command)
@options.command
def validate(
    files: Annotated[list[Path], typer.Argument(help="TOML files.")],
    *,
    name: For = None,
    trust: options.Trust = None,
    output: options.Output,
) -> None:
    """Check keys, types, values and names in files, and print the command that each belongs to.

    Examples:
        iris config validate train.toml
        iris config validate mock.toml --for foreground
    """
    found = {str(file): _checked(file, name) for file in options.paths_of(files)}
    described = {f: {"configuration": name, "command": catalogue.CONFIGS[name].command} for f, name in found.items()}
    output.result({"files": described}, *(f"{f}: fits `{each['command']} --config`" for f, each in described.items()))


def _checked(file: Path, name: str | None) -> str:
    """The name of the configuration. UsageError or DataError when its command would refuse the file."""
    name, config = catalogue.read(file, name)
    try:
        names.check(name, config)
    except IrisError as error:
        raise UsageError(f"{file}: {error.message}", error.hint) from None
    return name


def _print_catalogue(as_json: bool) -> None:
    if as_json:
        commands = {name: config.command for name, config in catalogue.CONFIGS.items()}
        emit({"configurations": commands, "presets": list(catalogue.PRESETS), "surveys": list(surveys())})
        return
    for name, config in catalogue.CONFIGS.items():
        say(*paragraph(f"{name:<12}{config.command:<24}{config.about}"))
    say(*paragraph(f"presets of the grid: {', '.join(catalogue.PRESETS)}"))
    say(*paragraph(f"surveys, for iris preobserve --survey: {', '.join(surveys())}"))


def _print(shown: Shown) -> None:
    from iris_cli.config.describe import commented_toml

    known = catalogue.CONFIGS.get(shown.name)
    say(f"# {known.command} --config: {known.about}" if known else f"# the grid of {shown.name}")
    say("", *commented_toml(shown.config).split("\n"))
    for title, values in shown.related.items():
        say("", f"# {title}")
        for line in to_toml(values).splitlines():
            say(f"#   {line}".rstrip())


def _resolve(what: str, name: str | None) -> Shown:
    """The configuration of a name, a file or a folder; `./demo` is always a path."""
    path = Path(what)
    if what in catalogue.CONFIGS or what in catalogue.PRESETS:
        return Shown(what, catalogue.named(what))
    if path.is_dir():
        return _of_folder(path)
    if path.is_file() or path.suffix == ".toml":
        return Shown(*catalogue.read(path, name))
    return Shown("preobserve" if what in surveys() else what, catalogue.named(what))


def _of_folder(folder: Path) -> Shown:
    """DataError when the folder is neither a run, nor a shard folder, nor a standard data set."""
    for file, read in ((SHARDS, _of_shards), (STANDARD, _of_standard), (PAPER_FORMAT, _of_paper)):
        if (folder / file).is_file():
            return read(folder)
    for run in (folder / RUN, *sorted(folder.glob(f"member-*/{RUN}"))):
        if run.is_file():
            return Shown(*catalogue.read(run, "train"))
    hint = f"such a folder holds {RUN}, {SHARDS} or {STANDARD}"
    raise DataError(f"{folder} is not a run, a shard folder or a standard data set", hint)


def _of_shards(folder: Path) -> Shown:
    from iris_cli.config.grid import Grid
    from iris_cli.config.preobserve import PreobserveConfig
    from shards.index import Index

    attributes = Index.open(folder).attributes
    if "config" not in attributes:
        raise DataError(f"the index of {folder} holds no configuration", f"iris shards info {folder}")
    where = str(folder / SHARDS)
    related = {"grid": from_dict(Grid, attributes["grid"], where)} if "grid" in attributes else {}
    return Shown("preobserve", from_dict(PreobserveConfig, attributes["config"], where), related)


def _of_standard(folder: Path) -> Shown:
    from iris_cli.standard.dataset import StandardDataset

    dataset = StandardDataset.open(folder)
    name = MAKERS.get(str(dataset.origin.get("maker")))
    if name is None or "config" not in dataset.origin:
        raise DataError(f"{folder} holds no configuration", "data sets of `iris mock` and `iris ingest` do")
    config: Any = from_dict(catalogue.CONFIGS[name].cls, dataset.origin["config"], str(folder / STANDARD))
    return Shown(name, config, {"grid": dataset.grid})


def _of_paper(folder: Path) -> Shown:
    """Folders of the paper code hold their grid, but not how they were made."""
    from iris_cli.standard.paper_format import open_paper_dataset

    return Shown(str(folder), open_paper_dataset(folder).grid)
