"""`iris compare RUN RUN…`: what distinguishes some runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import complete, options
from iris_cli.commands.train import absolute
from iris_cli.config.train import is_run
from iris_cli.console import emit, say, table
from iris_cli.errors import UsageError


@options.command
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs, ensembles or files of `iris export`, or a folder of some.", autocompletion=complete.runs
        ),
    ],
    *,
    on: Annotated[
        list[Path] | None,
        typer.Option("--on", metavar="SHARDS", help="Test all of them on the same pairs; may be repeated."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(autocompletion=complete.splits, help="Which pairs of --on.  [default: test, else validation]"),
    ] = None,
    trust: options.Trust = None,
    output: options.LongOutput,
) -> None:
    """Compare runs: settings that differ, states and best losses; with --on, the differences of their scores.

    A difference has an interval that bounds it with 95 % confidence (bootstrap over galaxies, on the same pairs).

    Examples:
        iris compare RUN1 RUN2
        iris compare RUN1 RUN2 RUN3 --on SHARDS
        iris compare SWEEP --on SHARDS
        iris plot losses RUN1 RUN2 RUN3 --out losses.png
    """
    runs = [run for given in runs for run in runs_in(given)]
    if len(runs) < 2:
        raise UsageError("one run cannot be compared", "name two or more; `iris runs` lists all runs of a folder")
    from iris_cli.config.toml import from_dict
    from iris_cli.config.train import TrainConfig
    from iris_cli.training.compare import differing, paired
    from iris_cli.training.trained_run import open_members

    opened = [open_members(run) for run in runs]
    names = [str(run) for run in runs]
    settings = differing([members[0].checkpoint.config for members in opened])
    states = [
        {"networks": len(m), "epoch": m[0].checkpoint.progress.epoch, "best_loss": m[0].checkpoint.progress.best_loss}
        for m in opened
    ]
    result: dict[str, Any] = {"runs": names, "settings": settings, "states": states}
    if on:
        base = {**opened[0][0].checkpoint.config, "observer": "", "overlap": "refuse", "data": absolute(on)}
        hyper = from_dict(TrainConfig, base, names[0])
        scores = paired(opened, hyper, split, quiet=output.quiet)
        result["scores"] = scores
    if output.as_json:
        emit(result)
        return
    say(*(f"{number}: {name}" for number, name in enumerate(names, 1)))  # long names would leave no room for numbers
    header = ("", *map(str, range(1, len(names) + 1)))
    table("settings that differ", header, [(key, *map(_text, values)) for key, values in settings.items()])
    table("training", header, [(key, *(_text(state[key]) for state in states)) for key in states[0]])
    if on:
        rows = []
        for name in scores[0]:
            first, others = scores[0][name], [s[name] for s in scores[1:]]
            if name.startswith("loss_") and not any(other.difference for other in others):
                continue  # of a trivial predictor
            rows.append((name, f"{first.score:.4g}", *map(str, others)))
        table("scores of the first run, and differences from it (*: clear)", header, rows)


def runs_in(given: Path) -> list[Path]:
    """The runs in a folder of some, such as a sweep; a run, an ensemble or a file is itself."""
    inner = sorted(given.iterdir()) if given.is_dir() and not is_run(given) else []
    return [path for path in inner if is_run(path)] or [given]


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
