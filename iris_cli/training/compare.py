"""Runs side by side: settings that differ, and differences of their scores on the same pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iris_cli.config.train import TrainConfig
from iris_cli.console import progress
from iris_cli.distributed import World
from iris_cli.evaluation.bootstrap import Resampling
from iris_cli.evaluation.evaluate import Quantity, evaluate, gather_per_pair
from iris_cli.evaluation.loss import physical_loss
from iris_cli.evaluation.metrics import MEASURES
from iris_cli.training.test import inputs_of
from iris_cli.training.train import threads_for
from iris_cli.training.trained_run import TrainedRun, ensemble_for


@dataclass(frozen=True)
class Difference:
    """A score of a run, and its mean difference from that of the first run on the same pairs, with an interval."""

    score: float
    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self) -> str:
        """Rounded to two digits of the interval's width."""
        width = self.high - self.low
        digits = max(0, 1 - math.floor(math.log10(width))) if 0.0 < width < math.inf else 2
        numbers = (f"{x:+.{digits}f}" for x in (self.difference, self.low, self.high))
        return "{} ({} to {})".format(*numbers) + (" *" if self.is_clear else "")


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`{"noise": {"sigma_K": 1}}` -> `{"noise.sigma_K": 1}`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The keys whose values are not the same in all configurations; None where one has no such key."""
    flattened = [flat(config) for config in configs]
    keys = dict.fromkeys(key for config in flattened for key in config)
    values = {key: [config.get(key) for config in flattened] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def paired(
    runs: Sequence[Sequence[TrainedRun]], hyper: TrainConfig, split: str | None = None, quiet: bool = False
) -> list[dict[str, Difference]]:
    """The MEASURES of each run (an ensemble's mean map) on every pair of `hyper.data`, relative to the first run.

    The interval bounds the mean difference with 95 % confidence: a bootstrap over galaxies. DataError for galaxies that
    any of the runs was trained on, unless `hyper.overlap` has another rule.
    """
    stream = inputs_of(hyper, split, members=[member for members in runs for member in members]).normal
    stream, tables = replace(stream, batch=max(stream.batch, 8)), []
    measured = Quantity(dict.fromkeys(MEASURES, 1), lambda e: {k: m(e.maps)[:, None] for k, m in MEASURES.items()})
    for members in runs:
        ensemble, mean_image = ensemble_for(members, stream.pairs), members[0].checkpoint.mean_image
        with threads_for(ensemble.image_size), progress("testing", stream.steps, quiet=quiet) as bar:
            batches = evaluate(ensemble, physical_loss(hyper), stream, World(), mean_image, bar)
            tables.append(gather_per_pair(batches, [measured], stream, World()))
    resampling, found = Resampling.of(stream.groups, hyper.seed), []
    for table in tables:
        of_run = {}
        for name, values in table.items():
            y = resampling.summary(values - tables[0][name])[0]
            of_run[name] = Difference(float(np.nanmean(values)), float(y.mean), float(y.low), float(y.high))
        found.append(of_run)
    return found
