"""The error that a command ends with, and the bytes that it leaves."""

from collections.abc import Callable
from typing import Any

#: The fixture `iris`: it runs a command, and returns its code and what it printed.
Iris = Callable[..., Any]


def error_of(ran, code, prints=False):
    """`error: … hint: …` of a command that ended with this code and without a traceback; `prints`: with a result."""
    lines = ran.err.splitlines()
    first = [number for number, line in enumerate(lines) if "error:" in line]
    assert ran.code == code and len(first) == 1 and "Traceback" not in ran.err and (prints or ran.out == ""), ran
    rest = lines[first[0] + 1 :]
    assert all(line.startswith("hint: ") for line in rest) and len(rest) <= 1, ran
    return " ".join(lines[first[0] :])


def one_error(ran, code, *parts):
    error = error_of(ran, code, prints=True)
    assert all(part in error for part in parts), error


def done(ran):
    """A command that has ended without an error."""
    assert ran.code == 0, ran.err
    return ran


def bytes_of(folder):
    """Of the data, without commands.jsonl, which differs between command lines."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "commands.jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
