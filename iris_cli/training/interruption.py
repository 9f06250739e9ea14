"""Signals: the first asks a run to save and stop at the next step, a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from iris_cli.errors import EXIT_REQUEUE, IrisError
from iris_cli.stopping import hearing, named


class Stopped(IrisError):
    """A signal came; the run is saved and can go on."""

    exit_code = EXIT_REQUEUE


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


@contextmanager
def drawn_again() -> Iterator[None]:
    """What stops within will be done anew from its start, with the same random numbers, should a loss or a network of
    one's own draw some."""
    before = torch.get_rng_state()
    try:
        yield
    except Stopped:
        torch.set_rng_state(before)
        raise
