"""Signals: stop, save and requeue, and what ranks report to the launcher that started them.

Two ways to stop. `stop_on_signal` is for work that keeps what is finished: the signal unwinds it at once. A training
sets a flag (`catch_signals`), reads it between steps, saves, and raises `Stopped`.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import FrameType

from iris_cli.console import log
from iris_cli.errors import EXIT_REQUEUE, IrisError

#: What a batch system sends before it ends a job, and what a terminal sends when it closes.
STOPPING = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: The message after a signal where no part of the work is kept.
START_AGAIN = "nothing half-written was left: start again"


def signals_by_name(names: Iterable[str]) -> tuple[signal.Signals, ...]:
    """Signals by their names without SIG, as a configuration has them."""
    return tuple(signal.Signals[f"SIG{name}"] for name in names)


@contextmanager
def handling(signals: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `handler` at each of the signals within the block. Outside the main thread no handler can be set.

    `nohup` makes a process ignore SIGHUP; that stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in set(signals) if not ignored_under_nohup(number)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def ignored_under_nohup(number: signal.Signals) -> bool:
    """Whether `number` is SIGHUP and the process was started with `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


# --- work that stops at once ------------------------------------------------------------------------------------------


class _Stop(SystemExit):
    """Not an Exception: code that catches the failure of one input must let it pass."""


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise once: a batch system may signal a job's processes and also its shell, which forwards the signal."""
    for also in signal.valid_signals():
        if signal.getsignal(also) is _stop:
            signal.signal(also, signal.SIG_IGN)
    raise _Stop(EXIT_REQUEUE)


@contextmanager
def stop_on_signal(message: str, signals: Iterable[signal.Signals] = STOPPING) -> Iterator[None]:
    """Within the block a signal unwinds the work, so that nothing half-written stays, and `message` is logged."""
    with handling(signals, _stop):
        try:
            yield
        except _Stop:
            log(f"stopped by a signal; {message}")
            raise


# --- a training, which saves first ------------------------------------------------------------------------------------


class Stopped(IrisError):
    """A signal was received; the run is saved and can be resumed."""

    exit_code = EXIT_REQUEUE


class StopFlag:
    """`is_set` is True from the first signal on. A second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.is_set = self._interrupted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self.is_set, self._interrupted = True, self._interrupted or number == signal.SIGINT

    def check(self) -> None:
        """Stopped when a signal came before the first step, while there is nothing to save."""
        if self.is_set:
            raise Stopped("stopped by a signal before the first step, nothing was changed", "start again")


@contextmanager
def catch_signals(names: Iterable[str]) -> Iterator[StopFlag]:
    """A flag that these signals and Ctrl-C set within the block; outside the main thread nothing sets it."""
    flag = StopFlag()
    with handling((*signals_by_name(names), signal.SIGINT), flag):
        yield flag


# --- ranks and their launcher -----------------------------------------------------------------------------------------

#: Variables that name the launcher's folder of notes and its process. Without our launcher no notes are written.
NOTES_FOLDER, LAUNCHER_PID = "IRIS_LAUNCH_FOLDER", "IRIS_LAUNCHER"
#: Notes: training has begun; everything is saved after a signal.
BEGUN, STOPPED = "begun", "stopped"


def write_note(name: str) -> None:
    """Leave a note for the launcher, if there is one."""
    if folder := os.environ.get(NOTES_FOLDER):
        Path(folder, name).touch()


def reported_by_another_rank(message: str) -> bool:
    """Whether another rank of this launcher has printed the same message: an error that all ranks meet appears once."""
    if folder := os.environ.get(NOTES_FOLDER):
        try:
            Path(folder, sha256(message.encode(errors="surrogatepass")).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            return True
        except OSError:  # the launcher has ended: better printed twice than never
            return False
    return False


def end_with_launcher() -> None:
    """Ask the system to send this rank SIGTERM when the launcher ends.

    A launcher that is killed would leave ranks that keep writing into a folder that the next start resumes. On Linux
    only. IrisError when the launcher has ended already.
    """
    if LAUNCHER_PID not in os.environ or sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(os.environ[LAUNCHER_PID]):
        raise IrisError("the process that started this rank has ended", "start again")
