"""`iris test RUN SHARDS…` (a function called `test` would be collected by pytest)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options
from iris_cli.commands.train import (
    BadSample,
    Checksums,
    Data,
    Device,
    Litter,
    MaxBad,
    NoiseSigma,
    ObservedPerK,
    ObserverName,
    Ranks,
    Torchrun,
    on_ranks,
    with_flags,
)
from iris_cli.config.toml import from_dict
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError, UsageError


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `iris train`, one of its checkpoints, or the folder of an ensemble.")
    ],
    data: Data,
    litter: Litter = None,
    no_litter: Annotated[bool, typer.Option("--no-litter", help="Without the litter of the training.")] = False,
    noise_sigma_k: NoiseSigma = None,
    noise_observed_per_k: ObservedPerK = None,
    fade: Annotated[bool | None, typer.Option(help="As in training, unless given.")] = None,
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
    observer: ObserverName = None,
    on_bad_sample: BadSample = None,
    max_bad: MaxBad = None,
    checksums: Checksums = None,
    nproc_per_node: Ranks = None,
    torchrun: Torchrun = "",
    device: Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    log_every: options.LogEvery = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Test a reverter on every pair once. Noise and litter are those of its training, unless given here."""
    if against and not report:
        raise UsageError("--against belongs to a report", "say where: --report FOLDER")
    if report:
        check_free(report, overwrite)
    if not dry_run:
        on_ranks(nproc_per_node, torchrun)
    from iris_cli.console import emit, speaks, table
    from iris_cli.training.testing import inputs_of, open_members, test_run

    members = open_members(run)
    changes = {
        "data": [str(folder.resolve()) for folder in data],
        "litter": "" if no_litter else (str(litter.resolve()) if litter else None),
        "observer": observer or "",
        "noise.sigma_K": noise_sigma_k,
        "noise.observed_per_K": noise_observed_per_k,
        "noise.fade": fade,
        "batch_size": batch_size,
        "seed": seed,
        "on_bad_sample": on_bad_sample,
        "max_bad": max_bad,
        "checksums": checksums,
    }
    hyper = from_dict(TrainConfig, with_flags(dict(members[0].checkpoint.config), changes), "command line")
    if dry_run:
        from iris_cli.dry_run import tell
        from iris_cli.training.held_out import split_to_test
        from iris_cli.training.intention import of_test

        checkpoints = [member.checkpoint for member in members]
        shown = (split or "") if hyper.observer else split_to_test(hyper.data, split, checkpoints)
        reverters = [member.checkpoint.make_reverter() for member in members]
        tell(of_test(hyper, reverters, shown, ranks=nproc_per_node or 1), as_json)
        return
    others = [str(folder.resolve()) for folder in against or []]
    inputs = inputs_of(hyper, split, stress=report is not None, against=others, members=members)
    tested = test_run(members, hyper, inputs, device=device, quiet=quiet)
    if not speaks():
        return
    told = tested.brief()
    if report:
        from iris_cli.reporting import write_report

        told["report"] = str(write_report(report, run, tested, members, inputs, overwrite=overwrite))
    title = f"{run} on {', '.join(hyper.data)}, {told['split']} split"
    emit(told) if as_json else table(title, ("", "", ""), tested.rows())
    if report and not as_json:
        print(told["report"])


def check_free(folder: Path, overwrite: bool) -> None:
    """Before a long test rather than after it. DataError when a report could not be written there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise DataError(f"{folder} exists", "choose another folder, or --overwrite it")
    if not (folder / "report.json").is_file():
        raise DataError(f"{folder} holds something else than a report", "it is not overwritten: name another folder")
