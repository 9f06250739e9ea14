"""Damage a shard folder at random, many times: is every damage detected, and does reading stop or count it?

`python -m tests.benchmarks.damages --damages 1000`. Result: docs/benchmarks/stream.md.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from shards.errors import ShardError
from shards.stream import BadSamples
from shards.verify import verify
from shards.writer import SetPlan, write_set
from tests.shards.damage import DAMAGES
from tests.shards.makers import SCHEMA, arrays, make, stream

PLAN = SetPlan({"train": range(24), "validation": range(100, 108)}, samples_per_shard=8)
ITEMS = [*range(24), *range(100, 108)]
SAMPLES = len(ITEMS)


def read_all(folder: Path, bad: BadSamples) -> int:
    """How many samples come; each must be the true one."""
    came = 0
    for batch in stream(folder, batch=4, bad=bad, threads=2).epoch():
        for row, number in enumerate(batch.ids.tolist()):
            true = arrays(ITEMS[number])
            assert all(np.array_equal(batch.arrays[name][row], array) for name, array in true.items())
            came += 1
    return came


def reading(folder: Path) -> str:
    """What becomes of a run that meets the damage: it stops, or counts if asked; or its data are not touched by it."""
    try:
        assert read_all(folder, BadSamples()) == SAMPLES
        return "not met by reading"
    except ShardError:
        pass
    bad = BadSamples(most=SAMPLES)
    try:
        good = read_all(folder, bad)
    except ShardError:
        return "stopped: the index itself"
    assert good + len(bad.found) == SAMPLES and bad.found
    return "stopped; counted when asked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=1000)
    given = parser.parse_args()
    detected: Counter[str] = Counter()
    outcome: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound"
        write_set(sound, PLAN, make, schema=SCHEMA, attributes={"x": [1.0, "é"]})
        for seed in range(given.damages):
            damage = DAMAGES[seed % len(DAMAGES)]
            folder = Path(shutil.copytree(sound, Path(name) / "damaged"))
            words = damage(random.Random(seed), folder)
            assert not verify(folder).sound, f"not detected: {words} (seed {seed})"
            detected[damage.__name__] += 1
            outcome[damage.__name__, reading(folder)] += 1
            shutil.rmtree(folder)
    print(f"{sum(detected.values())} damages, all detected")
    for (kind, what), count in sorted(outcome.items()):
        print(f"| {kind} | {what} | {count} |")


if __name__ == "__main__":
    main()
