"""The report of a test: records with the numbers for JSON, and the same as table rows for people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from iris_cli.config.train import Noise
from iris_cli.evaluation import runs
from iris_cli.evaluation.bootstrap import Floats, Summary
from iris_cli.evaluation.distances import DistanceScores
from iris_cli.evaluation.ensemble import ENSEMBLE, SAMPLES
from iris_cli.evaluation.evaluate import Totals
from iris_cli.evaluation.metrics import EVEN_SPLIT, MEASURES
from iris_cli.evaluation.posterior import Predictive, meaning
from iris_cli.evaluation.statistics import Statistics
from iris_cli.evaluation.trivial import EMPTY_MAP, MEAN_MAP

#: What a plain test reports.
MEANING = {
    "pairs": "galaxy views evaluated, each once",
    "loss": "loss of the map",
    "loss_zero": "loss of an empty prediction",
    "loss_mean_image": "loss of predicting the training set's mean image",
    "skill": "1 - loss / min(loss_zero, loss_mean_image)",
    "rmse_dex": "log10 error over occupied pixels",
    "pearson_asinh": "correlation of asinh maps",
    "ssim_asinh": "structural similarity of asinh maps",
    "mass_ratio": "predicted / true mass",
    "near_far_error": "error of (near - far)/(near + far)",
    "near_far_sign_right": "share of pairs whose heavier half is predicted heavier",
    "near_far_pairs": f"pairs whose split is not even (above {EVEN_SPLIT:g})",
}


def text(value: float | int | None) -> str:
    if value is None or value != value:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def skill(loss: float | None, *trivial: float | None) -> float | None:
    """1 - loss / (the best trivial predictor's loss): 0 is no better than that, 1 is perfect."""
    known = [value for value in trivial if value is not None]
    if loss is None or not known or min(known) == 0:
        return None
    return 1.0 - loss / min(known)


@dataclass(frozen=True)
class Report:
    """Means over `pairs` pairs, each counted once. None where no pair defines a measure."""

    pairs: int
    loss: float | None
    loss_zero: float | None
    loss_mean_image: float | None
    skill: float | None
    rmse_dex: float | None
    pearson_asinh: float | None
    ssim_asinh: float | None
    mass_ratio: float | None
    near_far_error: float | None
    near_far_sign_right: float | None
    near_far_pairs: int

    @classmethod
    def of(cls, totals: Totals) -> "Report":
        return cls.of_means(totals.means(), totals.count(), totals.count("near_far_sign_right"))

    @classmethod
    def of_statistics(cls, found: Statistics) -> "Report":
        numbers = {name: float(found.numbers[name].mean) for name in MEASURES}
        means = {name: mean if math.isfinite(mean) else None for name, mean in numbers.items()}
        return cls.of_means(means, found.pairs, int(found.numbers["near_far_sign_right"].pairs))

    @classmethod
    def of_means(cls, means: dict[str, float | None], pairs: int, near_far_pairs: int) -> "Report":
        """`means` of all MEASURES."""
        total = skill(means["loss"], means["loss_zero"], means["loss_mean_image"])
        return cls(pairs=pairs, skill=total, near_far_pairs=near_far_pairs, **means)

    def rows(self) -> list[tuple[str, ...]]:
        """Name, value, meaning."""
        return [(f.name, text(getattr(self, f.name)), MEANING[f.name]) for f in fields(self)]


@dataclass(frozen=True)
class Settings:
    """How a test was made. `epoch` and `checkpoint` are those of the first member."""

    split: str
    checkpoint: str
    members: int
    epoch: int
    noise: Noise
    litter: str | None
    data: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class RunReport:
    """The test of a run or of an ensemble: statistics of each set of inputs, the normal set first, and the settings."""

    sets: Sequence[Statistics]
    settings: Settings
    #: Of the distance networks on the normal set, where all runs have one and the pairs the arrays for it.
    distances: DistanceScores | None = None

    @property
    def normal(self) -> Statistics:
        return self.sets[0]

    @property
    def means(self) -> Report:
        """Over the normal set."""
        return Report.of_statistics(self.normal)

    @property
    def map(self) -> str:
        """Which map the means are of: they are the losses of one, where a predictor has several."""
        several = {SAMPLES: "the mean of the samples", ENSEMBLE: "the mean map of the networks"}
        return next((what for name, what in several.items() if name in self.normal.predictors), "the network's map")

    def everything(self) -> dict[str, Any]:
        """The means over the normal set, the settings, and all statistics of each set."""
        return {**self._means(), "sets": {found.name: found for found in self.sets}}

    def headline(self) -> dict[str, Any]:
        """The means and the settings; of each predictor its posterior, and the consistency of several runs."""
        found = self.normal
        predictors = {name: {"samples": p.samples, **_means(p.numbers)} for name, p in found.predictors.items()}
        return {**self._means(), "predictors": predictors, "runs": _means(found.runs)}

    def _means(self) -> dict[str, Any]:
        return {**vars(self.means), **vars(self.settings), "distances": self.distances}

    def rows(self) -> list[tuple[str, ...]]:
        """Name, value, meaning: for people."""
        numbers = ((name, text(float(n.mean)), runs.MEANING[name]) for name, n in self.normal.runs.items())
        return [*self.means.rows(), *numbers]

    def posterior(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows: a column for each predictor, side by side; of trivial ones the prior alone."""
        return posterior_table({k: p for k, p in self.normal.predictors.items() if k not in (MEAN_MAP, EMPTY_MAP)})


def posterior_table(
    predictors: Mapping[str, Predictive], intervals: bool = False
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of numbers, a column for each predictor; with `intervals`, and with the numbers' meanings."""
    names = list(dict.fromkeys(name for found in predictors.values() for name in found.numbers))

    def cell(found: Predictive, name: str) -> str:
        number = found.numbers.get(name)
        if number is None:
            return "-"
        return with_interval(name, number) if intervals else text(float(number.mean))

    header = ("", *predictors)
    rows = [("samples", *(str(found.samples) for found in predictors.values()))]
    rows += [(name, *(cell(found, name) for found in predictors.values())) for name in names]
    if not intervals:
        return header, rows
    return (*header, "meaning"), [(*row, meaning(row[0])) for row in rows]


def with_interval(name: str, y: Summary) -> str:
    """A mean and its interval, if it has one."""
    if np.isclose(y.low, y.high, equal_nan=True):
        return text(float(y.mean))
    if name == "tarp_deviation":  # the largest of several numbers: those of resampled pairs are larger
        return rounded(y.mean, y)
    return f"{rounded(y.mean, y)} ({interval(y)})"


def interval(y: Summary) -> str:
    """The bounds of a mean; "-" where there are none."""
    return "-" if np.isnan(y.low + y.high) else f"{rounded(y.low, y)} … {rounded(y.high, y)}"


def rounded(number: Floats, y: Summary) -> str:
    """A value with as many decimals as show two digits of the interval's width; else four digits."""
    value, width = float(number), float(y.high - y.low)
    if not (1e-4 < width < math.inf and abs(value) < 1e4):
        return text(value)
    return f"{value:.{max(0, 1 - math.floor(math.log10(width)))}f}"


def _means(numbers: Mapping[str, Summary]) -> dict[str, Floats]:
    return {name: number.mean for name, number in numbers.items()}
