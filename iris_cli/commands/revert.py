"""`iris revert RUN… CUBE… --out map.fits --figure map.png`"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.config.cube import RegridConfig
from iris_cli.config.figure import STYLE_NAMES
from iris_cli.console import log, paragraph, plural
from iris_cli.dry_run import FIGURE_BYTES, WITH_TORCH, DryRun, show, size_of
from iris_cli.errors import DataError, UsageError, choose

if TYPE_CHECKING:
    from iris_cli.telescope.revert import RevertPlan

#: Bytes of a FITS header with its history.
HEADER_BYTES = 20_000


@options.command
def revert(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN...] CUBE...",
            autocompletion=complete.inputs,
            help="Runs (folders, .iris, .pt; none: the network of the package), then FITS cubes or an l-v image.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="FITS map to write.")] = Path("map.fits"),
    figure: Annotated[Path | None, typer.Option("--figure", help="Figure to write: .png, .pdf or .svg.")] = None,
    near_far: Annotated[
        Path | None, typer.Option("--near-far", help="Figure of P(near) at each (l, v), its prior, and the clouds.")
    ] = None,
    clouds: Annotated[
        str,
        typer.Option(
            metavar="[cmz|auto|none|FILE]",
            help="Clouds for tables beside the map: the packaged catalogue, structures of the image, or a file.",
        ),
    ] = "cmz",
    density_unit: Annotated[str, typer.Option(metavar="[Msun/pc3|kg/m3]", help="Unit of the map.")] = "Msun/pc3",
    samples: Annotated[int, typer.Option(min=0, help="Maps that each run's sampler draws; 0: none.")] = 64,
    style: Annotated[
        str, typer.Option(metavar=f"[{'|'.join(STYLE_NAMES)}]", help="Width and fonts of the figures.")
    ] = "screen",
    overwrite: options.Overwrite = False,
    trust: options.Trust = None,
    settings: Annotated[options.Settings[RegridConfig], options.Only("cube")],
    dry_run: options.DryRun = False,
    output: options.Output,
) -> None:
    """Turn telescope cubes into the view from above: a map of H2 density, with an estimate of its quality.

    Without a run, the network of the package is used: HNCO (4-3) as Mopra observed it, 64 x 64 pixels, trained on mock
    galaxies. It gives a first map of such a cube, and refuses cubes of another line. For your own survey, train a run.

    Examples:
        iris revert cube.fits --figure map.png
        iris revert RUN cube.fits --out map.fits --figure map.pdf --style mnras
        iris revert ENSEMBLE east.fits west.fits --out map.fits
        iris revert RUN cube.fits --out map.fits --near-far near_far.png
    """
    choose("style", style, dict.fromkeys(STYLE_NAMES))
    regrid = settings.resolve()
    if regrid.grid is not None:
        log(f"note: the grid of the run is used; that of {settings.file} is for `iris cube`")
    config = regrid.cube
    runs, cubes = divided(inputs)
    from iris_cli.signals import START_AGAIN, stop_on_signal
    from iris_cli.telescope import revert as work  # imports torch
    from iris_cli.telescope.near_far import table_paths

    outputs = [str(path) for path in (out, figure, near_far) if path is not None]
    if dry_run:
        plan = work.plan_revert(runs, cubes, out, figure, config, density_unit, samples, overwrite)
        show(_dry_run(plan, inputs, out, figure), output.as_json, **asdict(plan.input), networks=plan.networks)
        return
    with stop_on_signal(START_AGAIN):
        made = work.revert(
            runs,
            cubes,
            out=out,
            figure=figure,
            near_far_figure=near_far,
            clouds=clouds,
            config=config,
            unit=density_unit,
            samples=samples,
            style=style,
            overwrite=overwrite,
            quiet=output.quiet,
            history=provenance.history(config),
        )
    if made.clouds is not None:
        outputs += map(str, table_paths(out))
    sentences = (line for sentence in made.record.sentences() for line in paragraph(sentence))
    output.result({"outputs": outputs, **made.to_dict()}, *sentences, *outputs)


def divided(inputs: list[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and cubes: folders, .pt and .iris files are runs. UsageError without a cube, DataError for an absent run."""
    runs = [path for path in inputs if path.is_dir() or path.suffix in (".pt", ".iris")]
    cubes = [path for path in inputs if path not in runs]
    if not cubes:
        raise UsageError("no cube was named", "name a FITS cube after the run")
    if absent := [path for path in cubes if not (path.suffix or path.exists())]:
        raise DataError(f"{absent[0]} does not exist", "name runs, then FITS cubes")
    return runs, cubes


def _dry_run(plan: "RevertPlan", reads: list[Path], out: Path, figure: Path | None) -> DryRun:
    """Writes map, mask, observation and coverage, with several networks their spread, and samples and quantiles."""
    cubes, image = plan.input.cubes, plan.input.image
    hdus, planes = 4 + (len(plan.networks) > 1), 0
    if plan.samples:
        hdus, planes = 7, plan.samples + 5 - 2  # in SAMPLES and QUANTILES
    written = {out: (hdus + planes) * 4 * math.prod(image) + hdus * HEADER_BYTES}
    source = f" from {plural(len(cubes), 'cube')}, latitude by {plan.input.latitude}" if cubes else ""
    return DryRun(
        computes=f"a map of {' x '.join(map(str, image))} pixels{source}",
        reads={path: size_of([path] if path.is_file() else path.rglob("best.pt")) for path in reads},
        writes=written if figure is None else {**written, figure: FIGURE_BYTES},
        memory=WITH_TORCH + int(2**30 * plan.input.working_GiB),
        notes=tuple(note for cube in cubes for note in cube.notes),
    )
