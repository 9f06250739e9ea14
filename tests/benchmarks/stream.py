"""How fast do shards become batches? `python -m tests.benchmarks.stream --help`. Results: docs/benchmarks/stream.md.

All ways run after one another in each round, so that a busy machine slows all of them; what counts is the median over
rounds of the ratio within a round. Processor time, of threads and worker processes too, holds on a busy machine.
"""

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import typer
import webdataset
from torch.utils.data import DataLoader, Dataset

from shards import reader
from shards.index import Index
from shards.writer import ArraySchema, Sample, SetPlan, write_set
from tests.shards.makers import stream

SIDE, BATCH, SHARD = 512, 8, 64
NAMES = ("observation", "density")
SCHEMA = tuple(ArraySchema(name, (1, SIDE, SIDE), "float32", {}) for name in NAMES)
MIB_PER_PAIR = 2.0


def make(number: int) -> Sample:
    rng = np.random.default_rng(number)
    return Sample(f"g{number:06d}", f"g{number}", {n: rng.random((1, SIDE, SIDE), np.float32) for n in NAMES})


class Files(Dataset):
    """One .npy file an array, the way most people begin."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(np.load(self.folder / f"{name}_{number}.npy")) for name in NAMES)


def prepare(folder: Path, pairs: int) -> None:
    """Shards, and the same arrays one by one in files."""
    write_set(folder / "shards", SetPlan({"train": range(pairs)}, SHARD), make, schema=SCHEMA, attributes={})
    (folder / "files").mkdir()
    for number in range(pairs):
        for name, array in make(number).arrays.items():
            np.save(folder / "files" / f"{name}_{number}.npy", array)


# --- the ways -------------------------------------------------------------------------------------------------------


def through_files(folder: Path, pairs: int, workers: int) -> Iterator[torch.Tensor]:
    loader = DataLoader(Files(folder / "files", pairs), BATCH, shuffle=True, num_workers=workers)
    return (batch[0] for batch in loader)


def through_webdataset(folder: Path, workers: int) -> Iterator[torch.Tensor]:
    urls = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    pairs = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple(*(f"{name}.npy" for name in NAMES))
    batches = DataLoader(pairs.batched(BATCH), batch_size=None, num_workers=workers)
    return (batch[0] if torch.is_tensor(batch[0]) else torch.from_numpy(batch[0]) for batch in batches)


def through_stream(index: Index, **options: Any) -> Callable[[int], Iterator[torch.Tensor]]:
    stages = stream(index, "train", batch=BATCH, **options)
    return lambda epoch: (torch.from_numpy(batch.arrays[NAMES[0]]) for batch in stages.epoch(epoch))


def thrown_away(folder: Path) -> Iterator[torch.Tensor]:
    """The bytes of the same tars, into one buffer, over and over."""
    buffer = bytearray(int(BATCH * MIB_PER_PAIR * 2**20))
    for path in sorted((folder / "shards").glob("*.tar")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    yield torch.zeros(0)


def cpu_s() -> float:
    """Processor time of this process, and of worker processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def seconds(batches: Iterator[torch.Tensor]) -> tuple[float, float]:
    """Of a whole epoch, from asking for the first batch to the end of the last: elapsed, and processor time."""
    start, cpu = time.perf_counter(), cpu_s()
    for _ in batches:
        pass
    return time.perf_counter() - start, cpu_s() - cpu


def drop_pages(folder: Path) -> None:
    """Ask the kernel to forget what it has read of the tars."""
    for path in (folder / "shards").glob("*.tar"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


# --- the tables -----------------------------------------------------------------------------------------------------

Ways = dict[str, Callable[[int], Iterator[torch.Tensor]]]
Rates = dict[str, list[tuple[float, float]]]
BYTES = "(c) the bytes, thrown away"


def measure(ways: Ways, pairs: int, rounds: int) -> Rates:
    """Pairs per second, elapsed and of processor time, of every way; all ways in each round."""
    rates: Rates = {name: [] for name in ways}
    for r in range(rounds):
        for name, way in ways.items():
            elapsed, cpu = seconds(way(r))
            rates[name].append((pairs / elapsed, pairs / cpu))
    return rates


def warm_ways(folder: Path, pairs: int) -> Ways:
    index = Index.open(folder / "shards")
    ways: Ways = {BYTES: lambda r: thrown_away(folder)}
    for n in (0, 1, 2):
        ways[f"(a) .npy files, DataLoader, {n} workers"] = lambda r, n=n: through_files(folder, pairs, n)
    for n in (0, 1, 2):
        ways[f"(b) WebDataset .decode(), {n} workers"] = lambda r, n=n: through_webdataset(folder, n)
    for n in (0, 1, 2, 4):
        ways[f"stream, {n} threads"] = through_stream(index, threads=n, checksums=False)
    ways["stream, 4 threads, first look with checksums"] = lambda r: through_stream(index, threads=4)(r)
    return ways


def cold_ways(folder: Path) -> Ways:
    index = Index.open(folder / "shards")

    def cold(way: Callable[[int], Iterator[torch.Tensor]]) -> Callable[[int], Iterator[torch.Tensor]]:
        def run(r: int) -> Iterator[torch.Tensor]:
            drop_pages(folder)
            return way(r)

        return run

    ways: Ways = {BYTES: cold(lambda r: thrown_away(folder))}
    ways["(b) WebDataset .decode(), 0 workers"] = cold(lambda r: through_webdataset(folder, 0))
    for n in (0, 1, 4, 16):
        ways[f"stream, {n} threads"] = cold(through_stream(index, threads=n, checksums=False))
    return ways


def slow_ways(folder: Path) -> Ways:
    """Every read waits first, as on a far file system."""
    index = Index.open(folder / "shards")
    ways: Ways = {}
    for threads, depth in ((0, 4), (1, 4), (4, 4), (8, 4), (16, 4), (32, 8)):
        way = through_stream(index, threads=threads, depth=depth, checksums=False)
        ways[f"stream, {threads} threads, {depth} batches ahead"] = way
    return ways


def delayed(seconds: float) -> Callable[..., bool]:
    true_read = reader.read_exactly

    def read(*arguments: object) -> bool:
        time.sleep(seconds)
        return true_read(*arguments)

    return read


def show(title: str, rates: Rates, against: str | None = None) -> None:
    print(f"\n### {title}\n\n| way | pairs/s | MB/s | share of (c) | processor time a pair |\n|---|---|---|---|---|")
    for name, values in rates.items():
        share = f"{median(v[0] / c[0] for v, c in zip(values, rates[against], strict=True)):.0%}" if against else ""
        rate, of_cpu = (median(column) for column in zip(*values, strict=True))
        print(f"| {name} | {rate:.0f} | {rate * MIB_PER_PAIR * 1.048576:.0f} | {share} | {1e3 / of_cpu:.2f} ms |")


def ratio(rates: Rates, way: str, others: str, column: int) -> float:
    """Median over rounds of the rate of a way, divided by the best rate of the others in the same round."""
    rounds = zip(*(values for name, values in rates.items() if name.startswith(others)), strict=True)
    best = [max(values[column] for values in of_round) for of_round in rounds]
    return median(own[column] / other for own, other in zip(rates[way], best, strict=True))


def main(pairs: int = 512, rounds: int = 7, folder: Path | None = None, delay_ms: float = 5.0) -> None:
    """The data are put into `folder`; into a temporary one by default."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        prepare(Path(name), pairs)
        run(Path(name), pairs, rounds, delay_ms / 1e3)


def run(folder: Path, pairs: int, rounds: int, delay_s: float) -> None:
    print(
        f"{pairs} pairs of {MIB_PER_PAIR:.0f} MiB, batch {BATCH}, {rounds} rounds, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    ways = warm_ways(folder, pairs)
    measure(ways, pairs, 1)  # everything read once
    rates = measure(ways, pairs, rounds)
    show("Warm pages", rates, BYTES)
    best = "stream, 2 threads"
    for column, what in enumerate(("", " per processor time")):
        gain_a, gain_b = (ratio(rates, best, others, column) for others in ("(a)", "(b)"))
        print(f"\n{best}{what}: {gain_a:.1f} x the best of (a), {gain_b:.1f} x the best of (b)")
    show("Cold pages", measure(cold_ways(folder), pairs, max(rounds // 2, 1)), BYTES)
    true_read = reader.read_exactly
    reader.read_exactly = delayed(delay_s)
    show(f"Each read {1e3 * delay_s:.0f} ms late", measure(slow_ways(folder), pairs, max(rounds // 3, 1)))
    reader.read_exactly = true_read


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
