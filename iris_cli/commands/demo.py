"""`iris demo`: mock galaxies -> shards -> training -> report, and a cube of the sky -> map."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.demo import DemoConfig
from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.observer import SyntheticConfig
from iris_cli.config.survey import survey, survey_grid
from iris_cli.config.toml import from_dict, to_toml
from iris_cli.console import clock, emit, log, say, table
from iris_cli.errors import DataError
from iris_cli.machine import in_bytes

if TYPE_CHECKING:
    from iris_cli.config.preobserve import PreobserveConfig
    from iris_cli.evaluation.report import Report
    from iris_cli.mock.generate import Foregrounds, Galaxies

#: What the demonstration writes, in the order of its stages; --overwrite replaces only these. Tensors are not kept.
SHARDS, LITTER, RUN = "shards", "litter", "run"
NUMBERS, FIGURE, REPORT = "report.json", "pairs.png", "report"
#: A galaxy that no network has met, as a telescope would observe it, and what the packaged network makes of it.
GALAXY, CUBE, MAP, MAP_FIGURE, NEAR_FAR = "galaxy", "cube.fits", "map.fits", "map.png", "near_far.png"
#: The line and the coverage of the packaged network, and what keeps the galaxy apart from those of its training.
SURVEY, OTHER_SEEDS = "mopra-hnco-fitted", 1_000_000


@options.command
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for data, shards, run and report.")] = Path("demo"),
    seed: options.Seed = 0,
    settings: options.Settings[DemoConfig],
    workers: options.Workers = 2,
    overwrite: options.Overwrite = False,
    output: options.LongOutput,
) -> None:
    """Run every stage on mock galaxies, from data to a tested network, in minutes; then turn a cube into a map.

    The cube is that of a galaxy that no network has met; the packaged network reverts it, as it would revert yours.

    Examples:
        iris demo
        iris demo --out small --galaxies 200 --workers 4
    """
    config = settings.resolve()
    from iris_cli.signals import stop_on_signal
    from iris_cli.training import Stopped  # imports torch

    again = "start again with --overwrite"
    try:
        with stop_on_signal(again):
            how: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "quiet": output.quiet}
            report, made = run_demo(out, config, seed, how, provenance.history(config, dated=False))
    except Stopped as stopped:  # only a single training could be resumed
        raise Stopped(stopped.message, again) from None
    provenance.record(out, config)
    if output.as_json:
        emit(made)
    else:
        table("galaxies of the test split", ("", "mean", "meaning"), report.rows())
        say(*(out / name for name in (FIGURE, f"{REPORT}/report.html", MAP_FIGURE, NEAR_FAR)))
        say(
            f"{in_bytes(made['bytes'])} in {out}, which may be removed: rm -r {shlex.quote(str(out))}. Try next:",
            "  your own cube, of HNCO (4-3):",
            "    iris revert cube.fits --figure map.png",
            f"  the galaxy of {MAP_FIGURE} as it is:",
            f"    iris plot top-down {shlex.quote(str(out / GALAXY))} --out truth.png",
            "  a network for your survey, with samples of the possible maps:",
            "    iris preobserve --mock default -n 1000 shards --survey mopra-hnco",
            "    iris train shards --noise-survey mopra-hnco --samples --out run",
        )


@contextmanager
def timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Adds the seconds of a stage, and logs them when it ends."""
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 1)
    log(f"{stage}: {clock(seconds[stage])}")


def run_demo(
    out: Path, config: DemoConfig, seed: int, how: dict[str, Any], history: Sequence[str]
) -> "tuple[Report, dict[str, Any]]":
    """Makes everything in the folder `out`; returns the test's report, and the same with conditions and times as JSON.

    `how` has workers, overwrite and quiet; `history` describes the command and is written into the figure. DataError
    when `out` holds something and is not to be overwritten.
    """
    from iris_cli.commands.plot_data import histories
    from iris_cli.evaluation.figures import draw_predictions
    from iris_cli.evaluation.report_folder import Made, write_report
    from iris_cli.files import check_folder, write_text
    from iris_cli.mock.generate import Foregrounds, Galaxies
    from iris_cli.plots.style import save
    from iris_cli.text import to_json
    from iris_cli.training.test import inputs_of, predictions_of, report_predictions, test_run
    from iris_cli.training.train import train_run
    from iris_cli.training.trained_run import open_run
    from shards.splits import filling_seed

    overwrite, quiet = how["overwrite"], how["quiet"]
    check_folder(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    with timed("mock galaxies, observed", seconds):
        galaxies = Galaxies(MockConfig(), grid_preset(config.preset), seed, config.views)
        foregrounds = Foregrounds(ForegroundConfig(), grid_preset(config.preset, foreground=True), seed)
        split_seed = filling_seed([galaxies.name(k) for k in range(config.galaxies)], config.preobserve.fractions, seed)
        preobserved = replace(config.preobserve, split_seed=seed if split_seed is None else split_seed)
        _observe(galaxies, config.galaxies, out / SHARDS, preobserved, how)
        _observe(foregrounds, config.foregrounds, out / LITTER, replace(config.preobserve, litter=True), how)
    hyper = replace(config.train, seed=seed, data=(str(out / SHARDS),), litter=str(out / LITTER))
    with timed("training", seconds):
        train_run(hyper, out / RUN, overwrite=overwrite, quiet=quiet)
    with timed("test", seconds):
        members = [open_run(out / RUN)]
        inputs = inputs_of(hyper, members=members)
        tested = test_run(members, hyper, inputs, quiet=quiet)
        figure = draw_predictions(predictions_of(members, inputs.normal, most=3))  # the first, not chosen ones
        save(figure, out / FIGURE, history=history)
        described = Made(configuration=to_toml(hyper), history=history)
        shown, losses = report_predictions(members, inputs), histories([out / RUN])
        write_report(out / REPORT, [out / RUN], tested, shown, losses, described, overwrite=overwrite)
    with timed("a cube of the sky", seconds):
        _revert(out, seed, how, history)
    made = {**tested.headline(), "seed": seed, "seconds": seconds, "figure": str(out / FIGURE)}
    made["bytes"] = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    write_text(out / NUMBERS, to_json(made))
    return tested.means, made


def _revert(out: Path, seed: int, how: dict[str, Any], history: Sequence[str]) -> None:
    """A galaxy observed as a FITS cube, and its map with the packaged network."""
    from iris_cli.mock.generate import Galaxies, write_mock
    from iris_cli.observers.device import resolve_backend
    from iris_cli.observers.observe import observe_to_fits
    from iris_cli.telescope.revert import revert

    again: dict[str, Any] = {"overwrite": how["overwrite"], "quiet": how["quiet"], "history": history}
    galaxy = Galaxies(MockConfig(), survey_grid(SURVEY, grid_preset("tiny")), seed + OTHER_SEEDS, 1)
    write_mock(galaxy, out / GALAXY, 1, overwrite=how["overwrite"], quiet=True)
    observer = from_dict(SyntheticConfig, survey(SURVEY).observing(), SURVEY)
    observe_to_fits(out / GALAXY, 0, out / CUBE, resolve_backend(observer), **again)
    figure, near_far = out / MAP_FIGURE, out / NEAR_FAR
    revert([], [out / CUBE], out=out / MAP, figure=figure, near_far_figure=near_far, clouds="none", **again)


def _observe(maker: "Galaxies | Foregrounds", count: int, shards: Path, config: "PreobserveConfig", how: Any) -> None:
    from iris_cli.pairs.preobserve import Mock, preobserve

    report = preobserve([Mock(maker, count, config)], shards, config, **how)
    if report.failed:
        raise DataError(f"{shards}: {report.failed[0].reason}")
