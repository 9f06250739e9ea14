"""`iris train SHARDS… --out RUN`"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iris_cli.commands import options, provenance
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.config.train import SIGNALS, TrainConfig
from iris_cli.console import emit, log, plural
from iris_cli.errors import EXIT_REQUEUE, UsageError
from iris_cli.ranks import is_rank_0
from iris_cli.signals import end_with_launcher, signals_by_name, stop_on_signal

Data = Annotated[list[Path], typer.Argument(help="Shard folders; or standard data sets, with --observer.")]


@dataclass(frozen=True)
class Feed:
    """What a network is shown, in training as in a test."""

    litter: Annotated[
        Path | None,
        typer.Option("--litter", help="Folder of litter: foregrounds added to the observations, drawn at random."),
    ] = None
    noise_sigma_k: Annotated[
        float | None,
        typer.Option(
            "--noise-sigma-k",
            min=0.0,
            help="Noise of the cube, K per voxel. A v_density is taken to be 4.35 solar masses per pc2 per K km/s.",
        ),
    ] = None
    noise_observed_per_k: Annotated[
        float | None, typer.Option(min=0.0, help="What a kelvin of noise is in the observation's unit, if not that.")
    ] = None
    fade: Annotated[
        bool | None,
        typer.Option(help="Scale each sample's noise by a factor between 0 and 1.  [default: fade; as in training]"),
    ] = None
    observer: Annotated[
        str | None, typer.Option("--observer", help="Observe standard data sets on the fly: slow, but no shards.")
    ] = None
    on_bad_sample: Annotated[
        str | None, typer.Option(help="stop at, or skip, a sample that cannot be read.  [default: stop]")
    ] = None
    max_bad: Annotated[
        int | None, typer.Option(min=0, help="Of skipped samples; more stop the run.  [default: 100]")
    ] = None
    checksums: Annotated[
        bool | None, typer.Option(help="Compare what is first read with its checksum.  [default: checksums]")
    ] = None

    def changes(self, data: list[Path]) -> dict[str, Any]:
        """Keys of a TrainConfig; None where nothing was said."""
        return {
            "data": [str(folder.resolve()) for folder in data],
            "litter": str(self.litter.resolve()) if self.litter else None,
            "observer": self.observer,
            "noise.sigma_K": self.noise_sigma_k,
            "noise.observed_per_K": self.noise_observed_per_k,
            "noise.fade": self.fade,
            "on_bad_sample": self.on_bad_sample,
            "max_bad": self.max_bad,
            "checksums": self.checksums,
        }


@dataclass(frozen=True)
class Learning:
    """How a network learns, and what is kept of it."""

    epochs: Annotated[int | None, typer.Option("--epochs", "-e", help="[default: 32]")] = None
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", help="Per process.  [default: 8]")] = None
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", "-a", help="Batches in an optimizer step.  [default: 16]")
    ] = None
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="[default: 0.001]")] = None
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or sgd.  [default: adam]")] = None
    schedule: Annotated[str | None, typer.Option(help="halvings, cosine or constant.  [default: halvings]")] = None
    validation_fraction: Annotated[
        float | None,
        typer.Option(help="Share of galaxies, where the data bring no splits of their own.  [default: 0.2]"),
    ] = None
    network: Annotated[str | None, typer.Option(help="paper, or columns (a U-Net).  [default: paper]")] = None
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.  [default: fp32]")] = None
    compile_network: Annotated[
        bool | None, typer.Option("--compile", help="Compile the network first: minutes once, then faster steps.")
    ] = None
    grad_clip: Annotated[float | None, typer.Option(help="Shorten longer gradients.  [default: 0, as they are]")] = None
    ema: Annotated[
        float | None,
        typer.Option("--ema", help="Decay of a running mean of the weights, 0.999 say.  [default: 0, none]"),
    ] = None
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better score.  [default: 0, never]")
    ] = None
    on_nan: Annotated[str | None, typer.Option(help="stop, or skip a step whose loss is not finite.")] = None
    read_threads: Annotated[int | None, typer.Option(min=1, help="Threads that read pairs.  [default: 2]")] = None
    read_ahead: Annotated[int | None, typer.Option(min=1, help="Batches they are ahead.  [default: 2]")] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same bytes.  [default: 0]")] = None
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints within an epoch.  [default: 0, at its end only]")
    ] = None
    checkpoint_minutes: Annotated[float | None, typer.Option(help="The same by the clock.  [default: 0]")] = None
    keep: Annotated[int | None, typer.Option(help="Last checkpoints to keep beside the best.  [default: 3]")] = None
    stop_signals: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME…",
            help=f"Signals that save and stop, as Ctrl-C does: of {', '.join(SIGNALS)}."
            f"  [default: {','.join(TrainConfig.stop_signals)}]",
        ),
    ] = None
    log: Annotated[str | None, typer.Option(help="tensorboard: event files beside metrics.jsonl.")] = None

    def changes(self) -> dict[str, Any]:
        """Keys of a TrainConfig; None where nothing was said."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "batches_per_update": self.accumulate,
            "optimizer.learning_rate": self.learning_rate,
            "optimizer.name": self.optimizer,
            "schedule.name": self.schedule,
            "validation_data_fraction": self.validation_fraction,
            "network": self.network,
            "precision": self.precision,
            "compile": self.compile_network,
            "gradient_clip": self.grad_clip,
            "ema_decay": self.ema,
            "patience_epochs": self.patience,
            "on_nan": self.on_nan,
            "read_threads": self.read_threads,
            "read_ahead_batches": self.read_ahead,
            "stop_signals": names_of(self.stop_signals),
            "log": self.log,
            "seed": self.seed,
            "checkpoint_every_steps": self.checkpoint_every,
            "checkpoint_every_minutes": self.checkpoint_minutes,
            "keep_checkpoints": self.keep,
        }


@dataclass(frozen=True)
class Processes:
    """On how many ranks the work is done, and where."""

    nproc_per_node: Annotated[
        int | None, typer.Option("--nproc-per-node", min=1, help="Processes on this machine (torchrun).")
    ] = None
    torchrun: Annotated[
        str, typer.Option(help="More options of torchrun, quoted: '--nnodes=2 --rdzv-endpoint=node1:29500' say.")
    ] = ""
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto"

    @property
    def ranks(self) -> int:
        """On this machine."""
        return self.nproc_per_node or 1

    def start(self) -> None:
        """Start this same command on many ranks and exit with their code; in one of them, or alone, go on."""
        if not (self.ranks > 1 or self.torchrun):
            return
        if "RANK" in os.environ:  # we are one of them
            check_started(self.ranks, os.environ)
            end_with_launcher()
            return
        try:
            more = shlex.split(self.torchrun)
        except ValueError as error:
            raise UsageError(f"--torchrun cannot be taken apart: {error}", "close the quotes") from None
        from iris_cli.distributed import launch

        raise typer.Exit(launch(self.ranks, sys.argv[1:], more))


def check_started(ranks: int, environment: Mapping[str, str]) -> None:
    """UsageError when there are fewer processes than asked for: then the variables are those of something else."""
    size = environment.get("WORLD_SIZE", "")
    if size.isdigit() and int(size) < ranks:
        raise UsageError(
            f"--nproc-per-node {ranks} starts nothing where RANK and WORLD_SIZE = {size} are set: they look left over",
            "unset RANK and WORLD_SIZE",
        )


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


@options.grouped
def train(
    data: Data,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: configuration, metrics, checkpoints.")],
    feed: Feed,
    learning: Learning,
    members: Annotated[
        int, typer.Option(min=1, help="Train an ensemble of so many, in folders member-01, member-02 ... of the run.")
    ] = 1,
    config: options.ConfigFile = None,
    resume: Annotated[
        str,
        typer.Option("--resume", metavar="[auto|none|FILE]", help="Go on with the newest checkpoint, or with FILE."),
    ] = "none",
    overwrite: options.Overwrite = False,
    force: Annotated[
        bool, typer.Option("--force", help="Resume although the configuration or the data differ.")
    ] = False,
    processes: Processes,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Train a reverter on pairs; torchrun and srun may start it as well."""
    if members > 1 and resume not in ("auto", "none"):
        raise UsageError(
            f"{plural(members, 'member')} cannot all go on from {resume}",
            "--resume alone takes each member's own newest checkpoint",
        )
    hyper = configured(config, {**feed.changes(data), **learning.changes()})
    if dry_run:
        from iris_cli.dry_run import show
        from iris_cli.training.dry_run import of_training

        show(of_training(hyper, out, members=members, ranks=processes.ranks), speech.as_json)
        return
    heard = () if "RANK" in os.environ else signals_by_name(hyper.stop_signals)  # ranks end as their launcher says
    with stop_on_signal("start again with --resume", heard):
        processes.start()
        told = run(
            hyper,
            out,
            members,
            resume=resume,
            overwrite=overwrite,
            force=force,
            device=processes.device,
            quiet=speech.quiet,
        )
    if is_rank_0():
        emit(told) if speech.as_json else print("\n".join(map(sentence, told.get("members", [told]))))


def run(hyper: TrainConfig, out: Path, members: int, **how: Any) -> dict[str, Any]:
    """What came of a training, or of as many as an ensemble has. Exit with 75 when a signal came and all is saved."""
    from iris_cli.training import Stopped
    from iris_cli.training.train import train_members, train_run

    try:
        told = train_run(hyper, out, **how) if members == 1 else train_members(hyper, out, members, **how)
    except Stopped as stopped:
        log(f"{stopped.message} ({stopped.hint})")
        provenance.record(out, hyper, EXIT_REQUEUE)
        raise typer.Exit(EXIT_REQUEUE) from None
    provenance.record(out, hyper)
    return told


def names_of(text: str | None) -> list[str] | None:
    """`term,SIGHUP` -> TERM, HUP; none where the text is empty, None where it was not given."""
    return (
        None if text is None else [name.strip().upper().removeprefix("SIG") for name in text.split(",") if name.strip()]
    )


def resolved(given: Mapping[str, Any]) -> TrainConfig:
    """The configuration that the command's options come to; they are what typer has read."""
    feed, learning = options.taken(Feed, given), options.taken(Learning, given)
    return configured(given["config"], {**feed.changes(given["data"]), **learning.changes()})


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
    best = (
        ""
        if told["best_epoch"] is None
        else (f", best validation loss {told['best_validation_loss']:.5g} after epoch {told['best_epoch']}")
    )
    return f"{plural(told['epochs'], 'epoch')}, {plural(told['steps'], 'step')}{best}: {told['run']}"
