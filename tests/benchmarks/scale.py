"""An index of millions of pairs: its size, the time to open it and to draw the order of an epoch, and memory.

    python -m tests.benchmarks.scale --pairs 100000 10000000
    python -m tests.benchmarks.scale --pairs --shards SHARDS      # time and memory for a pair of its records

No pair is written: an index names shards, and what opens it reads nothing else. A training also reads the record beside
each shard once, for the identities of galaxies; real records of one small shard are written and read for this.
"""

import argparse
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from iris_cli.config.grid import Grid
from iris_cli.pairs.datasets import PreObservedDataset
from shards import layout
from shards.index import Index
from shards.stream import Draws
from tests.training.makers import write_pairs

PER_SHARD = 256
#: A small grid: a record has the same size for any.
GRID = Grid().scaled(32, 32, 4, 32)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the CPU time in s."""
    start = time.process_time()
    return work(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="*", default=[100_000, 10_000_000])
    parser.add_argument("--records", type=int, default=20, help="Times that the marks of a shard are made.")
    parser.add_argument("--shards", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    for folder in given.shards:
        pairs = PreObservedDataset(folder)
        _, took = timed(lambda pairs=pairs: pairs.marks)
        tracemalloc.start()
        pairs = PreObservedDataset(folder)
        before = tracemalloc.get_traced_memory()[0]
        count, kept = len(pairs.marks.galaxy), tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        print(f"{folder}: {count} pairs, {1e6 * took / count:.1f} us and {kept / count:.0f} bytes a pair")
    with tempfile.TemporaryDirectory() as folder:
        one = write_pairs(
            Path(folder) / "one", {"train": range(PER_SHARD)}, grid=GRID, distances=True, samples_per_shard=PER_SHARD
        )
        seed = Index.open(one)
        record = seed.folder / layout.record_name(seed.shards[0].name)
        shard, took = seed.shards[0], 0.0
        for _ in range(given.records):
            took += timed(lambda: PreObservedDataset(seed.folder).marks)[1]
        each = took / given.records
        print(f"a record of {PER_SHARD} pairs: {record.stat().st_size / 1e3:.0f} kB, its marks {1e3 * each:.1f} ms")
        print("pairs       shards  index/MB  open/s  draws/s  epoch/s  first/ms  records/GB  marks/min  peak/GB")
        for pairs in given.pairs:
            count = -(-pairs // PER_SHARD)
            shards = tuple(replace(shard, name=f"train-{k:06d}") for k in range(count))
            place = Path(folder) / str(pairs)
            place.mkdir()
            (place / layout.INDEX).write_bytes(replace(seed, folder=place, shards=shards).to_bytes())
            index, opening = timed(lambda place=place: Index.open(place))
            draws, making = timed(lambda index=index: Draws(index.numbers("train"), index.sizes(), seed=0, batch=8))
            order, epoch = timed(lambda draws=draws: draws.epoch(1))
            _, first = timed(lambda order=order: next(iter(order)))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            size = (place / layout.INDEX).stat().st_size / 1e6
            print(
                f"{pairs:<11} {count:<7} {size:<9.2f} {opening:<7.2f} {making:<8.2f} {epoch:<8.2f} {1e3 * first:<9.1f} "
                f"{count * record.stat().st_size / 1e9:<11.2f} {count * each / 60:<10.1f} {peak:.2f}"
            )


if __name__ == "__main__":
    main()
