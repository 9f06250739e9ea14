"""`iris batch ingest|preobserve|train|test … > job.sh`: a complete batch script on stdout, for SLURM, PBS Pro or LSF.

All scripts work in the same way. The work runs in the background, so that the shell receives signals: SLURM's own some
time before the time limit (`--signal=B:USR1@…`), or the TERM of a pre-emption; on other queues `timeout` sends TERM to
the work. The work saves and exits with code 75, and the job goes back into the queue, or ends for the next of a chain.
Each start is a resume: the first one finds nothing to resume.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import names, options, schedulers
from iris_cli.commands.evaluate import evaluate as test_command
from iris_cli.commands.help import Command, Group
from iris_cli.commands.ingest import ingest as ingest_command
from iris_cli.commands.preobserve import preobserve as preobserve_command
from iris_cli.commands.sweep import CONFIGS, RUNS, read_runs
from iris_cli.commands.train import TrainCommand, absolute, resumed
from iris_cli.commands.train import train as train_command
from iris_cli.config.batch import BatchConfig
from iris_cli.config.train import MEMBER
from iris_cli.console import say_exactly
from iris_cli.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, UsageError
from iris_cli.plugins import TRUST

app = typer.Typer(cls=Group, help="Write batch scripts for a cluster with SLURM, PBS Pro or LSF.", no_args_is_help=True)

#: `-w 4`, `-w4`, `-qw4`: the option's short form, alone or joined to its value and to flags.
_WORKERS = re.compile(r"-[qv]*w(\d.*|=.*)?")
#: The script's options come first; from the first word of the other command on, everything is that command's.
OWN_OPTIONS_FIRST = {"allow_interspersed_args": False}
#: Keys of BatchConfig that only arrays, or only ranks, have.
ARRAY_KEYS, RANKS_KEYS = ("array", "at_once"), ("nodes", "gpus_per_node", "ranks_per_node", "at_once")
SWEEP_KEYS = ("at_once", "gpus_per_node", "ranks_per_node")
OF_QUEUE, OF_SCRIPT = ("scheduler", "partition", "account", "directives"), ("name", "log", "lead_s", "chain")
COMMON_KEYS = ("cpus", "memory", "time", *OF_QUEUE, *OF_SCRIPT)

Words = Annotated[list[str], typer.Argument(help="What follows `iris COMMAND`: data first, then its options.")]
ArraySettings = Annotated[options.Settings[BatchConfig], options.Only(*ARRAY_KEYS, *COMMON_KEYS)]
SweepSettings = Annotated[options.Settings[BatchConfig], options.Only(*SWEEP_KEYS, *COMMON_KEYS)]
RanksSettings = Annotated[options.Settings[BatchConfig], options.Only(*RANKS_KEYS, *COMMON_KEYS)]


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def ingest(
    words: Words, *, settings: ArraySettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job array whose tasks share the views of snapshots; the last task to finish writes the index.

    Examples:
        iris batch ingest --array 16 snapshots/ STANDARD --views 64 > job.sh
    """
    given = parsed("ingest", ingest_command, words)
    given["settings"].resolve()
    job = replace(_job(settings, "ingest", cpus=4, time="24:00:00"), nodes=1, gpus_per_node=0)
    ending = (
        "# The last task to finish writes standard.json. If it is missing when all have ended, read the logs, then",
        "# submit this script again: finished tensors are kept.",
    )
    say_exactly(array_script("ingest", resuming(words), job, ending))


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def preobserve(
    words: Words, *, settings: ArraySettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job array whose tasks share the shards of a data set; the last task to finish writes the index.

    Examples:
        iris batch preobserve --array 16 STANDARD SHARDS > job.sh
        iris batch preobserve --config site.toml STANDARD SHARDS -w 8 > job.sh
    """
    given = parsed("preobserve", preobserve_command, words)
    if "-" in map(str, given["standard"] or ()):
        raise UsageError("a batch job has no standard input", "write the list into a file: @FILE")
    config, made_now = given["settings"].resolve(), given["made_now"]
    names.check("preobserve", config)  # an unknown name is an error now, not in the queue
    made_now.check(given["standard"] or [])
    if made_now.mock:
        made_now.maker(config.litter, given["survey"])
    job = replace(_job(settings, "preobserve", cpus=4, time="24:00:00"), nodes=1, gpus_per_node=0)
    many = _given(words, "--workers") or any(_WORKERS.fullmatch(word) for word in words)
    workers = () if many else ("--workers", str(job.cpus))
    ending = (
        "# The last task to finish writes index.json. If it is missing when all have ended, read the logs, then:",
        f"#   {_line([*_iris(), 'shards', 'merge', str(given['out'])])}",
    )
    say_exactly(array_script("preobserve", [*resuming(words), *workers], job, ending))


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def train(
    words: Words, *, settings: RanksSettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job that trains on one node or several, and resumes after each time limit or pre-emption.

    With --members, it is a job array that trains a member of the ensemble in each task.

    Examples:
        iris batch train --gpus 4 SHARDS --out RUN > job.sh
        iris batch train --nodes 2 --time 12:00:00 SHARDS --out RUN > job.sh
        iris batch train --scheduler pbs --chain 5 SHARDS --out RUN > job.sh
        iris batch train --at-once 2 SHARDS --out RUN --members 4 > job.sh
    """
    given = parsed("train", train_command, words)
    resume, out = resumed(given["resume"], given["out"])
    if resume.endswith(".pt"):
        raise UsageError(f"each start would resume from {resume}", "begin the run first, then give its folder")
    config = given["settings"].resolve(data=absolute(given["data"]))
    names.check("train", config)
    if "TERM" not in config.stop_signals:
        message = "the script passes each signal on as TERM, which is not among the training's stop_signals"
        raise UsageError(message, "add TERM")
    job, work = _ranks_job("train", given, settings, time="24:00:00"), resuming(words, "auto")
    members = given["members"] or 1
    if members == 1:
        say_exactly(_script(["train", *words], job, _ranks(["train", *work], job)))
        return
    place = f"{_quoted(str(out.resolve()))}/{MEMBER.partition('{')[0]}"
    number = f'member=$(printf %02d "$((part + 1))") seed=$(({config.seed} + part))'
    work += ["--members", "1", "--seed", Raw('"$seed"'), "--out", Raw(f'{place}"$member"')]
    say_exactly(
        _script(["train", *words], replace(job, array=members), [number, *_ranks(["train", *work], job)], tasks=True)
    )


@app.command(cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def sweep(
    folder: Annotated[Path, typer.Argument(help="Folder that `iris sweep` has written.")],
    *,
    trust: options.Trust = None,
    settings: SweepSettings,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a job array that trains the runs of a sweep, one in each task; each resumes as a single training does.

    Examples:
        iris batch sweep --gpus 1 --at-once 4 SWEEP > job.sh
    """
    from iris_cli.config.catalogue import read

    runs = read_runs(folder)
    for run in runs:
        names.check(*read(folder / CONFIGS / f"{run}.toml", "train"))
    job = replace(_job(settings, "sweep", cpus=8, time="24:00:00"), array=len(runs), nodes=1)
    place = _quoted(str(folder.resolve()))
    chosen = f'run=$(sed -n "$((part + 1))p" {place}/{RUNS})'
    work = ["train", "--config", Raw(f'{place}/{CONFIGS}/"$run".toml'), "--out", Raw(f'{place}/"$run"')]
    say_exactly(_script(work, job, [chosen, *_ranks([*work, "--resume", "auto"], job)], tasks=True))


@app.command("test", cls=Command, context_settings=OWN_OPTIONS_FIRST)
@options.command
def evaluate(
    words: Words, *, settings: RanksSettings, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Write a job that tests on one node or several.

    Examples:
        iris batch test --gpus 1 RUN SHARDS --report REPORT > job.sh
    """
    given = parsed("test", test_command, words)
    job = _ranks_job("test", given, settings, time="4:00:00")  # a test that is stopped starts again
    say_exactly(_script(["test", *words], job, _ranks(["test", *words], job)))


def _ranks_job(command: str, given: dict[str, Any], settings: options.Settings[BatchConfig], time: str) -> BatchConfig:
    """UsageError for options of the other command that the script sets itself."""
    job = _job(settings, command, cpus=8, time=time)
    if job.nodes > 1 and job.scheduler != "slurm":
        raise UsageError(f"--scheduler {job.scheduler}: several nodes need SLURM's srun", "leave out --nodes")
    if given["processes"].nproc_per_node or (given["processes"].torchrun and job.nodes > 1):
        hint = f"iris batch {command} --nodes N --ranks M …"
        raise UsageError("the script itself sets --nproc-per-node and --torchrun", hint)
    return job


def _job(settings: options.Settings[BatchConfig], command: str, cpus: int, time: str) -> BatchConfig:
    """What a job requests; `cpus` and `time` are the defaults of this one."""
    job = settings.resolve()
    return replace(job, cpus=job.cpus or cpus, time=job.time or time, name=job.name or f"iris-{command}")


def parsed(name: str, function: Callable, words: list[str]) -> dict[str, Any]:
    """The arguments of a command, with its own usage errors now rather than after hours in the queue."""
    from typer.main import get_command

    @wraps(function)
    def collect(**given: Any) -> dict[str, Any]:
        return function.collected(given)  # type: ignore[attr-defined]

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(cls=TrainCommand if name == "train" else Command)(collect)
    context = get_command(alone).make_context(f"iris {name}", list(words))
    config = context.params.get("config")
    if config is not None:
        from iris_cli.config.catalogue import read

        read(Path(config), "train" if name == "test" else name)
    collected: dict[str, Any] = context.invoke(context.command.callback, **context.params)  # type: ignore[arg-type]
    return collected


# --- scripts ----------------------------------------------------------------------------------------------------------


def array_script(command: str, words: Sequence[str], job: BatchConfig, ending: Sequence[str]) -> str:
    """`words` are those of the command, whose work array tasks divide."""
    lines = ["export OMP_NUM_THREADS=1  # the workers share the cores", *_work([command, *words], job)]
    return _script([command, *words], job, lines, ending, tasks=True)


class Raw(str):
    """A word that the shell expands."""


def resuming(words: Sequence[str], *value: str) -> list[str]:
    """The words with `--resume`. UsageError for --overwrite: each start would remove the work of the last."""
    if "--overwrite" in words:
        raise UsageError("a job that is started again would overwrite its own work", "remove the old output yourself")
    return list(words) if _given(words, "--resume") else [*words, "--resume", *value]


def _given(words: Iterable[str], *options: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words for option in options)


def _ranks(words: Sequence[str], job: BatchConfig) -> list[str]:
    """On several nodes, srun starts a torchrun on each, and they join their ranks."""
    ranks_per_node = job.ranks_per_node or max(1, job.gpus_per_node)
    threads = f"export OMP_NUM_THREADS={max(1, (job.cpus or 1) // ranks_per_node)}  # for each rank"
    if job.nodes == 1:
        ranks = ["--nproc-per-node", str(ranks_per_node)] if ranks_per_node > 1 else []
        return [threads, *_work([*words, *ranks], job)]
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
        *_work([*words, *ranks], job, srun),
    ]


def _iris() -> list[str]:
    return [sys.executable, "-P", "-m", "iris_cli"]


def _work(words: Sequence[str], job: BatchConfig, launcher: Sequence[str] = ()) -> list[str]:
    return [f"{_line([*schedulers.limited(job), *launcher, *_iris(), *words])} &"]


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
{again}
fi
exit "$code"
"""


def _script(
    command: Sequence[str], job: BatchConfig, work: Sequence[str], ending: Sequence[str] = (), *, tasks: bool = False
) -> str:
    count, queue = job.array if tasks else 0, schedulers.SCHEDULERS[job.scheduler]
    by_hand = [f"# Submit it with `{queue.by_hand}`."] if job.chain == 1 else []
    numbered = [] if queue.numbers_tasks else [f'export IRIS_PART="$part" IRIS_PARTS={count}']
    again = "\n".join(f"    {line}" for line in schedulers.requeue(job))
    parts = [
        ["#!/bin/bash", *by_hand, f"# Runs: {_line(['iris', *command])}", *schedulers.header(job, count)],
        schedulers.chained(job),
        list(_environment(os.environ)),
        [f"cd {_quoted(str(Path.cwd()))} || exit 1"],
        [f"part={queue.task}  # from 0", *numbered] if tasks else [],
        [_SIGNALS.format(requeue=EXIT_REQUEUE)],
        list(work),
        [_END.format(requeue=EXIT_REQUEUE, interrupted=EXIT_INTERRUPTED, again=again)],
        list(ending),
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts if part) + "\n"


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    """What Python needs to find the same code; as comments, the modules and environments that were loaded here."""
    for name in ("PYTHONPATH", TRUST, "IRIS_CACHE_DIR"):
        if environment.get(name):
            yield f"export {name}={_quoted(environment[name])}"
    yield "# Load the modules and the environment of your site here, unless the job inherits those of the login shell:"
    modules = [name for name in environment.get("LOADEDMODULES", "").split(":") if name]
    yield f"# module load {' '.join(map(_quoted, modules)) or '…'}"
    for name, how in (("VIRTUAL_ENV", "source {}/bin/activate"), ("CONDA_PREFIX", "conda activate {}")):
        if name in environment:
            yield "# " + how.format(_quoted(environment[name]))
