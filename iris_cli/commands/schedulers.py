"""How SLURM, PBS Pro and LSF are asked for a job: the lines at the head of a script, and words of the shell in it.

Sources: the manual pages of sbatch, of qsub and qrerun (OpenPBS), and of bsub (IBM Spectrum LSF 10.1).
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from iris_cli.config.batch import BatchConfig, seconds
from iris_cli.errors import UsageError

#: A job that was requeued so often is not pre-empted, it is broken.
MOST_RESTARTS = 100


@dataclass(frozen=True)
class Scheduler:
    """`options` are those in the header of a job, or of an array of so many tasks; 0: no array."""

    prefix: str
    options: Callable[[BatchConfig, int], Iterator[str]]
    #: The shell's expression for the number of an array's task, from 0.
    task: str
    #: Set in each job.
    job_id: str
    #: How a user submits a script.
    by_hand: str
    #: Submits this script with further options and prints the number of the job.
    submit: str
    #: The options of a job that starts when job $last has ended.
    after: str
    #: Lines at the end of a script whose work is saved, that put the job back into the queue.
    requeue: Sequence[str]
    #: Sends a signal before the time limit; else `timeout` does.
    warns: bool = False
    #: Its variables number the tasks of an array for `iris_cli.ranks`; else the script does.
    numbers_tasks: bool = False


def header(job: BatchConfig, tasks: int) -> Iterator[str]:
    """The lines for the queue. UsageError for text that such a line cannot hold."""
    chosen = SCHEDULERS[job.scheduler]
    for option in (*chosen.options(job, tasks), *job.directives):
        if re.search(r"[\n\r\\']", option):
            hint = "remove quotes, backslashes and line breaks"
            raise UsageError(f"{option!r} cannot be used in a line of {chosen.prefix}", hint)
        yield f"{chosen.prefix} {option}"


def chained(job: BatchConfig) -> list[str]:
    """Lines that submit the script several times, when it is not run in a job."""
    chosen = SCHEDULERS[job.scheduler]
    if job.chain == 1:
        return []
    return [
        f"# `bash` with this file submits {job.chain} jobs, each of which waits for the end of the one before.",
        f'if [ -z "${{{chosen.job_id}:-}}" ]; then',
        f"    submit() {{ {chosen.submit}; }}",
        '    last=$(submit) && [ -n "$last" ] || exit 1',
        f'    for _ in $(seq 2 {job.chain}); do last=$(submit {chosen.after}) && [ -n "$last" ] || exit 1; done',
        f'    echo "{job.chain} jobs were submitted, the last is ${{last%%;*}}"',
        "    exit 0",
        "fi",
    ]


def requeue(job: BatchConfig) -> list[str]:
    """Lines at the end, where all is saved."""
    if job.chain > 1:
        return ['echo "$(date +%Y-%m-%dT%H:%M:%S) saved and stopped: the next job of the chain resumes" >&2']
    return list(SCHEDULERS[job.scheduler].requeue)


def limited(job: BatchConfig) -> list[str]:
    """The words before those of the work that send TERM some time before the limit, where the queue does not."""
    limit = seconds(job.time or "unlimited")
    if SCHEDULERS[job.scheduler].warns or math.isinf(limit):
        return []
    return ["timeout", "--foreground", "--preserve-status", "--signal=TERM", str(int(limit) - job.lead_s)]


def _quoted(value: str) -> str:
    """As sbatch, which reads these lines itself, quotes a value; for the shell they are comments."""
    if '"' in value:
        raise UsageError(f"{value!r} cannot be used in a line of #SBATCH", "remove quotes")
    return f'"{value}"' if re.search(r"[\s#]", value) else value


def _slurm(job: BatchConfig, tasks: int) -> Iterator[str]:
    requested = {
        "job-name": job.name,
        "array": f"0-{tasks - 1}{f'%{job.at_once}' if job.at_once else ''}" if tasks else "",
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
    yield from (f"--{name}={_quoted(str(value))}" for name, value in requested.items() if value != "")
    yield "--requeue"


def _pbs(job: BatchConfig, tasks: int) -> Iterator[str]:
    chunk = {"ncpus": job.cpus, "mem": _in_bytes(job.memory, "b").lower(), "ngpus": job.gpus_per_node or ""}
    limit = seconds(job.time or "unlimited")
    yield f"-N {job.name}"
    yield "-l select=1" + "".join(f":{name}={value}" for name, value in chunk.items() if value)
    if not math.isinf(limit):
        yield f"-l walltime={int(limit) // 3600}:{int(limit) // 60 % 60:02d}:{int(limit) % 60:02d}"
    if tasks > 1:  # a range of one is no range
        yield f"-J 0-{tasks - 1}{f'%{job.at_once}' if job.at_once else ''}"
    yield from (f"{flag} {value}" for flag, value in (("-q", job.partition), ("-A", job.account)) if value)
    yield "-j oe"
    yield from ([f"-o {job.log}"] if job.log else [])
    yield "-r y"


def _lsf(job: BatchConfig, tasks: int) -> Iterator[str]:
    limit = seconds(job.time or "unlimited")
    array = f"[1-{tasks}]{f'%{job.at_once}' if job.at_once else ''}" if tasks else ""
    yield f'-J "{job.name}{array}"'
    yield f"-n {job.cpus}"
    yield '-R "span[hosts=1]"'
    if job.memory:
        memory = _in_bytes(job.memory, "B").upper()
        yield from (f"-M {memory}", f'-R "rusage[mem={memory}]"')
    if job.gpus_per_node:
        yield f'-gpu "num={job.gpus_per_node}"'
    if not math.isinf(limit):
        minutes = math.ceil(limit / 60)
        yield f"-W {minutes // 60}:{minutes % 60:02d}"
    yield from (f"{flag} {value}" for flag, value in (("-q", job.partition), ("-P", job.account)) if value)
    yield f"-o {job.log or ('%s-%%J_%%I.log' if tasks else '%s-%%J.log') % job.name}"
    yield "-r"
    if job.chain == 1:
        yield '-Q "75"'


def _in_bytes(memory: str, byte: str) -> str:
    """`32G` -> 32GB, `500` -> 500MB, as sbatch reads them."""
    return f"{memory}{byte}" if memory[-1:].isalpha() else f"{memory}M{byte}" if memory else ""


_SAVED = 'echo "$(date +%Y-%m-%dT%H:%M:%S) saved and stopped: '
SCHEDULERS = {
    "slurm": Scheduler(
        "#SBATCH",
        _slurm,
        task="$SLURM_ARRAY_TASK_ID",
        job_id="SLURM_JOB_ID",
        by_hand="sbatch FILE",
        submit='sbatch --parsable "$@" "$0"',
        after='--dependency=afterany:"${last%%;*}"',
        requeue=[
            f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_RESTARTS} ]; then',
            f'    {_SAVED}back into the queue" >&2',
            '    scontrol requeue "$SLURM_JOB_ID" && exit 0',
            "fi",
        ],
        warns=True,
        numbers_tasks=True,
    ),
    "pbs": Scheduler(  # qrerun needs the privilege of an operator
        "#PBS",
        _pbs,
        task="${PBS_ARRAY_INDEX:-0}",
        job_id="PBS_JOBID",
        by_hand="qsub FILE",
        submit='qsub "$@" "$0"',
        after='-W depend=afterany:"$last"',
        requeue=[f'{_SAVED}submit this script again, and it resumes" >&2'],
    ),
    "lsf": Scheduler(
        "#BSUB",
        _lsf,
        task="$((LSB_JOBINDEX - 1))",
        job_id="LSB_JOBID",
        by_hand="bsub < FILE",
        submit='bsub "$@" < "$0" | sed \'s/[^<]*<\\([0-9]*\\)>.*/\\1/\'',
        after='-w "ended($last)"',
        requeue=[f'{_SAVED}back into the queue, by option -Q" >&2', "code=75"],
    ),
}
