"""Minimum, maximum, mean and NaN count of an array, and how to merge those of parts."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.typed import made


@dataclass(frozen=True)
class Statistics:
    """Of all values but NaN and infinity; `nan` counts those. `min`, `max` are None where no value is finite.

    The worst errors are those of a lossy encoding: relative to the value (among values above a millionth of their
    array's peak), and relative to the peak.
    """

    values: int = 0
    nan: int = 0
    sum: float = 0.0
    min: float | None = None
    max: float | None = None
    worst_relative_error: float = 0.0
    worst_error_of_peak: float = 0.0

    @property
    def mean(self) -> float | None:
        numbers = self.values - self.nan
        return self.sum / numbers if numbers else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "mean": self.mean}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Statistics":
        return made(cls, {name: value for name, value in body.items() if name != "mean"})


def measure(array: NDArray, errors: tuple[float, float] = (0.0, 0.0)) -> Statistics:
    """Statistics of a real array, or of a complex one's absolute values; `errors` are those that `losses` returns."""
    values = np.abs(array) if array.dtype.kind == "c" else array
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    total = float(finite.sum(dtype=np.float64))
    return Statistics(array.size, array.size - finite.size, total, low, high, *errors)


def merge(parts: Iterable[Statistics]) -> Statistics:
    """Statistics of the whole; the sum is exact in float64 and does not depend on the order of the parts."""
    parts = list(parts)
    lows = [p.min for p in parts if p.min is not None]
    highs = [p.max for p in parts if p.max is not None]
    return Statistics(
        values=sum(p.values for p in parts),
        nan=sum(p.nan for p in parts),
        sum=math.fsum(p.sum for p in parts),
        min=min(lows, default=None),
        max=max(highs, default=None),
        worst_relative_error=max((p.worst_relative_error for p in parts), default=0.0),
        worst_error_of_peak=max((p.worst_error_of_peak for p in parts), default=0.0),
    )


def losses(array: NDArray, decoded: NDArray) -> tuple[float, float]:
    """The worst error of `decoded`, relative to the value (above 1e-6 of the peak), and relative to the peak."""
    finite = np.isfinite(array)
    true = array[finite].astype(np.float64)
    error, size = np.abs(decoded[finite] - true), np.abs(true)
    peak = size.max(initial=0.0)
    if peak == 0.0:
        return 0.0, 0.0
    seen = size > 1e-6 * peak
    return float((error[seen] / size[seen]).max()), float(error.max() / peak)
