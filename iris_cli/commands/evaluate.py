"""`iris test RUN SHARDS…` (a function called `test` would be collected by pytest)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.train import Data, Feed, Processes, with_flags
from iris_cli.config.toml import from_dict, merged, read_toml
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError, UsageError


@options.grouped
def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `iris train`, one of its checkpoints, or the folder of an ensemble.")
    ],
    data: Data,
    *,
    feed: Feed,
    no_litter: Annotated[bool, typer.Option("--no-litter", help="Without the litter of the training.")] = False,
    split: Annotated[
        str | None, typer.Option(help="Which pairs.  [default: test; validation if there are none; else all]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="Per process.  [default: as in training]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of noise and litter.  [default: as in training]")] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Folder for a whole report: report.json, report.md, report.html and figures."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="For the report: shards of another family of galaxies; may be given again."),
    ] = None,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    processes: Processes,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Test a reverter on every pair once. Noise and litter are those of its training, unless given here."""
    if against and not report:
        raise UsageError("--against is for a report", "give its folder as well: --report FOLDER")
    if no_litter and feed.litter:
        raise UsageError("--litter and --no-litter contradict each other", "give one of them")
    if report:
        check_free(report, overwrite)
    if not dry_run:
        processes.start()
    from iris_cli.console import emit, table
    from iris_cli.ranks import is_rank_0
    from iris_cli.training.test import inputs_of, report_predictions, save_headline, test_run
    from iris_cli.training.trained_run import open_members

    members = open_members(run)
    changes = {**feed.changes(data), "batch_size": batch_size, "seed": seed}
    if no_litter:
        changes["litter"] = ""
    trained = {**members[0].checkpoint.config, "observer": ""}
    values = merged(trained, read_toml(config) if config else {})
    hyper = from_dict(TrainConfig, with_flags(values, changes), str(config or "command line"))
    if dry_run:
        from iris_cli.dry_run import show
        from iris_cli.training.dry_run import of_test
        from iris_cli.training.test_split import split_to_test

        checkpoints = [member.checkpoint for member in members]
        shown = (split or "") if hyper.observer else split_to_test(hyper.data, split, checkpoints)
        reverters = [member.checkpoint.make_reverter() for member in members]
        show(of_test(hyper, reverters, shown, ranks=processes.ranks), speech.as_json)
        return
    others = [str(folder.resolve()) for folder in against or []]
    inputs = inputs_of(hyper, split, stress=report is not None, against=others, members=members)
    tested = test_run(members, hyper, inputs, device=processes.device, quiet=speech.quiet)
    if not is_rank_0():
        return
    save_headline(run, tested)
    headline = tested.headline()
    if report:
        from iris_cli.evaluation.report_folder import write_report
        from iris_cli.signals import START_AGAIN, stop_on_signal

        words = provenance.history(hyper, dated=False)
        with stop_on_signal(START_AGAIN):
            samples = report_predictions(members, inputs)
            made = write_report(report, run, tested, samples, overwrite=overwrite, history=words)
        headline["report"] = str(made)
        provenance.record(report, hyper)
    title = f"{run} on {', '.join(hyper.data)}, {tested.settings.split} split"
    emit(headline) if speech.as_json else table(title, ("", "", ""), tested.rows())
    if report and not speech.as_json:
        print(headline["report"])


def check_free(folder: Path, overwrite: bool) -> None:
    """Before a long test rather than after it. DataError when a report could not be written there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise DataError(f"{folder} exists", "choose another folder, or --overwrite it")
    if not (folder / "report.json").is_file():
        raise DataError(f"{folder} holds something else than a report", "it is not overwritten: name another folder")
