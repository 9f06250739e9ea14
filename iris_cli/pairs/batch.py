"""Batches: pairs in an order that is arithmetic, with litter and noise that are drawn by position.

What a batch holds depends on (seed, stream, epoch, position) alone: not on ranks, threads, repetition or interruption.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from webdataset import DataPipeline

from iris_cli.distributed import World
from iris_cli.pairs.noise import ImageNoise, noise_key
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.pairs.sources import Numbers, Pairs
from shards.order import Draw, EpochPlan, Share, epoch_order, resampled_draws, stream_key
from shards.reader import Reader
from shards.stream import BadSamples, Batch, ReadAhead

T = TypeVar("T")

POLL_S = 0.1


@dataclass(frozen=True)
class PairBatch:
    """`observation` (n, 1, L, V) with litter and noise, `density` (n, 1, R', L), item numbers; n may be 0.

    `positions` are the items' places in the epoch, `end` is where the next global batch begins.
    """

    observation: Tensor
    density: Tensor
    ids: Numbers
    positions: Numbers
    end: int

    def __len__(self) -> int:
        return len(self.ids)


Stage = Callable[[Iterator[PairBatch]], Iterator[PairBatch]]


@dataclass(frozen=True)
class Feed:
    """One stream of pairs ("train", "validation", "test"): which items, what is added, and this rank's share."""

    stream: str
    pairs: Pairs
    numbers: Numbers
    seed: int
    batch: int
    rank: int = 0
    world: int = 1
    shuffle: bool = False
    noise: ImageNoise | None = None
    litter: Pairs | None = None
    litter_seed: int = 0
    #: Threads that read, and batches that they are ahead.
    threads: int = 2
    ahead: int = 2
    #: Batches in page-locked memory, from which a copy to a GPU need not be waited for.
    pinned: bool = False
    bad: BadSamples = field(default_factory=BadSamples)
    bad_litter: BadSamples = field(default_factory=BadSamples)

    @property
    def count(self) -> int:
        """Items of an epoch, over all ranks."""
        return len(self.numbers)

    @property
    def rows(self) -> int:
        """Of a batch: as many as were asked for, but no more than a rank has items in an epoch."""
        return max(1, min(self.batch, -(-self.count // self.world)))

    def plan(self, position: int = 0) -> EpochPlan:
        return EpochPlan(self.count, self._share(position))

    def _share(self, position: int) -> Share:
        return Share(self.rows, self.rank, self.world, position)

    def epoch(
        self, epoch: int = 0, position: int = 0, waiting: Callable[[], None] = lambda: None
    ) -> Generator[PairBatch, None, None]:
        """Every item from `position` on, once; every rank gets the same number of batches, the last perhaps empty.

        `waiting` is called now and then while there is nothing to give, and may raise. Whoever may leave early closes
        it: what a signal raises while a forgotten one tidies up is lost.
        """
        return read_ahead(iter(self.stages(epoch, position)), self.ahead, waiting)

    def stages(self, epoch: int, position: int) -> DataPipeline:
        """The stream as a list of stages, each of which maps an iterator to an iterator."""
        stages = [lambda: self._draws(epoch, position), self._reading(self.pairs, self.bad), self._as_tensors]
        if self.litter is not None:
            stages.append(self._litter_stage(self.litter, epoch, position))
        if self.noise is not None:
            stages.append(self._noise_stage(self.noise, noise_key(self.seed, self.stream, epoch)))
        return DataPipeline(*stages)

    def _draws(self, epoch: int, position: int) -> Iterator[Draw]:
        sizes = np.diff(np.searchsorted(self.numbers, np.cumsum([0, *self.pairs.sizes])))
        order = epoch_order(sizes[sizes > 0], self.seed, epoch, shuffle=self.shuffle)
        return self.plan(position).draws(order, self.numbers)

    def _litter_stage(self, litter: Pairs, epoch: int, position: int) -> Stage:
        seed = stream_key("litter", self.stream, self.litter_seed, self.seed)
        draws = resampled_draws(np.arange(len(litter)), self._share(position), seed, epoch)

        def add(batches: Iterator[PairBatch]) -> Iterator[PairBatch]:
            for batch, drawn in zip(batches, self._reading(litter, self.bad_litter)(draws), strict=False):
                rows = np.searchsorted(drawn.positions, batch.positions)  # not all, where a sample was left out
                batch.observation.add_(torch.from_numpy(drawn.arrays[OBSERVATION])[rows])
                yield batch

        return add

    def _noise_stage(self, noise: ImageNoise, key: int) -> Stage:
        def add(batches: Iterator[PairBatch]) -> Iterator[PairBatch]:
            for batch in batches:
                for row, position in zip(batch.observation, batch.positions.tolist(), strict=True):
                    row.add_(torch.from_numpy(noise.draw(row.shape, key, position)))
                yield batch

        return add

    def _as_tensors(self, batches: Iterator[Batch]) -> Iterator[PairBatch]:
        """Out of the ring's buffers, which will be used again, into memory of their own."""
        for batch in batches:
            observation, density = (self._own(batch.arrays[name]) for name in (OBSERVATION, DENSITY))
            yield PairBatch(observation, density, batch.ids, batch.positions, batch.end)

    def _own(self, rows: NDArray) -> Tensor:
        shared = torch.from_numpy(rows)
        return shared.pin_memory() if self.pinned else shared.clone()

    def _reading(self, pairs: Pairs, bad: BadSamples) -> ReadAhead:
        return ReadAhead(cast(Reader, pairs), self.rows, threads=self.threads, depth=self.ahead, bad=bad)

    # --- what could not be read ---

    def bad_over_ranks(self, world: World) -> int:
        """How many of the stream's samples could not be read so far, by any rank; all ranks ask together."""
        return _joined(self.bad.found, len(self.pairs), world)


def bad_litter_over_ranks(feeds: Sequence[Feed], world: World) -> int:
    """How much of the litter that feeds share could not be read; what several of them met counts once."""
    litter, found = feeds[0].litter, {number for feed in feeds for number in feed.bad_litter.found}
    return _joined(found, len(litter), world) if litter is not None else 0


def _joined(found: Iterable[int], count: int, world: World) -> int:
    marks = torch.zeros(count, dtype=torch.float64)
    marks[list(found)] = 1.0
    return int((world.sum(marks) > 0).sum())


@dataclass(frozen=True)
class _Failed:
    error: BaseException


def read_ahead(items: Iterator[T], depth: int, waiting: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """The same items, made by a thread up to `depth` ahead of whoever takes them. An error comes where it happened.

    `waiting` is called every POLL_S seconds without an item; what it raises ends the iteration.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:  # the taker must hear of it
            put(_Failed(error))
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := _take(ready, waiting)) is not end:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join(timeout=1.0)  # a read that hangs must not keep anybody


def _take(ready: queue.Queue[Any], waiting: Callable[[], None]) -> Any:
    while True:
        try:
            return ready.get(timeout=POLL_S)
        except queue.Empty:
            waiting()
