"""What is asked of a cluster under SLURM: one file for all jobs of a site."""

from __future__ import annotations

from dataclasses import dataclass

from iris_cli.errors import UsageError


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
        for name, least in (("array", 1), ("at_once", 0), ("nodes", 1), ("gpus_per_node", 0), ("ranks_per_node", 1),
                            ("cpus", 1), ("lead_s", 10)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"slurm: {name} = {value}; it must be {least} or more")
