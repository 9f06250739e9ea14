"""`iris slurm ingest|preobserve|train|test … > job.sh`: a complete batch script on stdout; `sbatch job.sh` starts it.

All scripts work in the same way. The work runs in the background, so that the shell receives signals: SLURM's own some
time before the time limit (`--signal=B:USR1@…`), or the TERM of a pre-emption. The shell passes them on, the work saves
and exits with code 75, and the job goes back into the queue, where it resumes from what was saved.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import names, options
from iris_cli.commands.evaluate import evaluate as test_command
from iris_cli.commands.help import Command, Group
from iris_cli.commands.ingest import ingest as ingest_command
from iris_cli.commands.preobserve import preobserve as preobserve_command
from iris_cli.commands.sweep import CONFIGS, RUNS, read_runs
from iris_cli.commands.train import TrainCommand, absolute, resumed
from iris_cli.commands.train import train as train_command
from iris_cli.config.slurm import SlurmConfig
from iris_cli.console import say_exactly
from iris_cli.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, UsageError

app = typer.Typer(cls=Group, help="Write batch scripts for a cluster with SLURM.", no_args_is_help=True)

#: A job that was requeued so often is not pre-empted, it is broken.
MOST_RESTARTS = 100
#: `-w 4`, `-w4`, `-qw4`: the option's short form, alone or joined to its value and to flags.
_WORKERS = re.compile(r"-[qv]*w(\d.*|=.*)?")
#: The script's options come first; from the first word of the other command on, everything is that command's.
OWN_OPTIONS_FIRST = {"allow_interspersed_args": False}
#: Keys of SlurmConfig that only arrays, or only ranks, have.
ARRAY_KEYS, RANKS_KEYS = ("array", "at_once"), ("nodes", "gpus_per_node", "ranks_per_node")
SWEEP_KEYS = ("at_once", "gpus_per_node", "ranks_per_node")
COMMON_KEYS = ("cpus", "memory", "time", "partition", "account", "name", "log", "lead_s", "sbatch")

Words = Annotated[list[str], typer.Argument(help="What follows `iris COMMAND`: data first, then its options.")]
ArraySettings = Annotated[options.Settings[SlurmConfig], options.Only(*ARRAY_KEYS, *COMMON_KEYS)]
SweepSettings = Annotated[options.Settings[SlurmConfig], options.Only(*SWEEP_KEYS, *COMMON_KEYS)]
RanksSettings = Annotated[options.Settings[SlurmConfig], options.Only(*RANKS_KEYS, *COMMON_KEYS)]


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def ingest(
    words: Words, *, settings: ArraySettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job array whose tasks share the views of snapshots; the last task to finish writes the index.

    Examples:
        iris slurm ingest --array 16 snapshots/ STANDARD --views 64 > job.sh
    """
    given = parsed("ingest", ingest_command, words)
    given["settings"].resolve()
    job = replace(_job(settings, "ingest", cpus=4, time="24:00:00"), nodes=1, gpus_per_node=0)
    ending = (
        "# The last task to finish writes standard.json. If it is missing when all have ended, read the logs, then",
        "# submit this script again: finished tensors are kept.",
    )
    say_exactly(array_script("ingest", words, job, ending))


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def preobserve(
    words: Words, *, settings: ArraySettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job array whose tasks share the shards of a data set; the last task to finish writes the index.

    Examples:
        iris slurm preobserve --array 16 STANDARD SHARDS > job.sh
        iris slurm preobserve --config site.toml STANDARD SHARDS -w 8 > job.sh
    """
    given = parsed("preobserve", preobserve_command, words)
    if "-" in map(str, given["standard"]):
        raise UsageError("a batch job has no standard input", "write the list into a file: @FILE")
    names.check("preobserve", given["settings"].resolve())  # an unknown name is an error now, not in the queue
    job = replace(_job(settings, "preobserve", cpus=4, time="24:00:00"), nodes=1, gpus_per_node=0)
    many = _given(words, "--workers") or any(_WORKERS.fullmatch(word) for word in words)
    workers = () if many else ("--workers", Raw('"${SLURM_CPUS_PER_TASK:-1}"'))
    ending = (
        "# The last task to finish writes index.json. If it is missing when all have ended, read the logs, then:",
        f"#   {_line([*_iris(), 'shards', 'merge', str(given['out'])])}",
    )
    say_exactly(array_script("preobserve", words, job, ending, workers))


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def train(
    words: Words, *, settings: RanksSettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job that trains on one node or several, and resumes after each time limit or pre-emption.

    Examples:
        iris slurm train --gpus 4 SHARDS --out RUN > job.sh
        iris slurm train --nodes 2 --time 12:00:00 SHARDS --out RUN > job.sh
    """
    given = parsed("train", train_command, words)
    resumed(given["resume"], given["out"])
    config = given["settings"].resolve(data=absolute(given["data"]))
    names.check("train", config)
    if "TERM" not in config.stop_signals:
        message = "the script passes each signal on as TERM, which is not among the training's stop_signals"
        raise UsageError(message, "add TERM")
    first, again = _restartable(words, "--resume", "auto")
    job = _ranks_job("train", given, settings, time="24:00:00")
    say_exactly(_script(["train", *words], job, _ranks("train", first, again, job)))


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def sweep(
    folder: Annotated[Path, typer.Argument(help="Folder that `iris sweep` has written.")],
    *,
    settings: SweepSettings,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a job array that trains the runs of a sweep, one in each task; each resumes as a single training does.

    Examples:
        iris slurm sweep --gpus 1 --at-once 4 SWEEP > job.sh
    """
    count = len(read_runs(folder))
    job = replace(_job(settings, "sweep", cpus=8, time="24:00:00"), array=count, nodes=1)
    place = _quoted(str(folder.resolve()))
    chosen = f'run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {place}/{RUNS})'
    work = ["--config", Raw(f'{place}/{CONFIGS}/"$run".toml'), "--out", Raw(f'{place}/"$run"'), "--resume", "auto"]
    say_exactly(_script(["train", *work], job, [chosen, *_ranks("train", work, work, job)], tasks=True))


@app.command("test", cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def evaluate(
    words: Words, *, settings: RanksSettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job that tests on one node or several.

    Examples:
        iris slurm test --gpus 1 RUN SHARDS --report REPORT > job.sh
    """
    given = parsed("test", test_command, words)
    job = _ranks_job("test", given, settings, time="4:00:00")  # a test that is stopped starts again
    say_exactly(_script(["test", *words], job, _ranks("test", words, words, job)))


def _ranks_job(command: str, given: dict[str, Any], settings: options.Settings[SlurmConfig], time: str) -> SlurmConfig:
    """UsageError for options of the other command that the script sets itself."""
    job = _job(settings, command, cpus=8, time=time)
    if given["processes"].nproc_per_node or (given["processes"].torchrun and job.nodes > 1):
        hint = f"iris slurm {command} --nodes N --ranks M …"
        raise UsageError("the script itself sets --nproc-per-node and --torchrun", hint)
    return job


def _job(settings: options.Settings[SlurmConfig], command: str, cpus: int, time: str) -> SlurmConfig:
    """What a job requests; `cpus` and `time` are the defaults of this one."""
    job = settings.resolve()
    return replace(job, cpus=job.cpus or cpus, time=job.time or time, name=job.name or f"iris-{command}")


def parsed(name: str, function: Callable, words: list[str]) -> dict[str, Any]:
    """The arguments of a command, with its own usage errors now rather than after hours in the queue."""
    from typer.main import get_command

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(cls=TrainCommand if name == "train" else Command)(function)
    context = get_command(alone).make_context(f"iris {name}", list(words))
    config = context.params.get("config")
    if config is not None:
        from iris_cli.config.catalogue import read

        read(Path(config), "train" if name == "test" else name)
    collected: dict[str, Any] = function.collected(context.params)  # type: ignore[attr-defined]
    return collected


# --- scripts ----------------------------------------------------------------------------------------------------------


def _directives(job: SlurmConfig, tasks: bool) -> Iterator[str]:
    """The #SBATCH lines of a job, or of an array of tasks. UsageError for text that such a line cannot hold."""
    requested = {
        "job-name": job.name,
        "array": f"0-{job.array - 1}{f'%{job.at_once}' if job.at_once else ''}" if tasks else "",
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": job.gpus_per_node or "",
        "cpus-per-task": job.cpus,
        "mem": job.memory,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "output": job.log or ("%x-%A_%a.log" if tasks else "%x-%j.log"),
        "open-mode": "append",
        "signal": f"B:USR1@{job.lead_s}",
    }
    yield from (f"#SBATCH --{name}={_directive(str(value))}" for name, value in requested.items() if value != "")
    yield "#SBATCH --requeue"
    yield from (f"#SBATCH {_directive(option)}" for option in job.sbatch)


def _directive(value: str) -> str:
    """A value as sbatch, which reads these lines itself, quotes it; for the shell they are comments."""
    if re.search(r"[\n\r\"'\\]", value):
        raise UsageError(f"{value!r} cannot be used in a line of #SBATCH", "remove quotes, backslashes and line breaks")
    return f'"{value}"' if re.search(r"[\s#]", value) else value


def array_script(
    command: str, words: Sequence[str], job: SlurmConfig, ending: Sequence[str], workers: Sequence[str] = ()
) -> str:
    """`words` are those of the command, whose work array tasks divide; `workers` are further ones."""
    first, again = _restartable(words, "--resume")
    if "--overwrite" not in words:
        first = again
    body = _work([command, *first, *workers], [command, *again, *workers])
    threads = "export OMP_NUM_THREADS=1  # the workers share the cores"
    return _script([command, *words], job, [threads, *body], ending, tasks=True)


class Raw(str):
    """A word that the shell expands."""


def _restartable(words: Sequence[str], *resume: str) -> tuple[list[str], list[str]]:
    """The words of the first start, as given, and of those after it, which resume instead of overwriting."""
    kept = [word for word in words if word != "--overwrite"]
    return list(words), kept if _given(words, "--resume") else [*kept, *resume]


def _given(words: Iterable[str], *options: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words for option in options)


def _ranks(command: str, first: Sequence[str], again: Sequence[str], job: SlurmConfig) -> list[str]:
    """On several nodes, srun starts a torchrun on each, and they join their ranks."""
    ranks_per_node = job.ranks_per_node or max(1, job.gpus_per_node)
    threads = f"export OMP_NUM_THREADS={max(1, (job.cpus or 1) // ranks_per_node)}  # for each rank"
    if job.nodes == 1:
        ranks = ["--nproc-per-node", str(ranks_per_node)] if ranks_per_node > 1 else []
        return [threads, *_work([command, *first, *ranks], [command, *again, *ranks])]
    rendezvous = (
        f"--nnodes={job.nodes} --rdzv-backend=c10d --rdzv-endpoint=$head:$port "
        "--rdzv-id=$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
    )
    ranks = ["--nproc-per-node", str(ranks_per_node), "--torchrun", Raw(f'"{rendezvous}"')]
    srun = ["srun", Raw('--cpus-per-task="${SLURM_CPUS_PER_TASK:-1}"')]
    return [
        threads,
        "# The rendezvous of the ranks of all nodes.",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "port=$((20000 + SLURM_JOB_ID % 20000))",
        *_work([command, *first, *ranks], [command, *again, *ranks], srun),
    ]


def _iris() -> list[str]:
    return [sys.executable, "-P", "-m", "iris_cli"]


def _work(first: Sequence[str], again: Sequence[str], launcher: Sequence[str] = ()) -> list[str]:
    """Lines that start the work as requested, and after a restart so that it resumes."""
    starter = [*launcher, *_iris()]
    if list(first) == list(again):
        return [f"{_line([*starter, *first])} &"]
    return [
        'if [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ]; then',
        f"    {_line([*starter, *first])} &",
        "else",
        f"    {_line([*starter, *again])} &",
        "fi",
    ]


def _line(words: Iterable[str]) -> str:
    return " ".join(word if isinstance(word, Raw) else _quoted(word) for word in words)


def _quoted(word: str) -> str:
    """For the shell. UsageError for line breaks and the like, which would end a comment."""
    if not word.isprintable():
        raise UsageError(f"{word!r} cannot be used in a batch script", "remove control characters")
    return shlex.quote(word)


_SIGNALS = """
# A signal is passed on; the work saves, and ends with {requeue}.
signals=0
pass_on() {{
    signals=$((signals + 1))
    echo "$(date +%Y-%m-%dT%H:%M:%S) signal: asking the work to save and stop" >&2
    kill -TERM "$!" 2>/dev/null
}}
trap pass_on USR1 TERM
"""

_END = """
# A wait that a signal ended does not mean that the work ended.
while :; do
    before=$signals
    wait "$!"
    code=$?
    [ "$signals" -eq "$before" ] && break
done
# {interrupted} is the exit code of nodes without rank 0 after a signal: rank 0 saves.
[ "$code" -ne 0 ] && [ "$signals" -gt 0 ] && code={requeue}
if [ "$code" -eq {requeue} ] || [ "$code" -eq {interrupted} ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then
        echo "$(date +%Y-%m-%dT%H:%M:%S) saved and stopped: back into the queue" >&2
        scontrol requeue "$SLURM_JOB_ID" && exit 0
    fi
fi
exit "$code"
"""


def _script(
    command: Sequence[str], job: SlurmConfig, work: Sequence[str], ending: Sequence[str] = (), *, tasks: bool = False
) -> str:
    parts = [
        ["#!/bin/bash", f"# Runs: {_line(['iris', *command])}", *_directives(job, tasks)],
        list(_environment(os.environ)),
        [f"cd {_quoted(str(Path.cwd()))} || exit 1"],
        [_SIGNALS.format(requeue=EXIT_REQUEUE)],
        list(work),
        [_END.format(requeue=EXIT_REQUEUE, interrupted=EXIT_INTERRUPTED, most=MOST_RESTARTS)],
        list(ending),
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts if part) + "\n"


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    """As comments: the modules and environments that were loaded where the script was written."""
    yield "# Load the modules and the environment of your site here, unless the job inherits those of the login shell:"
    modules = [name for name in environment.get("LOADEDMODULES", "").split(":") if name]
    yield f"# module load {' '.join(map(_quoted, modules)) or '…'}"
    for name, how in (("VIRTUAL_ENV", "source {}/bin/activate"), ("CONDA_PREFIX", "conda activate {}")):
        if name in environment:
            yield "# " + how.format(_quoted(environment[name]))
