"""The order of samples and each rank's share of it: arithmetic on (sizes, seed, epoch, ranks), no file and no state.

An epoch is a permutation of `count` samples: *position* p in it holds sample `order[p]`. A global step takes the next
batch x world positions; rank r of W takes every W-th of them, from the r-th. The order does not depend on the ranks:
one rank with batch 8 and two with batch 4 see the same samples in the same steps.

The last step of an epoch takes the rest: ranks differ by one sample at most and may have none, but all have the same
number of batches.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import ShardError

Numbers = NDArray[np.int64]

#: Number of shards whose samples are mixed with one another.
DEFAULT_WINDOW = 8
#: Counters per position, for the substitutes of bad samples.
_ATTEMPTS = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


# --- numbers by counter -----------------------------------------------------------------------------------------------


def stream_key(*names: Any) -> int:
    """64 bits from some numbers and words: streams of different names are independent."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "little")


def random_bits(key: int, counters: NDArray) -> NDArray[np.uint64]:
    """64 random bits for each counter: SplitMix64 (Steele, Lea & Flood 2014), entered at any place of its stream.

    Unlike a library's permutation or integer draw, it gives the same bits in every release and on every machine.
    """
    with np.errstate(over="ignore"):
        z = (np.asarray(counters).astype(np.uint64) + np.uint64(1)) * _GOLDEN + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def random_below(key: int, counters: NDArray, limit: int) -> Numbers:
    """An integer of [0, limit) for each counter; uneven by at most limit / 2^32."""
    if not 0 < limit < 1 << 32:
        raise ValueError(f"limit {limit} is not in 1 ... 2^32 - 1")
    return (((random_bits(key, counters) >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


# --- the order of an epoch --------------------------------------------------------------------------------------------


def epoch_order(
    sizes: Sequence[int] | NDArray, seed: int, epoch: int, *, window: int = DEFAULT_WINDOW, shuffle: bool = True
) -> Numbers:
    """(sum of sizes,) the sample at each position: shards permuted, then samples permuted among `window` shards.

    Samples are numbered through the shards. Without `shuffle` they keep their natural order. A window as large as the
    number of shards mixes all samples; a small one reads few files at a time.
    """
    sizes = np.asarray(sizes, np.int64)
    if not shuffle:
        return np.arange(sizes.sum())
    turn = np.argsort(random_bits(stream_key("shards", seed, epoch), np.arange(len(sizes))), kind="stable")
    natural = _runs(np.cumsum(sizes)[turn] - sizes[turn], sizes[turn])
    dice = random_bits(stream_key("samples", seed, epoch), natural)
    ends = np.cumsum(sizes[turn])[window - 1 :: max(window, 1)]
    parts = zip(np.split(natural, ends), np.split(dice, ends), strict=True)
    return np.concatenate([part[np.argsort(bits, kind="stable")] for part, bits in parts])


def _runs(starts: NDArray, lengths: NDArray) -> Numbers:
    """start, start + 1, ... of each run, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


# --- draws: the samples of one rank for one step ----------------------------------------------------------------------


@dataclass(frozen=True)
class Draw:
    """The samples of one batch of one rank. `end` is the position at which the next global step begins."""

    numbers: Numbers
    positions: Numbers
    end: int

    def again(self, row: int, attempt: int) -> int | None:
        """Another sample for a row whose sample is bad; None, as in an epoch of every sample once, to leave it out."""
        return None


@dataclass(frozen=True)
class ResampledDraw(Draw):
    key: int
    pool: Numbers

    def again(self, row: int, attempt: int) -> int | None:
        counter = self.positions[row : row + 1] * _ATTEMPTS + attempt
        return int(self.pool[random_below(self.key, counter, len(self.pool))[0]])


@dataclass(frozen=True)
class Share:
    """One rank's part of every global step; `position` is where the first step begins."""

    batch: int
    rank: int = 0
    world: int = 1
    position: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.position < 0 or not 0 <= self.rank < self.world:
            raise ShardError(f"impossible share: {self}", "batch >= 1, position >= 0, 0 <= rank < world")

    @property
    def step(self) -> int:
        """Samples of one global step."""
        return self.batch * self.world

    def positions(self, start: int, stop: int) -> Numbers:
        """This rank's positions of the global step [start, stop)."""
        return np.arange(start + self.rank, stop, self.world)

    def steps(self, count: int) -> int:
        """Batches that are left of an epoch of `count` samples, the same number on every rank."""
        return -((self.position - count) // self.step)

    def draws(self, order: Numbers) -> Iterator[Draw]:
        """This rank's samples of an epoch, step by step; `order` holds the sample number at each position."""
        if self.position > len(order):
            what = f"position {self.position} is beyond the epoch's {len(order)} samples"
            raise ShardError(what, "the data set or its split is not the one that the position belongs to")
        for start in range(self.position, len(order), self.step):
            stop = min(start + self.step, len(order))
            positions = self.positions(start, stop)
            yield Draw(order[positions], positions, stop)


def resampled_draws(pool: Numbers, share: Share, seed: int, epoch: int) -> Iterator[ResampledDraw]:
    """Endless draws with replacement: position p of (seed, epoch) gives the same sample on any number of ranks."""
    if len(pool) == 0:
        raise ShardError("there is nothing to draw from: the set holds no samples", "write some, or name another split")
    key = stream_key("resampled", seed, epoch)
    start = share.position
    while True:
        positions = share.positions(start, start + share.step)
        chosen = pool[random_below(key, positions * _ATTEMPTS, len(pool))]
        yield ResampledDraw(chosen, positions, start + share.step, key, pool)
        start += share.step
