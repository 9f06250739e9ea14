"""`iris plot lv|lb|top-down|pair|compare|losses|moments|spectrum`"""

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.commands.help import Command, Group
from iris_cli.config.figure import FigureConfig
from iris_cli.config.setting import read_interval
from iris_cli.console import plural
from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARED = "FITS cube, l-v image (.npz, FITS), map of `iris revert`, image of the sky, shard folder or data set"

app = typer.Typer(cls=Group, help="Draw figures as PNG, PDF or SVG, by the ending of the name.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="PNG, PDF or SVG to write.")]
#: Fonts; fonts and colours; and all that an image with a single colour scale and orbits over it has.
Look = Annotated[options.Settings[FigureConfig], options.Only("style", "title")]
ColourLook = Annotated[options.Settings[FigureConfig], options.Only("style", "title", "stretch", "colours")]
ScaledLook = Annotated[
    options.Settings[FigureConfig], options.Only("style", "title", "stretch", "low", "high", "colours")
]
VelocityRange = Annotated[
    str | None, typer.Option(metavar="LOW:HIGH", help="Of a cube: only channels within, km/s.  [default: all]")
]
ImageLook = options.Settings[FigureConfig]


@app.command(cls=Command)
@options.command
def lv(
    data: Annotated[Path, typer.Argument(help="Shard folder, l-v image (.npz, FITS) or FITS cube.")],
    *,
    out: Out,
    sample: options.Sample,
    look: ImageLook,
    output: options.Output,
) -> None:
    """Draw a longitude-velocity image; of a cube, the mean over latitude.

    Examples:
        iris plot lv SHARDS --number 3 --out lv.png
        iris plot lv cube.fits --orbit walker --stretch log --out lv.pdf
    """
    _draw("an l-v image", lambda draw, config: draw.lv(data, sample.of(data), config), out, look, output)


@app.command(cls=Command)
@options.command
def lb(
    data: Annotated[Path, typer.Argument(help="FITS cube, FITS image of the sky, or standard data set.")],
    *,
    out: Out,
    velocity_range: VelocityRange = None,
    number: options.Number = 0,
    look: ImageLook,
    output: options.Output,
) -> None:
    """Draw a map of the sky: integrated intensity, H2 column, or an image such as a continuum map.

    Examples:
        iris plot lb cube.fits --velocity-range -150:150 --out lb.png
        iris plot lb dust.fits --stretch log --orbit walker --out dust.pdf
    """
    velocities = _velocities(velocity_range) if velocity_range is not None else None
    which = options.Sample(number).of(data)
    _draw("a map of the sky", lambda draw, config: draw.lb(data, which, config, velocities), out, look, output)


@app.command("top-down", cls=Command)
@options.command
def top_down(
    data: Annotated[Path, typer.Argument(help="Shard folder, standard data set, or map of `iris revert`.")],
    *,
    out: Out,
    sample: options.Sample,
    look: ImageLook,
    output: options.Output,
) -> None:
    """Draw H2 density seen from Galactic north, in its true shape around Sgr A*.

    Examples:
        iris plot top-down map.fits --orbit walker --out map.png
        iris plot top-down SHARDS --split test --out truth.png
    """
    _draw("a view from above", lambda draw, config: draw.top_down(data, sample.of(data), config), out, look, output)


@app.command(cls=Command)
@options.command
def pair(
    data: Annotated[Path, typer.Argument(help="Shard folder.")],
    *,
    out: Out,
    run: Annotated[
        Path | None,
        typer.Option(autocompletion=complete.runs, help="Run or ensemble whose prediction is drawn, of a test pair."),
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Without noise and litter of the training.")] = False,
    trust: options.Trust = None,
    sample: options.Sample,
    look: ColourLook,
    output: options.Output,
) -> None:
    """Draw an observation beside the true density, and the prediction of a network.

    Examples:
        iris plot pair SHARDS --out pair.png
        iris plot pair SHARDS --run RUN --number 2 --out pair.png
    """
    what = "a pair" + (" and the prediction of a network" if run else "")
    _draw(what, lambda draw, config: draw.pair(data, sample.of(data), config, run, clean), out, look, output)


@app.command(cls=Command)
@options.command
def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help=f"{COMPARED}.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="The same, on the same grid and in the same unit.")],
    *,
    out: Out,
    number: options.Number = 0,
    look: ScaledLook,
    output: options.Output,
) -> None:
    """Draw two images side by side, with their difference B - A and ratio B / A; of a cube, the mean over latitude.

    Examples:
        iris plot compare thick.fits thin.fits --out compare.png
        iris plot compare RUN1/map.fits RUN2/map.fits --stretch log --out maps.pdf
    """
    _draw("a comparison", lambda draw, config: draw.compare(one, other, number, config), out, look, output)


@app.command(cls=Command)
@options.command
def losses(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders of ensembles.", autocompletion=complete.runs)
    ],
    *,
    out: Out,
    look: Look,
    output: options.Output,
) -> None:
    """Draw the losses of trainings over steps, and those of the trivial predictors.

    Examples:
        iris plot losses RUN --out losses.png
        iris plot losses RUN1 RUN2 --style mnras --out losses.pdf
    """
    _draw("losses over steps", lambda draw, config: draw.losses(runs, config), out, look, output)


@app.command(cls=Command)
@options.command
def moments(
    data: Annotated[Path, typer.Argument(help="FITS cube, or standard data set (weighted by H2 mass).")],
    *,
    out: Out,
    clip_sigma: Annotated[
        float, typer.Option(min=0, metavar="<float>", help="Of a cube: only values above so many times its noise.")
    ] = 0.0,
    velocity_range: VelocityRange = None,
    number: options.Number = 0,
    look: ImageLook,
    output: options.Output,
) -> None:
    """Draw maps of the sky: moment 0, mean velocity and velocity dispersion.

    Examples:
        iris plot moments cube.fits --out moments.png
        iris plot moments cube.fits --velocity-range -150:150 --out moments.png
        iris plot moments STANDARD --number 3 --out moments.png
    """
    velocities = _velocities(velocity_range) if velocity_range is not None else None
    which = options.Sample(number).of(data)
    _draw(
        "moments 0, 1 and 2",
        lambda draw, config: draw.moments(data, which, config, clip_sigma, velocities),
        out,
        look,
        output,
    )


def _velocities(text: str) -> tuple[float, float]:
    try:
        low, high = read_interval(text)
    except ValueError as error:
        raise UsageError(f"--velocity-range is '{text}', {error}", "e.g. --velocity-range -150:150") from None
    if not low < high:
        raise UsageError(f"--velocity-range {text} is empty", "give LOW:HIGH, e.g. -150:150")
    return low, high


@app.command(cls=Command)
@options.command
def spectrum(
    data: Annotated[Path, typer.Argument(help="FITS cube, l-v image (.npz, FITS) or shard folder.")],
    *,
    out: Out,
    lon: Annotated[list[float] | None, typer.Option(metavar="<float>", help="Longitude, deg; may be repeated.")] = None,
    lat: Annotated[list[float] | None, typer.Option(metavar="<float>", help="Latitude of each --lon, deg.")] = None,
    sample: options.Sample,
    look: Look,
    output: options.Output,
) -> None:
    """Draw spectra of pixels; without --lon the mean over all pixels, without --lat over all latitudes.

    Examples:
        iris plot spectrum cube.fits --lon 0.5 --lat 0 --out spectrum.png
        iris plot spectrum SHARDS --lon -0.5 --lon 0.5 --out spectra.png
    """
    if lat and len(lat) != len(lon or []):
        given = f"{plural(len(lat), 'latitude')} for {plural(len(lon or []), 'longitude')}"
        raise UsageError(given, "give one --lat for each --lon, or none")
    places = list(zip_longest(lon or [], lat or []))
    what = plural(max(1, len(places)), "spectrum", "spectra")
    _draw(what, lambda draw, config: draw.spectrum(data, sample.of(data), places, config), out, look, output)


def _draw(
    what: str,
    drawn: "Callable[[Any, FigureConfig], Figure]",
    out: Path,
    look: options.Settings[FigureConfig],
    output: options.Output,
) -> None:
    """Draws and saves a figure. The look and the name of the figure are checked before any work.

    `drawn` is called with the module `plot_figures`, which imports torch and matplotlib.
    """
    config = look.resolve()
    from iris_cli.commands import plot_figures
    from iris_cli.files import check_output
    from iris_cli.plots.style import FORMATS, save, style_of

    check_output(out, overwrite=True, suffixes=FORMATS)
    style = style_of(config.style)
    with style.applied():
        save(drawn(plot_figures, config), out, style, provenance.history(config, dated=False))
    output.result({"figure": str(out), "shows": what}, out)
