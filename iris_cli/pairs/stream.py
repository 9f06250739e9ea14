"""Batches of pairs: draws -> read ahead -> tensors -> alteration -> litter -> noise -> hidden longitudes.

The stages are the same for shards and observed data.

What a batch holds depends on (seed, name of the stream, epoch, position) alone: not on ranks, threads or interruptions.
"""

import queue
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from webdataset import DataPipeline

from iris_cli.distributed import World
from iris_cli.observers.coverage import image_share
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.noise import ImageNoise, noise_key
from iris_cli.pairs.pair import DENSITY, OBSERVATION, schemas
from shards.order import Draw, Numbers, Share, stream_key
from shards.stream import BadSamples, Batch, Draws, ReadAhead

T = TypeVar("T")

POLL_S = 0.1


@dataclass(frozen=True)
class PairBatch:
    """`observation` (n, channel, L, V) with litter and noise, `density` (n, 1, R', L), item numbers; n may be 0.

    `positions` are the items' places in the epoch; `end` is where the next global batch begins. `further` are the
    arrays of `pair.FURTHER` that the stream reads.
    """

    observation: Tensor
    density: Tensor
    ids: Numbers
    positions: Numbers
    end: int
    further: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def blank(cls, pairs: Pairs, further: Collection[str] = ()) -> "PairBatch":
        """One pair of zeros, such as `pairs` are, with these further arrays."""
        known = schemas(pairs.grid, pairs.quantity, channels=pairs.channels, further=further)
        arrays = {each.name: torch.zeros(1, *each.shape, dtype=getattr(torch, each.dtype)) for each in known}
        observation, density = arrays.pop(OBSERVATION), arrays.pop(DENSITY)
        zero = np.zeros(1, np.int64)
        return cls(observation, density, zero, zero, 0, arrays)

    def to(self, device: torch.device) -> "PairBatch":
        """The batch with its arrays on a device; from page-locked memory the copy does not make the CPU wait."""
        observation, density = (rows.to(device, non_blocking=True) for rows in (self.observation, self.density))
        further = {name: rows.to(device, non_blocking=True) for name, rows in self.further.items()}
        return replace(self, observation=observation, density=density, further=further)


@dataclass(frozen=True)
class PairStream:
    """One rank's batches of the stream `name` ("train", "validation", "test"): which items, and what is added."""

    name: str
    pairs: Pairs
    numbers: Numbers
    seed: int
    batch: int
    rank: int = 0
    world: int = 1
    shuffle: bool = False
    #: Arrays of `pair.FURTHER` to read as well.
    further: tuple[str, ...] = ()
    #: Changes observations (n, channel, L, V) in place, for tests with other inputs.
    alter: Callable[[Tensor], None] | None = None
    noise: ImageNoise | None = None
    #: Share of the images in which a range of longitudes is dark.
    hide: float = 0.0
    litter: Pairs | None = None
    #: The items of the litter to draw from; None: all.
    litter_numbers: Numbers | None = None
    litter_seed: int = 0
    #: Threads that read, and batches that they are ahead.
    threads: int = 2
    ahead: int = 2
    #: Batches in page-locked memory, which a GPU copies without making the CPU wait.
    pinned: bool = False
    bad: BadSamples = field(default_factory=BadSamples)
    bad_litter: BadSamples = field(default_factory=BadSamples)

    @property
    def count(self) -> int:
        """Items of an epoch, over all ranks."""
        return len(self.numbers)

    @property
    def groups(self) -> list[str]:
        """The identity of the galaxy of each item, in the order of `numbers`."""
        groups = self.pairs.groups()
        return [groups[number] for number in self.numbers]

    @property
    def rows(self) -> int:
        """Of a batch: as many as asked for, but no more than a rank has items in an epoch."""
        return max(1, min(self.batch, -(-self.count // self.world)))

    def share(self, position: int = 0) -> Share:
        return Share(self.rows, self.rank, self.world, position)

    @property
    def steps(self) -> int:
        """Batches of an epoch, the same number on every rank."""
        return self.share().steps(self.count)

    @property
    def draws(self) -> Draws:
        return self._draws(self.numbers, self.pairs, self.seed, self.shuffle)

    def epoch(
        self, epoch: int = 0, position: int = 0, waiting: Callable[[], None] = lambda: None
    ) -> Generator[PairBatch, None, None]:
        """Every item from `position` on, once; every rank gets the same number of batches, the last perhaps empty.

        `waiting` is called while no batch is ready, and may raise. A caller that may leave early must close the
        generator: an exception that a signal raises while Python collects it is lost.
        """
        return prefetch(iter(self.stages(epoch, position)), self.ahead, waiting)

    def stages(self, epoch: int, position: int) -> DataPipeline:
        """The stream as a list of stages, each of which maps an iterator to an iterator."""
        reading = self._reading(self.pairs, self.bad, OBSERVATION, DENSITY, *self.further)
        stages = [partial(self._drawn, epoch, position), reading, partial(to_tensors, pinned=self.pinned)]
        if self.alter is not None:
            stages.append(partial(alter_observations, alter=self.alter))
        if self.litter is not None:
            key = stream_key("litter", self.name, self.litter_seed, self.seed)
            pool = np.arange(len(self.litter)) if self.litter_numbers is None else self.litter_numbers
            drawn = self._draws(pool, self.litter, key).resampled(epoch, position)
            litter = self._reading(self.litter, self.bad_litter, OBSERVATION)(drawn)
            stages.append(partial(add_litter, litter=litter))
        if self.noise is not None:
            key, coverage = noise_key(self.seed, self.name, epoch), self.pairs.coverage
            share = None if coverage.is_everything else image_share(coverage, self.pairs.grid)
            stages.append(partial(add_noise, noise=self.noise, key=key, share=share))
        if self.hide:
            key = stream_key("hide", self.name, self.seed, epoch)
            stages.append(partial(hide_longitudes, share=self.hide, key=key))
        return DataPipeline(*stages)

    def _drawn(self, epoch: int, position: int) -> Iterator[Draw]:
        if self.pairs.fresh:
            return self.share(position).draws(self.numbers + epoch * self.count)
        return self.draws.epoch(epoch, position)

    def _draws(self, numbers: Numbers, pairs: Pairs, seed: int, shuffle: bool = False) -> Draws:
        return Draws(numbers, pairs.sizes, seed, self.rows, self.rank, self.world, shuffle)

    def _reading(self, pairs: Pairs, bad: BadSamples, *arrays: str) -> ReadAhead:
        return ReadAhead(pairs, self.rows, arrays=arrays, threads=self.threads, depth=self.ahead, bad=bad)

    def bad_over_ranks(self, world: World) -> list[int]:
        """The stream's samples that could not be read so far, by any rank; all ranks must call it together."""
        return _over_ranks(self.bad.found, len(self.pairs), world)


def bad_litter_over_ranks(streams: Sequence[PairStream], world: World) -> list[int]:
    """The samples of the litter that streams share which could not be read."""
    litter, found = streams[0].litter, {number for stream in streams for number in stream.bad_litter.found}
    return _over_ranks(found, len(litter), world) if litter is not None else []


def _over_ranks(found: Iterable[int], count: int, world: World) -> list[int]:
    marks = torch.zeros(count, dtype=torch.float64)
    marks[list(found)] = 1.0
    return (world.sum(marks) > 0).nonzero().flatten().tolist()


# --- stages -----------------------------------------------------------------------------------------------------------


def to_tensors(batches: Iterator[Batch], *, pinned: bool) -> Iterator[PairBatch]:
    """Copies out of the buffers of `ReadAhead`, which are used again, into memory that a batch owns."""
    for batch in batches:
        shared = {name: torch.from_numpy(rows) for name, rows in batch.arrays.items()}
        own = {name: rows.pin_memory() if pinned else rows.clone() for name, rows in shared.items()}
        yield PairBatch(own.pop(OBSERVATION), own.pop(DENSITY), batch.ids, batch.positions, batch.end, own)


def alter_observations(batches: Iterator[PairBatch], *, alter: Callable[[Tensor], None]) -> Iterator[PairBatch]:
    for batch in batches:
        alter(batch.observation)
        yield batch


def add_litter(batches: Iterator[PairBatch], *, litter: Iterator[Batch]) -> Iterator[PairBatch]:
    """Adds the litter that was drawn for the same positions."""
    for batch, drawn in zip(batches, litter, strict=False):
        rows = np.searchsorted(drawn.positions, batch.positions)  # not all, where a bad sample was left out
        batch.observation.add_(torch.from_numpy(drawn.arrays[OBSERVATION])[rows])
        yield batch


def add_noise(
    batches: Iterator[PairBatch], *, noise: ImageNoise, key: int, share: NDArray[np.float32] | None = None
) -> Iterator[PairBatch]:
    """Adds the noise of stream `key` at each position, times its `share` (L, V): none where nothing was observed."""
    for batch in batches:
        for row, position in zip(batch.observation, batch.positions.tolist(), strict=True):
            drawn = noise.draw(row.shape, key, position)
            row.add_(torch.from_numpy(drawn if share is None else drawn * share))
        yield batch


def hide_longitudes(batches: Iterator[PairBatch], *, share: float, key: int) -> Iterator[PairBatch]:
    """Sets a range of up to a third of the longitudes to zero in a `share` of the images, as outside of a survey.

    The range may begin before the first longitude or end after the last one, so that it often lies at an edge.
    """
    for batch in batches:
        for row, position in zip(batch.observation, batch.positions.tolist(), strict=True):
            generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, position]))
            if generator.random() < share:
                width = int(generator.integers(1, row.shape[1] // 3, endpoint=True))
                first = int(generator.integers(1 - width, row.shape[1]))
                row[:, max(first, 0) : first + width] = 0.0
        yield batch


# --- the stages in a thread -------------------------------------------------------------------------------------------


def prefetch(items: Iterator[T], depth: int, waiting: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """The same items, computed by a thread up to `depth` before they are asked for; an error is raised in its place.

    `waiting` is called every POLL_S seconds without an item; what it raises ends the iteration.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return ready.put((item, error), timeout=POLL_S)

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None, StopIteration())  # the end
        except BaseException as error:  # raised by the consumer
            put(None, error)
        finally:
            if close := getattr(items, "close", None):
                close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = ready.get(timeout=POLL_S)
            except queue.Empty:
                waiting()
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join(timeout=1.0)  # a read that hangs must not block the caller
