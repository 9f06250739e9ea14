"""Signals: the first asks a run to save and stop at the next step, a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from iris_cli.stopping import hearing, named


class Interruption:
    """`asked` is True from the first signal on. A second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = self._by_hand = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._by_hand:
            raise KeyboardInterrupt
        self.asked, self._by_hand = True, self._by_hand or number == signal.SIGINT


@contextmanager
def interruption(names: Iterable[str]) -> Iterator[Interruption]:
    """Listen to these signals and to Ctrl-C inside the block; from another thread than the main one, to nothing."""
    flag = Interruption()
    with hearing((*named(names), signal.SIGINT), flag):
        yield flag
