"""Damage of files at random, and a time limit, for tests that read many damaged inputs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np

WORDS = [
    b"0",
    b"-1",
    b"1e308",
    b"nan",
    b"inf",
    b"99999999999",
    b"1.0-105",
    b"x",
    b"",
    b"!",
    b"\xff",
    b"\x1b[3m",
    b"[/b]",
]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in a block that takes longer."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no result within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """One to eight bytes replaced, some removed or inserted, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        place = int(rng.integers(len(changed)))
        match rng.integers(8):
            case 0 if len(changed) > 99:
                del changed[place : place + int(rng.integers(1, 9))]
            case 1:
                changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
            case 2 if len(changed) > 99:
                del changed[max(9, place) :]
            case _:
                changed[place] = int(rng.integers(256))
    return bytes(changed)


def damaged_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Lines removed, repeated or exchanged, and words replaced by unusual ones."""
    lines = data.split(b"\n")
    for _ in range(rng.integers(1, 4)):
        place, other = (int(k) for k in rng.integers(len(lines), size=2))
        match rng.integers(6):
            case 0 if len(lines) > 2:
                del lines[place]
            case 1:
                lines.insert(place, lines[other])
            case 2:
                lines[place], lines[other] = lines[other], lines[place]
            case _:
                words = lines[place].split(b" ")
                words[int(rng.integers(len(words)))] = WORDS[int(rng.integers(len(WORDS)))]
                lines[place] = b" ".join(words)
    return b"\n".join(lines)
