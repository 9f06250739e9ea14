"""`iris demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options
from iris_cli.config.demo import DemoConfig


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for data, shards, run and report.")] = Path("demo"),
    seed: options.Seed = 0,
    galaxies: Annotated[int | None, typer.Option("--galaxies", "-n", min=10, help="How many.  [default: 1600]")] = None,
    workers: options.Workers = 2,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    log_every: options.LogEvery = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Mock galaxies to shards to training to a report. Takes minutes; everything is left to be looked at."""
    settings = options.configured(DemoConfig, config, galaxies=galaxies)
    from iris_cli import demo as work  # wakes torch
    from iris_cli.console import emit, table

    report, told = work.demo(out, settings, seed=seed, workers=workers, overwrite=overwrite, quiet=quiet)
    if as_json:
        emit(told)
    else:
        table("galaxies that the network has never seen", ("", "", ""), report.rows())
        print(f"{out / work.REPORT}\n{out / work.FIGURE}")
