"""`iris slurm preobserve|train|test … > job.sh`: a complete batch script on stdout; `sbatch job.sh` starts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iris_cli.commands import names, options
from iris_cli.commands.evaluate import evaluate as test_command
from iris_cli.commands.preobserve import preobserve as preobserve_command
from iris_cli.commands.preobserve import resolved as observing
from iris_cli.commands.train import TrainCommand, resolved
from iris_cli.commands.train import train as train_command
from iris_cli.config.slurm import SlurmConfig
from iris_cli.errors import UsageError

app = typer.Typer(help="Write batch scripts for a cluster under SLURM.", no_args_is_help=True)

Words = Annotated[list[str], typer.Argument(help="What follows `iris COMMAND`: data first, then its options.")]


@dataclass(frozen=True)
class Job:
    """What every job asks of the cluster; None where the configuration, or the kind of job, decides."""

    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="Cores of each node.  [default: 4; training, test: 8]")
    ] = None
    mem: Annotated[str | None, typer.Option("--mem", help="Memory of each node, e.g. 32G.")] = None
    time: Annotated[
        str | None,
        typer.Option(
            "--time", "-t", help="Longest duration of one start; a job goes on after it.  [default: 24 h; test: 4 h]"
        ),
    ] = None
    partition: Annotated[str | None, typer.Option("--partition", "-p", help="Queue.")] = None
    account: Annotated[str | None, typer.Option("--account", "-A", help="Whose budget.")] = None
    name: Annotated[str | None, typer.Option("--name", help="Name of the job.  [default: iris-COMMAND]")] = None
    log: Annotated[
        str | None, typer.Option("--log", help="Log file, appended to; its folder must exist.  [default: NAME-ID]")
    ] = None
    lead: Annotated[
        int | None, typer.Option("--lead", min=10, help="Seconds before the end to save and stop.  [default: 120]")
    ] = None
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", help="A further option of sbatch, e.g. --sbatch=--qos=long; repeatable."),
    ] = None
    config: options.ConfigFile = None
    quiet: options.Quiet = False
    verbose: options.Verbose = False

    def settings(self, **flags: object) -> SlurmConfig:
        return options.configured(
            SlurmConfig,
            self.config,
            cpus=self.cpus,
            memory=self.mem,
            time=self.time,
            partition=self.partition,
            account=self.account,
            name=self.name,
            log=self.log,
            lead_s=self.lead,
            sbatch=self.sbatch or None,
            **flags,
        )


@dataclass(frozen=True)
class ArrayJob(Job):
    """Many tasks, each for itself."""

    array: Annotated[int | None, typer.Option("--array", min=1, help="Tasks that share the work.  [default: 8]")] = None
    at_once: Annotated[
        int | None, typer.Option(min=0, help="Tasks that run at the same time; 0: as many as the cluster lets.")
    ] = None


@dataclass(frozen=True)
class RanksJob(Job):
    """Ranks that work together."""

    nodes: Annotated[int | None, typer.Option(min=1, help="Machines; torchrun joins their ranks.  [default: 1]")] = None
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=0, help="GPUs of each node, and a rank for each.  [default: 1]")
    ] = None
    ranks: Annotated[int | None, typer.Option(min=1, help="Ranks of each node, if not one for each GPU.")] = None


#: Our options come first; from the first word of the other command on, everything is that command's.
OURS_FIRST = {"allow_interspersed_args": False}


@app.command(context_settings=OURS_FIRST)
@options.grouped
def preobserve(words: Words, *, job: ArrayJob) -> None:
    """An array of tasks that share the shards of a set. Whoever finishes last closes it."""
    from iris_cli import slurm

    given = parsed("preobserve", preobserve_command, words)
    if "-" in map(str, given["standard"]):
        raise UsageError("a batch job has no standard input", "write the list into a file: @FILE")
    names.check("preobserve", observing(given))  # what cannot be is told now
    settings = job.settings(array=job.array, at_once=job.at_once)
    request = slurm.Request(
        array=settings.array, at_once=settings.at_once, **_asked(settings, "preobserve", cpus=4, time="24:00:00")
    )
    print(slurm.preobserve(words, request, given["out"]), end="")


@app.command(context_settings=OURS_FIRST)
@options.grouped
def train(words: Words, *, job: RanksJob) -> None:
    """A training on one node or several. After each time limit or pre-emption it goes on by itself."""
    from iris_cli import slurm

    given = parsed("train", train_command, words)
    hyper = resolved(given)
    names.check("train", hyper)
    if "TERM" not in hyper.stop_signals:
        raise UsageError(
            "the script passes each signal on as TERM, which the training's stop_signals leave out", "add TERM to them"
        )
    print(slurm.train(words, _of_ranks("train", given, job, time="24:00:00")), end="")


@app.command("test", context_settings=OURS_FIRST)
@options.grouped
def evaluate(words: Words, *, job: RanksJob) -> None:
    """A test on one node or several."""
    from iris_cli import slurm

    given = parsed("test", test_command, words)
    print(slurm.test(words, _of_ranks("test", given, job, time="4:00:00")), end="")


def _of_ranks(command: str, given: dict[str, Any], job: RanksJob, time: str) -> Any:
    """The request of a job of ranks, after a look at its command's options."""
    from iris_cli import slurm

    settings = job.settings(nodes=job.nodes, gpus_per_node=job.gpus, ranks_per_node=job.ranks)
    if given["nproc_per_node"] or (given["torchrun"] and settings.nodes > 1):
        raise UsageError(
            "--nproc-per-node and --torchrun are the script's own to give",
            f"iris slurm {command} --nodes N --ranks M …",
        )
    return slurm.Request(
        nodes=settings.nodes,
        gpus_per_node=settings.gpus_per_node,
        ranks_per_node=settings.ranks_per_node or max(1, settings.gpus_per_node),
        **_asked(settings, command, cpus=8, time=time),
    )


def _asked(settings: SlurmConfig, command: str, cpus: int, time: str) -> dict[str, Any]:
    """What all jobs ask; `cpus` and `time` are this one's defaults."""
    return {
        "cpus": settings.cpus or cpus,
        "memory": settings.memory,
        "time": settings.time or time,
        "partition": settings.partition,
        "account": settings.account,
        "name": settings.name or f"iris-{command}",
        "log": settings.log,
        "lead_s": settings.lead_s,
        "sbatch": settings.sbatch,
    }


def parsed(name: str, function: Callable, words: list[str]) -> dict[str, Any]:
    """A command's options as it would see them; its own usage errors, now rather than after a night in the queue."""
    from typer.main import get_command

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(cls=TrainCommand if name == "train" else TyperCommand)(function)
    context = get_command(alone).make_context(f"iris {name}", list(words))
    config = context.params.get("config")
    if config is not None:
        from iris_cli.config.catalogue import read

        read(Path(config), "train" if name == "test" else name)
    return dict(context.params)
