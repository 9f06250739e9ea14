"""What is asked of a cluster under SLURM: one file for all jobs of a site."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iris_cli.errors import UsageError

#: sbatch's own: minutes, m:ss, h:mm:ss, d-h, d-h:mm, d-h:mm:ss; and its words for no limit.
_TIME = re.compile(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(\d+)|(\d+):(\d+)|(\d+):(\d+):(\d+))")
_ENDLESS = ("unlimited", "infinite")
_MEMORY = re.compile(r"\d+[KMGT]?", re.I)


def seconds(time: str) -> float:
    """What sbatch takes a duration for. UsageError for what it would refuse."""
    if time.lower() in _ENDLESS:
        return float("inf")
    found = _TIME.fullmatch(time)
    if not found:
        raise UsageError(f"slurm: time = '{time}' is no duration", "h:mm:ss, or d-h:mm:ss")
    d, h, m, s, minutes, m2, s2, h3, m3, s3 = (float(part or 0) for part in found.groups())
    return 60.0 * (60.0 * (24.0 * d + h + h3) + m + minutes + m2 + m3) + s + s2 + s3


@dataclass(frozen=True)
class SlurmConfig:
    """What is left out is chosen by the job: `iris slurm preobserve` takes no GPU, `iris slurm train` one."""

    #: Queue.
    partition: str = ""
    #: Whose budget.
    account: str = ""
    #: Longest duration of one start, h:mm:ss; a job goes on after it.
    time: str | None = None
    #: Cores of each node.
    cpus: int | None = None
    #: Memory of each node: "32G".
    memory: str = ""
    #: Tasks that share the work of `iris slurm preobserve`.
    array: int = 8
    #: Of them, so many at the same time; 0: as many as the cluster lets.
    at_once: int = 0
    #: Machines of a training or a test.
    nodes: int = 1
    gpus_per_node: int = 1
    #: Left out: one for each GPU.
    ranks_per_node: int | None = None
    #: Of the job.
    name: str | None = None
    #: Log file, appended to.
    log: str = ""
    #: Seconds before the end to save and stop.
    lead_s: int = 120
    #: Further options of sbatch, as on its command line.
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (
            ("array", 1),
            ("at_once", 0),
            ("nodes", 1),
            ("gpus_per_node", 0),
            ("ranks_per_node", 1),
            ("cpus", 1),
            ("lead_s", 10),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"slurm: {name} = {value}; it must be {least} or more")
        if self.time is not None and seconds(self.time) <= self.lead_s:
            raise UsageError(
                f"slurm: time = '{self.time}' is over before the {self.lead_s} s that a job has to save",
                "plain numbers are minutes; write h:mm:ss",
            )
        if self.memory and not _MEMORY.fullmatch(self.memory):
            raise UsageError(
                f"slurm: memory = '{self.memory}' is no amount of memory", "a number with K, M, G or T: 32G"
            )
