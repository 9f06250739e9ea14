"""The error that a command ends with."""

from __future__ import annotations

from typing import Any


def error_of(ran: Any, code: int) -> str:
    """`error: … hint: …` of a command that ended with this code, with one error, no traceback and no result."""
    lines = ran.err.splitlines()
    first = [number for number, line in enumerate(lines) if "error:" in line]
    assert ran.code == code and len(first) == 1 and "Traceback" not in ran.err and ran.out == "", ran
    rest = lines[first[0] + 1 :]
    assert all(line.startswith("hint: ") for line in rest) and len(rest) <= 1, ran
    return " ".join(lines[first[0] :])
