"""A stream of batches as stages: draws say which samples a rank reads, reading ahead turns them into batches.

A stage maps an iterator to an iterator, so that the stages here and those of a program compose:

    draws = Draws(index.numbers("train"), index.sizes(), seed=0, batch=8, rank=0, world=1)
    stream = webdataset.DataPipeline(lambda: draws.epoch(3), ReadAhead(Reader(index), 8), my_stage)

Open `order` for the arithmetic behind the draws. What comes out depends on the draws alone, never on the number of
threads. To resume a stream, save the seed, the epoch and the `end` of the last batch: `draws.epoch(epoch, end)`
continues with the next sample, on any number of ranks.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shards.codec import ArraySchema
from shards.errors import ShardError
from shards.order import Draw, Numbers, Share, epoch_order, resampled_draws

#: After so many draws in a row without a readable sample the stream gives up.
MOST_ATTEMPTS = 64


class Source(Protocol):
    """Anything that fills rows with a sample: a `reader.Reader`, or a program's own class that computes samples."""

    @property
    def arrays(self) -> Mapping[str, ArraySchema]: ...

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill each row. ShardError when the sample is bad."""


# --- draws ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Which samples one rank reads for each step: an order of `numbers`, and the rank's share of every global step.

    `numbers` are the samples to choose from, ascending if they are shuffled; `sizes` are the numbers of samples in all
    shards of the set. Samples are mixed within windows of shards. Ranks, batch and threads do not change
    which samples a global step holds, as long as batch x world stays the same.
    """

    numbers: Numbers
    sizes: Sequence[int]
    seed: int = 0
    batch: int = 8
    rank: int = 0
    world: int = 1
    shuffle: bool = True

    def __post_init__(self) -> None:
        """ShardError unless the numbers belong to the set, and ascend where they are shuffled by shards."""
        found, total = self.numbers, sum(self.sizes)
        if len(found) and not 0 <= found.min() <= found.max() < total:
            raise ShardError(f"sample numbers {found.min()} to {found.max()} are not all among the {total} of the set")
        if self.shuffle and (np.diff(found) <= 0).any():
            raise ShardError("the sample numbers to shuffle do not ascend", "sort them, each once")

    def share(self, position: int = 0) -> Share:
        return Share(self.batch, self.rank, self.world, position)

    def order(self, epoch: int) -> Numbers:
        """The sample number at each position of an epoch, (count,)."""
        sizes = np.diff(np.searchsorted(self.numbers, np.cumsum([0, *self.sizes])))
        order = epoch_order(sizes[sizes > 0], self.seed, epoch, shuffle=self.shuffle)
        return self.numbers[order]

    def epoch(self, epoch: int = 0, position: int = 0) -> Iterator[Draw]:
        """Every sample from `position` on, once."""
        return self.share(position).draws(self.order(epoch))

    def resampled(self, epoch: int = 0, position: int = 0) -> Iterator[Draw]:
        """Endless full batches, drawn with replacement; position p is the same sample on any number of ranks."""
        return resampled_draws(self.numbers, self.share(position), self.seed, epoch)


# --- reading ahead ----------------------------------------------------------------------------------------------------

Buffers = dict[str, NDArray]


@dataclass(frozen=True)
class Batch:
    """Arrays (batch, ...) in buffers of the ring, sample numbers, positions in the epoch's order; it may be empty.

    `end` is the position at which the next global step begins: the position to save, and to resume from.
    """

    arrays: dict[str, NDArray]
    ids: Numbers
    positions: Numbers
    end: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class BadSamples:
    """How many unreadable samples are left out before an error: none when `most` is 0."""

    most: int = 0
    found: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, error: ShardError) -> None:
        """Count a sample once; raise when there are too many."""
        self.found[number] = error.message
        if self.most == 0:
            raise error
        if (found := len(self.found)) > self.most:
            what = f"{found} bad samples, more than the {self.most} allowed; the last: {error.message}"
            raise ShardError(what, error.hint)


@dataclass
class _Pending:
    """A batch that is being read: its draw, its buffers, and how many rows are missing."""

    draw: Draw
    buffers: Buffers
    missing: int
    errors: dict[int, ShardError] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ready: threading.Event = field(default_factory=threading.Event)

    def rows(self, row: int) -> dict[str, NDArray]:
        return {name: buffer[row] for name, buffer in self.buffers.items()}

    def row_done(self) -> None:
        with self.lock:
            self.missing -= 1
            if self.missing <= 0:
                self.ready.set()


class ReadAhead:
    """A stage: draws become batches, read by `threads` up to `depth` batches before they are asked for.

    Each sample is read straight into its row of a ring of batch buffers. A batch's buffers stay untouched while one
    further batch is asked for, also of a following iteration. `arrays` chooses some of the source's arrays by
    name. With `threads` = 0 the caller's own thread reads.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        *,
        arrays: Iterable[str] | None = None,
        threads: int = 4,
        depth: int = 4,
        bad: BadSamples | None = None,
    ) -> None:
        if batch < 1 or threads < 0 or depth < 1:
            raise ShardError(f"impossible read-ahead: batch {batch}, threads {threads}, depth {depth}")
        self.source, self.batch, self.threads, self.depth = source, batch, threads, depth
        self.schemas = [source.arrays[name] for name in (arrays if arrays is not None else source.arrays)]
        self.bad = bad if bad is not None else BadSamples()
        self._rings: list[deque[Buffers]] = []  # those not in use; at most one, unless iterations overlap

    def __call__(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        tasks: queue.SimpleQueue[tuple[_Pending, int] | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._work, args=(tasks,), daemon=True) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        ring = self._rings.pop() if self._rings else deque(self._buffers() for _ in range(self.depth + 1))
        try:
            yield from self._batches(iter(draws), tasks, ring)
        finally:
            with suppress(queue.Empty):  # drop the tasks that wait; a thread ends after the read that it is in
                while True:
                    tasks.get_nowait()
            for _ in threads:
                tasks.put(None)
            for thread in threads:
                thread.join()
            self._rings.append(ring)

    def _batches(self, draws: Iterator[Draw], tasks: queue.SimpleQueue, ring: deque[Buffers]) -> Iterator[Batch]:
        ahead: deque[_Pending] = deque()
        while True:
            for draw in islice(draws, self.depth - len(ahead)):
                ahead.append(self._start(draw, ring[0], tasks))
                ring.rotate(-1)
            if not ahead:
                return
            yield self._finish(ahead.popleft())

    def _buffers(self) -> Buffers:
        return {s.name: np.empty((self.batch, *s.shape), s.dtype) for s in self.schemas}

    def _start(self, draw: Draw, buffers: Buffers, tasks: queue.SimpleQueue) -> _Pending:
        pending = _Pending(draw, buffers, len(draw.numbers))
        if pending.missing == 0:
            pending.ready.set()
        for row in range(pending.missing):
            if self.threads:
                tasks.put((pending, row))
            else:
                self._read(pending, row)
        return pending

    def _work(self, tasks: queue.SimpleQueue) -> None:
        while (task := tasks.get()) is not None:
            self._read(*task)

    def _read(self, pending: _Pending, row: int) -> None:
        try:
            self.source.read(int(pending.draw.numbers[row]), pending.rows(row))
        except ShardError as error:
            pending.errors[row] = error
        except BaseException as error:  # raised by the consumer, which waits for this row
            pending.errors[row] = ShardError(f"reading ahead failed: {type(error).__name__}: {error}")
        finally:
            pending.row_done()

    def _finish(self, pending: _Pending) -> Batch:
        pending.ready.wait()
        draw = pending.draw
        numbers = draw.numbers.copy()
        for row in sorted(pending.errors):
            numbers[row] = self._replace(pending, row)
        good = np.flatnonzero(numbers >= 0)
        arrays = {name: _gather(buffer, good) for name, buffer in pending.buffers.items()}
        return Batch(arrays, numbers[good], draw.positions[good], draw.end)

    def _replace(self, pending: _Pending, row: int) -> int:
        """The number of the sample that takes the place of a bad one; -1 if none does."""
        error = pending.errors[row]
        self.bad.add(int(pending.draw.numbers[row]), error)
        for attempt in range(1, MOST_ATTEMPTS):
            number = pending.draw.again(row, attempt)
            if number is None:
                return -1
            try:
                self.source.read(number, pending.rows(row))
                return number
            except ShardError as again:
                error = again
                self.bad.add(number, error)
        raise error


def _gather(buffer: NDArray, good: Numbers) -> NDArray:
    """The good rows, moved together at the front of their buffer."""
    for to, row in enumerate(good):
        if to != row:
            buffer[to] = buffer[row]
    return buffer[: len(good)]
