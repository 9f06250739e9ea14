"""What a batch job requests from its queue: one file for all jobs of a site."""

import re
from dataclasses import dataclass

from iris_cli.config.setting import Checked, panel
from iris_cli.errors import UsageError

#: Durations of sbatch: minutes, m:ss, h:mm:ss, d-h, d-h:mm, d-h:mm:ss; and its words for no limit.
_TIME = re.compile(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(\d+)|(\d+):(\d+)|(\d+):(\d+):(\d+))")
_ENDLESS = ("unlimited", "infinite")
_MEMORY = re.compile(r"\d+[KMGT]?", re.I)
of_job = panel("Job")


def seconds(time: str) -> float:
    """A duration as sbatch reads it. UsageError for text that sbatch would refuse."""
    if time.lower() in _ENDLESS:
        return float("inf")
    found = _TIME.fullmatch(time)
    if not found:
        raise UsageError(f"batch: time = '{time}' is not a duration", "write h:mm:ss or d-h:mm:ss")
    d, h, m, s, minutes, m2, s2, h3, m3, s3 = (float(part or 0) for part in found.groups())
    return 60.0 * (60.0 * (24.0 * d + h + h3) + m + minutes + m2 + m3) + s + s2 + s3


@dataclass(frozen=True)
class BatchConfig(Checked, where="batch: "):
    """Values that are left out depend on the job: `iris batch ingest` requests no GPU, `iris batch train` one."""

    scheduler: str = of_job("slurm", "Queueing system.", "--scheduler", choices=("slurm", "pbs", "lsf"))
    partition: str = of_job("", "Queue.", "--partition", "-p")
    account: str = of_job("", "Account that is charged.", "--account", "-A")
    time: str | None = of_job(None, "Time limit of one start, h:mm:ss.", "--time", "-t", unset="24 h; test: 4 h")
    cpus: int | None = of_job(None, "Cores of each node.", "--cpus", least=1, unset="4; training and test: 8")
    memory: str = of_job("", "Memory of each node, e.g. 32G.", "--mem")
    array: int = of_job(8, "Tasks that share an ingestion or a pre-observation.", "--array", least=1)
    at_once: int = of_job(0, "Tasks that run at the same time; 0: as many as the cluster allows.", "--at-once", least=0)
    nodes: int = of_job(1, "Nodes of a training or a test; torchrun joins their ranks.", "--nodes", least=1)
    gpus_per_node: int = of_job(1, "GPUs of each node.", "--gpus", least=0)
    ranks_per_node: int | None = of_job(None, "Ranks of each node.", "--ranks", least=1, unset="one for each GPU")
    name: str | None = of_job(None, "Name of the job.", "--name", unset="iris-COMMAND")
    log: str = of_job("", "Log file, appended to; its folder must exist.", "--log", unset="NAME-ID.log")
    lead_s: int = of_job(120, "Seconds before the time limit at which the job saves and stops.", "--lead", least=10)
    chain: int = of_job(
        1,
        "Jobs that `bash job.sh` submits, each after the one before, where jobs cannot be requeued.",
        "--chain",
        least=1,
    )
    directives: tuple[str, ...] = of_job(
        (), "Further option in the header, e.g. --directive=--qos=long; may be repeated.", "--directive"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time is not None and seconds(self.time) <= self.lead_s:
            message = f"batch: time = '{self.time}' is not longer than the {self.lead_s} s that a job has to save"
            raise UsageError(message, "plain numbers are minutes; write h:mm:ss")
        if self.memory and not _MEMORY.fullmatch(self.memory):
            hint = "write a number with K, M, G or T: 32G"
            raise UsageError(f"batch: memory = '{self.memory}' is not an amount of memory", hint)
