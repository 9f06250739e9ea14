"""Errors that the user can fix: a message with the two numbers that disagree, and a hint. Exit codes."""

import difflib
import errno
import os
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

    def __reduce__(self) -> "tuple[type[IrisError], tuple[str, str]]":
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


#: Words of errors that carry no number: numpy's, HDF5's and torch's for a full disk; torch's, threads', the loader's
#: and oneDNN's for memory.
_FULL = (" requested and ", "No space left on device", "PytorchStreamWriter failed writing")
_NO_MEMORY_KINDS = ("OutOfMemoryError", "bad_alloc")
_NO_MEMORY = (
    *("can't allocate memory", "annot allocate memory", "can't start new thread", "failed to map segment"),
    *("could not create a primitive", *_NO_MEMORY_KINDS),
)
#: Error numbers of the system -> what to do.
_HINTS = {
    (errno.ENOSPC, errno.EDQUOT): "no partial file was left; free some space, and run it again (or --resume it)",
    (errno.EFBIG,): "no partial output was left; allow larger files: ulimit -f unlimited",
    (errno.EACCES, errno.EPERM, errno.EROFS): "no partial output was left; change the permissions, or choose a folder",
    (errno.ENAMETOOLONG,): "choose a shorter name: file systems allow 255 bytes",
    (errno.EMFILE, errno.ENFILE): "allow more open files: ulimit -n 4096",
    (errno.ENOENT, errno.ENOTDIR, errno.ESTALE): "was it moved or removed while the command ran?",
    (errno.EIO,): "the disk or the network has failed; run it again on another",
}


def of_system(error: BaseException) -> IrisError | None:
    """The error of the system (memory, disk, permissions, names of files) as an IrisError; None for any other."""
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ in _NO_MEMORY_KINDS
        or getattr(error, "errno", None) == errno.ENOMEM
        or any(words in text for words in _NO_MEMORY)
    ):
        first = text.strip().partition("\n")[0]
        hint = "use a smaller --batch-size or fewer --workers; --dry-run prints what is needed"
        return IrisError(f"not enough memory{f': {first}' if first else ''}", hint)
    said = f"{text} {error.args}"  # with a file name, str() omits a text without number
    if any(words in said for words in _FULL) and getattr(error, "errno", None) is None:
        return IrisError(os.strerror(errno.ENOSPC) + _where(error), _hint(errno.ENOSPC))
    if isinstance(error, OSError) and error.errno:
        return IrisError((error.strerror or os.strerror(error.errno)) + _where(error), _hint(error.errno))
    return None


def _where(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f": {os.fsdecode(name)}" if isinstance(name, (str, bytes, os.PathLike)) else ""


def _hint(number: int) -> str:
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder was removed: cd to another"
    return next((hint for numbers, hint in _HINTS.items() if number in numbers), "")


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
