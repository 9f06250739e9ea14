"""`iris mock OUT`"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.grid import Grid, grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.survey import survey_grid
from iris_cli.console import plural
from iris_cli.dry_run import PLAIN, DryRun, exists, show
from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from iris_cli.mock.generate import Foregrounds, Galaxies

#: Making a slab of a galaxy, or a whole foreground (in double precision), holds so many times its tensor in memory.
SLABS_HELD, FOREGROUNDS_HELD = 3, 7
GALAXIES = 16


@options.command
def mock(
    out: Annotated[Path, typer.Argument(help="Folder of the standard data set to write.")],
    *,
    galaxies: Annotated[int, typer.Option("--galaxies", "-n", min=1, help="Number of galaxies.")] = GALAXIES,
    views: Annotated[int, typer.Option("--views", "-m", min=1, help="Number of directions to observe from.")] = 1,
    seed: options.Seed = 0,
    preset: Annotated[str | None, options.preset("Size of the grid.  [default: tiny]")] = None,
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
    from iris_cli.mock.generate import write_mock
    from iris_cli.signals import stop_on_signal

    maker = maker_of(config, foreground, preset, survey, seed, views)
    if dry_run:
        show(_dry_run(maker, out, galaxies, workers, overwrite), output.as_json)
        return
    with stop_on_signal("nothing was kept: start again"):
        count = write_mock(maker, out, galaxies, workers=workers, overwrite=overwrite, quiet=output.quiet)
    provenance.record(out, maker.config)
    text = f"{plural(count, 'tensor')} of {plural(galaxies, 'galaxy', 'galaxies')}: {out}"
    output.result({"folder": str(out), "galaxies": galaxies, "tensors": count}, text)


MADE_NOW = "Mock galaxies, made now"


_made_now = partial(typer.Option, rich_help_panel=MADE_NOW)


@dataclass(frozen=True)
class MadeNow:
    """Mock galaxies as the input of a command, without files; those of `iris mock` with the same options."""

    mock: Annotated[
        str | None,
        _made_now(
            "--mock",
            metavar="[default|FILE]",
            help="Instead of data sets: ranges of `iris mock`, and no tensors on disk.",
        ),
    ] = None
    galaxies: Annotated[
        int | None, _made_now("--galaxies", "-n", min=1, help=f"Number of galaxies.  [default: {GALAXIES}]")
    ] = None
    views: Annotated[
        int | None, _made_now("--views", "-m", min=1, help="Number of directions to observe from.  [default: 1]")
    ] = None
    seed: Annotated[int | None, _made_now("--seed", help="Seed of the galaxies.  [default: 0]")] = None
    preset: Annotated[str | None, options.preset("Size of the grid.  [default: tiny]", MADE_NOW)] = None

    @property
    def count(self) -> int:
        return self.galaxies or GALAXIES

    def maker(self, foreground: bool, survey: str | None) -> "Galaxies | Foregrounds":
        file = None if self.mock == "default" else Path(str(self.mock))
        return maker_of(file, foreground, self.preset, survey, self.seed or 0, self.views or 1)

    def check(self, data: list[Path]) -> None:
        """UsageError unless data are named or galaxies are made, and not both."""
        if not self.mock and not data:
            raise UsageError("no data set is named", "iris preobserve STANDARD SHARDS, or --mock default SHARDS")
        if self.mock and data:
            raise UsageError(f"--mock makes the galaxies, and {data[0]} holds others", "leave out one of them")
        if not self.mock and self != MadeNow():
            raise UsageError("--galaxies, --views, --seed and --preset are for --mock", "add --mock default")


def maker_of(
    file: Path | None, foreground: bool, preset: str | None, survey: str | None, seed: int, views: int
) -> "Galaxies | Foregrounds":
    """Makes mock galaxies, or foregrounds, with the ranges in a file or the default ones."""
    from iris_cli.mock.generate import Foregrounds, Galaxies

    if foreground:
        if views > 1:
            raise UsageError("a foreground has one view", "leave out --views")
        layers = options.Settings(ForegroundConfig, file).resolve()
        return Foregrounds(layers, grid_of(layers.grid, preset, survey, foreground), seed)
    galaxy = options.Settings(MockConfig, file).resolve()
    return Galaxies(galaxy, grid_of(galaxy.grid, preset, survey, foreground), seed, views)


def grid_of(own: Grid | None, preset: str | None, survey: str | None, foreground: bool = False) -> Grid:
    """That of the configuration or the preset, or the part of it that the survey covers."""
    grid = options.one_grid(own, preset, foreground) or grid_preset("tiny", foreground)
    return survey_grid(survey, grid) if survey else grid


def _dry_run(maker: "Foregrounds | Galaxies", out: Path, count: int, workers: int, overwrite: bool) -> DryRun:
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
