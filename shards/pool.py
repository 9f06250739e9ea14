"""A function applied to many items by worker processes, with the results in the items' order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection, resource_tracker
from typing import Any

from shards.errors import ShardError

Map = Callable[[Iterable[Any]], Iterator[Any]]

#: Items in progress or waiting per worker: enough that none idles, few enough to hold in memory.
_AHEAD = 2
#: Signals that a terminal sends to a whole process group, or a batch system to a whole job step.
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def worker_pool(function: Callable[[Any], Any], workers: int) -> Iterator[Map]:
    """`with worker_pool(make, 4) as mapped: for result in mapped(items)`; in this process when `workers` is 1.

    Workers are started fresh (spawn): `function` must be picklable. They ignore Ctrl-C and the signals that a terminal
    or a batch system sends to all processes at once, which the parent handles, but not SIGTERM, with which the pool
    ends its workers. They end when their parent ends, even if it is killed.
    """
    if workers < 1:
        raise ShardError(f"workers = {workers}; at least one is needed")
    if workers == 1:
        yield lambda items: map(function, items)
        return
    try:
        with submitting(function, workers) as submit:
            yield lambda items: _in_order(submit, iter(items), workers * _AHEAD)
    except BrokenProcessPool:
        hint = "try fewer workers, with `--resume`"
        raise ShardError("a worker process died, perhaps because memory ran out", hint) from None


@contextmanager
def submitting(function: Callable[[Any], Any], workers: int) -> Iterator[Callable[[Any], Future]]:
    """`with submitting(make, 4) as submit: submit(item).result()`, from any thread; the workers are those above."""
    starting = threading.Lock()

    def submit(item: Any) -> Future:
        """This may start a worker, which ignores the blocked signals from its first instruction on."""
        with starting, _group_signals_blocked(), _safe_path():
            return pool.submit(_apply, item)

    with _group_signals_blocked(), _safe_path():
        resource_tracker.ensure_running()  # multiprocessing's own process, which would print a traceback at a signal
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(function, context.Lock()))
    try:
        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(submit: Callable[[Any], Future], items: Iterator[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Future] = deque(submit(item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(submit(item) for item in islice(items, 1))
        yield result


@contextmanager
def _group_signals_blocked() -> Iterator[None]:
    """Processes that are started within ignore the group's signals; this process handles them after the block.

    Handlers are replaced as well, because a thread of some library may take a signal that the main thread blocks: an
    exception raised by its handler would leave a worker half started.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    received: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handlers = {n: handler for n in _GROUP_SIGNALS if main and callable(handler := signal.getsignal(n))}
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for sent in received:
            signal.raise_signal(sent)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes that are started within do not import files of the current folder instead of Python's own modules.

    Their search path is afterwards that of this process.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


_function: Callable[[Any], Any]
#: Whether this process is the first worker of its pool, which reports what all of them do.
is_first = False


def _begin(function: Callable[[Any], Any], unclaimed: Any) -> None:
    global _function, is_first
    _function, is_first = function, unclaimed.acquire(block=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _apply(item: Any) -> Any:
    return _function(item)
