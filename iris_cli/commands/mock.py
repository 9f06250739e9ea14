"""`iris mock OUT`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.config.grid import GRID_PRESETS, Grid, grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.survey import survey_grid
from iris_cli.console import plural
from iris_cli.dry_run import PLAIN, DryRun, exists, show
from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from iris_cli.mock.generate import Foregrounds, Galaxies

#: Making a slab of a galaxy, or a whole foreground (in double precision), holds so many times its tensor in memory.
SLABS_HELD, FOREGROUNDS_HELD = 3, 7


def preset_option(unset: str = "") -> Any:
    """`unset` is printed as the default of an option that has none."""
    note = f"  [default: {unset}]" if unset else ""
    about: dict[str, Any] = {"metavar": f"[{'|'.join(GRID_PRESETS)}]", "autocompletion": complete.presets}
    return typer.Option("--preset", help=f"Size of the grid.{note}", **about)


@options.command
def mock(
    out: Annotated[Path, typer.Argument(help="Folder of the standard data set to write.")],
    *,
    galaxies: Annotated[int, typer.Option("--galaxies", "-n", min=1, help="Number of galaxies.")] = 16,
    views: Annotated[int, typer.Option("--views", "-m", min=1, help="Number of directions to observe from.")] = 1,
    seed: options.Seed = 0,
    preset: Annotated[str | None, preset_option("tiny")] = None,
    survey: options.Survey = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Gas before the centre instead: litter.")] = False,
    workers: options.Workers = 1,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Make a standard data set of mock galaxies like the Central Molecular Zone: streams, clouds, inflow, turbulence.

    Examples:
        iris mock STANDARD --galaxies 1000 --workers 2
        iris mock FOREGROUND --foreground -n 32
        iris mock STANDARD --survey mopra-hnco --preset small
        iris config show mock > mock.toml
    """
    from iris_cli.mock.generate import Foregrounds, Galaxies, write_mock
    from iris_cli.signals import stop_on_signal

    maker: Foregrounds | Galaxies
    if foreground:
        layers = options.Settings(ForegroundConfig, config).resolve()
        maker = Foregrounds(layers, grid_of(layers.grid, preset, survey, foreground), seed)
    else:
        galaxy = options.Settings(MockConfig, config).resolve()
        maker = Galaxies(galaxy, grid_of(galaxy.grid, preset, survey, foreground), seed, views)
    if dry_run:
        show(_dry_run(maker, out, galaxies, workers, overwrite), output.as_json)
        return
    with stop_on_signal("nothing was kept: start again"):
        count = write_mock(maker, out, galaxies, workers=workers, overwrite=overwrite, quiet=output.quiet)
    provenance.record(out, maker.config)
    text = f"{plural(count, 'tensor')} of {plural(galaxies, 'galaxy', 'galaxies')}: {out}"
    output.result({"folder": str(out), "galaxies": galaxies, "tensors": count}, text)


def grid_of(own: Grid | None, preset: str | None, survey: str | None, foreground: bool = False) -> Grid:
    """That of the configuration or the preset, or the part of it that the survey covers."""
    if own and preset:
        raise UsageError("--preset and [grid] of the configuration both give a grid", "leave out one of them")
    grid = own or grid_preset(preset or "tiny", foreground)
    return survey_grid(survey, grid) if survey else grid


def _dry_run(maker: Foregrounds | Galaxies, out: Path, count: int, workers: int, overwrite: bool) -> DryRun:
    from iris_cli.mock.galaxy import SLAB_CELLS
    from iris_cli.mock.generate import Foregrounds, check_replaceable

    check_replaceable(out)
    shape, views = maker.grid.tensor_shape, getattr(maker, "views", 1)
    tensor, row = 4 * math.prod(shape), 4 * math.prod(shape) // shape[1]
    held = SLABS_HELD * min(tensor, max(4 * shape[0] * SLAB_CELLS, row))
    if isinstance(maker, Foregrounds):
        held = FOREGROUNDS_HELD * tensor
    return DryRun(
        computes=f"{plural(count, 'galaxy', 'galaxies')} x {plural(views, 'view')}, "
        f"tensors of {' x '.join(map(str, maker.grid.tensor_shape))}",
        writes={out: count * views * (tensor + 128)},
        memory=workers * (PLAIN + held),
        processes=workers,
        notes=() if overwrite else exists(out, "--overwrite"),
    )
