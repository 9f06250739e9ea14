"""The error that a command ends with."""

from __future__ import annotations

from typing import Any


def error_of(ran: Any, code: int, prints: bool = False) -> str:
    """`error: … hint: …` of a command that ended with this code and without a traceback; `prints`: with a result."""
    lines = ran.err.splitlines()
    first = [number for number, line in enumerate(lines) if "error:" in line]
    assert ran.code == code and len(first) == 1 and "Traceback" not in ran.err and (prints or ran.out == ""), ran
    rest = lines[first[0] + 1 :]
    assert all(line.startswith("hint: ") for line in rest) and len(rest) <= 1, ran
    return " ".join(lines[first[0] :])
