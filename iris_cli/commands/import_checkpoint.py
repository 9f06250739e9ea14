"""`iris import-checkpoint chp_31.pt RUN`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.cube import RegridConfig
from iris_cli.console import plural
from iris_cli.errors import UsageError


@options.command
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="State dict of the IRIS paper's code, chp_<epoch>.pt.")],
    out: Annotated[Path, typer.Argument(help="Run folder to write, or a checkpoint (.pt).")],
    *,
    preset: Annotated[str | None, options.preset("Grid of its training.")] = None,
    quantity: Annotated[
        str, typer.Option(metavar="[temperature|v_density]", help="Quantity of its observations.")
    ] = "temperature",
    velocity_receding: Annotated[
        bool, typer.Option("--velocity-receding", help="Its velocities are positive receding.")
    ] = False,
    turn_over: Annotated[
        bool, typer.Option("--turn-over", help="Its galaxies rotate against the Milky Way: l -> -l, b -> -b.")
    ] = False,
    overwrite: options.Overwrite = False,
    settings: Annotated[options.Settings[RegridConfig], options.Only("latitude")],
    output: options.Output,
) -> None:
    """Import a network that the paper's code trained, for `iris test` and `iris revert`.

    The grid of its training is a preset or a [grid] table in --config.

    Examples:
        iris import-checkpoint chp_31.pt RUN --preset paper
        iris import-checkpoint chp_31.pt RUN --preset paper --turn-over
        iris import-checkpoint chp_31.pt RUN --config grid.toml
    """
    config = settings.resolve()
    grid = options.one_grid(config.grid, preset)
    if grid is None:
        raise UsageError(
            "the grid of the checkpoint is not given", "give --preset paper, or a [grid] table in --config"
        )
    from iris_cli.training.paper_checkpoint import ImportOptions, import_checkpoint  # imports torch

    what = ImportOptions(grid, quantity, config.latitude, not velocity_receding, turn_over)
    made = import_checkpoint(file, out, what, overwrite=overwrite)
    provenance.record(out, replace(config, grid=grid))
    text = f"{plural(made.parameters, 'parameter')} for {made.options.grid.lon_steps} pixels, epoch {made.epoch}: {out}"
    output.result(made, text)
