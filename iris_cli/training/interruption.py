"""Signals: the first asks a run to save and stop at the next step, a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What a batch system sends before it ends a job, and Ctrl-C.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class Interruption:
    """`asked` is True from the first signal on. A second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = self._by_hand = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._by_hand:
            raise KeyboardInterrupt
        self.asked, self._by_hand = True, self._by_hand or number == signal.SIGINT


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Listen to STOPPING inside the block. Only a process's main thread can: elsewhere nothing is heard."""
    flag = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in STOPPING}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
