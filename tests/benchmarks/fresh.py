"""What do fresh galaxies buy? `python -m tests.benchmarks.fresh SHARDS --help`. Results: docs/benchmarks/training.md.

One network takes equal numbers of steps on the first 125, 500 and 2 000 galaxies of a set, and on fresh ones, and is
tested on the set's test split.
"""

import argparse
import time

from iris_cli.config.mock import MockConfig
from iris_cli.config.train import OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.pairs.datasets import PreObservedDataset, image_size
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import test_reverter, train_reverter
from shards.order import Numbers


class First(PreObservedDataset):
    """A set of which the training split has its first `most` pairs only."""

    def __init__(self, folder: str, most: int) -> None:
        super().__init__(folder)
        self.most = most

    def own_split(self, name: str) -> Numbers:
        return super().own_split(name)[: self.most] if name == "train" else super().own_split(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", help="pairs of default mock galaxies with all three splits")
    parser.add_argument("--galaxies", type=int, nargs="+", default=[125, 500, 2000, 0], help="0: fresh ones")
    parser.add_argument("--samples", type=int, default=16_000, help="of which 16 make a step")
    parser.add_argument("--network", default="columns")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    test = PreObservedDataset(given.shards, "test")
    for count in given.galaxies:
        length = count or min(2000, given.samples)
        hyper = TrainConfig(
            epochs=given.samples // length,
            batch_size=16,
            batches_per_update=1,
            network=given.network,
            seed=given.seed,
            optimizer=OptimizerConfig("adamw", 1e-3, 1e-4),
            schedule=ScheduleConfig("cosine", warmup_epochs=0.05 * given.samples / length),
            fresh=None if count else MockConfig(),
            fresh_galaxies=length,
        )
        dataset = First(given.shards, length)
        reverter, start = (
            Reverter(image_size(dataset), dataset.quantity, seed=given.seed, network=given.network),
            time.time(),
        )
        train_reverter(reverter, dataset, hyper=hyper, quiet=True)
        report = test_reverter(reverter, test, hyper=hyper, quiet=True)
        name = f"{count} galaxies" if count else "fresh galaxies"
        print(f"{name:>16}: skill {report.skill:.3f}, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
