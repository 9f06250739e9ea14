"""`iris demo`: mock galaxies -> standard data set -> shards -> training -> report and figure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.demo import DemoConfig
from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.console import clock, emit, log, say, table
from iris_cli.errors import DataError

if TYPE_CHECKING:
    from iris_cli.evaluation.report import Report

#: What the demonstration writes, in the order of its stages; --overwrite removes only these.
STANDARD, FOREGROUND, SHARDS, LITTER, RUN = "standard", "foreground", "shards", "litter", "run"
REPORT, FIGURE = "report.json", "pairs.png"


@options.command
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for data, shards, run and report.")] = Path("demo"),
    seed: options.Seed = 0,
    settings: options.Settings[DemoConfig],
    workers: options.Workers = 2,
    overwrite: options.Overwrite = False,
    output: options.LongOutput,
) -> None:
    """Run every stage on mock galaxies, from data to a tested network, in minutes; all files are kept.

    Examples:
        iris demo
        iris demo --out small --galaxies 200 --workers 4
    """
    config = settings.resolve()
    from iris_cli.signals import stop_on_signal
    from iris_cli.training import Stopped  # imports torch

    again = "start again with --overwrite"
    try:
        with stop_on_signal(again):
            how: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "quiet": output.quiet}
            report, made = run_demo(out, config, seed, how, provenance.history(config, dated=False))
    except Stopped as stopped:  # only a single training could be resumed
        raise Stopped(stopped.message, again) from None
    provenance.record(out, config)
    if output.as_json:
        emit(made)
    else:
        table("galaxies of the test split", ("", "", ""), report.rows())
        say(out / REPORT, out / FIGURE)


@dataclass
class Stopwatch:
    """Seconds of each stage, logged when it ends."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)
        log(f"{name}: {clock(self.seconds[name])}")


def run_demo(
    out: Path, config: DemoConfig, seed: int, how: dict[str, Any], history: Sequence[str]
) -> tuple[Report, dict[str, Any]]:
    """Makes everything in the folder `out`; returns the test's report, and the same with conditions and times as JSON.

    `how` has workers, overwrite and quiet; `history` describes the command and is written into the figure. DataError
    when `out` holds something and is not to be overwritten.
    """
    from iris_cli.evaluation.figures import draw_predictions
    from iris_cli.files import to_json, write_text
    from iris_cli.mock.generate import Foregrounds, Galaxies, write_mock
    from iris_cli.plots.style import save
    from iris_cli.standard.dataset import StandardDataset
    from iris_cli.training.test import inputs_of, predictions_of, test_run
    from iris_cli.training.train import train_run
    from iris_cli.training.trained_run import open_run
    from shards.splits import filling_seed

    overwrite, quiet = how["overwrite"], how["quiet"]
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists", "choose another folder with --out, or --overwrite it")
    out.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    with watch.stage("mock galaxies"):
        galaxies = Galaxies(MockConfig(), grid_preset(config.preset), seed, config.views)
        write_mock(galaxies, out / STANDARD, config.galaxies, **how)
        foregrounds = Foregrounds(ForegroundConfig(), grid_preset(config.preset, foreground=True), seed)
        write_mock(foregrounds, out / FOREGROUND, config.foregrounds, **how)
    with watch.stage("observation"):
        split_seed = filling_seed(StandardDataset.open(out / STANDARD).identities, config.preobserve.fractions, seed)
        preobserve = replace(config.preobserve, split_seed=seed if split_seed is None else split_seed)
        _observe(out / STANDARD, out / SHARDS, preobserve, how)
        _observe(out / FOREGROUND, out / LITTER, replace(config.preobserve, litter=True), how)
    hyper = replace(config.train, seed=seed, data=(str(out / SHARDS),), litter=str(out / LITTER))
    with watch.stage("training"):
        train_run(hyper, out / RUN, overwrite=overwrite, quiet=quiet)
    with watch.stage("test"):
        members = [open_run(out / RUN)]
        inputs = inputs_of(hyper, members=members)
        tested = test_run(members, hyper, inputs, quiet=quiet)
        figure = draw_predictions(predictions_of(members, inputs.normal, most=3))  # the first, not chosen ones
        save(figure, out / FIGURE, history=history)
    made = {**tested.headline(), "seed": seed, "seconds": watch.seconds, "figure": str(out / FIGURE)}
    write_text(out / REPORT, to_json(made))
    return tested.means, made


def _observe(standard: Path, shards: Path, config: Any, how: dict[str, Any]) -> None:
    from iris_cli.pairs.preobserve import preobserve

    report = preobserve([standard], shards, config, **how)
    if report.failed:
        raise DataError(f"{standard}: {report.failed[0].reason}")
