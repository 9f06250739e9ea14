"""`iris doctor`: checks this machine for everything that IRIS needs, and how fast a shard folder can be read."""

import os
import platform
import resource
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli import __version__
from iris_cli.commands import options
from iris_cli.console import emit, plural, say
from iris_cli.errors import EXIT_FAILURE, IrisError
from iris_cli.machine import cores, disk, in_bytes, memory
from shards.errors import ShardError

OK, NOTE, WRONG = "ok", "note", "WRONG"
#: Below these a run of the smallest preset may fail.
LEAST_MEMORY, LEAST_DISK, LEAST_INODES, LEAST_FILES = 2e9, 1e9, 10_000, 256
#: File systems on which many small files or renames are slow, or locks are unreliable.
SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "fuse", "afs", "9p", "cifs", "smb")
LIBRARIES = "numpy scipy h5py astropy matplotlib numba rich safetensors torchmetrics typer webdataset xxhash"
#: Variables by which torchrun, SLURM and the scripts of `iris batch` number processes.
OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
OF_QUEUE = ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_ID", "IRIS_PART")


@dataclass(frozen=True)
class Finding:
    """A topic, its state, a description, and what to do where the state is WRONG."""

    topic: str
    state: str
    what: str
    advice: str = ""


@options.command
def doctor(
    *,
    shards: Annotated[Path | None, typer.Argument(help="A shard folder to read from, as a test.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder where output will be written.")] = Path(),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to read.")] = 5.0,
    output: options.Output,
) -> None:
    """Check libraries, cores, memory, disk and variables of this machine. Exit code 1 if something is wrong.

    Examples:
        iris doctor
        iris doctor SHARDS --seconds 10
        iris doctor --out /scratch/me
    """
    findings = examine(out, shards, seconds)
    sound = all(finding.state != WRONG for finding in findings)
    if output.as_json:
        emit({"ok": sound, "findings": findings})
    else:
        for finding in findings:
            _print(f"{finding.state:<6}{finding.topic:<11}", finding.what)
            if finding.advice:
                _print(f"{'':<17}-> ", finding.advice)
    if not sound:
        raise typer.Exit(EXIT_FAILURE)


def _print(label: str, text: str) -> None:
    """In columns, within the width of the terminal; a path or a command is never broken."""
    width = max(60, shutil.get_terminal_size((80, 24)).columns)
    columns = textwrap.TextWrapper(
        width, subsequent_indent=" " * len(label), break_long_words=False, break_on_hyphens=False
    )
    say(*columns.wrap(label + text))


def examine(folder: Path, shards: Path | None, seconds: float) -> list[Finding]:
    """All findings about this process, the machine, `folder` (where output will go) and perhaps a shard folder."""
    found = [*_python(), *_libraries(), *_torch(), *_cores(os.environ), *_memory(), *_disk(folder), *_files()]
    return [*found, *launcher(os.environ), *(reading(shards, seconds) if shards else ())]


def about() -> list[str]:
    """Lines for a report of a bug: versions, and what the machine grants."""
    found = [*_python(), *_libraries(), *_torch(), *_cores(os.environ), *_memory()]
    return [f"{finding.topic:<11}{finding.what}" for finding in found]


# --- the program ------------------------------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    yield Finding("iris", OK, f"{__version__}, in {Path(__file__).parents[2]}")
    yield Finding("python", OK, f"{platform.python_version()}, {sys.executable}, {platform.platform()}")


def _libraries() -> Iterator[Finding]:
    from importlib import metadata

    versions, absent = {}, []
    for name in LIBRARIES.split():
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    yield Finding("libraries", OK, ", ".join(f"{name} {version}" for name, version in versions.items()))
    if absent:
        yield Finding("libraries", WRONG, f"not installed: {', '.join(absent)}", "reinstall IRIS: pip install .")


def _torch() -> Iterator[Finding]:
    try:
        import torch
        from torch import distributed
    except (ImportError, OSError) as error:  # also when a library that it needs is missing
        yield Finding("torch", WRONG, f"cannot be loaded: {error}", "reinstall it from the package index of PyTorch")
        return
    names = ("gloo", "nccl", "mpi") if distributed.is_available() else ()
    backends = ", ".join(name for name in names if getattr(distributed, f"is_{name}_available")()) or "none"
    yield Finding("torch", OK, f"{torch.__version__}, {torch.get_num_threads()} threads, backends {backends}")
    yield from _cuda(torch)


def _cuda(torch: Any) -> Iterator[Finding]:
    driver = Path("/proc/driver/nvidia/version").exists()
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            what = f"{torch.cuda.get_device_name(number)}, {in_bytes(free)} of {in_bytes(total)} free"
            yield Finding(f"cuda:{number}", OK, what)
            yield kernel(torch.device("cuda", number))
        nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else ""
        yield Finding("cuda", OK, f"CUDA {torch.version.cuda}, NCCL {nccl or 'absent'}")
    elif driver and torch.version.cuda is None:
        advice = "install a torch build for CUDA, or train with --device cpu"
        yield Finding("cuda", WRONG, "this machine has an NVIDIA driver, but torch was built for CPUs", advice)
    elif driver:
        advice = "request one from the queue (--gres=gpu:1); check CUDA_VISIBLE_DEVICES and nvidia-smi"
        yield Finding("cuda", WRONG, f"torch for CUDA {torch.version.cuda} sees no device", advice)
    else:
        yield Finding("cuda", NOTE, "no NVIDIA driver here: training runs on the CPU")


def kernel(device: Any) -> Finding:
    """Whether the observer's kernel works on this GPU; without it, observing is slower."""
    from iris_cli.observers.backends.torch_windows import triton_kernel_error

    why_not = triton_kernel_error(device)
    if why_not is None:
        return Finding(str(device), OK, "the observer's kernel gives the same numbers as torch")
    return Finding(str(device), NOTE, f"the observer runs without its kernel: {why_not or 'Triton is not installed'}")


# --- the machine ------------------------------------------------------------------------------------------------------


def _cores(environment: Mapping[str, str]) -> Iterator[Finding]:
    here = cores()
    quota = "" if here.quota is None else f", control group grants {here.quota:g}"
    yield Finding("cores", OK, f"{here.present} present, {here.allowed} allowed{quota}")
    asked = environment.get("OMP_NUM_THREADS", "")
    if asked and not asked.isdigit():
        yield Finding("cores", WRONG, f"OMP_NUM_THREADS = {asked!r} is not a number", "unset it")
    elif asked and int(asked) > here.usable:
        what = f"OMP_NUM_THREADS = {asked} threads on {here.usable} cores would slow each other down"
        yield Finding("cores", WRONG, what, f"export OMP_NUM_THREADS={here.usable}")
    elif not asked and here.usable < here.allowed:
        what = f"libraries would start {here.allowed} threads, but the CPU time is that of {here.usable} cores"
        yield Finding("cores", WRONG, what, f"export OMP_NUM_THREADS={here.usable}")


def _memory() -> Iterator[Finding]:
    here = memory()
    limit = "" if here.limit is None else f", limited to {in_bytes(here.limit)} by the control group or ulimit -v"
    what = f"{in_bytes(here.available)} of {in_bytes(here.total)} available{limit}"
    little = here.usable < LEAST_MEMORY
    yield Finding("memory", WRONG if little else OK, what, "request more: --mem in a batch job" if little else "")


def _disk(folder: Path) -> Iterator[Finding]:
    here = disk(folder)
    inodes = "" if here.inodes is None else f", {here.inodes:,} inodes free"
    what = f"{here.where} ({here.kind or 'unknown file system'}): {in_bytes(here.free)}{inodes}"
    if here.free < LEAST_DISK or (here.inodes is not None and here.inodes < LEAST_INODES):
        yield Finding("disk", WRONG, what, "free space, or write elsewhere; a quota may be lower still")
    elif not os.access(here.where, os.W_OK):
        yield Finding("disk", WRONG, f"{what}; it is not writable", "write elsewhere")
    elif here.kind.startswith(SHARED):
        yield Finding("disk", OK, f"{what}; shared over a network: for shards, not for thousands of small files")
    elif here.kind in ("tmpfs", "ramfs"):
        yield Finding("disk", NOTE, f"{what}; it is in memory and is lost after a restart")
    else:
        yield Finding("disk", OK, what)


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{'any number' if soft == resource.RLIM_INFINITY else soft} files may be open at once"
    few = 0 <= soft < LEAST_FILES
    yield Finding("files", WRONG if few else OK, what, f"ulimit -n {min(hard, 4096)}" if few else "")


# --- launcher ---------------------------------------------------------------------------------------------------------


def launcher(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that make a single process behave as one of many."""
    there = [f"{name}={environment[name]}" for name in (*OF_TORCHRUN, *OF_QUEUE) if name in environment]
    try:
        from iris_cli.ranks import rank_info, share_of_job

        (part, parts), rank = share_of_job(environment), rank_info(environment)
    except IrisError as error:
        yield Finding("launcher", WRONG, f"{error.message} ({', '.join(there)})", error.hint)
        return
    except ImportError:
        return  # reported by _torch
    listed = ", ".join(there)
    if rank.size > 1 and "TORCHELASTIC_RUN_ID" not in environment and "SLURM_STEP_NUM_TASKS" not in environment:
        wait = f"neither torchrun nor srun started this process: a command would wait for {rank.size - 1} others"
        yield Finding("launcher", WRONG, f"{listed}, but {wait}", f"unset {' '.join(OF_TORCHRUN)} MASTER_PORT")
    elif there:
        what = f"part {part + 1} of {parts} of a set, rank {rank.rank} of {rank.size} in training: {listed}"
        yield Finding("launcher", OK, what)
    else:
        yield Finding("launcher", OK, "none: commands run in one process")


# --- reading ----------------------------------------------------------------------------------------------------------


def reading(folder: Path, seconds: float) -> Iterator[Finding]:
    """Reads and decodes samples from random places of a data set for `seconds`, with their checksums."""
    import numpy as np

    from shards.index import Index
    from shards.reader import Reader

    try:
        index = Index.open(folder)
        reader, start, done, volume = Reader(index), time.monotonic(), 0, 0
        if index.count() == 0:
            yield Finding("reading", WRONG, f"{folder} holds no sample", "write it again with `iris preobserve`")
            return
        for number in np.random.default_rng(0).permutation(index.count()):
            volume += sum(array.nbytes for array in reader.read_new(int(number)).values())
            done += 1
            if time.monotonic() - start > seconds:
                break
    except ShardError as error:
        yield Finding("reading", WRONG, error.message, error.hint or f"iris shards verify {folder}")
        return
    took = max(time.monotonic() - start, 1e-9)
    read = f"{done} of {plural(index.count(), 'sample')} in {took:.1f} s, {done / took:.3g}/s"
    yield Finding("reading", OK, f"{folder}: {read}, {in_bytes(volume / took)}/s in memory, on one thread")
