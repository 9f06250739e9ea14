"""`iris revert RUN… CUBE… --out map.fits --figure map.png`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import cube as of_cube
from iris_cli.commands import options
from iris_cli.commands.train import with_flags
from iris_cli.config.cube import RegridConfig
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.errors import UsageError


def revert(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|CUBE",
            help="Run folders (ensembles, .pt checkpoints), then FITS cubes or an l-v image of `iris cube`.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="FITS map to write.")],
    figure: Annotated[Path | None, typer.Option("--figure", help="Figure to draw: .png, .pdf or .svg.")] = None,
    density_unit: Annotated[str, typer.Option("--density-unit", help="Of the map: kg/m3 or Msun/pc3.")] = "kg/m3",
    unit: of_cube.Unit = None,
    rest_frequency_ghz: of_cube.RestFrequency = None,
    beam_arcsec: of_cube.Beam = None,
    velocity_convention: of_cube.Convention = None,
    spectral_unit: of_cube.SpectralUnit = None,
    velocity_shift: of_cube.Shift = None,
    efficiency: of_cube.Efficiency = None,
    centre_lon: of_cube.CentreLon = None,
    centre_lat: of_cube.CentreLat = None,
    hdu: of_cube.Hdu = None,
    min_coverage: of_cube.MinCoverage = None,
    memory: of_cube.Memory = None,
    config: options.ConfigFile = None,
    overwrite: options.Overwrite = False,
    dry_run: of_cube.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn a telescope's cube into the view from above: a map of H2 density, and what is known of its worth."""
    flags = of_cube.cube_flags(unit, rest_frequency_ghz, beam_arcsec, velocity_convention, spectral_unit,
                               velocity_shift, efficiency, centre_lon, centre_lat, hdu, min_coverage,
                               memory)  # fmt: skip
    values = with_flags(read_toml(config) if config else {}, flags)
    settings = from_dict(RegridConfig, values, str(config) if config else "command line").cube
    runs, cubes = divided(inputs)
    from iris_cli import revert as work  # wakes torch
    from iris_cli.console import emit

    if dry_run:
        emit(work.plan_revert(runs, cubes, out, figure, settings, density_unit, overwrite))
        return
    made = work.revert(runs, cubes, out=out, figure=figure, config=settings, unit=density_unit, overwrite=overwrite,
                       quiet=quiet)  # fmt: skip
    if as_json:
        emit(made.told)
    else:
        print("\n".join([*work.sentences(made.told), *made.told["outputs"]]))


def divided(inputs: list[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and cubes: folders and .pt files are runs. UsageError when one of the two is missing."""
    runs = [path for path in inputs if path.is_dir() or path.suffix == ".pt"]
    cubes = [path for path in inputs if path not in runs]
    if not runs:
        raise UsageError(f"no run among {', '.join(map(str, inputs))}", "name the folder of `iris train --out` first")
    if not cubes:
        raise UsageError("no cube was named", "name a FITS cube after the run")
    return runs, cubes
