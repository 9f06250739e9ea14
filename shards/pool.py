"""A function applied to many items by worker processes, in the items' order; and which part of a job is ours."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection, resource_tracker
from typing import Any, TypeVar

from shards.errors import ShardError

Result = TypeVar("Result")
Map = Callable[[Iterable[Any]], Iterator[Any]]

#: Items that each worker has in hand or in waiting: enough that none idles, little enough to hold in memory.
_AHEAD = 2
#: What a terminal sends to a whole process group, or a batch system to a whole job step.
_FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def crew(function: Callable[[Any], Any], workers: int) -> Iterator[Map]:
    """`with crew(make, 4) as mapped: for result in mapped(items)`; in this process when `workers` is 1.

    Workers are started fresh (spawn): `function` must be picklable. They are deaf to Ctrl-C and to what a terminal or
    a batch system sends to all processes at once, which the parent answers, and end with their parent, however that
    ends. They hear SIGTERM, by which a pool ends its workers.
    """
    if workers < 1:
        raise ShardError(f"workers = {workers}; at least one must do the work")
    if workers == 1:
        yield lambda items: map(function, items)
        return
    with _deaf():
        resource_tracker.ensure_running()  # multiprocessing's own process, which would die of them noisily
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(function,))
    try:
        yield lambda items: _in_order(pool, iter(items), workers * _AHEAD)
    except BrokenProcessPool:
        raise ShardError(
            "a worker process died, perhaps for want of memory", "try fewer workers, with `--resume`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, items: Iterator[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Future] = deque(_submit(pool, item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(_submit(pool, item) for item in islice(items, 1))
        yield result


def _submit(pool: ProcessPoolExecutor, item: Any) -> Future:
    """This may start a worker, which is then deaf from its first breath: not only once it has imported everything."""
    with _deaf():
        return pool.submit(_apply, item)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started within do not hear what is for their parent; the parent hears it afterwards.

    It keeps what comes until then: a thread of some library takes a signal that this one blocks, and the parent would
    leave a worker half started, which tells so at length.
    """
    before, kept = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT), []
    here = threading.current_thread() is threading.main_thread()
    hearers = {n: hearer for n in _FOR_THE_PARENT if here and callable(hearer := signal.getsignal(n))}
    for number in hearers:
        signal.signal(number, lambda number, frame: kept.append(number))
    try:
        yield
    finally:
        for number, hearer in hearers.items():
            signal.signal(number, hearer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for sent in kept:
            signal.raise_signal(sent)


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _apply(item: Any) -> Any:
    return _function(item)


# --- which part is ours -----------------------------------------------------------------------------------------------


def share_of_job(environment: Mapping[str, str]) -> tuple[int, int]:
    """(rank, world) of this process among torchrun ranks or srun tasks, times the tasks of a SLURM array.

    `SLURM_STEP_NUM_TASKS` rather than `SLURM_NTASKS` counts the tasks: the latter is also set in a batch script that
    runs once. ShardError when an array's ids are not evenly spaced, so that nobody can tell which part is whose.
    """
    rank, world = _one_of(environment, ("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
    if not 0 <= rank < world:
        raise ShardError(f"the environment says that this is rank {rank} of {world}", "unset RANK and WORLD_SIZE")
    task, tasks = _array_task(environment)
    return task * world + rank, tasks * world


def _one_of(environment: Mapping[str, str], *pairs: tuple[str, str]) -> tuple[int, int]:
    for rank, world in pairs:
        if rank in environment and world in environment:
            return _checked(environment, rank), _checked(environment, world)
    return 0, 1


def _array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return 0, 1
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT")
    task, first, last, count = (_checked(environment, name) for name in names)
    step, rest = divmod(last - first, count - 1) if count > 1 else (1, 0)
    if rest or (task - first) % max(step, 1):
        raise ShardError(
            f"the {count} ids of this SLURM array ({first} to {last}) are not evenly spaced", "use --array=0-N"
        )
    return (task - first) // max(step, 1), count


def _checked(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except (KeyError, ValueError):
        raise ShardError(f"environment variable {name} = {environment.get(name)!r} is no number", "unset it") from None
