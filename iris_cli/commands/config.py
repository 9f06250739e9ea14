"""`iris config show|validate`: what a command would do unless told otherwise, and whether a file says what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import names, options
from iris_cli.config import catalogue
from iris_cli.config.toml import from_dict, to_dict, to_toml
from iris_cli.errors import DataError, IrisError, UsageError

app = typer.Typer(help="Show the configuration of anything, or check a file.", no_args_is_help=True)

For = Annotated[
    str | None, typer.Option("--for", help="Whose configuration the file is, where its keys leave it open.")
]


@app.command()
@options.grouped
def show(
    what: Annotated[
        str | None,
        typer.Argument(help="A configuration, a preset, a TOML file, or a run, shard or standard folder."),
    ] = None,
    *,
    whose: For = None,
    speech: options.Speech,
) -> None:
    """Print a configuration with all its defaults, as TOML that `--config` takes; without WHAT, what there is."""
    from iris_cli.console import emit

    if what is None:
        emit(_everything()) if speech.as_json else _list()
        return
    name, config, beside = _resolve(what, whose)
    if speech.as_json:
        emit({"configuration": name, "values": to_dict(config), **{key: to_dict(beside[key]) for key in beside}})
    else:
        _print(name, config, beside)


@app.command()
@options.grouped
def validate(
    files: Annotated[list[Path], typer.Argument(help="TOML files.")],
    *,
    whose: For = None,
    speech: options.Speech,
) -> None:
    """Check keys, types, values and names in files, and say which command each is for."""
    from iris_cli.console import emit

    found = {file: _checked(file, whose) for file in options.listed(files)}
    if speech.as_json:
        emit({"files": {str(file): {"configuration": name, "command": _command(name)} for file, name in found.items()}})
        return
    for file, name in found.items():
        print(f"{file}: fits `{_command(name)} --config`")


def _checked(file: Path, whose: str | None) -> str:
    """The configuration's name, when its command would take the file."""
    name, config = catalogue.read(file, whose)
    try:
        names.check(name, config)
    except IrisError as error:
        raise UsageError(f"{file}: {error.message}", error.hint) from None
    return name


def _command(name: str) -> str:
    return catalogue.CONFIGS[name].command


def _everything() -> dict[str, Any]:
    return {
        "configurations": {name: config.command for name, config in catalogue.CONFIGS.items()},
        "presets": list(catalogue.PRESETS),
    }


def _list() -> None:
    for name, config in catalogue.CONFIGS.items():
        print(f"{name:<12}{config.command:<24}{config.about}")
    print(f"presets of the grid: {', '.join(catalogue.PRESETS)}")


def _print(name: str, config: Any, beside: dict[str, Any]) -> None:
    from iris_cli.config.describe import commented_toml

    known = catalogue.CONFIGS.get(name)
    print(f"# {known.command} --config: {known.about}" if known else f"# the grid of {name}")
    print(f"\n{commented_toml(config)}")
    for title, values in beside.items():
        print(f"\n# {title}")
        for line in to_toml(values).splitlines():
            print(f"#   {line}".rstrip())


def _resolve(what: str, whose: str | None) -> tuple[str, Any, dict[str, Any]]:
    """(name, configuration, what else is known) of a name, a file or a folder; `./demo` is a folder in any case."""
    path = Path(what)
    if what in catalogue.CONFIGS or what in catalogue.PRESETS:
        return what, catalogue.named(what), {}
    if path.is_dir():
        return _of_folder(path)
    if path.is_file() or path.suffix == ".toml":
        return (*catalogue.read(path, whose), {})
    return what, catalogue.named(what), {}


def _of_folder(folder: Path) -> tuple[str, Any, dict[str, Any]]:
    """DataError when the folder is neither a run, nor a shard folder, nor a standard data set."""
    for file, read in ((RUN, _of_run), (SHARDS, _of_shards), (STANDARD, _of_standard), (FIELD, _of_field)):
        if (folder / file).is_file():
            return read(folder)
    first = next(iter(sorted(folder.glob(f"member-*/{RUN}"))), None)
    if first is not None:
        return _of_run(first.parent)
    raise DataError(
        f"{folder} is no run, shard folder or standard data set", f"one holds {RUN}, {SHARDS} or {STANDARD}"
    )


#: Who made a standard data set, as it says itself, and whose configuration that was.
MAKERS = {"Galaxies": "mock", "Foregrounds": "foreground", "ingest": "ingest"}
#: The file by which a folder is known.
RUN, SHARDS, STANDARD, FIELD = "config.toml", "index.json", "standard.json", "attributes.json"


def _of_run(folder: Path) -> tuple[str, Any, dict[str, Any]]:
    return (*catalogue.read(folder / RUN, "train"), {})


def _of_shards(folder: Path) -> tuple[str, Any, dict[str, Any]]:
    from iris_cli.config.grid import Grid
    from iris_cli.config.preobserve import PreobserveConfig
    from shards.index import Index

    told = Index.open(folder).attributes
    if "config" not in told:
        raise DataError(f"{folder} does not say how it was made", "`iris shards info` tells what it knows")
    where = str(folder / SHARDS)
    beside = {"grid": from_dict(Grid, told["grid"], where)} if "grid" in told else {}
    return "preobserve", from_dict(PreobserveConfig, told["config"], where), beside


def _of_standard(folder: Path) -> tuple[str, Any, dict[str, Any]]:
    from iris_cli.standard.dataset import StandardDataset

    dataset = StandardDataset.open(folder)
    name = MAKERS.get(str(dataset.origin.get("maker")))
    if name is None or "config" not in dataset.origin:
        raise DataError(f"{folder} was not made by `iris mock` or `iris ingest`, and says nothing of a configuration")
    config: Any = from_dict(catalogue.CONFIGS[name].cls, dataset.origin["config"], str(folder / STANDARD))
    return name, config, {"grid": dataset.grid}


def _of_field(folder: Path) -> tuple[str, Any, dict[str, Any]]:
    """The field's own folders do not say how they were made, but where they look."""
    from iris_cli.standard.paper_format import open_paper_dataset

    return str(folder), open_paper_dataset(folder).grid, {}
