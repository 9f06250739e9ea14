"""Errors that the user can fix: a message with the two numbers that disagree, and a hint. Exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_UNVERIFIED = 3
EXIT_REQUEUE = 75
EXIT_INTERRUPTED = 130


class IrisError(Exception):
    """`message` is what is wrong and where, `hint` the command or option that fixes it."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[IrisError], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # pickled between processes


class UsageError(IrisError):
    """The command line or a configuration file is invalid."""

    exit_code = EXIT_USAGE


class DataError(IrisError):
    """A file or folder is missing, damaged or of another kind."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an OSError without one, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'epochs'?`, or the list of known names when none is similar."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def choose(what: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of `known` called `name`. UsageError, with a similar name, when there is none."""
    if name not in known:
        raise UsageError(f"unknown {what} '{name}'", nearest(name, filter(None, known)))
    return known[name]
