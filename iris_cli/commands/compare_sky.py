"""`iris compare-sky CUBE… --run RUN`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.commands.mock import grid_of
from iris_cli.config.cube import RegridConfig
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import preobserving_of
from iris_cli.console import table
from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from iris_cli.evaluation.out_of_distribution import InputScore


@options.command
def compare_sky(
    cubes: Annotated[list[Path], typer.Argument(help="FITS cubes, or an l-v image of `iris cube`.")],
    *,
    run: Annotated[
        Path | None, typer.Option(autocompletion=complete.runs, help="Compare with the inputs of a training run.")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(autocompletion=complete.shards, help="Compare with a shard folder, or with litter.")
    ] = None,
    mock: Annotated[
        str | None,
        typer.Option(metavar="[default|FILE]", help="Compare with mock galaxies made now: ranges of `iris mock`."),
    ] = None,
    observing: Annotated[
        Path | None, typer.Option(help="Their observer: configuration file of `iris preobserve`.")
    ] = None,
    survey: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.surveys,
            help="Survey that gives their line, beam and coverage, in place of --observing.",
        ),
    ] = None,
    preset: Annotated[str | None, options.preset("Their grid, unless --config has a [grid].")] = None,
    galaxies: Annotated[int, typer.Option("--galaxies", "-n", min=2, help="Their number.")] = 100,
    seed: options.Seed = 0,
    figure: Annotated[Path | None, typer.Option("--figure", help="Figure to write: .png, .pdf or .svg.")] = None,
    overwrite: options.Overwrite = False,
    settings: Annotated[options.Settings[RegridConfig], options.Only("cube")],
    output: options.LongOutput,
) -> None:
    """Compare telescope cubes with a training set: which statistics of the l-v image are unusual, and how much.

    Examples:
        iris compare-sky cube.fits --run RUN --figure sky.png
        iris compare-sky cube.fits --shards SHARDS
        iris compare-sky cube.fits --mock default --survey mopra-hnco --preset small
        iris compare-sky cube.fits --mock mock.toml --observing preobserve.toml -n 200
    """
    config = settings.resolve()
    if sum(given is not None for given in (run, shards, mock)) != 1:
        raise UsageError("compare with one set", "give one of --run, --shards and --mock")
    if mock is None and (observing or survey or preset):
        hint = "runs and shards have a grid and an observer"
        raise UsageError("--observing, --survey and --preset are for --mock", hint)
    if observing and survey:
        raise UsageError("--observing and --survey both give an observer", "leave out one of them")
    from iris_cli.signals import START_AGAIN, stop_on_signal
    from iris_cli.telescope import compare_sky as work  # imports torch

    work.check_figure(figure, overwrite)
    with stop_on_signal(START_AGAIN):
        if run is not None:
            known = work.set_of_run(run)
        elif shards is not None:
            known = work.set_of_shards(shards, output.quiet)
        else:
            ranges = options.Settings(MockConfig, None if mock == "default" else Path(str(mock))).resolve()
            how = options.Settings(PreobserveConfig, observing).resolve(preobserving_of(survey))
            grid = grid_of(config.grid or ranges.grid, preset, survey)
            known = work.set_of_mock(ranges, how, grid, galaxies, seed, output.quiet)
        made = work.compare_sky(
            cubes,
            known,
            figure=figure,
            config=config.cube,
            overwrite=overwrite,
            quiet=output.quiet,
            history=provenance.history(config),
        )
    if output.as_json:
        output.result({"figure": str(figure) if figure else None, **made.to_dict()})
        return
    _print(made.score, made.name)
    output.result({}, str(made.score), *([str(figure)] if figure else []))


def _print(score: "InputScore", name: str) -> None:
    from iris_cli.evaluation.image_statistics import STATISTICS  # imports numpy

    rows = [
        (
            statistic,
            "  ".join(f"{value:.3g}" for value in (rank.low, rank.median, rank.high)),
            f"{rank.value:.3g} {STATISTICS[statistic].unit}".rstrip(),
            f"{rank.percentile:.0f} %",
            f"{rank.deviation:+.1f}",
        )
        for statistic, rank in score.statistics.items()
    ]
    header = ("statistic", "5, 50, 95 % of the set", "sky", "below", "dev.")
    table(f"The sky beside {score.held_out} images of {name}", header, rows)
