"""Damage of files at random, and a time limit, for tests that read many damaged inputs."""

import copy
import math
import signal
from contextlib import contextmanager
from typing import Any

WORDS = [*b"0 -1 1e308 nan inf 99999999999 1.0-105 x ! \xff \x1b[3m [/b]".split(), b""]
#: Values that a field of a file may hold by mistake.
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    math.nan,
    1e308,
    10**30,
    10**400,
    "",
    "x",
    "\0",
    "../x",
    "\ud800",
    "[red]",
    [],
]
ODD += [[[]], [1, "x"], {}, {"a": 1}]


@contextmanager
def within(seconds):
    """Raises TimeoutError in a block that takes longer."""

    def late(signum, frame):
        raise TimeoutError(f"no result within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def damaged_bytes(data, rng):
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


def damaged_text(data, rng):
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


def changed(value, rng, odd=ODD):
    """A copy of nested dicts and lists with one to three inner values replaced, removed, renamed or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        here, inner = value, value
        while isinstance(inner, (dict, list)) and len(inner) and (inner is value or rng.random() < 0.7):
            here, keys = inner, list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = keys[int(rng.integers(len(keys)))]
            inner = here[key]
        match rng.integers(6) if len(here) else -1:
            case -1:
                pass
            case 0:
                del here[key]
            case 1 if isinstance(here, dict):
                here[f"{key}s"] = here.pop(key)
            case 2 if type(inner) is int:
                here[key] += int(rng.choice([-512, -1, 1, 511, 512, 1 << 40]))
            case 3 if isinstance(inner, list):
                here[key] = inner + inner
            case _:
                here[key] = odd[int(rng.integers(len(odd)))]
    return value
