"""`iris import-checkpoint chp_31.pt RUN`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.cube import RegridConfig
from iris_cli.config.grid import grid_preset
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.console import plural
from iris_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from iris_cli.dry_run import DryRun


@options.grouped
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="State dict of the IRIS paper's code, chp_<epoch>.pt.")],
    out: Annotated[Path, typer.Argument(help="Run folder to write, or a checkpoint (.pt).")],
    *,
    preset: Annotated[str | None, typer.Option(help="Its grid: paper, small or tiny.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Its grid, as a [grid] table (TOML).")] = None,
    quantity: Annotated[str, typer.Option(help="What it takes: temperature or v_density.")] = "temperature",
    latitude: Annotated[
        str | None, typer.Option(help="How its images lost their latitude: mean or max.  [default: mean]")
    ] = None,
    velocity_receding: Annotated[
        bool, typer.Option("--velocity-receding", help="It was trained with velocities that are positive receding.")
    ] = False,
    turn_over: Annotated[
        bool,
        typer.Option("--turn-over", help="It learned galaxies that turn against the Milky Way: l -> -l, b -> -b."),
    ] = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    speech: options.Speech,
) -> None:
    """Take over a network that the paper's code trained, for `iris test` and `iris revert`."""
    if (preset is None) == (config is None):
        raise UsageError(
            "its grid is not said" if preset is None else "its grid is said twice",
            "give --preset paper, or a [grid] table in --config",
        )
    settings = from_dict(RegridConfig, read_toml(config), str(config)) if config else RegridConfig()
    grid = settings.grid or grid_preset(preset or "paper")
    if config and settings.grid is None:
        raise UsageError(f"{config} has no [grid] table", "write one, or give --preset")
    reduction = latitude or settings.latitude
    if reduction not in ("mean", "max"):
        raise UsageError(f"unknown latitude reduction '{reduction}'", "mean or max")
    if dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(file, out, overwrite), speech.as_json)
        return
    from iris_cli.console import emit
    from iris_cli.training.paper_checkpoint import ImportOptions, import_checkpoint  # imports torch

    import_options = ImportOptions(grid, quantity, reduction, not velocity_receding, turn_over)
    made = import_checkpoint(file, out, import_options, overwrite=overwrite)
    provenance.record(out, replace(settings, grid=grid, latitude=reduction))
    if speech.as_json:
        emit(made.to_dict())
    else:
        print(f"{plural(made.parameters, 'parameter')} for {made.image_size} pixels, epoch {made.epoch}: {out}")


def _dry_run(file: Path, out: Path, overwrite: bool) -> DryRun:
    from iris_cli.dry_run import WITH_TORCH, DryRun, size_of

    if not file.is_file():
        raise DataError(f"{file} does not exist")
    size = size_of([file])
    return DryRun(
        computes="a checkpoint in IRIS's own units and directions",
        reads={file: size},
        writes={out: size},
        memory=WITH_TORCH + 3 * size,  # the file's tensors, the network's, and the converted ones
        notes=(f"{out} exists: the run would need --overwrite",) if out.exists() and not overwrite else (),
    )
