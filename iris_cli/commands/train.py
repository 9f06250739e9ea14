"""`iris train SHARDS… --out RUN`"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iris_cli.commands import options
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.config.train import TrainConfig
from iris_cli.errors import EXIT_REQUEUE, UsageError

Data = Annotated[list[Path], typer.Argument(help="Shard folders; or standard data sets, with --observer.")]
Litter = Annotated[
    Path | None,
    typer.Option("--litter", help="Folder of litter: foregrounds added to the observations, drawn at random."),
]
NoiseSigma = Annotated[
    float | None,
    typer.Option(
        "--noise-sigma-k",
        min=0.0,
        help="Noise of the cube, K per voxel. A v_density is taken to be 4.35 solar masses per pc2 for each K km/s.",
    ),
]
ObservedPerK = Annotated[
    float | None, typer.Option(min=0.0, help="What a kelvin of noise is in the observation's unit, if not that.")
]
ObserverName = Annotated[
    str | None, typer.Option("--observer", help="Observe standard data sets on the fly: slow, but no shards.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Ranks = Annotated[int | None, typer.Option("--nproc-per-node", min=1, help="Processes on this machine (torchrun).")]


class TrainCommand(TyperCommand):
    """`--resume` alone means `--resume auto`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(spelled_out(args)))


def spelled_out(arguments: list[str]) -> Iterator[str]:
    """The arguments, with `auto` after a `--resume` that has no value: auto, none or the name of a .pt file."""
    for this, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        yield this
        if this == "--resume" and following not in ("auto", "none") and not following.endswith(".pt"):
            yield "auto"


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: configuration, metrics, checkpoints.")],
    litter: Litter = None,
    noise_sigma_k: NoiseSigma = None,
    noise_observed_per_k: ObservedPerK = None,
    fade: Annotated[
        bool | None, typer.Option(help="Scale each sample's noise by a factor between 0 and 1.  [default: fade]")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", help="[default: 32]")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", help="Per process.  [default: 8]")] = None,
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", "-a", help="Batches in an optimizer step.  [default: 16]")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="[default: 0.001]")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or sgd.  [default: adam]")] = None,
    schedule: Annotated[str | None, typer.Option(help="halvings, cosine or constant.  [default: halvings]")] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Share of galaxies, where the data bring no validation split.  [default: 0.2]")
    ] = None,
    on_nan: Annotated[str | None, typer.Option(help="stop, or skip a step whose loss is not finite.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same bytes.  [default: 0]")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints within an epoch.  [default: 0, at its end only]")
    ] = None,
    checkpoint_minutes: Annotated[float | None, typer.Option(help="The same by the clock.  [default: 0]")] = None,
    keep: Annotated[int | None, typer.Option(help="Last checkpoints to keep beside the best.  [default: 3]")] = None,
    observer: ObserverName = None,
    config: options.ConfigFile = None,
    resume: Annotated[
        str,
        typer.Option("--resume", metavar="[auto|none|FILE]", help="Go on with the newest checkpoint, or with FILE."),
    ] = "none",
    overwrite: options.Overwrite = False,
    force: Annotated[
        bool, typer.Option("--force", help="Resume although the configuration or the data differ.")
    ] = False,
    nproc_per_node: Ranks = None,
    device: Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a reverter on pairs; torchrun and srun may start it as well."""
    hyper = configured(
        config,
        {
            "data": [str(folder.resolve()) for folder in data],
            "litter": str(litter.resolve()) if litter else None,
            "observer": observer,
            "noise.sigma_K": noise_sigma_k,
            "noise.observed_per_K": noise_observed_per_k,
            "noise.fade": fade,
            "epochs": epochs,
            "batch_size": batch_size,
            "batches_per_update": accumulate,
            "optimizer.learning_rate": learning_rate,
            "optimizer.name": optimizer,
            "schedule.name": schedule,
            "validation_data_fraction": validation_fraction,
            "on_nan": on_nan,
            "seed": seed,
            "checkpoint_every_steps": checkpoint_every,
            "checkpoint_every_minutes": checkpoint_minutes,
            "keep_checkpoints": keep,
        },
    )
    if nproc_per_node and nproc_per_node > 1 and "RANK" not in os.environ:
        from iris_cli.training.distributed import launch

        raise typer.Exit(launch(nproc_per_node, sys.argv[1:]))
    from iris_cli.console import emit, log, speaks
    from iris_cli.training import Stopped
    from iris_cli.training.runs import train_run

    try:
        told = train_run(hyper, out, resume=resume, overwrite=overwrite, force=force, device=device, quiet=quiet)
    except Stopped as stopped:
        log(f"{stopped.message} ({stopped.hint})")
        raise typer.Exit(EXIT_REQUEUE) from None
    if speaks():
        emit(told) if as_json else print(sentence(told))


def configured(file: Path | None, flags: dict[str, Any]) -> TrainConfig:
    """Defaults, a TOML file and the flags that were given, in rising order; a dot leads into a table."""
    values = read_toml(file) if file else {}
    return from_dict(TrainConfig, with_flags(values, flags), str(file) if file else "command line")


def with_flags(values: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values, and over them the flags that are not None."""
    for name, value in flags.items():
        table, _, key = name.rpartition(".")
        if value is not None:
            inner = values.setdefault(table, {}) if table else values
            if not isinstance(inner, dict):
                raise UsageError(f"configuration: {table} must be a table, not {inner!r}")
            inner[key] = value
    return values


def sentence(told: dict[str, Any]) -> str:
    best = "" if told["best_epoch"] is None else (
        f", best validation loss {told['best_validation_loss']:.5g} after epoch {told['best_epoch']}"
    )  # fmt: skip
    return f"{told['epochs']} epochs, {told['steps']} steps{best}: {told['run']}"
