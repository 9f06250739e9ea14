"""Signals that ask for a stop, and a way to stop for work that keeps what is finished: at once, to be started again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from iris_cli.console import log
from iris_cli.errors import EXIT_REQUEUE

#: What a batch system sends before it ends a job, and what a terminal sends as it closes.
STOPPING = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: What to do after a signal where no part of the work is worth keeping.
BEGIN_AGAIN = "nothing half-written was left: begin again"


def named(names: Iterable[str]) -> tuple[signal.Signals, ...]:
    """Signals by their names without SIG, as a configuration has them."""
    return tuple(signal.Signals[f"SIG{name}"] for name in names)


@contextmanager
def hearing(signals: Iterable[signal.Signals], hearer: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """`hearer` is called at one of the signals within the block. Only a process's main thread can hear any.

    `nohup` starts what it starts deaf to SIGHUP, and so it stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, hearer) for number in set(signals) if not deaf_to(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deaf_to(number: signal.Signals) -> bool:
    """Whether it is SIGHUP, under `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class _Stop(SystemExit):
    """No Exception: whoever notes an input that fails must let it pass."""


def _stop(number: int, frame: FrameType | None) -> None:
    """Once: a batch system may signal a job's processes and its shell, which passes it on; tidying takes time."""
    for also in signal.valid_signals():
        if signal.getsignal(also) is _stop:
            signal.signal(also, signal.SIG_IGN)
    raise _Stop(EXIT_REQUEUE)


@contextmanager
def stopping(words: str, signals: Iterable[signal.Signals] = STOPPING) -> Iterator[None]:
    """Within the block, a signal unwinds the work (so that nothing half-written stays) and says `words`."""
    with hearing(signals, _stop):
        try:
            yield
        except _Stop:
            log(f"stopped by a signal; {words}")
            raise
