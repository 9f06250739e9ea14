"""What goes wrong, said so that the reader can mend it: the thing, the two numbers, the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_UNVERIFIED = 3
EXIT_REQUEUE = 75
EXIT_INTERRUPTED = 130


class IrisError(Exception):
    """A failure that the user can understand: `message` says what and where, `hint` how to mend it."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[IrisError], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # crosses process borders whole


class UsageError(IrisError):
    """The command line or a configuration file asks for something that does not exist."""

    exit_code = EXIT_USAGE


class DataError(IrisError):
    """A file or folder does not hold what it promises."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a write within, which says that the disk is full but not where, gets the file's name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'epochs'?`, or the list of what there is when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
