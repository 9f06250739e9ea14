"""Curves of means with their intervals, and plain values for JSON."""

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from iris_cli.evaluation.bootstrap import Floats, Summary


@dataclass(frozen=True)
class Curve:
    """Numbers along `x`, which is `of` something in `unit`."""

    of: str
    unit: str
    x: Floats
    y: Summary

    def to_dict(self) -> dict[str, Any]:
        y = {key: plain_list(part) for key, part in vars(self.y).items()}
        return {"of": self.of, "unit": self.unit, "x": plain_list(self.x), **y}


def plain_list(numbers: NDArray) -> list[float | int | None]:
    """For JSON; None in place of NaN."""
    return [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers.tolist()]


def plain_numbers(numbers: dict[str, Summary]) -> dict[str, dict[str, float | int | None]]:
    """Of Summaries of width 1, for JSON."""
    return {name: {key: plain_list(part)[0] for key, part in vars(number).items()} for name, number in numbers.items()}
