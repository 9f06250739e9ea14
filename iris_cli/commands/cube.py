"""`iris cube FITS… --out lv.npz`"""

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.config.cube import RegridConfig


@options.command
def cube(
    cubes: Annotated[list[Path], typer.Argument(help="FITS cubes; where they overlap, the first one counts.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="l-v image to write: .npz or .fits.")],
    preset: Annotated[str | None, options.preset("Grid by name.")] = None,
    run: Annotated[
        Path | None, typer.Option(autocompletion=complete.runs, help="Grid and latitude reduction of a training run.")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(autocompletion=complete.shards, help="Grid and latitude reduction of a shard folder.")
    ] = None,
    overwrite: options.Overwrite = False,
    settings: options.Settings[RegridConfig],
    output: options.Output,
) -> None:
    """Regrid telescope cubes to the longitude-velocity image that a network takes, in kelvin.

    Examples:
        iris cube cube.fits --run RUN --out lv.npz
        iris cube east.fits west.fits --preset paper --latitude max --out lv.fits
        iris cube cube.fits --run RUN --unit K --beam-arcsec 30 --out lv.npz
    """
    config = settings.resolve()
    from iris_cli.signals import START_AGAIN, stop_on_signal
    from iris_cli.telescope.regrid import target_grid, write_lv_image  # imports astropy

    grid, reduction = target_grid(config, preset, run, shards, settings.flags.get("latitude"))
    history = provenance.history(config)
    with stop_on_signal(START_AGAIN):
        made = write_lv_image(
            cubes, out, grid, reduction, config.cube, overwrite=overwrite, quiet=output.quiet, history=history
        ).to_dict()
    text = f"{100 * made['sampled']:.1f} % of the image filled, peak {made['peak_K']:.4g} K: {out}"
    output.result({"file": str(out), **made}, text)
