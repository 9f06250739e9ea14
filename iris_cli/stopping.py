"""For work that keeps what is finished: a signal ends it at once, with the exit code that asks to be started again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from iris_cli.console import log
from iris_cli.errors import EXIT_REQUEUE

#: What a batch system sends before it ends a job.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class _Stop(SystemExit):
    """No Exception: whoever notes an input that fails must let it pass."""


def _stop(number: int, frame: FrameType | None) -> None:
    """Once: a batch system may signal a job's processes and its shell, which passes it on; tidying takes time."""
    for also in STOPPING:
        signal.signal(also, signal.SIG_IGN)
    raise _Stop(EXIT_REQUEUE)


@contextmanager
def stopping(words: str) -> Iterator[None]:
    """Within the block, a signal unwinds the work (so that nothing half-written stays) and says `words`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in STOPPING}
    try:
        yield
    except _Stop:
        log(f"stopped by a signal; {words}")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
