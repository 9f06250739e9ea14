"""The choice of backend and device on this machine, and the memory that the torch backend may use."""

import os
from collections.abc import Mapping
from dataclasses import replace

import torch

from iris_cli.config.observer import DEVICE_NAMES, SyntheticConfig
from iris_cli.errors import UsageError, nearest

#: Of a GPU's free memory; torch's allocator and temporary arrays need the rest.
_SHARE_OF_FREE = 0.6


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU if torch finds one, else the CPU. Raises UsageError for "cuda" without a GPU."""
    if name not in DEVICE_NAMES:
        raise UsageError(f"unknown device '{name}'", nearest(name, DEVICE_NAMES))
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UsageError("device 'cuda' is asked for, but torch finds no GPU", "use auto or cpu; see `iris doctor`")
    if not found or name == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", gpu_of_rank(os.environ, torch.cuda.device_count()))


def gpu_of_rank(environment: Mapping[str, str], count: int) -> int:
    """The GPU of this process: the ranks of a machine (torchrun's, else srun's) use its `count` GPUs in turn."""
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", ""))
    return int(local) % max(count, 1) if local.isdecimal() else 0


def choose_backend(name: str, device: str) -> tuple[str, str]:
    """The (backend, device) that compute on this machine: "auto" is torch on a GPU if torch finds one, else compiled.

    Only torch runs on a device other than the CPU. Raises UsageError for "cuda" without a GPU.
    """
    if name not in ("auto", "torch"):
        return name, "cpu"
    chosen = choose_device(device).type
    return ("torch", chosen) if name == "torch" or chosen == "cuda" else ("compiled", "cpu")


def resolve_backend(config: SyntheticConfig) -> SyntheticConfig:
    """The same with the backend and device that `auto` means on this machine, so that a record of it is complete."""
    backend, device = choose_backend(config.backend, config.device)
    return replace(config, backend=backend, device=device)


def working_memory_GiB(device: torch.device, allowed_GiB: float) -> float:
    """`allowed_GiB` on the CPU; on a GPU most of what is free there now."""
    if device.type != "cuda":
        return allowed_GiB
    free, _ = torch.cuda.mem_get_info(device)
    return _SHARE_OF_FREE * free / 2**30
