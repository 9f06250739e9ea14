"""Which rank a process is, from the variables of torchrun and srun; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from iris_cli.errors import UsageError


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
        found = _rank_info(environment, ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if found.size > 1 and "MASTER_ADDR" not in environment:
            raise UsageError(
                f"WORLD_SIZE = {found.size} and RANK = {found.rank} are set without MASTER_ADDR: they look left over",
                "unset RANK and WORLD_SIZE, or start with torchrun",
            )
        return found
    if environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _rank_info(environment, ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
    return RankInfo()


def _rank_info(environment: Mapping[str, str], names: tuple[str, str, str]) -> RankInfo:
    values = []
    for name in names:
        text = environment.get(name, "0" if name == names[2] else None)
        if text is None or not text.isdigit():
            raise UsageError(f"environment variable {name} = {text!r} is no number", f"unset {', '.join(names)}")
        values.append(int(text))
    found = RankInfo(*values)
    if found.rank >= found.size:
        raise UsageError(
            f"{names[0]} = {found.rank} is not below {names[1]} = {found.size}", f"unset {', '.join(names)}"
        )
    return found


def is_rank_0() -> bool:
    """Whether this process is rank 0, the only one that prints."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"
