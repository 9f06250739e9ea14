"""Batches from shards: draws come in (who reads what, from `plan`), batches in reusable buffers go out.

Threads read ahead of the consumer, each sample straight to its row of a ring of batch buffers: no worker process, no
copy in between. What comes out depends on the draws alone, never on the number of threads.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shards.codec import ArraySchema
from shards.errors import ShardError
from shards.index import Index
from shards.order import DEFAULT_WINDOW, Draw, EpochPlan, Numbers, Share, epoch_order, resampled_draws
from shards.reader import Reader

#: So many draws in a row without a readable sample mean that there is none.
MOST_ATTEMPTS = 64


class Described(Protocol):
    """What a source says of an array."""

    @property
    def schema(self) -> ArraySchema: ...


class Source(Protocol):
    """Anything that can fill rows with a sample: a `Reader`, or something that makes samples on the spot."""

    @property
    def arrays(self) -> Mapping[str, Described]: ...

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        """Fill each row. ShardError when the sample is bad."""
        ...


Buffers = dict[str, NDArray]
Allocate = Callable[[tuple[int, ...], str], NDArray]


@dataclass(frozen=True)
class Batch:
    """Arrays (batch, ...) in buffers of the ring, sample numbers, positions in the epoch's order; may have no sample.

    `end` is the position at which the next global step begins: the number to save, and to go on from.
    """

    arrays: dict[str, NDArray]
    ids: Numbers
    positions: Numbers
    end: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class BadSamples:
    """What to do about unreadable samples: stop at the first (`most` = 0), or leave out up to `most` of them."""

    most: int = 0
    found: dict[int, str] = field(default_factory=dict)

    def note(self, number: int, error: ShardError) -> None:
        """Count a sample once; raise when there are too many."""
        self.found[number] = error.message
        if len(self.found) <= self.most:
            return
        if self.most == 0:
            raise error
        raise ShardError(
            f"{len(self.found)} bad samples, more than the {self.most} allowed; the last: {error.message}", error.hint
        )


@dataclass
class _Pending:
    """A batch on its way: its draw, its buffers, and how many rows are still to come."""

    draw: Draw
    buffers: Buffers
    left: int
    errors: dict[int, ShardError] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ready: threading.Event = field(default_factory=threading.Event)

    def rows(self, row: int) -> dict[str, NDArray]:
        return {name: buffer[row] for name, buffer in self.buffers.items()}

    def done(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left <= 0:
                self.ready.set()


class ReadAhead:
    """A stage: an iterator of draws becomes an iterator of batches, `depth` batches ahead of whoever takes them.

    A batch's buffers stay untouched while up to `keep` further batches are asked for, also of a following iteration:
    `allocate(shape, dtype)` (pinned memory for CUDA, say) makes them once. With `threads` = 0 the caller's own thread
    reads.
    """

    def __init__(
        self,
        reader: Source,
        batch: int,
        *,
        threads: int = 4,
        depth: int = 4,
        keep: int = 1,
        allocate: Allocate = np.empty,
        bad: BadSamples | None = None,
    ) -> None:
        if batch < 1 or threads < 0 or depth < 1 or keep < 0:
            raise ShardError(f"impossible read-ahead: batch {batch}, threads {threads}, depth {depth}, keep {keep}")
        self.reader, self.batch, self.threads, self.depth, self.keep = reader, batch, threads, depth, keep
        self.allocate, self.bad = allocate, bad if bad is not None else BadSamples()
        self._rings: list[deque[Buffers]] = []  # at rest; one, unless iterations overlap

    def __call__(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        tasks: queue.SimpleQueue[tuple[_Pending, int] | None] = queue.SimpleQueue()
        crew = [threading.Thread(target=self._work, args=(tasks,), daemon=True) for _ in range(self.threads)]
        for thread in crew:
            thread.start()
        ring = self._rings.pop() if self._rings else deque(self._buffers() for _ in range(self.depth + self.keep))
        try:
            yield from self._batches(iter(draws), tasks, ring)
        finally:
            _dismiss(crew, tasks)
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
        stored = self.reader.arrays.values()
        return {s.schema.name: self.allocate((self.batch, *s.schema.shape), s.schema.dtype) for s in stored}

    def _start(self, draw: Draw, buffers: Buffers, tasks: queue.SimpleQueue) -> _Pending:
        pending = _Pending(draw, buffers, len(draw.numbers))
        if pending.left == 0:
            pending.ready.set()
        for row in range(pending.left):
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
            self.reader.read(int(pending.draw.numbers[row]), pending.rows(row))
        except ShardError as error:
            pending.errors[row] = error
        except BaseException as error:  # must reach the consumer, who waits
            pending.errors[row] = ShardError(f"reading ahead failed: {type(error).__name__}: {error}")
        finally:
            pending.done()

    def _finish(self, pending: _Pending) -> Batch:
        pending.ready.wait()
        draw = pending.draw
        numbers = draw.numbers.copy()
        for row in sorted(pending.errors):
            numbers[row] = self._again(pending, row)
        good = np.flatnonzero(numbers >= 0)
        arrays = {name: _gather(buffer, good) for name, buffer in pending.buffers.items()}
        return Batch(arrays, numbers[good], draw.positions[good], draw.end)

    def _again(self, pending: _Pending, row: int) -> int:
        """The number of the sample that takes the place of a bad one; -1 if none does."""
        error = pending.errors[row]
        self.bad.note(int(pending.draw.numbers[row]), error)
        for attempt in range(1, MOST_ATTEMPTS):
            number = pending.draw.again(row, attempt)
            if number is None:
                return -1
            try:
                self.reader.read(number, pending.rows(row))
                return number
            except ShardError as again:
                error = again
                self.bad.note(number, error)
        raise error


def _dismiss(crew: list[threading.Thread], tasks: queue.SimpleQueue) -> None:
    """Forget what nobody will take, and let the threads end after the read that they are in."""
    with suppress(queue.Empty):
        while True:
            tasks.get_nowait()
    for _ in crew:
        tasks.put(None)
    for thread in crew:
        thread.join()


def _gather(buffer: NDArray, good: Numbers) -> NDArray:
    """The good rows, moved together at the front of their buffer."""
    for to, row in enumerate(good):
        if to != row:
            buffer[to] = buffer[row]
    return buffer[: len(good)]


# --- streams ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamState:
    """Where a stream is: enough to go on at the exact next sample, on any number of ranks."""

    seed: int
    epoch: int
    position: int
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Stages:
    """A source of draws and the stages after it; iterate it, or go on with `pipeline`."""

    def __init__(self, draws: Callable[[], Iterator[Draw]], ahead: ReadAhead) -> None:
        self.draws, self.ahead = draws, ahead

    def __iter__(self) -> Iterator[Batch]:
        return self.ahead(self.draws())

    def pipeline(self, *stages: Any) -> Any:
        """The same as a `webdataset.DataPipeline`, with stages of your own (each maps an iterator to an iterator)."""
        import webdataset

        return webdataset.DataPipeline(self.draws, self.ahead, *stages)


class ShardStream:
    """The samples of a split (or any `samples`, by number), batch by batch, in an order that is arithmetic.

    `epoch(e)` gives every sample once; `resampled(e)` draws without end, with replacement. Rank, batch and threads do
    not change which samples a global step holds.
    """

    def __init__(
        self,
        index: Index,
        split: str | None = None,
        *,
        samples: NDArray | None = None,
        arrays: Iterable[str] | None = None,
        batch: int = 8,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        window: int = DEFAULT_WINDOW,
        drop_last: bool = False,
        threads: int = 4,
        depth: int = 4,
        keep: int = 1,
        allocate: Allocate = np.empty,
        checksums: bool = True,
        bad: BadSamples | None = None,
    ) -> None:
        self.index, self.seed, self.shuffle, self.window, self.drop_last = index, seed, shuffle, window, drop_last
        self.numbers = _chosen(index, split, samples)
        self.share = Share(batch, rank, world)
        self.reader = Reader(index, arrays, checksums=checksums)
        self.bad = bad if bad is not None else BadSamples()
        self._ahead = ReadAhead(
            self.reader, batch, threads=threads, depth=depth, keep=keep, allocate=allocate, bad=self.bad
        )

    @property
    def count(self) -> int:
        """Samples of an epoch, over all ranks."""
        return len(self.numbers)

    def plan(self, position: int = 0) -> EpochPlan:
        """The steps that are left from `position` on: `.steps`, `.dropped`."""
        return EpochPlan(
            self.count, Share(self.share.batch, self.share.rank, self.share.world, position), self.drop_last
        )

    def order(self, epoch: int) -> Numbers:
        """(count,) the sample number at each position of an epoch."""
        sizes = np.diff(np.searchsorted(self.numbers, self.index.starts))
        order = epoch_order(sizes[sizes > 0], self.seed, epoch, window=self.window, shuffle=self.shuffle)
        return self.numbers[order]

    def epoch(self, epoch: int = 0, position: int = 0) -> Stages:
        """Every sample from `position` on, once."""
        plan = self.plan(position)
        return Stages(lambda: plan.draws(self.order(epoch)), self._ahead)

    def resampled(self, epoch: int = 0, position: int = 0) -> Stages:
        """Endless full batches, drawn with replacement; position p is the same sample on any number of ranks."""
        share = self.plan(0).share
        share = Share(share.batch, share.rank, share.world, position)
        return Stages(lambda: resampled_draws(self.numbers, share, self.seed, epoch), self._ahead)

    @property
    def fingerprint(self) -> str:
        """Of everything that the order depends on, apart from seed and epoch."""
        chosen = hashlib.sha256(self.numbers.tobytes()).hexdigest()
        order = f"{self.index.fingerprint}:{chosen}:{self.shuffle}:{self.window}"
        return hashlib.sha256(order.encode()).hexdigest()

    def state(self, epoch: int, position: int) -> StreamState:
        return StreamState(self.seed, epoch, position, self.fingerprint)

    def check(self, state: StreamState) -> None:
        """ShardError when a saved state belongs to other data, or to another order of them."""
        if state.fingerprint != self.fingerprint:
            raise ShardError(
                f"the data in {self.index.folder} are not those of the saved position: shards, split or window changed",
                "go on with the same data, or force it and accept that samples repeat or are missed in this epoch",
            )
        if state.seed != self.seed:
            raise ShardError(f"the saved position belongs to seed {state.seed}, not {self.seed}", "give the same seed")


def _chosen(index: Index, split: str | None, samples: NDArray | None) -> Numbers:
    if samples is None:
        return index.numbers(split)
    numbers = np.unique(np.asarray(samples, np.int64))
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= index.count()):
        raise ShardError(f"sample numbers reach {numbers[-1]}; {index.folder} has {index.count()} samples")
    return numbers
