"""`iris test RUN SHARDS…` (pytest would collect a function called `test`)."""

from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import complete, options, provenance
from iris_cli.commands.train import DATA, Processes, absolute
from iris_cli.config.figure import STYLE_NAMES
from iris_cli.config.toml import to_toml
from iris_cli.config.train import METRICS, TrainConfig, is_run
from iris_cli.dry_run import show
from iris_cli.errors import DataError, UsageError, choose
from shards.owner import owned

#: What of a training may differ in a test.
KEYS = ("litter", "noise", "observer", "overlap", "on_bad_sample", "max_bad", "checksums", "batch_size", "seed")
SHOWN = options.Only(*KEYS, default="as in training")


@options.command
def evaluate(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... DATA...",
            autocompletion=complete.tested,
            help=f"Run folders of `iris train`, checkpoints, or folders of ensembles; then {DATA}.",
        ),
    ],
    *,
    split: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.splits, help="Which pairs.  [default: test; validation if there are none; else all]"
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report: report.json, report.md, report.html and figures.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="For the report: shards of other galaxies; may be given several times."),
    ] = None,
    style: Annotated[
        str, typer.Option(metavar=f"[{'|'.join(STYLE_NAMES)}]", help="For the report: also figures for a paper (PDF).")
    ] = "screen",
    overwrite: options.Overwrite = False,
    samples: Annotated[int, typer.Option(min=0, help="Maps that a run's sampler draws of each pair.")] = 32,
    no_litter: Annotated[bool, typer.Option("--no-litter", help="Without the litter of the training.")] = False,
    settings: Annotated[options.Settings[TrainConfig], SHOWN],
    trust: options.Trust = None,
    processes: Processes,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Test a reverter on every pair once. Noise and litter are those of its training, unless given here.

    Several runs are tested together: their samples are pooled, and compared between runs.

    Examples:
        iris test RUN SHARDS
        iris test RUN SHARDS --report REPORT --style apj
        iris test RUN1 RUN2 SHARDS
        iris test RUN OTHER_SHARDS --split all --no-litter
    """
    if against and not report:
        raise UsageError("--against needs a report", "name its folder: --report FOLDER")
    choose("style", style, dict.fromkeys(STYLE_NAMES))
    if style != "screen" and not report:
        raise UsageError("--style needs a report", "name its folder: --report FOLDER")
    if no_litter and "litter" in settings.flags:
        raise UsageError("--litter and --no-litter contradict each other", "give one of them")
    if report:
        check_free(report, overwrite)
    runs, data = divided(inputs)
    if not dry_run:
        processes.start()
    from iris_cli.console import emit, say, table
    from iris_cli.ranks import is_rank_0
    from iris_cli.training.test import inputs_of, report_predictions, save_headline, test_run
    from iris_cli.training.trained_run import open_members

    members = open_members(*runs)
    trained = {**members[0].checkpoint.config, "observer": "", "overlap": "refuse"}
    config = settings.resolve(trained, data=absolute(data), **({"litter": ""} if no_litter else {}))
    if dry_run:
        from iris_cli.training.dry_run import of_test

        tested_on = inputs_of(config, split, stress=report is not None, against=absolute(against), members=members)
        show(of_test(config, tested_on, members, ranks=processes.ranks), output.as_json)
        return
    with owned(report, beside=True) if report and is_rank_0() else nullcontext():
        tested_on = inputs_of(config, split, stress=report is not None, against=absolute(against), members=members)
        tested = test_run(members, config, tested_on, samples=samples, device=processes.device, quiet=output.quiet)
        if not is_rank_0():
            return
        if len(runs) == 1:
            save_headline(runs[0], tested, members)
        result = tested.headline()
        if report:
            from iris_cli.commands.plot_data import histories
            from iris_cli.evaluation.report_folder import Made, write_report
            from iris_cli.signals import START_AGAIN, stop_on_signal

            here = provenance.made(config)
            made = Made(here.rows(), to_toml(config), here.lines(dated=False))
            trainings = [f.path for member in members if (f := member.folder) and (f.path / METRICS).is_file()]
            with stop_on_signal(START_AGAIN):
                examples = report_predictions(members, tested_on)
                losses = histories(trainings)
                page = write_report(report, runs, tested, examples, losses, made, style=style, overwrite=overwrite)
            result["report"] = str(page)
            provenance.record(report, config)
    title = f"{', '.join(map(str, runs))} on {', '.join(config.data)}, {tested.settings.split} split: {tested.map}"
    if output.as_json:
        emit(result)
    else:
        table(title, ("", "mean", "meaning"), tested.rows())
        table("posterior of each predictor", *tested.posterior())
        if tested.distances:
            table("near or far at each (l, v)", *tested.distances.table())
            say(*tested.distances.sentences())
        if report:
            say(result["report"])


def divided(inputs: list[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and data: the first is a run, and those after it that look like runs. UsageError without data."""
    others = list(takewhile(lambda path: path.suffix in complete.NETWORKS or is_run(path), inputs[1:]))
    data = inputs[1 + len(others) :]
    if not data:
        raise UsageError("no data were named", "name a shard folder after the run")
    return [inputs[0], *others], data


def check_free(folder: Path, overwrite: bool) -> None:
    """DataError when a report cannot be written there; called before the test, which takes long."""
    from iris_cli.files import check_folder  # imports numpy

    check_folder(folder, overwrite)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "report.json").is_file()):
        raise DataError(f"{folder} contains something other than a report", "choose another folder")
