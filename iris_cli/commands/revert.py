"""`iris revert RUN… CUBE… --out map.fits --figure map.png`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.cube import HEADER_BYTES, Reading, show_plan
from iris_cli.commands.plot import FIGURE_BYTES
from iris_cli.console import log
from iris_cli.errors import UsageError


@options.grouped
def revert(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|CUBE",
            help="Run folders (ensembles, .pt checkpoints), then FITS cubes or an l-v image of `iris cube`.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="FITS map to write.")],
    figure: Annotated[Path | None, typer.Option("--figure", help="Figure to draw: .png, .pdf or .svg.")] = None,
    density_unit: Annotated[str, typer.Option("--density-unit", help="Of the map: kg/m3 or Msun/pc3.")] = "kg/m3",
    reading: Reading,
    config: options.ConfigFile = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    speech: options.Speech,
) -> None:
    """Turn a telescope's cube into the view from above: a map of H2 density, and how reliable it is."""
    regrid = reading.settings(config)
    if regrid.grid is not None:
        log(f"note: the grid is the run's; that of {config} is for `iris cube`")
    settings = regrid.cube
    runs, cubes = divided(inputs)
    from iris_cli.console import emit
    from iris_cli.signals import START_AGAIN, stop_on_signal
    from iris_cli.telescope import revert as work  # wakes torch

    outputs = [str(path) for path in (out, figure) if path is not None]
    if dry_run:
        plan = work.plan_revert(runs, cubes, out, figure, settings, density_unit, overwrite)
        images = 3 + (len(plan.networks) > 1)  # map, observation and coverage, and with several networks their spread
        writes = {out: 4 * images * math.prod(plan.input.image) + images * HEADER_BYTES}
        if figure is not None:
            writes[figure] = FIGURE_BYTES
        show_plan(plan.input, inputs, writes, "a map", speech.as_json, networks=plan.networks)
        return
    with stop_on_signal(START_AGAIN):
        made = work.revert(
            runs,
            cubes,
            out=out,
            figure=figure,
            config=settings,
            unit=density_unit,
            overwrite=overwrite,
            quiet=speech.quiet,
            history=provenance.history(settings),
        )
    if speech.as_json:
        emit({"outputs": outputs, **made.to_dict()})
    else:
        print("\n".join([*made.record.sentences(), *outputs]))


def divided(inputs: list[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and cubes: folders and .pt files are runs. UsageError when one of the two is missing."""
    runs = [path for path in inputs if path.is_dir() or path.suffix == ".pt"]
    cubes = [path for path in inputs if path not in runs]
    if not runs:
        raise UsageError(f"no run among {', '.join(map(str, inputs))}", "name the folder of `iris train --out` first")
    if not cubes:
        raise UsageError("no cube was named", "name a FITS cube after the run")
    return runs, cubes
