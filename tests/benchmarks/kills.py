"""Kill -9 a writing run with two workers at random moments, go on with --resume, compare with an undisturbed run.

`python -m tests.benchmarks.kills --kills 50`: each kill begins a set of its own, killed once or more before it is
finished; the final folders must be byte-identical. Result: docs/benchmarks/stream.md.
"""

from __future__ import annotations

import argparse
import filecmp
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shards.writer import SetPlan, write_set
from tests.shards.makers import SCHEMA, make_slowly

PLAN = SetPlan({"train": range(150), "test": range(1000, 1030)}, samples_per_shard=8)


def write(folder: Path) -> None:
    write_set(folder, PLAN, make_slowly, schema=SCHEMA, attributes={}, workers=2, resume=True)


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tests.benchmarks.kills", "--write", str(folder)])


def kill_once(folder: Path, moment_s: float) -> bool:
    """Whether the run was still alive to be killed, `moment_s` after it began its first shard."""
    before = set(folder.glob(".*.tar.*"))
    job = start(folder)
    while set(folder.glob(".*.tar.*")) <= before and job.poll() is None:
        time.sleep(0.001)
    time.sleep(moment_s)
    alive = job.poll() is None
    job.send_signal(signal.SIGKILL)
    job.wait()
    return alive


def same(a: Path, b: Path) -> bool:
    names, others = (sorted(path.name for path in f.iterdir() if path.name != "commands.jsonl") for f in (a, b))
    return names == others and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    if given.write:
        write(given.write)
        return
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), given.kills, random.Random(given.seed))


def run(root: Path, kills: int, dice: random.Random) -> None:
    write(root / "undisturbed")
    written_s = [path.stat().st_mtime for path in (root / "undisturbed").glob("*.tar")]
    longest = max(written_s) - min(written_s)
    done = sets = 0
    left: dict[int, int] = {}
    while done < kills:
        folder = root / "killed"
        while done < kills and kill_once(folder, dice.uniform(0.0, longest)):
            done += 1
            finished = len(list(folder.glob("*-*.json")))
            left[finished] = left.get(finished, 0) + 1
        assert start(folder).wait() == 0
        assert same(folder, root / "undisturbed"), f"set {sets} differs after {done} kills"
        shutil.rmtree(folder)
        sets += 1
    print(f"{done} kills over {sets} sets of {len(PLAN.jobs)} shards: all byte-identical to the undisturbed one")
    print(f"finished shards found at a kill: {dict(sorted(left.items()))}")


if __name__ == "__main__":
    main()
