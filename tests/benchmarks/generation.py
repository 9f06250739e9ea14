"""Processor time of mock pairs, in turn with another version: `python -m tests.benchmarks.generation OLD`.

OLD is a folder with the package of the other version, for example of

    git archive --prefix old/ af459c0 iris_cli shards | tar x -C /tmp      # then OLD is /tmp/old

Each version runs in a process of its own with one thread; the two make the same numbers of galaxies in turn. The lowest
mean processor time of a round counts. Results: docs/benchmarks/generation.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

STEPS = ("draw", "tensor", "simple", "synthetic")
#: Galaxies in a round.
COUNT = {"tiny": 20, "small": 6}


def serve() -> None:
    """For each line `preset first`, make that round of galaxies and print the mean milliseconds of each step."""
    import torch

    from iris_cli.config.grid import GRID_PRESETS
    from iris_cli.config.mock import MockConfig
    from iris_cli.mock.draw import draw_galaxy
    from iris_cli.observers.registry import make_observer
    from iris_cli.observers.top_down import top_down_density

    torch.set_num_threads(1)
    config = MockConfig()
    for line in sys.stdin:
        preset, first = line.split()
        grid, total = GRID_PRESETS[preset], [0.0] * len(STEPS)
        observers = [make_observer(grid, name) for name in ("simple", "synthetic")]
        for number in range(int(first), int(first) + COUNT[preset]):
            times = [time.process_time()]
            galaxy = draw_galaxy(config, 1, number)
            times.append(time.process_time())
            tensor = torch.from_numpy(galaxy.tensor(grid, 0.0))
            times.append(time.process_time())
            for observer in observers:
                observer.observe(tensor), top_down_density(tensor, grid)
                times.append(time.process_time())
            total = [t + b - a for t, a, b in zip(total, times[:-1], times[1:], strict=True)]
        print(json.dumps([1e3 * t / COUNT[preset] for t in total]), flush=True)


def start(package: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", __file__, "--serve"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: subprocess.Popen[str], question: str) -> list[float]:
    assert process.stdin is not None and process.stdout is not None
    print(question, file=process.stdin, flush=True)
    return list(json.loads(process.stdout.readline()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    versions = {"old": start(args.old), "new": start(Path(__file__).resolve().parents[2])}
    for preset in COUNT:
        runs: dict[str, list[list[float]]] = {name: [] for name in versions}
        for round_ in range(args.rounds + 1):
            for name, process in versions.items():
                runs[name].append(ask(process, f"{preset} {round_ * COUNT[preset]}"))
        old, new = ([min(times) for times in zip(*runs[name][1:], strict=True)] for name in versions)  # 0 warms up
        rows = [*zip(STEPS, old, new, strict=True), ("draw + tensor + simple", sum(old[:3]), sum(new[:3]))]
        for step, before, after in (*rows, ("draw + tensor + synthetic", *(t[0] + t[1] + t[3] for t in (old, new)))):
            print(f"{preset:6} {step:26} {before:8.2f} ms {after:8.2f} ms   {before / after:5.1f} x")
    for process in versions.values():
        process.communicate()


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
