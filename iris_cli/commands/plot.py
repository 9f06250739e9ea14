"""`iris plot lv|top-down|pair|losses|moments|spectrum`: figures as astronomers draw them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from iris_cli.figures.draw import Look

app = typer.Typer(help="Figures as astronomers draw them: PNG, PDF or SVG, by the name.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="PNG, PDF or SVG to write.")]
Number = Annotated[int, typer.Option("--number", "-n", min=0, help="Which sample or tensor, from 0.")]
Split = Annotated[str | None, typer.Option("--split", help="Count within this split of the shards.  [default: all]")]
Key = Annotated[str | None, typer.Option("--key", help="The sample of this key instead.")]
Orbits = Annotated[
    list[str] | None,
    typer.Option(
        "--orbit",
        help="walker, lipman, a file with rows of l, b, v and near or far, or a folder of such; again for more.",
    ),
]
Stretch = Annotated[str, typer.Option("--stretch", help="asinh, log, sqrt or linear.")]
Low = Annotated[float, typer.Option("--low", help="Where the colours begin.")]
High = Annotated[float | None, typer.Option("--high", help="Where they end.  [default: at the highest value]")]
Colours = Annotated[str, typer.Option("--colours", help="cividis, viridis, magma, inferno, plasma, gray or gray_r.")]
StyleName = Annotated[str, typer.Option("--style", help="screen, talk, mnras, aanda or apj: widths and letters.")]
Title = Annotated[str | None, typer.Option("--title", help="Above the figure, '' for none.  [default: its name]")]


@app.command()
def lv(
    data: Annotated[Path, typer.Argument(help="Shard folder, l-v image (.npz, FITS) or FITS cube.")],
    out: Out,
    number: Number = 0,
    split: Split = None,
    key: Key = None,
    orbit: Orbits = None,
    stretch: Stretch = "asinh",
    low: Low = 0.0,
    high: High = None,
    colours: Colours = "cividis",
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """A longitude-velocity image; of a cube, the mean over latitude."""
    with _look(out, style, stretch=stretch, low=low, high=high, colours=colours, orbits=orbit, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.lv(data, _which(number, split, key), look), out, look)


@app.command("top-down")
def top_down(
    data: Annotated[Path, typer.Argument(help="Shard folder, standard data set, or map of `iris revert`.")],
    out: Out,
    number: Number = 0,
    split: Split = None,
    key: Key = None,
    orbit: Orbits = None,
    stretch: Stretch = "asinh",
    low: Low = 0.0,
    high: High = None,
    colours: Colours = "cividis",
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """H2 density seen from Galactic north, in its true shape around Sgr A*."""
    with _look(out, style, stretch=stretch, low=low, high=high, colours=colours, orbits=orbit, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.top_down(data, _which(number, split, key), look), out, look)


@app.command()
def pair(
    data: Annotated[Path, typer.Argument(help="Shard folder.")],
    out: Out,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run or an ensemble: also what it draws, by default of a test pair.")
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Without the noise and litter of the run's training.")] = False,
    number: Number = 0,
    split: Split = None,
    key: Key = None,
    stretch: Stretch = "asinh",
    colours: Colours = "cividis",
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """Observation and truth side by side, and what a network makes of the one."""
    with _look(out, style, stretch=stretch, colours=colours, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.pair(data, _which(number, split, key), look, run, clean), out, look)


@app.command()
def losses(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of ensembles.")],
    out: Out,
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """How trainings went: losses along steps, and those of the trivial predictors."""
    with _look(out, style, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.losses(runs, look), out, look)


@app.command()
def moments(
    data: Annotated[Path, typer.Argument(help="FITS cube, or standard data set (weighted by H2 mass).")],
    out: Out,
    number: Number = 0,
    orbit: Orbits = None,
    stretch: Stretch = "asinh",
    low: Low = 0.0,
    high: High = None,
    colours: Colours = "cividis",
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """Maps of the sky: moment 0, mean velocity and velocity dispersion."""
    with _look(out, style, stretch=stretch, low=low, high=high, colours=colours, orbits=orbit, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.moments(data, _which(number), look), out, look)


@app.command()
def spectrum(
    data: Annotated[Path, typer.Argument(help="FITS cube, l-v image (.npz, FITS) or shard folder.")],
    out: Out,
    lon: Annotated[list[float] | None, typer.Option("--lon", help="Galactic longitude, deg; again for more.")] = None,
    lat: Annotated[list[float] | None, typer.Option("--lat", help="Galactic latitude of each --lon, deg.")] = None,
    number: Number = 0,
    split: Split = None,
    key: Key = None,
    style: StyleName = "screen",
    title: Title = None,
) -> None:
    """Spectra of pixels; without --lon the mean over the field, without --lat over all latitudes."""
    if lat and len(lat) != len(lon or []):
        raise UsageError(f"{len(lat)} latitudes for {len(lon or [])} longitudes", "one --lat for each --lon, or none")
    places = list(zip_longest(lon or [], lat or []))
    with _look(out, style, title=title) as look:
        from iris_cli.figures import draw

        _save(draw.spectrum(data, _which(number, split, key), places, look), out, look)


def _which(number: int, split: str | None = None, key: str | None = None) -> Any:
    from iris_cli.figures.inputs import Which

    return Which(number, split, key)


@contextmanager
def _look(out: Path, style: str, orbits: Sequence[str] | None = None, **how: Any) -> Iterator[Look]:
    """The look that the options ask for, and its letters and lines meanwhile; `out` is checked before any work."""
    from iris_cli.figures.draw import Look
    from iris_cli.plots.style import check_writable, style_of

    check_writable(out)
    with style_of(style).applied() as chosen:
        yield Look(style=chosen, orbits=tuple(orbits or ()), **how)


def _save(figure: Figure, out: Path, look: Look) -> None:
    from iris_cli.plots.style import save

    save(figure, out, look.style)
    print(out)
