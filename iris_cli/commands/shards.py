"""`iris shards info|verify|preview|merge|index`: what lies in a shard folder, and whether it is sound."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.console import plural
from iris_cli.errors import EXIT_UNVERIFIED, DataError, IrisError

if TYPE_CHECKING:
    from iris_cli.config.grid import Grid
    from shards.index import Index
    from shards.statistics import Statistics
    from shards.verify import VerifyReport

app = typer.Typer(help="What lies in a shard folder, and whether it is sound.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Shard folder.")]


@app.command()
@options.grouped
def info(folder: Folder, *, speech: options.Speech) -> None:
    """Tell what a folder holds. Counts, bytes, arrays, units, statistics, grid and provenance, from the index alone."""
    from iris_cli.console import emit
    from shards.index import Index

    index = Index.open(folder)
    if speech.as_json:
        emit(described(index))
    else:
        _print_info(index)


@app.command()
@options.grouped
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Shard folders; - or @FILE for a list.")],
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild records and index from the tars that are sound, then verify.")
    ] = False,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Check every checksum and decode every member. Exit code 3 and a list if anything is not as promised."""
    from iris_cli.console import emit

    folders = options.listed(folders)
    if dry_run:
        what = "records and index of the tars that are sound, and " if repair else ""
        _tell(f"{what}every checksum and member of {plural(len(folders), 'folder')}", folders, repair, speech)
        return
    verdicts = {folder: _verdict(folder, repair, speech.quiet) for folder in folders}
    if speech.as_json:
        told = [{"folder": str(folder), **verdict.to_json()} for folder, verdict in verdicts.items()]
        emit(told[0] if len(told) == 1 else {"sound": all(one["sound"] for one in told), "folders": told})
    else:
        for folder, verdict in verdicts.items():
            _print_verdict(folder, verdict)
    if not all(verdict.sound for verdict in verdicts.values()):
        raise typer.Exit(EXIT_UNVERIFIED)


def _verdict(folder: Path, repair: bool, quiet: bool) -> VerifyReport:
    from iris_cli.console import log, progress
    from shards import verify as checks

    tars = len(list(folder.glob("*.tar")))
    if repair:
        with progress("repairing", tars, quiet=quiet) as bar:
            mended = checks.repair(folder, on_progress=bar.advance)
        provenance.record(folder)
        log(f"the index now holds {plural(mended.count(), 'sample')} in {plural(len(mended.shards), 'shard')}")
    with progress("verifying", tars, quiet=quiet) as bar:
        return checks.verify(folder, on_progress=bar.advance)


@app.command()
@options.grouped
def preview(
    folder: Folder,
    *,
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="Which sample, counted within the split.")] = 0,
    split: Annotated[str | None, typer.Option(help="Which split.  [default: the first]")] = None,
    key: Annotated[str | None, typer.Option(help="The sample of this key instead.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A PNG, PDF or SVG to write.")] = None,
    dry_run: options.DryRun = False,
    speech: options.Speech,
) -> None:
    """Show a sample: drawn in the terminal, or with --out as a figure."""
    from iris_cli.console import emit
    from shards.index import Index
    from shards.reader import Reader

    index = Index.open(folder)
    chosen = _chosen(index, number, split, key)
    reader = Reader(index)
    title = f"{reader.key(chosen)} ({reader.split(chosen)})"
    if dry_run:
        _tell(f"sample {title}", [folder], False, speech, out)
        return
    arrays = reader.read_new(chosen)
    if out is not None:
        _save_figure(index, arrays, title, out)
    if speech.as_json:
        told = {"key": reader.key(chosen), "split": reader.split(chosen), "info": reader.info(chosen)}
        emit({**told, "figure": None if out is None else str(out)})
    elif out is not None:
        print(out)
    else:
        _draw_in_terminal(index, arrays, title)
        for line in _lines("", reader.info(chosen)):
            print(line)


@app.command()
@options.grouped
def merge(folder: Folder, *, dry_run: options.DryRun = False, speech: options.Speech) -> None:
    """Close a set that several jobs wrote. Checks that no shard is missing, and writes the index."""
    from iris_cli.console import emit
    from shards.finalize import merge_set
    from shards.set_plan import PlanRecord

    if dry_run:
        missing = PlanRecord.read(folder).unfinished(folder)
        lacks = f"{plural(len(missing), 'shard is', 'shards are')} missing"
        _tell(f"the index of the set; {lacks}", [folder], True, speech)
        return
    index = merge_set(folder)
    provenance.record(folder)
    if speech.as_json:
        emit(described(index))
    else:
        print(f"{plural(index.count(), 'sample')} in {plural(len(index.shards), 'shard')}: {folder}")
    if index.failed:
        raise DataError(
            f"{plural(index.failed, 'input')} failed",
            f"{folder / 'failures.jsonl'} lists them; mend them, then `--retry-failed`",
        )


@app.command("index")
@options.grouped
def index_foreign(
    folder: Annotated[Path, typer.Argument(help="Folder of uncompressed tars with .npy members.")],
    *,
    split: Annotated[
        str | None,
        typer.Option(help="Split of all tars.  [default: what a name like validation-0001.tar says, or train]"),
    ] = None,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Make another program's tars usable. They must be uncompressed and laid out in WebDataset's manner."""
    from iris_cli.console import emit, progress
    from shards.index_tars import index_tars

    if dry_run:
        _tell(
            f"a record of {plural(len(list(folder.glob('*.tar'))), 'tar')} each, and an index", [folder], True, speech
        )
        return
    with progress("indexing", quiet=speech.quiet) as bar:
        index = index_tars(folder, split=split, on_progress=bar.advance)
    provenance.record(folder)
    if speech.as_json:
        emit(described(index))
    else:
        _print_info(index)


#: Records and index take about this share of the bytes of their tars.
RECORDS_SHARE = 0.01


def _tell(what: str, folders: list[Path], writes: bool, speech: options.Speech, figure: Path | None = None) -> None:
    """A dry run: tars are read, and where `writes` is set, records and index are written beside them."""
    from iris_cli.commands.plot import FIGURE_BYTES
    from iris_cli.dry_run import PLAIN, DryRun, show, size_of

    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
    tars = {folder: size_of(folder.glob("*.tar")) for folder in folders}
    written = (
        {folder: size_of(folder.glob("*.json")) or int(RECORDS_SHARE * tars[folder]) for folder in folders}
        if writes
        else {}
    )
    largest = max((path.stat().st_size for folder in folders for path in folder.glob("*.tar")), default=0)
    show(
        DryRun(
            computes=what,
            reads=tars,
            writes=written if figure is None else {figure: FIGURE_BYTES},
            memory=PLAIN + largest,
        ),
        speech.as_json,
    )


# --- info -------------------------------------------------------------------------------------------------------------


def described(index: Index) -> dict[str, Any]:
    """Everything that the index knows but the shards one by one."""
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


def _print_info(index: Index) -> None:
    from iris_cli.console import table

    told = described(index)
    table(
        str(index.folder),
        ("split", "samples", "shards", "size"),
        [(split, str(v["samples"]), str(v["shards"]), _bytes(v["bytes"])) for split, v in told["splits"].items()],
    )
    table(
        "arrays",
        ("array", "dtype", "shape", "encoding", "unit"),
        [
            (
                name,
                a.dtype,
                " x ".join(map(str, a.shape)),
                index.stored[name].encoding,
                str(a.attributes.get("unit", "")),
            )
            for name, a in index.arrays.items()
        ],
    )
    table(
        "statistics",
        ("split", "array", "min", "mean", "max", "NaN", "worst error"),
        [
            _statistics_row(split, name, index.statistics[split][name])
            for split in index.splits
            for name in index.arrays
        ],
    )
    for line in _lines("", index.attributes):
        print(line)
    for software in index.software:
        print("software: " + ", ".join(f"{name} {version}" for name, version in software.items()))
    print(f"fingerprint: {index.fingerprint}")
    if index.failed:
        print(f"failed inputs: {index.failed} (failures.jsonl)")


def _statistics_row(split: str, name: str, s: Statistics) -> tuple[str, ...]:
    worst = f"{s.worst_relative_error:.2%}" if s.worst_relative_error else ""
    return (split, name, _number(s.min), _number(s.mean), _number(s.max), str(s.nan), worst)


def _bytes(size: int) -> str:
    unit, name = next(((u, n) for u, n in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if size >= u), (1e3, "kB"))
    return f"{size / unit:.1f} {name}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


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


def _print_verdict(folder: Path, verdict: VerifyReport) -> None:
    for note in verdict.notes:
        print(f"note: {note}")
    for fault in verdict.faults:
        print(f"fault: {fault}")
    state = "sound" if verdict.sound else f"NOT SOUND, {plural(len(verdict.faults), 'fault')}"
    samples, shards = plural(verdict.samples, "sample"), plural(verdict.shards, "shard")
    print(f"{folder}: {state}; {samples} in {shards}, {_bytes(verdict.bytes)}")


# --- preview ----------------------------------------------------------------------------------------------------------


def _chosen(index: Index, number: int, split: str | None, key: str | None) -> int:
    """A sample's number in the set. DataError when there is none of that number or key."""
    if key is not None:
        table = index.samples(split)
        found = table.number[table.key == key]
        if not len(found):
            hint = f"the first is called '{table.key[0]}'" if len(table.key) else "it holds none at all"
            raise DataError(f"{index.folder} has no sample '{key}'", hint)
        return int(found[0])
    numbers = index.numbers(split if split is not None else next(iter(index.splits), None))
    if number >= len(numbers):
        raise DataError(f"there is no sample {number}; the split has {len(numbers)}, counted from 0")
    return int(numbers[number])


def _grid(index: Index) -> Grid | None:
    """The grid that the set's attributes name; None for sets from elsewhere."""
    from iris_cli.config.grid import Grid
    from iris_cli.config.toml import from_dict

    try:
        return from_dict(Grid, index.attributes["grid"])
    except (KeyError, TypeError, IrisError):
        return None


def _save_figure(index: Index, arrays: Mapping[str, Any], title: str, out: Path) -> None:
    from iris_cli.files import check_output
    from iris_cli.plots.sample import draw_sample
    from iris_cli.plots.style import FORMATS, save

    check_output(out, overwrite=True, suffixes=FORMATS)
    units = {name: schema.attributes.get("unit") for name, schema in index.arrays.items()}
    labels = {name: f"{name} [{unit}]" if unit else name for name, unit in units.items()}
    save(draw_sample(arrays, labels, _grid(index), title), out, history=provenance.history(dated=False))


def _draw_in_terminal(index: Index, arrays: Mapping[str, Any], title: str) -> None:
    import os
    import shutil

    from iris_cli.plots.sample import as_seen, plane
    from iris_cli.plots.terminal import side_by_side

    grid = _grid(index)
    images = [as_seen(name, plane(array), grid) for name, array in arrays.items()]
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(title)
    print("\n".join(side_by_side(images, list(arrays), shutil.get_terminal_size((100, 24)).columns, colour)))
