"""Batch scripts for SLURM: a command and what it asks of the cluster in, a complete sbatch script out.

All scripts go about it in the same way. The work runs in the background, so that the shell hears signals: SLURM's own
some time before the end (`--signal=B:USR1@…`), or the TERM of a pre-emption. The shell passes them on, the work saves
and ends with exit code 75, and the job goes back into the queue, where it will take up what was saved.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iris_cli.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, UsageError

#: A job that was sent back so often is not being pre-empted, it is broken.
MOST_RESTARTS = 100
#: `-w 4`, `-w4`, `-qw4`: the option's short form, alone or joined to its value and to flags.
_WORKERS = re.compile(r"-[qv]*w(\d.*|=.*)?")


@dataclass(frozen=True)
class Request:
    """What is asked of the cluster. `array` tasks share the shards of a set, `nodes` the batches of a training."""

    array: int = 0
    at_once: int = 0
    nodes: int = 1
    gpus_per_node: int = 0
    ranks_per_node: int = 1
    cpus: int = 4
    memory: str = ""
    time: str = "24:00:00"
    partition: str = ""
    account: str = ""
    name: str = "iris"
    log: str = ""
    lead_s: int = 120
    #: Further options of sbatch, as on its command line.
    sbatch: tuple[str, ...] = ()

    def directives(self) -> Iterator[str]:
        """The #SBATCH lines. UsageError for what cannot stand in one."""
        log = self.log or ("%x-%A_%a.log" if self.array else "%x-%j.log")
        array = f"0-{self.array - 1}{f'%{self.at_once}' if self.at_once else ''}" if self.array else ""
        asked = {
            "job-name": self.name,
            "array": array,
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "gpus-per-node": self.gpus_per_node or "",
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "output": log,
            "open-mode": "append",
            "signal": f"B:USR1@{self.lead_s}",
        }
        yield from (f"#SBATCH --{name}={_directive(str(value))}" for name, value in asked.items() if value != "")
        yield "#SBATCH --requeue"
        yield from (f"#SBATCH {_directive(option)}" for option in self.sbatch)


def _directive(value: str) -> str:
    """sbatch reads these lines itself, with quotes of its own; the shell sees comments."""
    if re.search(r"[\n\r\"'\\]", value):
        raise UsageError(f"{value!r} cannot stand in a line of #SBATCH", "without quotes, backslashes and line breaks")
    return f'"{value}"' if re.search(r"[\s#]", value) else value


# --- the three jobs ---------------------------------------------------------------------------------------------------


def preobserve(words: Sequence[str], request: Request, out: Path) -> str:
    """`words` are those of `iris preobserve`. Array tasks divide the shards of `out`; the last to finish closes it."""
    many = (
        ()
        if _given(words, "--workers") or any(_WORKERS.fullmatch(word) for word in words)
        else ("--workers", Raw('"${SLURM_CPUS_PER_TASK:-1}"'))
    )
    first, again = _restartable(words, "--resume")
    if "--overwrite" not in words:
        first = again
    body = _work(["preobserve", *first, *many], ["preobserve", *again, *many])
    closing = (
        "# Whoever finishes last writes index.json. If it is missing when all have ended, look at the logs, then:",
        f"#   {_line([*_iris(), 'shards', 'merge', str(out)])}",
    )
    threads = "export OMP_NUM_THREADS=1  # the workers share the cores already"
    return _script("preobserve", words, request, [threads, *body], closing)


def train(words: Sequence[str], request: Request) -> str:
    """`words` are those of `iris train`. Several nodes: srun starts a torchrun on each, and they join their ranks."""
    first, again = _restartable(words, "--resume", "auto")
    return _script("train", words, request, _ranks("train", first, again, request))


def test(words: Sequence[str], request: Request) -> str:
    """`words` are those of `iris test`. A test that is stopped begins anew."""
    return _script("test", words, request, _ranks("test", words, words, request))


test.__test__ = False  # type: ignore[attr-defined]


class Raw(str):
    """A word that the shell is meant to expand."""


def _restartable(words: Sequence[str], *resume: str) -> tuple[list[str], list[str]]:
    """The words for the first start, as given, and for those after it: not overwriting, but going on."""
    kept = [word for word in words if word != "--overwrite"]
    return list(words), kept if _given(words, "--resume") else [*kept, *resume]


def _given(words: Iterable[str], *options: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words for option in options)


def _ranks(command: str, first: Sequence[str], again: Sequence[str], request: Request) -> list[str]:
    threads = f"export OMP_NUM_THREADS={max(1, request.cpus // request.ranks_per_node)}  # for each rank"
    if request.nodes == 1:
        ranks = ["--nproc-per-node", str(request.ranks_per_node)] if request.ranks_per_node > 1 else []
        return [threads, *_work([command, *first, *ranks], [command, *again, *ranks])]
    meeting = (
        f"--nnodes={request.nodes} --rdzv-backend=c10d --rdzv-endpoint=$head:$port "
        "--rdzv-id=$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
    )
    ranks = ["--nproc-per-node", str(request.ranks_per_node), "--torchrun", Raw(f'"{meeting}"')]
    srun = ["srun", Raw('--cpus-per-task="${SLURM_CPUS_PER_TASK:-1}"')]
    return [
        threads,
        "# Where the ranks of all nodes meet.",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "port=$((20000 + SLURM_JOB_ID % 20000))",
        *_work([command, *first, *ranks], [command, *again, *ranks], srun),
    ]


def _iris() -> list[str]:
    return [sys.executable, "-m", "iris_cli"]


def _work(first: Sequence[str], again: Sequence[str], launcher: Sequence[str] = ()) -> list[str]:
    """Start the work: as it was asked for, and after a restart so that it goes on."""
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
        raise UsageError(f"{word!r} cannot stand in a batch script", "name it without control characters")
    return shlex.quote(word)


# --- what all scripts share -------------------------------------------------------------------------------------------

_HEAR = """
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
# A wait that a signal ended is no end of the work.
while :; do
    before=$signals
    wait "$!"
    code=$?
    [ "$signals" -eq "$before" ] && break
done
# {interrupted} is what nodes without rank 0 end with after a signal: it is rank 0 that saved.
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
    command: str, words: Sequence[str], request: Request, work: Sequence[str], closing: Sequence[str] = ()
) -> str:
    parts = [
        ["#!/bin/bash", f"# Runs: {_line(['iris', command, *words])}", *request.directives()],
        list(_environment(os.environ)),
        [f"cd {_quoted(str(Path.cwd()))} || exit 1"],
        [_HEAR.format(requeue=EXIT_REQUEUE)],
        list(work),
        [_END.format(requeue=EXIT_REQUEUE, interrupted=EXIT_INTERRUPTED, most=MOST_RESTARTS)],
        list(closing),
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts if part) + "\n"


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    """As comments: what was loaded where the script was written, for the site's own lines."""
    yield "# Modules and environment of your site, where those of the login shell do not come along:"
    modules = [name for name in environment.get("LOADEDMODULES", "").split(":") if name]
    yield f"# module load {' '.join(map(_quoted, modules)) or '…'}"
    for name, how in (("VIRTUAL_ENV", "source {}/bin/activate"), ("CONDA_PREFIX", "conda activate {}")):
        if name in environment:
            yield "# " + how.format(_quoted(environment[name]))
