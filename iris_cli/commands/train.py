"""`iris train SHARDS… --out RUN`"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.help import Command
from iris_cli.config.train import TrainConfig
from iris_cli.console import log, plural
from iris_cli.dry_run import show
from iris_cli.errors import EXIT_REQUEUE, UsageError
from iris_cli.ranks import is_rank_0
from iris_cli.signals import end_with_launcher, signals_by_name, stop_on_signal

if TYPE_CHECKING:
    from iris_cli.training.train import EnsembleSummary, RunSummary

Data = Annotated[list[Path], typer.Argument(help="Shard folders; or standard data sets, with --observer.")]

PROCESSES = "Processes"


@dataclass(frozen=True)
class Processes:
    """Number of ranks, and their device."""

    nproc_per_node: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=PROCESSES, help="Processes on this machine (torchrun).")
    ] = None
    torchrun: Annotated[
        str,
        typer.Option(rich_help_panel=PROCESSES, help="Options of torchrun: '--nnodes=2 --rdzv-endpoint=node1:29500'."),
    ] = ""
    device: Annotated[
        str, typer.Option("--device", metavar="[auto|cpu|cuda]", rich_help_panel=PROCESSES, help="Where to compute.")
    ] = "auto"

    @property
    def ranks(self) -> int:
        """On this machine."""
        return self.nproc_per_node or 1

    def start(self) -> None:
        """Start this command on all ranks and exit with their code; return in a rank, or if there is only one."""
        if not (self.ranks > 1 or self.torchrun):
            return
        if "RANK" in os.environ:  # this process is one of them
            check_started(self.ranks, os.environ)
            end_with_launcher()
            return
        try:
            more = shlex.split(self.torchrun)
        except ValueError as error:
            raise UsageError(f"--torchrun cannot be split into words: {error}", "close the quotes") from None
        from iris_cli.distributed import launch

        raise typer.Exit(launch(self.ranks, sys.argv[1:], more))


def check_started(ranks: int, environment: Mapping[str, str]) -> None:
    """UsageError when there are fewer processes than asked for: then the variables were set by something else."""
    size = environment.get("WORLD_SIZE", "")
    if size.isdigit() and int(size) < ranks:
        message = f"--nproc-per-node {ranks} starts no processes, since RANK and WORLD_SIZE = {size} are set already"
        raise UsageError(message, "unset RANK and WORLD_SIZE")


class TrainCommand(Command):
    """`--resume` alone means `--resume auto`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(with_resume_value(args)))


def with_resume_value(arguments: list[str]) -> Iterator[str]:
    """The arguments, with `auto` after a `--resume` that has no value: auto, none or the name of a .pt file."""
    for this, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        yield this
        if this == "--resume" and following not in ("auto", "none") and not following.endswith(".pt"):
            yield "auto"


@options.command
def train(
    data: Data,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: configuration, metrics, checkpoints.")],
    settings: options.Settings[TrainConfig],
    members: Annotated[int, typer.Option(min=1, help="Networks to train, in member-01, ... of the run.")] = 1,
    resume: Annotated[
        str, typer.Option(metavar="[auto|none|FILE]", help="Continue from the newest checkpoint (auto), or FILE.")
    ] = "none",
    overwrite: options.Overwrite = False,
    force: Annotated[bool, typer.Option("--force", help="Resume although configuration or data differ.")] = False,
    processes: Processes,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Train a reverter on pairs. torchrun and srun may start it as well.

    Examples:
        iris train SHARDS --litter LITTER --noise-sigma-k 1 --out RUN
        iris train SHARDS --out RUN --resume
        iris train SHARDS --out RUN --members 4 --nproc-per-node 2
    """
    if members > 1 and resume not in ("auto", "none"):
        hint = "--resume alone takes the newest checkpoint of each member"
        raise UsageError(f"{plural(members, 'member')} cannot all resume from {resume}", hint)
    config = settings.resolve(data=absolute(data))
    if dry_run:
        from iris_cli.training.dry_run import of_training

        show(of_training(config, out, members=members, ranks=processes.ranks), output.as_json)
        return
    signals = () if "RANK" in os.environ else signals_by_name(config.stop_signals)  # the launcher passes them to ranks
    with stop_on_signal("start again with --resume", signals):
        processes.start()
        how = {"resume": resume, "overwrite": overwrite, "force": force, "quiet": output.quiet}
        trained = run(config, out, members, device=processes.device, **how)
    if is_rank_0():
        output.result(trained.to_dict(), trained)


def absolute(folders: list[Path] | None) -> list[str]:
    return [str(folder.resolve()) for folder in folders or []]


def run(config: TrainConfig, out: Path, members: int, **how: Any) -> RunSummary | EnsembleSummary:
    """The result of a training, or of all members of an ensemble. Exits with 75 after a signal, when all is saved."""
    from iris_cli.training import Stopped
    from iris_cli.training.train import train_members, train_run

    try:
        trained = train_run(config, out, **how) if members == 1 else train_members(config, out, members, **how)
    except Stopped as stopped:
        log(f"{stopped.message} ({stopped.hint})")
        provenance.record(out, config, EXIT_REQUEUE)
        raise typer.Exit(EXIT_REQUEUE) from None
    provenance.record(out, config)
    return trained
