"""One process or many: the only module that touches torch.distributed.

A `World` says who we are. It comes from the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
MASTER_PORT) or that srun sets (SLURM_*), and its methods are no-ops in a world of one.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from iris_cli import signals
from iris_cli.console import log
from iris_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_REQUEUE, IrisError, UsageError
from iris_cli.ranks import RankInfo, rank_info
from iris_cli.signals import ignored_under_nohup

#: A collective that takes longer has lost a rank.
TIMEOUT = timedelta(minutes=10)


class Control:
    """Messages between all ranks through the CPU, so that asking costs no wait for the device.

    gloo's threads keep a message's tensor for a moment after it was answered. Where that is the last reference they
    need Python's lock to drop it, and with torch 2.6 the end of a group waits for them while it holds that lock: for
    ever. So every message travels in a tensor of ours, which outlives the group, and the group ends where we say.
    """

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo")
        self._sheets: dict[tuple[torch.dtype, int], Tensor] = {}

    def all_reduce(self, values: Tensor, op: Any = dist.ReduceOp.SUM) -> Tensor:
        """In place of a tensor on the CPU."""
        count = values.numel()
        sheet = self._sheet(values.dtype, count)
        sheet[:count] = values.flatten()
        sheet[count:] = 0
        dist.all_reduce(sheet, op=op, group=self._group)
        return values.copy_(sheet[:count].view_as(values))

    def _sheet(self, dtype: torch.dtype, count: int) -> Tensor:
        """One for each power of two, so that they stay few."""
        key = dtype, 1 << max(count - 1, 0).bit_length()
        if key not in self._sheets:
            self._sheets[key] = torch.empty(key[1], dtype=dtype)
        return self._sheets[key]

    def close(self) -> None:
        """End the group now. Nobody else may hold it: see `release_frames`."""
        group, self._group = self._group, None
        if group is not None:
            dist.destroy_process_group(group)


def release_frames(error: BaseException) -> None:
    """Let go of what an error's finished calls have held: a group among it, if a message failed."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


@dataclass(frozen=True)
class World:
    """This process among `size`; only rank 0 prints and writes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    #: None in a world of one.
    control: Control | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Element by element over all ranks, in place of a float64 tensor on the CPU."""
        return self.control.all_reduce(values) if self.control else values

    def max(self, number: int) -> int:
        """The largest of all ranks' numbers: how ranks agree on a signal or a fault."""
        if self.control is None:
            return number
        return int(self.control.all_reduce(torch.tensor([number]), dist.ReduceOp.MAX))

    def max_tensor(self, values: Tensor) -> Tensor:
        """The largest of all ranks' numbers, in place and where they are: on a GPU nobody waits for it."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: Tensor, op: Any) -> Tensor:
        if self.control and values.is_cuda:
            dist.all_reduce(values, op=op)
        elif self.control:
            self.control.all_reduce(values, op)
        return values

    def on_rank_0(self, action: Callable[[], None]) -> None:
        """Rank 0 acts while the others wait; where it fails, they end with its exit code and leave the words to it."""
        failed: BaseException | None = None
        if self.is_main:
            try:
                action()
            except (IrisError, OSError) as error:
                failed = error
        code = self.max(0 if failed is None else getattr(failed, "exit_code", EXIT_FAILURE))
        if failed is not None:
            raise failed
        if code:
            raise SystemExit(code)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module on the device, its gradients averaged over the ranks; the module itself in a world of one."""
        module = module.to(self.device)
        if self.size == 1:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        ids = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        wrapped.broadcast_buffers = False  # they are averaged after each step; rank 0's alone would forget the others
        return wrapped

    def average_buffers(self, module: nn.Module) -> None:
        """Running statistics become their mean over the ranks, so that all have one network; no GPU is waited for."""
        floats = [b for b in module.buffers() if b.is_floating_point() and b.dim() > 0]
        if self.size == 1 or not floats:
            return
        flat = torch.cat([b.flatten().double() for b in floats])
        mean = self._reduced(flat, dist.ReduceOp.SUM) / self.size
        for buffer, values in zip(floats, mean.split([b.numel() for b in floats]), strict=True):
            buffer.copy_(values.view_as(buffer))


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside its parallel wrapper."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def no_sync(module: nn.Module) -> AbstractContextManager[None]:
    """Around a forward *and* its backward whose gradients stay on this rank for now."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


# --- who are we -------------------------------------------------------------------------------------------------------


def pick_device(name: str, local: int) -> torch.device:
    """`auto` takes CUDA where there is some. UsageError when CUDA is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device '{name}'", "auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "CUDA is asked for, but torch finds none", "--device cpu, or a torch build and driver for CUDA"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local % torch.cuda.device_count())


@contextmanager
def world(device: str = "auto", startup: bool = True, cleanup: bool = True) -> Iterator[World]:
    """Join the others, and part from them at the end. Without `startup` the process group must be there already."""
    ours = rank_info(os.environ)
    where = pick_device(device, ours.local)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if ours.size == 1 and not dist.is_initialized():
        yield World(device=where)
        return
    if startup and not dist.is_initialized():
        _join(ours, where)
    control, rank = Control(), dist.get_rank()
    try:
        yield World(rank, dist.get_world_size(), where, control)
    except RuntimeError as error:
        release_frames(error)
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise IrisError(f"rank {rank} has lost another rank", "its own words, or its log, tell why") from error
    finally:
        control.close()
        if cleanup:
            dist.destroy_process_group()


def _join(ours: RankInfo, device: torch.device) -> None:
    if "MASTER_ADDR" not in os.environ:
        os.environ.update(_slurm_meeting_point(os.environ))
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", rank=ours.rank, world_size=ours.size, timeout=TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise IrisError(
            f"rank {ours.rank} of {ours.size} could not meet the others at {os.environ['MASTER_ADDR']}: {first}",
            "are all ranks started, and is the port open between the nodes?",
        ) from None


def _slurm_meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """The step's first node, and a port that all of its tasks compute alike."""
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", socket.gethostname()))
    port = 20_000 + int(environment.get("SLURM_JOB_ID", "0")) % 20_000
    return {"MASTER_ADDR": first_node(nodes), "MASTER_PORT": environment.get("MASTER_PORT", str(port))}


def first_node(nodes: str) -> str:
    """The first name in SLURM's compressed list: `gpu[07-09,12],cpu1` begins with `gpu07`."""
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    return head + rest.replace("]", ",").replace("-", ",").split(",")[0]


# --- starting the others ----------------------------------------------------------------------------------------------

#: Options of torchrun that say where ranks meet; without any, they do so on this machine.
_MEETING = ("--rdzv", "--nnodes", "--master", "--standalone", "--node")


def launch(ranks: int, arguments: list[str], more: Sequence[str] = ()) -> int:
    """Run `python -m iris_cli ARGUMENTS` on so many ranks of this machine (torchrun, in process); their exit code.

    `more` are further options of torchrun's own: nodes, rendezvous, logs. A signal is passed on to the ranks; they have
    30 s to save and end. Signal handlers, environment and logging are afterwards what they were.
    """
    with _as_before():
        return _launch(ranks, arguments, more)


#: What torchrun listens to while its ranks run, and what we add: whatever a run can be asked to save at, and Ctrl-C.
_TORCHRUN_S = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
_HEARD = (*_TORCHRUN_S, *_PASSED_ON)


@contextmanager
def _as_before() -> Iterator[None]:
    """Put back what torchrun changes in a process that is to live on."""
    root = logging.getLogger()
    environment, disabled, level, handlers = dict(os.environ), root.manager.disable, root.level, list(root.handlers)
    main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    hearers = {number: signal.getsignal(number) for number in _HEARD} if main else {}
    try:
        yield
    finally:
        for number, hearer in hearers.items():
            if hearer is not None:  # one that was not set from Python cannot be
                signal.signal(number, hearer)
        os.environ.clear()
        os.environ.update(environment)
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


def _launch(ranks: int, arguments: list[str], more: Sequence[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import get_args_parser, parse_args, run

    logging.disable(logging.ERROR)  # torchrun's own words: each rank tells its errors itself
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    if threading.current_thread() is threading.main_thread():
        for number in _PASSED_ON:  # torchrun itself passes on the others
            signal.signal(number, _pass_on)
    alone = [] if any(word.startswith(_MEETING) for word in more) else ["--standalone"]
    heard = ",".join(number.name for number in _TORCHRUN_S if not ignored_under_nohup(number))
    choice = "--signals-to-handle"  # of newer torchruns
    deaf = [f"{choice}={heard}"] if choice in get_args_parser().format_help() else []
    options = [*alone, *deaf, f"--nproc-per-node={ranks}", *more, "-m", "iris_cli", *arguments]
    with TemporaryDirectory(prefix="iris-") as folder:
        os.environ.update({signals.NOTES_FOLDER: folder, signals.LAUNCHER_PID: str(os.getpid())})
        try:
            run(parse_args(options))
        except ChildFailedError as failed:
            return _exit_code([failure.exitcode for failure in failed.failures.values()])
        except ValueError as error:  # of torchrun itself: those of the ranks stay with them
            raise UsageError(f"torchrun refuses '{shlex.join(more)}': {error}", "see torchrun --help") from None
        except RendezvousError as error:
            hint = "is the address in --torchrun right, and its port open between the nodes?"
            raise IrisError(f"the ranks could not meet: {str(error).partition('. ')[0]}", hint) from None
        except SignalException as stopped:
            return _after_signal(stopped.sigval, {path.name for path in Path(folder).iterdir()})
    return 0


def _pass_on(number: int, frame: FrameType | None) -> None:
    """To the ranks, as torchrun does with the signals that it knows."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    raise SignalException(f"signal {number}", signal.Signals(number))


def _after_signal(number: signal.Signals, notes: set[str]) -> int:
    """The exit code, after what the ranks have noted. A job that is pre-empted while it starts should start again."""
    if signals.STOPPED in notes:
        return EXIT_REQUEUE
    if signals.BEGUN in notes or number == signal.SIGINT:
        return EXIT_INTERRUPTED
    log("stopped by a signal; start again")
    return EXIT_REQUEUE


def _exit_code(codes: list[int]) -> int:
    """The code of the rank that failed of itself: one that was stopped by a signal (below zero) only follows."""
    own = [code for code in codes if code > 0]
    return own[0] if own else EXIT_FAILURE
