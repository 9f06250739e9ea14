"""Small samples that are a pure function of their number; here, so that worker processes can import them."""

import io
import os
import time
from dataclasses import dataclass

import numpy as np

from shards import pool
from shards.index import Index
from shards.reader import Reader
from shards.stream import Draws, ReadAhead
from shards.writer import ArraySchema, Sample, SetPlan, write_set

SHAPE = (1, 6, 10)
SCHEMA = (
    ArraySchema("observation", SHAPE, "float32", {"unit": "K"}),
    ArraySchema("density", SHAPE, "float32", {"unit": "solMass / pc3"}),
)
VIEWS = 3
PLAN = SetPlan({"train": range(37), "validation": range(100, 111), "test": range(200, 203)}, samples_per_shard=8)
ATTRIBUTES = {"grid": {"v_min_km_s": -200.0}}


def arrays(number):
    rng = np.random.default_rng(number)
    return {schema.name: rng.gamma(0.3, size=SHAPE).astype(np.float32) for schema in SCHEMA}


def make(number):
    galaxy, view = divmod(number, VIEWS)
    return Sample(f"g{galaxy:04d}_v{view}", f"g{galaxy:04d}", arrays(number), {"view": view, "scale": 0.5})


def make_slowly(number):
    time.sleep(0.002)
    return make(number)


def make_but_13(number):
    if number == 13:
        raise FileNotFoundError(2, "No such file or directory", "galaxy_4.npy")
    return make(number)


def die_at_13(number):
    if number == 13:
        os._exit(9)
    return make(number)


def backwards(number):
    """Early items take longest."""
    time.sleep(max(0.0, 0.02 - 0.002 * number))
    return -number


def pid_slowly(number):
    time.sleep(0.02)
    return os.getpid()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write(folder, make=make, plan=PLAN, **options):
    """Write a set with this module's schema; `plan` may be the number of samples to train on."""
    plan = SetPlan({"train": range(plan)}) if isinstance(plan, int) else plan
    return write_set(folder, plan, make, **{"schema": SCHEMA, "attributes": ATTRIBUTES, **options})


def records_of(folder, split=None):
    index = Index.open(folder)
    return [index.record(shard) for shard in index.shard_numbers(split)]


def groups_of(folder, split=None):
    """The group of each sample."""
    return [group for record in records_of(folder, split) for group in record.groups]


def assert_true(batch, items=None):
    """The arrays of a batch are those that were made, from 0, 1, … or from the numbers `items`."""
    for row, number in enumerate(batch.ids.tolist()):
        for name, true in arrays(number if items is None else items[number]).items():
            assert np.array_equal(batch.arrays[name][row], true)


@dataclass(frozen=True)
class Stream:
    """Draws and read-ahead as any program would compose them."""

    draws: Draws
    read_ahead: ReadAhead

    def epoch(self, epoch=0, position=0):
        return self.read_ahead(self.draws.epoch(epoch, position))

    def resampled(self, epoch=0, position=0):
        return self.read_ahead(self.draws.resampled(epoch, position))


def stream(index, split=None, *, batch=8, arrays=None, checksums=True, threads=4, depth=4, bad=None, **order):
    index = index if isinstance(index, Index) else Index.open(index)
    draws = Draws(index.numbers(split), index.sizes(), batch=batch, **order)
    reader = Reader(index, arrays, checksums=checksums)
    return Stream(draws, ReadAhead(reader, batch, threads=threads, depth=depth, bad=bad))


def process_and_whether_it_is_first(number):
    return pid_slowly(number), pool.is_first
