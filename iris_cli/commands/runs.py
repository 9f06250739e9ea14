"""`iris runs FOLDER…`: the runs in some folders, side by side."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import complete, options
from iris_cli.config.toml import read_toml
from iris_cli.config.train import CHECKPOINTS, CONFIG, LATER_STAGES, METRICS, TEST
from iris_cli.console import clock, emit, say, with_codes
from iris_cli.errors import DataError, IrisError, choose
from iris_cli.machine import in_bytes
from iris_cli.metrics_log import read_lines
from iris_cli.text import printable

#: Folders are searched for runs so deep.
DEPTH = 3
TRAINING = "training"
#: Columns of words.
TEXT = ("run", "state", "data", "network")
#: Columns that a narrow terminal does without, the first of them first.
EXPENDABLE = ("size", "data", "network", "coverage", "mass")
#: Columns that are best when they are low; of the other numbers, the highest is first.
LOWEST_FIRST = ("run", "state", "data", "network", "loss")


@dataclass(frozen=True)
class RunState:
    """A run at this moment. `loss` and `skill` are those of the best epoch, or of the latest test; `mass` is predicted
    over true mass, `near_far` the share of galaxies whose heavier half is predicted heavier, `coverage` the share of
    true densities inside the central interval of an ensemble or sampler that should hold 68 % of them.
    """

    run: str
    state: str
    epoch: int
    epochs: int | None
    data: str
    network: str
    loss: float | None
    skill: float | None
    near_far: float | None
    mass: float | None
    coverage: float | None
    seconds: float
    left_seconds: float | None
    bytes: int

    def row(self) -> tuple[str, ...]:
        """As text, in the order of HEADER."""
        left = f", {clock(self.left_seconds)} left" if self.left_seconds is not None else ""
        epoch = str(self.epoch) if self.epochs is None else f"{self.epoch}/{self.epochs}"
        numbers = (self.loss, self.skill, self.near_far, self.mass, self.coverage)
        scores = ("-" if value is None else f"{value:.3g}" for value in numbers)
        took = f"{clock(self.seconds)}{left}"
        return (self.run, self.state, epoch, self.data, self.network, *scores, took, in_bytes(self.bytes))


HEADER = ("run", "state", "epoch", "data", "network", "loss", "skill", "near/far", "mass", "coverage", "time", "size")
SORTED_BY = ("run", "state", "epoch", "data", "network", "loss", "skill", "near_far", "mass", "coverage", "seconds")


@options.command
def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(autocompletion=complete.runs, help="Runs, or folders that hold some.  [default: .]"),
    ] = None,
    *,
    sort: Annotated[
        str, typer.Option("--sort", metavar=f"[{'|'.join(SORTED_BY)}]", help="Column, the best first.")
    ] = "run",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds while one trains.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks, with --watch.")] = 5.0,
    output: options.Output,
) -> None:
    """List runs: state, epoch, scores, time and size. It imports no torch, and reads no checkpoint.

    Examples:
        iris runs
        iris runs RUNS --sort skill
        iris runs RUN --watch
    """
    choose("column", sort, dict.fromkeys(SORTED_BY))
    places = options.paths_of(folders or [Path()])
    found = states(places, sort)
    if output.as_json:
        emit({"runs": found})
    elif watch and sys.stdout.isatty():
        _watch(places, sort, every)
    else:
        say(*lines(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        while watch and training(found):
            time.sleep(every)
            found = states(places, sort)
            say("", *lines(found))


def _watch(places: Sequence[Path], sort: str, every: float) -> None:
    """In one place of the terminal, until no run trains any more."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, console=Console(file=with_codes(sys.stdout))) as live:
        while True:
            found = states(places, sort)
            width = live.console.width
            drawn = [*lines(found, width), *(_losses(Path(found[0].run), width) if len(found) == 1 else ())]
            live.update(Text("\n".join(map(printable, drawn)), no_wrap=True, overflow="ellipsis"), refresh=True)
            if not training(found):
                return
            time.sleep(every)


def _losses(run: Path, width: int) -> list[str]:
    """The losses of a run as a curve of characters, over optimizer steps."""
    from iris_cli.plots.terminal import curves

    found: dict[str, list[tuple[float, float]]] = {"training": [], "validation": []}
    for line in read_lines(run / METRICS):
        if line["loss"] is not None and line["kind"] in ("step", "epoch"):
            found["training" if line["kind"] == "step" else "validation"].append((line["step"], line["loss"]))
    return curves(found, width)


def training(found: Sequence[RunState]) -> bool:
    return any(state.state == TRAINING for state in found)


def lines(found: Sequence[RunState], width: int | None = None) -> list[str]:
    """A line for each run, without columns in which no run has a value, or for which `width` has no room."""
    rows = [HEADER, *(state.row() for state in found)]
    kept = {column[0]: column for column in zip(*rows, strict=True) if any(cell != "-" for cell in column[1:])}
    widths = {name: max(map(len, column)) for name, column in kept.items()}
    for name in EXPENDABLE:
        if width is not None and sum(widths.values()) + 2 * (len(widths) - 1) > width:
            widths.pop(name, None)
    padded = [
        [f"{cell:<{size}}" if name in TEXT else f"{cell:>{size}}" for cell in kept[name]]
        for name, size in widths.items()
    ]
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def states(folders: Sequence[Path], sort: str = "run") -> list[RunState]:
    """The runs in these folders. DataError for a folder that is absent or holds none."""
    found: dict[Path, RunState] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder", "name runs of `iris train`, or a folder that holds some")
        held = {path: state_of(path) for path in run_folders(folder)}
        if not held:
            raise DataError(f"{folder} holds no run", "name the folder of `iris train --out`")
        found |= held

    def key(state: RunState) -> tuple[bool, Any]:
        value = getattr(state, sort)
        return value is None, value if sort in LOWEST_FIRST or value is None else -value

    return sorted(sorted(found.values(), key=lambda state: state.run), key=key)


def run_folders(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The run folders in a folder, or the folder itself; a run is followed by its later stages."""
    with suppress(OSError):
        if (folder / CONFIG).is_file() and ((folder / CHECKPOINTS).is_dir() or (folder / METRICS).is_file()):
            yield folder
            yield from (stage for name in LATER_STAGES if ((stage := folder / name) / CONFIG).is_file())
        elif depth:
            inner = (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink())
            for path in inner:
                yield from run_folders(path, depth - 1)


def state_of(run: Path) -> RunState:
    """What the files of a run say, also while they are written or where they are damaged."""
    from shards.owner import writer_of

    config: dict[str, Any] = {}
    state = "damaged"
    with suppress(IrisError):
        config, state = read_toml(run / CONFIG), "stopped"
    lines = read_lines(run / METRICS)
    steps, epochs = ([line for line in lines if line["kind"] == kind] for kind in ("step", "epoch"))
    done, planned = len({line["epoch"] for line in epochs}), config.get("epochs")
    stage = run.name if run.name in LATER_STAGES and (run.parent / CONFIG).is_file() else None
    if planned is not None and done >= planned:
        state = "finished"
    elif writer_of(run.parent if stage else run):
        state = TRAINING
    losses = [line for line in epochs if line["loss"] is not None]
    best = min(losses, key=lambda line: line["loss"], default={})
    tested = _tested(run)
    seconds = sum(
        (line["step"] - before["step"]) * line.get("step_s", 0.0)
        for before, line in zip([{"step": 0}, *steps], steps, strict=False)
    )
    share = steps[-1]["step"] / max(1, epochs[-1]["step"]) * done if epochs else 0.0
    left = seconds * (planned / share - 1.0) if state == TRAINING and planned and share else None
    return RunState(
        run=str(run),
        state=state,
        epoch=done,
        epochs=planned,
        data=", ".join(Path(name).name for name in config.get("data", ())) or "-",
        network=stage or config.get("network", "-"),
        loss=best.get("loss"),
        skill=tested.get("skill", best.get("skill")),
        near_far=tested.get("near_far_sign_right"),
        mass=tested.get("mass_ratio"),
        coverage=_coverage(tested),
        seconds=round(seconds, 1),
        left_seconds=None if left is None else round(max(0.0, left), 1),
        bytes=sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
    )


def _tested(run: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        if isinstance(found := json.loads((run / TEST).read_bytes()), dict):
            return found
    return {}


def _coverage(tested: dict[str, Any]) -> float | None:
    """Of the 68 % interval of occupied pixels, by the best predictor that has one."""
    found = tested.get("predictors") or {}
    known = (found.get(name, {}).get("coverage_68_pixels") for name in ("samples", "ensemble"))
    return next((covered for covered in known if covered is not None), None)
