"""`iris test RUN SHARDS…` (pytest would collect a function called `test`)."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.train import Data, Processes, absolute
from iris_cli.config.train import TrainConfig
from iris_cli.dry_run import show
from iris_cli.errors import DataError, UsageError
from shards.owner import owned

#: What of a training may differ in a test.
KEYS = ("litter", "noise", "observer", "overlap", "on_bad_sample", "max_bad", "checksums", "batch_size", "seed")
SHOWN = options.Only(*KEYS, default="as in training")


@options.command
def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `iris train`, one of its checkpoints, or the folder of an ensemble.")
    ],
    data: Data,
    *,
    split: Annotated[
        str | None, typer.Option(help="Which pairs.  [default: test; validation if there are none; else all]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report: report.json, report.md, report.html and figures.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="For the report: shards of other galaxies; may be given several times."),
    ] = None,
    overwrite: options.Overwrite = False,
    samples: Annotated[int, typer.Option(min=0, help="Maps that a run's sampler draws of each pair.")] = 32,
    no_litter: Annotated[bool, typer.Option("--no-litter", help="Without the litter of the training.")] = False,
    settings: Annotated[options.Settings[TrainConfig], SHOWN],
    processes: Processes,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Test a reverter on every pair once. Noise and litter are those of its training, unless given here.

    Examples:
        iris test RUN SHARDS
        iris test RUN SHARDS --report REPORT
        iris test RUN OTHER_SHARDS --split all --no-litter
    """
    if against and not report:
        raise UsageError("--against needs a report", "name its folder: --report FOLDER")
    if no_litter and "litter" in settings.flags:
        raise UsageError("--litter and --no-litter contradict each other", "give one of them")
    if report:
        check_free(report, overwrite)
    if not dry_run:
        processes.start()
    from iris_cli.console import emit, say, table
    from iris_cli.ranks import is_rank_0
    from iris_cli.training.test import inputs_of, report_predictions, save_headline, test_run
    from iris_cli.training.trained_run import open_members

    members = open_members(run)
    trained = {**members[0].checkpoint.config, "observer": "", "overlap": "refuse"}
    config = settings.resolve(trained, data=absolute(data), **({"litter": ""} if no_litter else {}))
    if dry_run:
        from iris_cli.training.dry_run import of_test
        from iris_cli.training.test_split import split_to_test

        shown = (split or "") if config.observer else split_to_test(config.data, split)
        reverters = [member.checkpoint.make_reverter() for member in members]
        show(of_test(config, reverters, shown, ranks=processes.ranks), output.as_json)
        return
    with owned(report, beside=True) if report and is_rank_0() else nullcontext():
        inputs = inputs_of(config, split, stress=report is not None, against=absolute(against), members=members)
        tested = test_run(members, config, inputs, samples=samples, device=processes.device, quiet=output.quiet)
        if not is_rank_0():
            return
        save_headline(run, tested, members)
        result = tested.headline()
        if report:
            from iris_cli.evaluation.report_folder import write_report
            from iris_cli.signals import START_AGAIN, stop_on_signal

            history = provenance.history(config, dated=False)
            with stop_on_signal(START_AGAIN):
                predictions = report_predictions(members, inputs)
                made = write_report(report, run, tested, predictions, overwrite=overwrite, history=history)
            result["report"] = str(made)
            provenance.record(report, config)
    title = f"{run} on {', '.join(config.data)}, {tested.settings.split} split"
    if output.as_json:
        emit(result)
    else:
        table(title, ("", "", ""), tested.rows())
        table("posterior of each predictor", *tested.posterior())
        if report:
            say(result["report"])


def check_free(folder: Path, overwrite: bool) -> None:
    """DataError when a report cannot be written there; called before the test, which takes long."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise DataError(f"{folder} exists", "choose another folder, or --overwrite it")
    if not (folder / "report.json").is_file():
        raise DataError(f"{folder} contains something other than a report", "choose another folder")
