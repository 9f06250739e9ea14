"""`iris shards info|verify|preview|merge|index`: the contents of a shard folder, and whether it is intact."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.commands.help import Command, Group
from iris_cli.config.cube import RegridConfig
from iris_cli.console import emit, log, plural, progress, say, say_in_colour, table
from iris_cli.errors import EXIT_UNVERIFIED, DataError, IrisError, UsageError
from iris_cli.machine import in_bytes
from iris_cli.text import printable

if TYPE_CHECKING:
    from iris_cli.config.grid import Grid
    from shards.index import Index
    from shards.statistics import Statistics
    from shards.verify import VerifyReport

app = typer.Typer(cls=Group, help="Inspect, verify, preview or index a shard folder.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Shard folder.")]


@app.command(cls=Command)
@options.command
def info(folder: Folder, *, output: options.Output) -> None:
    """Print counts, bytes, arrays, units, statistics, grid and provenance, from the index alone.

    Examples:
        iris shards info SHARDS
        iris shards info SHARDS --json
    """
    from shards.index import Index

    _print_info(Index.open(folder), output.as_json)


@app.command(cls=Command)
@options.command
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Shard folders; - or @FILE for a list.")],
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild records and index from intact tars.")] = False,
    output: options.LongOutput,
) -> None:
    """Check every checksum and decode every member. Lists the faults and exits with code 3 if there are any.

    Examples:
        iris shards verify SHARDS
        iris shards verify SHARDS --repair
        iris shards verify @folders.txt --json
    """

    folders = options.paths_of(folders)
    results = {folder: _verify(folder, repair, output.quiet) for folder in folders}
    if output.as_json:
        dicts = [{"folder": str(folder), **result.to_json()} for folder, result in results.items()]
        emit(dicts[0] if len(dicts) == 1 else {"sound": all(one["sound"] for one in dicts), "folders": dicts})
    else:
        for folder, result in results.items():
            _print_result(folder, result)
    if not all(result.sound for result in results.values()):
        raise typer.Exit(EXIT_UNVERIFIED)


def _verify(folder: Path, repair: bool, quiet: bool) -> "VerifyReport":
    from shards import verify as checks

    tars = len(list(folder.glob("*.tar")))
    if repair:
        with progress("repairing", tars, quiet=quiet) as bar:
            index = checks.repair(folder, on_progress=bar.advance)
        provenance.record(folder)
        log(f"the index now holds {plural(index.count(), 'sample')} in {plural(len(index.shards), 'shard')}")
    with progress("verifying", tars, quiet=quiet) as bar:
        return checks.verify(folder, on_progress=bar.advance)


@app.command(cls=Command)
@options.command
def preview(
    folder: Folder,
    *,
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="Number within the split, from 0.")] = 0,
    split: Annotated[
        str | None, typer.Option(autocompletion=complete.splits, help="Split of the sample.  [default: the first]")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Key of the sample, instead of its number.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="PNG, PDF or SVG to write.")] = None,
    output: options.Output,
) -> None:
    """Show a sample in the terminal, or with --out as a figure.

    Examples:
        iris shards preview SHARDS
        iris shards preview SHARDS --split test -n 3 --out sample.png
    """
    from shards.index import Index
    from shards.reader import Reader

    index = Index.open(folder)
    chosen = _chosen(index, number, split, key)
    reader = Reader(index)
    title = f"{reader.key(chosen)} ({reader.split(chosen)})"
    arrays = reader.read_new(chosen)
    if out is not None:
        _save_figure(index, arrays, title, out)
    if output.as_json:
        figure = None if out is None else str(out)
        emit({"key": reader.key(chosen), "split": reader.split(chosen), "info": reader.info(chosen), "figure": figure})
    elif out is not None:
        say(out)
    else:
        _draw_in_terminal(index, arrays, title)
        for line in _lines("", reader.info(chosen)):
            say(line)


@app.command(cls=Command)
@options.command
def merge(folder: Folder, *, output: options.Output) -> None:
    """Write the index of a data set that several jobs wrote, after a check that no shard is missing.

    Examples:
        iris shards merge SHARDS
    """
    from shards.finalize import merge_set

    index = merge_set(folder)
    provenance.record(folder)
    text = f"{plural(index.count(), 'sample')} in {plural(len(index.shards), 'shard')}: {folder}"
    output.result(summary(index), text)
    if index.failed:
        hint = f"{folder / 'failures.jsonl'} lists them; fix them, then iris preobserve --retry-failed"
        raise DataError(f"{plural(index.failed, 'input')} failed", hint)


@app.command("index", cls=Command)
@options.command
def index_folder(
    folder: Annotated[Path, typer.Argument(help="Folder of uncompressed tars with .npy members.")],
    *,
    split: Annotated[
        str | None, typer.Option(help="Split of all tars.  [default: from names like validation-0001.tar, else train]")
    ] = None,
    preset: Annotated[str | None, options.preset("Size of the grid.  [default: none]")] = None,
    quantity: Annotated[
        str, typer.Option(metavar="[temperature|v_density|intensity]", help="Quantity of the observations.")
    ] = "temperature",
    unit_observation: Annotated[str | None, typer.Option(help="Unit of the observations.  [default: inner]")] = None,
    unit_density: Annotated[str | None, typer.Option(help="Unit of the densities.  [default: solMass / pc3]")] = None,
    overwrite: options.Overwrite = False,
    settings: Annotated[options.Settings[RegridConfig], options.Only("latitude")],
    output: options.LongOutput,
) -> None:
    """Write the index of tars of another program. They must be uncompressed and in the layout of WebDataset.

    To be trained on, pairs need their grid: a preset, or a [grid] table in --config. Axes and signs are those of
    docs/conventions.md.

    Examples:
        iris shards index FOLDER --preset small --unit-density "kg / m3"
        iris shards index FOLDER --config grid.toml --latitude max --overwrite
        iris shards index FOLDER --split train
    """
    from shards.index_tars import index_tars

    config = settings.resolve()
    grid = options.one_grid(config.grid, preset)
    described: dict[str, Any] = {}
    if grid:
        from iris_cli.pairs.external import attributes_of, check_external
        from iris_cli.pairs.external import described as describe

        units = {"observation": unit_observation, "density": unit_density}
        described["known"] = {n: a.attributes for n, a in describe(grid, quantity, units).items()}
        described["attributes"] = attributes_of(grid, config.latitude)
        described["check"] = lambda arrays: check_external(arrays, grid, quantity, str(folder))
    elif unit_observation or unit_density:
        raise UsageError("units of pairs without a grid are not used", "give --preset, or a [grid] table in --config")
    with progress("indexing", quiet=output.quiet) as bar:
        index = index_tars(folder, split=split, overwrite=overwrite, on_progress=bar.advance, **described)
    if not grid:
        log("without a grid the pairs can be read, but not trained on: --preset NAME, or a [grid] table in --config")
    provenance.record(folder)
    _print_info(index, output.as_json)


# --- info -------------------------------------------------------------------------------------------------------------


def summary(index: "Index") -> dict[str, Any]:
    """Everything in the index except the single shards, as JSON."""
    sizes = {split: sum(e.size for e in index.shards if e.split == split) for split in index.splits}
    return {
        "folder": str(index.folder),
        "samples": index.count(),
        "bytes": sum(sizes.values()),
        "failed": index.failed,
        "fingerprint": index.fingerprint,
        "splits": {
            split: {"samples": count, "shards": len(index.shard_numbers(split)), "bytes": sizes[split]}
            for split, count in index.splits.items()
        },
        "arrays": {name: stored.to_json() for name, stored in index.stored.items()},
        "statistics": {
            split: {name: s.to_json() for name, s in arrays.items()} for split, arrays in index.statistics.items()
        },
        "attributes": index.attributes,
        "software": index.software,
    }


def _print_info(index: "Index", as_json: bool) -> None:
    if as_json:
        emit(summary(index))
        return
    splits = summary(index)["splits"]
    sizes = [(split, str(v["samples"]), str(v["shards"]), in_bytes(v["bytes"])) for split, v in splits.items()]
    statistics = [(split, index.statistics[split]) for split in index.splits]
    table(str(index.folder), ("split", "samples", "shards", "size"), sizes)
    arrays = []
    for name, a in index.arrays.items():
        shape, unit = " x ".join(map(str, a.shape)), str(a.attributes.get("unit", ""))
        arrays.append((name, a.dtype, shape, index.stored[name].encoding, unit))
    table("arrays", ("array", "dtype", "shape", "encoding", "unit"), arrays)
    rows = [_statistics_row(split, name, values[name]) for split, values in statistics for name in index.arrays]
    table("statistics", ("split", "array", "min", "mean", "max", "NaN", "worst error"), rows)
    for line in _lines("", index.attributes):
        say(line)
    for software in index.software:
        say("software: " + ", ".join(f"{name} {version}" for name, version in software.items()))
    say(f"fingerprint: {index.fingerprint}")
    if index.failed:
        say(f"failed inputs: {index.failed} (failures.jsonl)")


def _statistics_row(split: str, name: str, s: "Statistics") -> tuple[str, ...]:
    worst = f"{s.worst_relative_error:.2%}" if s.worst_relative_error else ""
    values = ("" if value is None else f"{value:.4g}" for value in (s.min, s.mean, s.max))
    return (split, name, *values, str(s.nan), worst)


def _lines(path: str, value: Any) -> Iterator[str]:
    """`grid.v_steps: 512`, one line per leaf; short lists in one line."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _lines(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from _lines(f"{path}[{i}]", inner)
    elif path:
        yield f"{path}: {value}"


# --- verify -----------------------------------------------------------------------------------------------------------


def _print_result(folder: Path, result: "VerifyReport") -> None:
    for note in result.notes:
        say(f"note: {note}")
    for fault in result.faults:
        say(f"fault: {fault}")
    state = "sound" if result.sound else f"NOT SOUND, {plural(len(result.faults), 'fault')}"
    samples, shards = plural(result.samples, "sample"), plural(result.shards, "shard")
    say(f"{folder}: {state}; {samples} in {shards}, {in_bytes(result.bytes)}")


# --- preview ----------------------------------------------------------------------------------------------------------


def _chosen(index: "Index", number: int, split: str | None, key: str | None) -> int:
    """Number of a sample in the data set. DataError when there is no sample of that number or key."""
    if key is not None:
        keys = index.keys(split)
        if key not in keys:
            hint = f"the first is '{keys[0]}'" if keys else "it holds no sample"
            raise DataError(f"{index.folder} has no sample '{key}'", hint)
        return int(index.numbers(split)[keys.index(key)])
    numbers = index.numbers(split if split is not None else next(iter(index.splits), None))
    if number >= len(numbers):
        raise DataError(f"there is no sample {number}; the split has {len(numbers)}, counted from 0")
    return int(numbers[number])


def _grid(index: "Index") -> "Grid | None":
    """The grid in the attributes of the data set; None for data sets of other programs."""
    from iris_cli.config.grid import Grid
    from iris_cli.config.toml import from_dict

    try:
        return from_dict(Grid, index.attributes["grid"])
    except (KeyError, TypeError, IrisError):
        return None


def _save_figure(index: "Index", arrays: Mapping[str, Any], title: str, out: Path) -> None:
    from iris_cli.files import check_output
    from iris_cli.plots.sample import draw_sample
    from iris_cli.plots.style import FORMATS, as_label, save

    check_output(out, overwrite=True, suffixes=FORMATS)
    units = {name: schema.attributes.get("unit") for name, schema in index.arrays.items()}
    labels = {name: as_label(f"{name} [{unit}]" if unit else name) for name, unit in units.items()}
    save(draw_sample(arrays, labels, _grid(index), as_label(title)), out, history=provenance.history(dated=False))


def _draw_in_terminal(index: "Index", arrays: Mapping[str, Any], title: str) -> None:
    import os
    import shutil

    from iris_cli.plots.sample import as_seen, plane
    from iris_cli.plots.terminal import side_by_side

    grid = _grid(index)
    images = [as_seen(name, plane(array), grid) for name, array in arrays.items()]
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    say(title)
    width = shutil.get_terminal_size((100, 24)).columns
    say_in_colour(side_by_side(images, [printable(name) for name in arrays], width, colour))
