"""Which rank a process is, and its share of a job, by the variables of its launcher; imports no torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iris_cli.errors import UsageError

#: Variables of rank, world size and rank on this machine. `SLURM_STEP_NUM_TASKS` rather than `SLURM_NTASKS` counts the
#: tasks of srun: the latter is also set in a batch script that runs once.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT")
#: Part of a job and number of parts: the scripts of `iris batch` set them, on any queue.
_PART = ("IRIS_PART", "IRIS_PARTS")


@dataclass(frozen=True)
class RankInfo:
    """Rank, world size and rank on this machine, from the environment."""

    rank: int = 0
    size: int = 1
    local: int = 0


def rank_info(environment: Mapping[str, str]) -> RankInfo:
    """The rank by torchrun's variables, else by srun's.

    UsageError when the variables are incomplete, or describe ranks that cannot meet.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        found = _rank_info(environment, _TORCHRUN)
        if found.size > 1 and "MASTER_ADDR" not in environment:
            both = f"WORLD_SIZE = {found.size} and RANK = {found.rank}"
            what = f"{both} are set without MASTER_ADDR: they look left over"
            raise UsageError(what, "unset RANK and WORLD_SIZE, or start with torchrun")
        return found
    if environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _rank_info(environment, _SRUN)
    return RankInfo()


def _rank_info(environment: Mapping[str, str], names: tuple[str, str, str]) -> RankInfo:
    found = RankInfo(*(_integer({names[2]: "0", **environment}, name, names) for name in names))
    if found.rank >= found.size:
        what = f"{names[0]} = {found.rank} is not below {names[1]} = {found.size}"
        raise UsageError(what, f"unset {', '.join(names)}")
    return found


def _integer(environment: Mapping[str, str], name: str, names: Sequence[str]) -> int:
    text = environment.get(name)
    if text is None or not text.isdigit():
        raise UsageError(f"environment variable {name} = {text!r} is not a number", f"unset {', '.join(names)}")
    return int(text)


def share_of_job(environment: Mapping[str, str]) -> tuple[int, int]:
    """(rank, world) of this process among torchrun ranks or srun tasks, times the tasks of a job array.

    These processes write parts of one data set and never communicate. UsageError when the ids of an array are not
    evenly spaced, so that the parts are not known.
    """
    both = (names for names in (_TORCHRUN, _SRUN) if names[0] in environment and names[1] in environment)
    names = next(both, None)
    found = _rank_info(environment, names) if names else RankInfo()
    if _PART[0] in environment:
        part, parts = (_integer(environment, name, _PART) for name in _PART)
        if part >= parts:
            raise UsageError(f"IRIS_PART = {part} is not below IRIS_PARTS = {parts}", "unset both")
        return part * found.size + found.rank, parts * found.size
    if _ARRAY[0] not in environment:
        return found.rank, found.size
    task, first, last, count = (_integer(environment, name, _ARRAY) for name in _ARRAY)
    step, rest = divmod(last - first, count - 1) if count > 1 else (1, 0)
    if rest or (task - first) % max(step, 1):
        what = f"the {count} ids of this SLURM array ({first} to {last}) are not evenly spaced"
        raise UsageError(what, "use --array=0-N")
    return (task - first) // max(step, 1) * found.size + found.rank, count * found.size


def is_rank_0() -> bool:
    """Whether this process is rank 0, the only one that prints."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"
