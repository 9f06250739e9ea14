"""`iris train SHARDS… --out RUN`"""

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
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.config.train import CONFIG, MEMBER, TrainConfig, is_run, planned_members, read_path
from iris_cli.console import log, plural
from iris_cli.dry_run import show
from iris_cli.errors import EXIT_REQUEUE, DataError, UsageError
from iris_cli.plugins import trusted
from iris_cli.ranks import is_rank_0
from iris_cli.signals import end_with_launcher, signals_by_name, stop_on_signal
from iris_cli.text import url_of

if TYPE_CHECKING:
    from iris_cli.training.train import EnsembleSummary, RunSummary

DATA = "shard folders, or standard data sets with --observer"

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

    def words(self) -> list[str]:
        """As the user would type them again."""
        given = {"--nproc-per-node": self.nproc_per_node, "--torchrun": self.torchrun}
        given["--device"] = "" if self.device == "auto" else self.device
        return [word for option, value in given.items() if value for word in (option, str(value))]

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
    """`--resume` alone means `--resume auto`, unless a run follows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(with_resume_value(args)))


def with_resume_value(arguments: list[str]) -> Iterator[str]:
    """The arguments, with `auto` after a `--resume` that has no value: auto, none, a run, or the name of a .pt file.

    Without an --out the following word is the run, also if there is none of that name.
    """
    out = any(word in ("--out", "-o") or word.startswith("--out=") for word in arguments)
    for this, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        yield this
        named = following in ("auto", "none") or following.endswith(".pt") or is_run(Path(following))
        if this == "--resume" and not named and (out or not following or following.startswith("-")):
            yield "auto"


def resumed(resume: str, out: Path | None) -> tuple[str, Path]:
    """The checkpoint to resume from (auto, none or a file) and the run folder, of the options --resume and --out.

    DataError when --resume names a folder that holds no run, UsageError for two folders, or none.
    """
    if resume in ("auto", "none") or resume.endswith(".pt"):
        if out is None:
            raise UsageError("no run folder is named", "add --out RUN")
        return resume, out
    if not is_run(Path(resume)):
        raise DataError(f"{resume} holds no run to resume", "name the folder that `iris train --out` has made")
    if out is not None and out.resolve() != Path(resume).resolve():
        hint = f"resume it: {shlex.join(['iris', 'train', '--resume', resume])}"
        raise UsageError(f"--resume {resume} and --out {out} are two folders", hint)
    return "auto", Path(resume)


def configuration_of(resume: str, out: Path) -> dict[str, Any]:
    """The settings of the run that is resumed; none of a new run. UsageError when they cannot be read."""
    if resume.endswith(".pt"):
        from iris_cli.training.checkpoint import load

        return load(Path(resume)).config
    files = (out / CONFIG, out / MEMBER.format(1) / CONFIG)
    file = next((file for file in files if resume == "auto" and file.is_file()), None)
    saved = read_toml(file) if file else {}
    from_dict(TrainConfig, saved, str(file))
    return saved


def check_data(config: TrainConfig, run: Path, given: bool) -> None:
    """UsageError when no data are named, DataError when those of a resumed run are no longer there."""
    if not config.data:
        raise UsageError("no data are named", "iris train SHARDS --out RUN")
    for folder in () if given else config.data:
        if not (url_of(folder) or Path(folder).is_dir()):
            hint = f"name their new folder: {shlex.join(['iris', 'train', 'SHARDS', '--resume', str(run)])}"
            raise DataError(f"{folder}, the data of {run}, is not a folder", hint)


@options.command
def train(
    data: Annotated[
        list[Path] | None, typer.Argument(help=f"{DATA.capitalize()}; by default those of the resumed run.")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder: configuration, metrics, checkpoints.")
    ] = None,
    settings: options.Settings[TrainConfig],
    members: Annotated[
        int | None, typer.Option(min=1, help="Networks to train, in member-01, ... of the run.  [default: 1]")
    ] = None,
    resume: Annotated[
        str,
        typer.Option(
            metavar="[auto|none|RUN|FILE]",
            help="Continue the run in this folder, or in --out (auto), or from the checkpoint FILE.",
        ),
    ] = "none",
    overwrite: options.Overwrite = False,
    force: Annotated[bool, typer.Option("--force", help="Resume although configuration or data differ.")] = False,
    trust: options.Trust = None,
    processes: Processes,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Train a reverter on pairs. torchrun and srun may start it as well.

    Examples:
        iris train SHARDS --litter LITTER --noise-sigma-k 1 --out RUN
        iris train --resume RUN
        iris train SHARDS --out RUN --members 4 --nproc-per-node 2
    """
    resume, out = resumed(resume, out)
    config = settings.resolve(configuration_of(resume, out), data=absolute(data) or None)
    check_data(config, out, bool(data))
    members = members or (planned_members(out) if resume == "auto" else 1)
    if members > 1 and resume not in ("auto", "none"):
        hint = "--resume alone takes the newest checkpoint of each member"
        raise UsageError(f"{plural(members, 'member')} cannot all resume from {resume}", hint)
    if dry_run:
        from iris_cli.training.dry_run import of_training

        show(of_training(config, out, members=members, ranks=processes.ranks), output.as_json)
        return
    signals = () if "RANK" in os.environ else signals_by_name(config.stop_signals)  # the launcher passes them to ranks
    with stop_on_signal(f"start again: {provenance.command_line()}", signals):
        processes.start()
        how = {"resume": resume, "overwrite": overwrite, "force": force, "quiet": output.quiet}
        again = shlex.join(["iris", "train", "--resume", str(out), *processes.words(), *trusting()])
        trained = run(config, out, members, again=again, device=processes.device, **how)
    if is_rank_0():
        output.result(trained, *str(trained).splitlines())


def trusting() -> list[str]:
    """The options by which a command may import the modules that this one may."""
    return [word for module in trusted() for word in ("--trust", module)]


def absolute(folders: list[Path] | None) -> list[str]:
    return [read_path(str(folder)) for folder in folders or []]


def run(config: TrainConfig, out: Path, members: int, *, again: str, **how: Any) -> "RunSummary | EnsembleSummary":
    """The result of a training, or of all members of an ensemble. Exits with 75 after a signal, when all is saved.

    `again` is the command that resumes it.
    """
    from iris_cli.training import Stopped
    from iris_cli.training.train import train_members, train_run

    try:
        trained = train_run(config, out, **how) if members == 1 else train_members(config, out, members, **how)
    except Stopped as stopped:
        log(f"{stopped.message}; resume: {again if is_run(out) else provenance.command_line()}")
        provenance.record(out, config, EXIT_REQUEUE)
        raise typer.Exit(EXIT_REQUEUE) from None
    provenance.record(out, config)
    return trained
