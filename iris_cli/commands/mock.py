"""`iris mock OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options
from iris_cli.config.grid import GRID_PRESETS, grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig


def mock(
    out: Annotated[Path, typer.Argument(help="Folder of the standard data set to write.")],
    galaxies: Annotated[int, typer.Option("--galaxies", "-n", min=1, help="How many galaxies.")] = 16,
    views: Annotated[int, typer.Option("--views", "-m", min=1, help="From how many sides each is seen.")] = 1,
    seed: options.Seed = 0,
    preset: Annotated[str, typer.Option(help=f"Size of the grid: {', '.join(GRID_PRESETS)}.")] = "tiny",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Spiral-arm gas in front of the Galactic Centre instead: litter.")
    ] = False,
    workers: options.Workers = 1,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a standard data set of mock galaxies: CMZ orbit, clouds, disc, inflow, turbulence."""
    from iris_cli.console import emit
    from iris_cli.standard.generate import Foregrounds, Galaxies, write_mock

    grid = grid_preset(preset, foreground)
    maker: Foregrounds | Galaxies
    if foreground:
        maker = Foregrounds(options.configured(ForegroundConfig, config), grid, seed)
    else:
        maker = Galaxies(options.configured(MockConfig, config), grid, seed, views)
    count = write_mock(maker, out, galaxies, workers=workers, overwrite=overwrite, quiet=quiet)
    if as_json:
        emit({"folder": str(out), "galaxies": galaxies, "tensors": count})
    else:
        print(f"{count} tensors of {galaxies} galaxies: {out}")
