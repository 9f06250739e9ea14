"""`iris slurm preobserve|train|test … > job.sh`: a complete batch script on stdout; `sbatch job.sh` starts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iris_cli.commands.evaluate import evaluate as test_command
from iris_cli.commands.preobserve import preobserve as preobserve_command
from iris_cli.commands.train import TrainCommand
from iris_cli.commands.train import train as train_command
from iris_cli.errors import UsageError

app = typer.Typer(help="Write batch scripts for a cluster under SLURM.", no_args_is_help=True)

Words = Annotated[list[str], typer.Argument(help="What follows `iris COMMAND`: data first, then its options.")]
Array = Annotated[int, typer.Option("--array", min=1, help="Tasks that share the work.")]
AtOnce = Annotated[int, typer.Option(min=0, help="Tasks that run at the same time; 0: as many as the cluster lets.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines; torchrun joins their ranks.")]
Gpus = Annotated[int, typer.Option("--gpus", min=0, help="GPUs of each node, and a rank for each.")]
Ranks = Annotated[int | None, typer.Option(min=1, help="Ranks of each node, if not one for each GPU.")]
Cpus = Annotated[int, typer.Option("--cpus", min=1, help="Cores of each node.")]
Memory = Annotated[str, typer.Option("--mem", help="Memory of each node, e.g. 32G.")]
Time = Annotated[str, typer.Option("--time", "-t", help="Longest duration of one start; a job goes on after it.")]
Partition = Annotated[str, typer.Option("--partition", "-p", help="Queue.")]
Account = Annotated[str, typer.Option("--account", "-A", help="Whose budget.")]
Name = Annotated[str, typer.Option("--name", help="Name of the job.")]
Log = Annotated[str, typer.Option("--log", help="Log file, appended to; its folder must exist.  [default: NAME-ID]")]
Lead = Annotated[int, typer.Option("--lead", min=10, help="Seconds before the end to save and stop.")]
Sbatch = Annotated[
    list[str] | None, typer.Option("--sbatch", help="A further option of sbatch, e.g. --sbatch=--qos=long; repeatable.")
]
#: Our options come first; from the first word of the other command on, everything is that command's.
OURS_FIRST = {"allow_interspersed_args": False}


@app.command(context_settings=OURS_FIRST)
def preobserve(
    words: Words, array: Array = 8, at_once: AtOnce = 0, cpus: Cpus = 4, mem: Memory = "", time: Time = "24:00:00",
    partition: Partition = "", account: Account = "", name: Name = "iris-preobserve", log: Log = "",
    lead: Lead = 120, sbatch: Sbatch = None,
) -> None:  # fmt: skip
    """An array of tasks that share the shards of a set. Whoever finishes last closes it."""
    from iris_cli import slurm

    given = parsed("preobserve", preobserve_command, words)
    if "-" in map(str, given["standard"]):
        raise UsageError("a batch job has no standard input", "write the list into a file: @FILE")
    request = slurm.Request(array=array, at_once=at_once, cpus=cpus, memory=mem, time=time, partition=partition,
                            account=account, name=name, log=log, lead_s=lead, sbatch=tuple(sbatch or ()))  # fmt: skip
    print(slurm.preobserve(words, request, given["out"]), end="")


@app.command(context_settings=OURS_FIRST)
def train(
    words: Words, nodes: Nodes = 1, gpus: Gpus = 1, ranks: Ranks = None, cpus: Cpus = 8, mem: Memory = "",
    time: Time = "24:00:00", partition: Partition = "", account: Account = "", name: Name = "iris-train",
    log: Log = "", lead: Lead = 120, sbatch: Sbatch = None,
) -> None:  # fmt: skip
    """A training on one node or several. After each time limit or pre-emption it goes on by itself."""
    from iris_cli import slurm

    request = _of_ranks("train", train_command, words, nodes=nodes, gpus_per_node=gpus, ranks=ranks, cpus=cpus,
                        memory=mem, time=time, partition=partition, account=account, name=name, log=log, lead_s=lead,
                        sbatch=tuple(sbatch or ()))  # fmt: skip
    print(slurm.train(words, request), end="")


@app.command("test", context_settings=OURS_FIRST)
def evaluate(
    words: Words, nodes: Nodes = 1, gpus: Gpus = 1, ranks: Ranks = None, cpus: Cpus = 8, mem: Memory = "",
    time: Time = "4:00:00", partition: Partition = "", account: Account = "", name: Name = "iris-test",
    log: Log = "", lead: Lead = 120, sbatch: Sbatch = None,
) -> None:  # fmt: skip
    """A test on one node or several."""
    from iris_cli import slurm

    request = _of_ranks("test", test_command, words, nodes=nodes, gpus_per_node=gpus, ranks=ranks, cpus=cpus,
                        memory=mem, time=time, partition=partition, account=account, name=name, log=log, lead_s=lead,
                        sbatch=tuple(sbatch or ()))  # fmt: skip
    print(slurm.test(words, request), end="")


def _of_ranks(command: str, function: Callable, words: list[str], ranks: int | None, **asked: Any) -> Any:
    """The request of a job of ranks, after a look at its words."""
    from iris_cli import slurm

    given = parsed(command, function, words)
    if given["nproc_per_node"] or (given["torchrun"] and asked["nodes"] > 1):
        raise UsageError("--nproc-per-node and --torchrun are the script's own to give",
                         f"iris slurm {command} --nodes N --ranks M …")  # fmt: skip
    return slurm.Request(ranks_per_node=ranks or max(1, asked["gpus_per_node"]), **asked)


def parsed(name: str, function: Callable, words: list[str]) -> dict[str, Any]:
    """A command's options as it would see them; its own usage errors, now rather than after a night in the queue."""
    from typer.main import get_command

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(cls=TrainCommand if name == "train" else TyperCommand)(function)
    context = get_command(alone).make_context(f"iris {name}", list(words))
    config = context.params.get("config")
    if config is not None:
        from iris_cli.config.catalogue import read

        read(Path(config), name if name != "test" else None)
    return dict(context.params)
