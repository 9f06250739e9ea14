"""The lines of a run's metrics.jsonl, whatever damage the file has; imports no torch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Of these in a line of metrics, the losses may be None.
NUMBERS = {"step", "loss", "loss_zero", "loss_mean_image"}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file; none where it cannot be read."""
    with suppress(OSError):
        return [found for text in text_lines(path) if (found := parsed_line(text))]
    return []


def text_lines(path: Path) -> list[str]:
    """The lines of a text file, whatever damage it has."""
    return path.read_bytes().decode("utf-8", "replace").split("\n")


def parsed_line(text: str) -> dict[str, Any] | None:
    """A line of metrics; None for one that is damaged, such as the last one of a run that is being written."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        complete = isinstance(found, dict) and {"kind", "step", "epoch", "loss"} <= found.keys()
        if complete and all(is_number(found[key]) for key in NUMBERS & found.keys() if found[key] is not None):
            return found if found["step"] is not None else None
    return None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
