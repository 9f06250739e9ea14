"""Training on one process or many: the only module that uses torch.distributed.

A `World` holds the rank of this process and the collectives; with a single process they do nothing. It is created from
the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) or that srun sets (SLURM_*).
`launch` starts the processes.
"""

import logging
import os
import shlex
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from iris_cli import signals
from iris_cli.console import log
from iris_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_REQUEUE, IrisError, UsageError
from iris_cli.ranks import RankInfo, rank_info
from iris_cli.signals import ignored_under_nohup
from shards.errors import ShardError

#: A collective that takes longer fails: a rank was lost.
TIMEOUT = timedelta(minutes=10)
#: A rank that waits longer for the others to start reports it.
REPORT_AFTER_S = 20.0


class CPUGroup:
    """A gloo process group of all ranks. Its collectives are on the CPU and do not wait for a GPU.

    gloo's threads keep the tensor of a collective for a moment after its end. If theirs is the last reference, they
    need the GIL to free it; with torch 2.6 the destructor of a group waits for these threads while it holds the GIL: a
    deadlock. Therefore all collectives use buffers of this object, which outlive the group, and `close` destroys it.
    """

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo")
        self._buffers: dict[tuple[torch.dtype, int], Tensor] = {}

    def all_reduce(self, values: Tensor, op: Any = dist.ReduceOp.SUM) -> Tensor:
        """In place, on a CPU tensor."""
        count = values.numel()
        buffer = self._buffer(values.dtype, count)
        buffer[:count] = values.flatten()
        buffer[count:] = 0
        dist.all_reduce(buffer, op=op, group=self._group)
        return values.copy_(buffer[:count].view_as(values))

    def _buffer(self, dtype: torch.dtype, count: int) -> Tensor:
        """One buffer per dtype and power of two, so that there are only a few."""
        key = dtype, 1 << max(count - 1, 0).bit_length()
        if key not in self._buffers:
            self._buffers[key] = torch.empty(key[1], dtype=dtype)
        return self._buffers[key]

    def close(self) -> None:
        """Destroy the group. There must be no other reference to it: see `release_frames`."""
        group, self._group = self._group, None
        if group is not None:
            dist.destroy_process_group(group)


def release_frames(error: BaseException) -> None:
    """Drop the local variables in an error's traceback: after a failed collective, the process group is among them."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


@dataclass(frozen=True)
class World:
    """The rank of this process among `size`, and collectives. Only rank 0 prints and writes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    #: None for a single process.
    group: CPUGroup | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over all ranks, in place, of a float64 CPU tensor."""
        return self.group.all_reduce(values) if self.group else values

    def max(self, number: int) -> int:
        """The maximum over all ranks: how ranks agree on a signal or a failure."""
        if self.group is None:
            return number
        return int(self.group.all_reduce(torch.tensor([number]), dist.ReduceOp.MAX))

    def max_tensor(self, values: Tensor) -> Tensor:
        """Element-wise maximum over all ranks, in place and on the tensor's device, without waiting for a GPU."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: Tensor, op: Any) -> Tensor:
        if self.group and values.is_cuda:
            dist.all_reduce(values, op=op)
        elif self.group:
            self.group.all_reduce(values, op)
        return values

    def on_rank_0(self, action: Callable[[], object]) -> None:
        """Call `action` on rank 0 while the others wait. If it fails, they exit with its code, without a message."""
        failed: BaseException | None = None
        if self.is_main:
            try:
                action()
            except (IrisError, ShardError, OSError) as error:
                failed = error
        code = self.max(0 if failed is None else getattr(failed, "exit_code", EXIT_FAILURE))
        if failed is not None:
            raise failed
        if code:
            raise SystemExit(code)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module on the device; with several ranks, wrapped so that gradients are averaged over them."""
        module = module.to(self.device)
        if self.size == 1:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        ids = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        wrapped.broadcast_buffers = False  # `average_buffers` uses those of all ranks, not of rank 0 only
        return wrapped

    def average_buffers(self, module: nn.Module) -> None:
        """Replace running statistics by their mean over the ranks, without waiting for a GPU."""
        floats = [b for b in module.buffers() if b.is_floating_point() and b.dim() > 0]
        if self.size == 1 or not floats:
            return
        flat = torch.cat([b.flatten().double() for b in floats])
        mean = self._reduced(flat, dist.ReduceOp.SUM) / self.size
        for buffer, values in zip(floats, mean.split([b.numel() for b in floats]), strict=True):
            buffer.copy_(values.view_as(buffer))


def unwrap(module: nn.Module) -> nn.Module:
    """The module without wrappers: DistributedDataParallel, DataParallel, torch.compile."""
    while isinstance(module, (DistributedDataParallel, nn.DataParallel)) or hasattr(module, "_orig_mod"):
        module = module.module if hasattr(module, "module") else module._orig_mod  # type: ignore[assignment]
    return module


def no_sync(module: nn.Module) -> AbstractContextManager[None]:
    """A block around a forward *and* its backward, whose gradients are not averaged over the ranks yet."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


# --- the process group ------------------------------------------------------------------------------------------------


def pick_device(name: str, local: int) -> torch.device:
    """`auto` is CUDA where available. UsageError when CUDA is requested and not available."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device '{name}'", "auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        hint = "--device cpu, or a torch build and driver for CUDA"
        raise UsageError("CUDA was requested, but torch finds none", hint)
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local % torch.cuda.device_count())


@contextmanager
def world(
    device: str = "auto", startup: bool = True, cleanup: bool = True, while_waiting: Callable[[], None] = lambda: None
) -> Iterator[World]:
    """Join the process group, and leave it at the end. Without `startup` it must exist already.

    A group that the caller has created is not destroyed. While this rank waits for the others, `while_waiting` is
    called and may raise.
    """
    info = rank_info(os.environ)
    where = pick_device(device, info.local)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if info.size == 1 and not dist.is_initialized():
        yield World(device=where)
        return
    if startup and not dist.is_initialized():
        _join(info, where, while_waiting)
    group, rank = CPUGroup(), dist.get_rank()
    try:
        yield World(rank, dist.get_world_size(), where, group)
    except RuntimeError as error:
        release_frames(error)
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        what = f"rank {rank} has lost another rank"
        raise IrisError(what, "see the error message or the log of that rank") from error
    finally:
        group.close()
        if cleanup and _joined.here:
            dist.destroy_process_group()
            _joined.here = False


@dataclass
class _Joined:
    """The groups that `world` has created in this process."""

    #: Whether the present one is among them, and how many there were: each uses keys of its own in the store.
    here: bool = False
    times: int = 0
    #: Of all groups: the ranks of a second group would still meet the first one's store while that closes.
    store: Any = None


_joined = _Joined()


def _join(info: RankInfo, device: torch.device, while_waiting: Callable[[], None]) -> None:
    if "MASTER_ADDR" not in os.environ:
        os.environ.update(_slurm_rendezvous(os.environ))
    who = f"rank {info.rank} of {info.size}"
    host, port = os.environ["MASTER_ADDR"], os.environ.get("MASTER_PORT")
    waits = f"{who} waits for the others at {host}, port {port}"
    try:
        _in_thread(partial(_resolve, host), f"{who}: {host} is not known yet", while_waiting)
        _in_thread(partial(_create_group, info, device), waits, while_waiting)
    except OSError as error:
        what = f"{who}: MASTER_ADDR = '{host}' is not the name of a machine: {error.strerror}"
        raise IrisError(what, "export MASTER_ADDR=NAME, the machine of rank 0") from None
    except (RuntimeError, ValueError) as error:
        what = f"{who} could not join the others at {host}, port {port}: {str(error).strip().splitlines()[0]}"
        raise IrisError(what, "are all ranks started, and is the port open between the nodes?") from None


def _create_group(info: RankInfo, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)  # of this thread
    if _joined.store is None:
        _joined.store, *_ = next(rendezvous("env://", info.rank, info.size, timeout=TIMEOUT))
    store = PrefixStore(f"iris-{_joined.times}", _joined.store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=info.rank, world_size=info.size, timeout=TIMEOUT)
    _joined.here, _joined.times = True, _joined.times + 1


def _resolve(host: str) -> None:
    """OSError when the name of a machine stays unknown. Some clusters publish the names of a job's machines late."""
    for wait_s in (1.0, 2.0, 4.0, 8.0, None):
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError:
            if wait_s is None:
                raise
            time.sleep(wait_s)


def _in_thread(function: Callable[[], None], waits: str, while_waiting: Callable[[], None]) -> None:
    """Call a function that blocks; this thread still handles signals, which it could not within torch.

    `waits` is printed, on every rank, when it takes long. If `while_waiting` raises, the function is abandoned.
    """
    failed: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    report = time.monotonic() + REPORT_AFTER_S
    while thread.is_alive():
        thread.join(0.1)
        while_waiting()
        if time.monotonic() > report:
            report += 60.0
            log(waits, every_rank=True)
    if failed:
        raise failed[0]


def _slurm_rendezvous(environment: Mapping[str, str]) -> dict[str, str]:
    """The first node of the SLURM step, and a port that all of its tasks compute from the job number."""
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", socket.gethostname()))
    port = 20_000 + int(environment.get("SLURM_JOB_ID", "0")) % 20_000
    return {"MASTER_ADDR": first_node(nodes), "MASTER_PORT": environment.get("MASTER_PORT", str(port))}


def first_node(nodes: str) -> str:
    """The first name in a compressed list of SLURM: `gpu07` for `gpu[07-09,12],cpu1`."""
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    return head + rest.replace("]", ",").replace("-", ",").split(",")[0]


# --- the launcher -----------------------------------------------------------------------------------------------------

#: Options of torchrun that set a rendezvous; without any, it is on this machine.
_RENDEZVOUS = ("--rdzv", "--nnodes", "--master", "--standalone", "--node")

#: Signals that torchrun forwards to its ranks, and others at which a run can save, which `launch` forwards.
_FORWARDED_BY_TORCHRUN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_ALSO_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


@contextmanager
def _restored() -> Iterator[None]:
    """Restore what torchrun changes in a process that continues afterwards."""
    root = logging.getLogger()
    environment, disabled, level, handlers = dict(os.environ), root.manager.disable, root.level, list(root.handlers)
    signals_here = (*_FORWARDED_BY_TORCHRUN, *_ALSO_FORWARDED) if _in_main_thread() else ()
    before = {number: signal.getsignal(number) for number in signals_here}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # a handler that was not set from Python cannot be
                signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


@_restored()
def launch(ranks: int, arguments: list[str], more: Sequence[str] = ()) -> int:
    """Run `python -m iris_cli ARGUMENTS` on `ranks` processes of this machine (torchrun, in process).

    `more` are options of torchrun itself: nodes, rendezvous, logs. Signals are forwarded to the ranks, which have 30 s
    to save and exit. Signal handlers, environment and logging are restored afterwards. Returns the exit code.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import get_args_parser, parse_args, run

    logging.disable(logging.ERROR)  # of torchrun: each rank reports its errors itself
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    if _in_main_thread():
        for number in _ALSO_FORWARDED:
            signal.signal(number, _forward)
    rendezvous = [] if any(option.startswith(_RENDEZVOUS) for option in more) else ["--standalone"]
    names = ",".join(number.name for number in _FORWARDED_BY_TORCHRUN if not ignored_under_nohup(number))
    option = "--signals-to-handle"  # of newer releases of torchrun
    handled = [f"{option}={names}"] if option in get_args_parser().format_help() else []
    options = [*rendezvous, *handled, f"--nproc-per-node={ranks}", *more, "-m", "iris_cli", *arguments]
    with TemporaryDirectory(prefix="iris-") as folder:
        os.environ.update({signals.NOTES_FOLDER: folder, signals.LAUNCHER_PID: str(os.getpid())})
        try:
            run(parse_args(options))
        except ChildFailedError as failed:
            codes = [failure.exitcode for failure in failed.failures.values()]
            return next((code for code in codes if code > 0), EXIT_FAILURE)  # negative: stopped because of another rank
        except ValueError as error:  # raised by torchrun itself
            raise UsageError(f"torchrun refuses '{shlex.join(more)}': {error}", "see torchrun --help") from None
        except RendezvousError as error:
            hint = "is the address in --torchrun right, and its port open between the nodes?"
            raise IrisError(f"the ranks could not join: {str(error).partition('. ')[0]}", hint) from None
        except SignalException as stopped:
            return _after_signal(stopped.sigval, {path.name for path in Path(folder).iterdir()})
    return 0


def _in_main_thread() -> bool:
    """Whether signal handlers may be set."""
    return threading.current_thread() is threading.main_thread()


def _forward(number: int, frame: FrameType | None) -> None:
    """Forward a signal to the ranks, as torchrun does with its own."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    raise SignalException(f"signal {number}", signal.Signals(number))


def _after_signal(number: signal.Signals, notes: set[str]) -> int:
    """The exit code, by the notes of the ranks. A job that is pre-empted while it starts should start again."""
    if signals.STOPPED in notes:
        return EXIT_REQUEUE
    if signals.BEGUN in notes or number == signal.SIGINT:
        return EXIT_INTERRUPTED
    log("stopped by a signal; start again")
    return EXIT_REQUEUE
