"""`iris plot lv|top-down|pair|losses|moments|spectrum`: figures as astronomers draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.figure import COLOURS, STRETCHES, STYLE_NAMES, FigureConfig
from iris_cli.console import plural
from iris_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from iris_cli.dry_run import DryRun

app = typer.Typer(help="Figures as astronomers draw them: PNG, PDF or SVG, by the name.", no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class Output(options.Speech):
    """Where a figure goes, and what is said of it."""

    out: Annotated[Path, typer.Option("--out", "-o", help="PNG, PDF or SVG to write.")]
    config: options.ConfigFile = None
    dry_run: options.DryRun = False


@dataclass(frozen=True)
class Number:
    """Which tensor."""

    number: Annotated[int, typer.Option("--number", "-n", min=0, help="Which sample or tensor, from 0.")] = 0

    def which(self) -> Any:
        from iris_cli.commands.plot_inputs import Which

        return Which(**vars(self))


@dataclass(frozen=True)
class Sample(Number):
    """Which sample of a shard folder, or which tensor of a data set."""

    split: Annotated[
        str | None, typer.Option("--split", help="Count within this split of the shards.  [default: all]")
    ] = None
    key: Annotated[str | None, typer.Option("--key", help="The sample of this key instead.")] = None


@dataclass(frozen=True)
class Letters:
    """How any figure looks; as all looks, fields are keys of FigureConfig."""

    style: Annotated[
        str | None, typer.Option("--style", help=f"{', '.join(STYLE_NAMES)}: widths and letters.  [default: screen]")
    ] = None
    title: Annotated[
        str | None, typer.Option("--title", help="Above the figure, '' for none.  [default: its name]")
    ] = None


@dataclass(frozen=True)
class Colours(Letters):
    """How an image looks."""

    stretch: Annotated[str | None, typer.Option("--stretch", help=f"{', '.join(STRETCHES)}.  [default: asinh]")] = None
    colours: Annotated[str | None, typer.Option("--colours", help=f"{', '.join(COLOURS)}.  [default: cividis]")] = None


@dataclass(frozen=True)
class OnSky(Colours):
    """How an image looks that has a single scale, and orbits over it."""

    low: Annotated[float | None, typer.Option("--low", help="Where the colours begin.  [default: 0]")] = None
    high: Annotated[float | None, typer.Option("--high", help="Where they end.  [default: at the highest value]")] = (
        None
    )
    orbits: Annotated[
        list[str] | None,
        typer.Option(
            "--orbit",
            help="walker, lipman, a file with rows of l, b, v and near or far, or a folder of such; again for more.",
        ),
    ] = None


@app.command()
@options.grouped
def lv(
    data: Annotated[Path, typer.Argument(help="Shard folder, l-v image (.npz, FITS) or FITS cube.")],
    *,
    output: Output,
    sample: Sample,
    look: OnSky,
) -> None:
    """A longitude-velocity image; of a cube, the mean over latitude."""
    _draw("an l-v image", [data], lambda draw, look: draw.lv(data, sample.which(), look), output, look)


@app.command("top-down")
@options.grouped
def top_down(
    data: Annotated[Path, typer.Argument(help="Shard folder, standard data set, or map of `iris revert`.")],
    *,
    output: Output,
    sample: Sample,
    look: OnSky,
) -> None:
    """H2 density seen from Galactic north, in its true shape around Sgr A*."""
    _draw("a view from above", [data], lambda draw, look: draw.top_down(data, sample.which(), look), output, look)


@app.command()
@options.grouped
def pair(
    data: Annotated[Path, typer.Argument(help="Shard folder.")],
    *,
    output: Output,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run or an ensemble: also what it draws, by default of a test pair.")
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Without the noise and litter of the run's training.")] = False,
    sample: Sample,
    look: Colours,
) -> None:
    """Observation and truth side by side, and what a network makes of the one."""
    _draw(
        "a pair" + (" and what a network draws of it" if run else ""),
        [data, *([run] if run else [])],
        lambda draw, look: draw.pair(data, sample.which(), look, run, clean),
        output,
        look,
    )


@app.command()
@options.grouped
def losses(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of ensembles.")],
    *,
    output: Output,
    look: Letters,
) -> None:
    """How trainings went: losses along steps, and those of the trivial predictors."""
    _draw("losses along steps", runs, lambda draw, look: draw.losses(runs, look), output, look)


@app.command()
@options.grouped
def moments(
    data: Annotated[Path, typer.Argument(help="FITS cube, or standard data set (weighted by H2 mass).")],
    *,
    output: Output,
    number: Number,
    look: OnSky,
) -> None:
    """Maps of the sky: moment 0, mean velocity and velocity dispersion."""
    _draw("moments 0, 1 and 2", [data], lambda draw, look: draw.moments(data, number.which(), look), output, look)


@app.command()
@options.grouped
def spectrum(
    data: Annotated[Path, typer.Argument(help="FITS cube, l-v image (.npz, FITS) or shard folder.")],
    *,
    output: Output,
    lon: Annotated[list[float] | None, typer.Option("--lon", help="Galactic longitude, deg; again for more.")] = None,
    lat: Annotated[list[float] | None, typer.Option("--lat", help="Galactic latitude of each --lon, deg.")] = None,
    sample: Sample,
    look: Letters,
) -> None:
    """Spectra of pixels; without --lon the mean over the field, without --lat over all latitudes."""
    if lat and len(lat) != len(lon or []):
        raise UsageError(
            f"{plural(len(lat), 'latitude')} for {plural(len(lon or []), 'longitude')}",
            "one --lat for each --lon, or none",
        )
    places = list(zip_longest(lon or [], lat or []))
    _draw(
        plural(max(1, len(places)), "spectrum", "spectra"),
        [data],
        lambda draw, look: draw.spectrum(data, sample.which(), places, look),
        output,
        look,
    )


#: Of a figure on disk, at most; and of what is held while one is drawn, beside the libraries.
FIGURE_BYTES, CANVAS_BYTES = 2_000_000, 200_000_000


def _draw(
    what: str, data: Sequence[Path], drawn: Callable[[Any, FigureConfig], Figure], output: Output, look: Letters
) -> None:
    """Draw and save; the look and the figure's name are checked before any work.

    `drawn` is given the module that draws, which wakes torch and matplotlib.
    """
    given = {name: value for name, value in vars(look).items() if value not in (None, [])}
    settings = options.configured(FigureConfig, output.config, **given)
    from iris_cli.commands import plot_figures
    from iris_cli.console import emit
    from iris_cli.files import check_output
    from iris_cli.plots.style import FORMATS, save, style_of

    check_output(output.out, overwrite=True, suffixes=FORMATS)
    if output.dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(what, data, output.out), output.as_json)
        return

    style = style_of(settings.style)
    with style.applied():
        save(drawn(plot_figures, settings), output.out, style, provenance.history(settings, dated=False))
    emit({"figure": str(output.out), "shows": what}) if output.as_json else print(output.out)


def _dry_run(what: str, data: Sequence[Path], out: Path) -> DryRun:
    from iris_cli.dry_run import WITH_TORCH, DryRun, size_of

    for path in data:
        if not path.exists():
            raise DataError(f"{path} does not exist")
    return DryRun(
        computes=f"a figure: {what}",
        reads={path: size_of([path] if path.is_file() else path.rglob("*")) for path in data},
        writes={out: FIGURE_BYTES},
        memory=WITH_TORCH + CANVAS_BYTES,
        notes=(f"{out} exists and would be replaced",) if out.exists() else (),
    )
