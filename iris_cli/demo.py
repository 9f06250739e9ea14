"""The whole sentence in one command: mock galaxies -> standard data set -> shards -> training -> report and figure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iris_cli.config.demo import DemoConfig
from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.console import clock, log
from iris_cli.errors import DataError
from iris_cli.evaluation.summary import Report
from iris_cli.files import to_json, write_text
from iris_cli.mock.generate import Foregrounds, Galaxies, write_mock
from iris_cli.pairs.preobserve import preobserve
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.style import save
from iris_cli.training.test import Predictions, inputs_of, open_run, sample_predictions, test_run
from iris_cli.training.train import train_run

#: What the demonstration leaves behind, in the order of its making; --overwrite removes just these.
STANDARD, FOREGROUND, SHARDS, LITTER, RUN = "standard", "foreground", "shards", "litter", "run"
REPORT, FIGURE = "report.json", "pairs.png"


@dataclass
class Stopwatch:
    """Seconds of each stage, said as they end."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)
        log(f"{name}: {clock(self.seconds[name])}")


def demo(
    out: Path,
    config: DemoConfig,
    *,
    seed: int = 0,
    workers: int = 2,
    overwrite: bool = False,
    quiet: bool = False,
    history: Sequence[str] = (),
) -> tuple[Report, dict[str, Any]]:
    """Make everything in the folder `out`; the test's report, and the same with circumstances and times as JSON.

    `history` says how it was made, and goes into the figure.

    DataError when `out` holds something and `overwrite` is not set.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists", "choose another folder with --out, or --overwrite it")
    out.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    how: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "quiet": quiet}
    with watch.stage("mock galaxies"):
        galaxies = Galaxies(MockConfig(), grid_preset(config.preset), seed, config.views)
        write_mock(galaxies, out / STANDARD, config.galaxies, **how)
        foregrounds = Foregrounds(ForegroundConfig(), grid_preset(config.preset, foreground=True), seed)
        write_mock(foregrounds, out / FOREGROUND, config.foregrounds, **how)
    with watch.stage("observation"):
        _observe(out / STANDARD, out / SHARDS, replace(config.preobserve, split_seed=seed), how)
        _observe(out / FOREGROUND, out / LITTER, replace(config.preobserve, litter=True), how)
    hyper = replace(config.train, seed=seed, data=(str(out / SHARDS),), litter=str(out / LITTER))
    with watch.stage("training"):
        train_run(hyper, out / RUN, overwrite=overwrite, quiet=quiet)
    with watch.stage("test"):
        members = [open_run(out / RUN)]
        inputs = inputs_of(hyper, members=members)
        tested = test_run(members, hyper, inputs, quiet=quiet)
        _draw(sample_predictions(members, inputs.normal, galaxies=3), out, history)
    told = {**tested.brief(), "seed": seed, "seconds": watch.seconds, "figure": str(out / FIGURE)}
    write_text(out / REPORT, to_json(told))
    return tested.normal.report(), told


def _observe(standard: Path, shards: Path, config: Any, how: dict[str, Any]) -> None:
    report = preobserve([standard], shards, config, **how)
    if report.failed:
        raise DataError(f"{standard}: {report.failed[0].reason}")


def _draw(shown: Predictions, out: Path, history: Sequence[str]) -> None:
    """The first three galaxies of the test split as the network saw them: nobody chose them."""
    figure = draw_pairs(
        [o[0] for o in shown.observations],
        [d[0] for d in shown.true],
        [d[0] for d in shown.predicted],
        shown.grid,
        shown.quantity,
        shown.sources,
    )
    save(figure, out / FIGURE, history=history)
