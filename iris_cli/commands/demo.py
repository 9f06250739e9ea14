"""`iris demo`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.mock import TENSORS_HELD
from iris_cli.config.demo import DemoConfig
from iris_cli.config.grid import grid_preset
from iris_cli.console import plural

if TYPE_CHECKING:
    from iris_cli.dry_run import DryRun

#: A checkpoint at the size of the demonstration; report, figure and metrics.
CHECKPOINT_BYTES, REPORT_BYTES = 10_900_000, 300_000


@options.grouped
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for data, shards, run and report.")] = Path("demo"),
    seed: options.Seed = 0,
    galaxies: Annotated[int | None, typer.Option("--galaxies", "-n", min=10, help="How many.  [default: 1600]")] = None,
    workers: options.Workers = 2,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Mock galaxies to shards to training to a report. Takes minutes; everything is left to be looked at."""
    settings = options.configured(DemoConfig, config, galaxies=galaxies)
    from iris_cli.console import emit, table

    if dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(settings, out, workers, overwrite), speech.as_json)
        return
    from iris_cli import demo as work  # wakes torch
    from iris_cli.signals import stop_on_signal
    from iris_cli.training import Stopped

    again = "start again with --overwrite"
    try:
        with stop_on_signal(again):
            report, told = work.demo(
                out,
                settings,
                seed=seed,
                workers=workers,
                overwrite=overwrite,
                quiet=speech.quiet,
                history=provenance.history(settings, dated=False),
            )
    except Stopped as stopped:  # a training alone would go on
        raise Stopped(stopped.message, again) from None
    provenance.record(out, settings)
    if speech.as_json:
        emit(told)
    else:
        table("galaxies that the network has never seen", ("", "", ""), report.rows())
        print(f"{out / work.REPORT}\n{out / work.FIGURE}")


def _dry_run(config: DemoConfig, out: Path, workers: int, overwrite: bool) -> DryRun:
    from iris_cli.dry_run import WITH_TORCH, DryRun

    grid, pairs = grid_preset(config.preset), config.galaxies * config.views
    tensor = 4 * math.prod(grid.tensor_shape)
    checkpoints = 1 + min(config.train.epochs, config.train.keep_checkpoints)
    pair = 4 * (math.prod(grid.observation_shape) + math.prod(grid.density_shape))
    return DryRun(
        computes=f"{plural(pairs, 'pair')} of {plural(config.galaxies, 'mock galaxy', 'mock galaxies')}, "
        f"{plural(config.train.epochs, 'epoch')} of training, and a test",
        writes={out: (pairs + config.foregrounds) * (tensor + pair) + checkpoints * CHECKPOINT_BYTES + REPORT_BYTES},
        memory=workers * (WITH_TORCH + TENSORS_HELD * tensor),
        processes=workers,
        notes=(f"{out} exists: the run would need --overwrite",) if out.exists() and not overwrite else (),
    )
