"""Confidence intervals of means: a bootstrap over sources, because views of one galaxy are not independent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
#: With very many sources fewer resamples are drawn, so that memory stays below 160 MB.
MOST_DRAWS, FEWEST_RESAMPLES = 20_000_000, 200
LEVEL = 0.95
#: With fewer sources there is no interval.
FEWEST_SOURCES = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Of numbers, (width,) each, or of one: mean and median over the `pairs` that define it; NaN where no pair does.

    `low` and `high` bound the mean with a confidence of LEVEL (percentile interval); NaN with a single source.
    """

    mean: Floats
    median: Floats
    low: Floats
    high: Floats
    pairs: NDArray[np.int64]

    def __getitem__(self, number: int) -> "Summary":
        return Summary(*(part[number] for part in vars(self).values()))


@dataclass(frozen=True)
class Curve:
    """Numbers along `x`, which is `of` something in `unit`."""

    of: str
    unit: str
    x: Floats
    y: Summary


@dataclass(frozen=True)
class Resampling:
    """Sources drawn with replacement, as many as there are, with all their views (cluster bootstrap).

    All measures share one set of draws, so that a ratio or a difference of two means can be resampled, too.
    """

    #: (pairs,) the number of each pair's source.
    source: NDArray[np.int64]
    #: (resamples, sources) how often each source was drawn.
    draws: Floats

    @classmethod
    def of(cls, sources: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> "Resampling":
        names, number = np.unique(np.asarray(sources, dtype=object).astype(str), return_inverse=True)
        resamples = min(resamples, max(FEWEST_RESAMPLES, MOST_DRAWS // len(names)))
        dice = np.random.Generator(np.random.Philox(seed))
        draws = dice.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=resamples)
        return cls(number.astype(np.int64), draws.astype(np.float64))

    @property
    def sources(self) -> int:
        return self.draws.shape[1]

    def sums(self, values: Floats) -> Floats:
        """(pairs, width) -> (resamples, width): sums over the pairs of each resample; NaN adds nothing."""
        return self.draws @ self._by_source(np.nan_to_num(values))

    def means(self, values: Floats) -> Floats:
        """(pairs, width) -> (resamples, width): means over the pairs that define a measure."""
        counts = self.draws @ self._by_source((~np.isnan(values)).astype(np.float64))
        return divided(self.sums(values), counts)

    def _by_source(self, values: Floats) -> Floats:
        total = np.zeros((self.sources, values.shape[1]))
        np.add.at(total, self.source, values)
        return total

    def interval(self, resampled: Floats) -> tuple[Floats, Floats]:
        """(resamples, width) -> the bounds (width,) of their central LEVEL."""
        if self.sources < FEWEST_SOURCES:
            return (np.full(resampled.shape[1], np.nan),) * 2
        low, high = (_quantile(resampled, q) for q in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0))
        return low, high

    def summary(self, values: Floats) -> Summary:
        """(pairs, width)"""
        known = (~np.isnan(values)).sum(axis=0)
        mean = divided(np.nan_to_num(values).sum(axis=0), known.astype(np.float64))
        return Summary(mean, _quantile(values, 0.5), *self.interval(self.means(values)), known)

    def derived(self, function: Callable[..., Floats], *arrays: Floats) -> Summary:
        """A function of sums over pairs: its value, and the interval of the same function of resampled sums."""
        value = function(*(np.nan_to_num(a).sum(axis=0, keepdims=True) for a in arrays))[0]
        low, high = self.interval(function(*(self.sums(a) for a in arrays)))
        return Summary(value, np.full_like(value, np.nan), low, high, (~np.isnan(arrays[0])).sum(axis=0))


def divided(a: Floats, b: Floats) -> Floats:
    """a / b; NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=b != 0)


def _quantile(values: Floats, q: float) -> Floats:
    """Along the first axis, without NaN; NaN where all are NaN."""
    known = ~np.isnan(values).all(axis=0)
    found = np.full(values.shape[1], np.nan)
    found[known] = np.nanquantile(values[:, known], q, axis=0)
    return found
