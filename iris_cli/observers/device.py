"""Which backend does the work, where torch works and in how much memory, and whether Triton's kernel runs there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec

import torch

from iris_cli.config.observer import DEVICE_NAMES, SyntheticConfig
from iris_cli.console import warn
from iris_cli.errors import UsageError, nearest

#: Of a GPU's free memory; torch's allocator and the pieces between two steps need the rest.
_SHARE_OF_FREE = 0.6


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where torch finds one, else the CPU. UsageError for "cuda" without a GPU."""
    if name not in DEVICE_NAMES:
        raise UsageError(f"unknown device '{name}'", nearest(name, DEVICE_NAMES))
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UsageError("device 'cuda' is asked for, but torch finds no GPU", "auto or cpu; `iris doctor` says more")
    if not found or name == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", gpu_of_rank(os.environ, torch.cuda.device_count()))


def gpu_of_rank(environment: Mapping[str, str], count: int) -> int:
    """The ranks of a machine (torchrun's, else srun's) take its `count` GPUs in turn."""
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", ""))
    return int(local) % max(count, 1) if local.isdecimal() else 0


def choose_backend(name: str, device: str) -> tuple[str, str]:
    """(backend, device) that do the work on this machine: "auto" is torch on a GPU where torch finds one, else the
    compiled form. Only torch has a device other than the CPU. UsageError for "cuda" without a GPU.
    """
    if name not in ("auto", "torch"):
        return name, "cpu"
    there = choose_device(device).type
    return ("torch", there) if name == "torch" or there == "cuda" else ("compiled", "cpu")


def settled(config: SyntheticConfig) -> SyntheticConfig:
    """The same with the backend and device that `auto` stands for here, so that a record of it says who computed."""
    backend, device = choose_backend(config.backend, config.device)
    return replace(config, backend=backend, device=device)


def working_memory_GiB(device: torch.device, allowed_GiB: float) -> float:
    """What is allowed, on the CPU; on a GPU most of what is free there now."""
    if device.type != "cuda":
        return allowed_GiB
    free, _ = torch.cuda.mem_get_info(device)
    return _SHARE_OF_FREE * free / 2**30


@lru_cache
def kernel_runs(device: torch.device) -> bool:
    """Whether Triton is installed and its kernel passes its trial on this GPU; a line says why not."""
    why_not = kernel_trouble(device)
    if why_not:
        warn(f"the observer's GPU kernel cannot be used here, torch's operations are, more slowly: {why_not}")
    return why_not is None


@lru_cache
def kernel_trouble(device: torch.device) -> str | None:
    """None where the kernel passes its trial; else what is against it in a line, "" where Triton is not installed."""
    if find_spec("triton") is None:
        return ""
    try:
        from iris_cli.observers.backends import triton_kernel

        triton_kernel.try_out(device)
    except Exception as error:  # a GPU that is too old, no C compiler, wrong spectra: torch's operations do the work
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None
