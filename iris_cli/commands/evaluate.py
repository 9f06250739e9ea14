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


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of `iris train`, or one of its checkpoints.")],
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
    observer: ObserverName = None,
    on_bad_sample: BadSample = None,
    max_bad: MaxBad = None,
    checksums: Checksums = None,
    nproc_per_node: Ranks = None,
    torchrun: Torchrun = "",
    device: Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Test a reverter on every pair once. Noise and litter are those of its training, unless given here."""
    on_ranks(nproc_per_node, torchrun)
    from iris_cli.console import emit, speaks, table
    from iris_cli.training.testing import open_run, test_run

    trained = open_run(run)
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
    hyper = from_dict(TrainConfig, with_flags(dict(trained.checkpoint.config), changes), "command line")
    report, told = test_run(trained, hyper, split=split, device=device, quiet=quiet)
    if speaks():
        title = f"{run} on {', '.join(hyper.data)}, {told['split']} split"
        emit(told) if as_json else table(title, ("", "", ""), report.rows())
