"""The report of a test: records with the numbers for JSON, and the same as table rows for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from iris_cli.config.toml import to_dict
from iris_cli.config.train import Noise
from iris_cli.evaluation.evaluate import Totals
from iris_cli.evaluation.metrics import EVEN_SPLIT, MEASURES
from iris_cli.evaluation.statistics import Statistics

#: What a plain test reports.
MEANING = {
    "pairs": "galaxy views evaluated, each once",
    "loss": "loss of the network",
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
#: What an ensemble has beside the measures of a single network.
ENSEMBLE_MEANING = {
    "crps": "continuous ranked probability score of asinh maps",
    "mean_absolute_error": "the same score of the first member alone",
    "spread": "rms standard deviation of the members, asinh maps",
    "error_of_mean": "rms error of the members' mean, asinh maps",
    "spread_skill": "spread / error; 1 if calibrated, below 1 if overconfident",
}
#: Curves of the share of truths inside central intervals, and of which pixels.
COVERAGES = {"coverage": "occupied pixels", "coverage_dense": "dense pixels"}


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
    def of(cls, totals: Totals) -> Report:
        return cls.of_means(totals.means(), totals.count(), totals.count("near_far_sign_right"))

    @classmethod
    def of_statistics(cls, found: Statistics) -> Report:
        numbers = {name: float(found.numbers[name].mean[0]) for name in MEASURES}
        means = {name: mean if math.isfinite(mean) else None for name, mean in numbers.items()}
        return cls.of_means(means, found.pairs, int(found.numbers["near_far_sign_right"].pairs[0]))

    @classmethod
    def of_means(cls, means: dict[str, float | None], pairs: int, near_far_pairs: int) -> Report:
        """`means` of all MEASURES."""
        total = skill(means["loss"], means["loss_zero"], means["loss_mean_image"])
        return cls(pairs=pairs, skill=total, near_far_pairs=near_far_pairs, **means)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

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

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "noise": to_dict(self.noise), "data": list(self.data)}


@dataclass(frozen=True)
class RunReport:
    """The test of a run or of an ensemble: statistics of each set of inputs, the normal set first, and the settings."""

    sets: Sequence[Statistics]
    settings: Settings

    @property
    def normal(self) -> Statistics:
        return self.sets[0]

    @property
    def means(self) -> Report:
        """Over the normal set."""
        return Report.of_statistics(self.normal)

    def to_dict(self) -> dict[str, Any]:
        """The means over the normal set, the settings, and all statistics of each set."""
        sets = {found.name: found.to_dict() for found in self.sets}
        return {**self.means.to_dict(), **self.settings.to_dict(), "sets": sets}

    def headline(self) -> dict[str, Any]:
        """The means and the settings alone; of an ensemble, its calibration as well."""
        values = {**self.means.to_dict(), **self.settings.to_dict()}
        found = self.normal.to_dict()
        if "coverage" in found["curves"]:
            numbers = {name: found["numbers"][name]["mean"] for name in ENSEMBLE_MEANING}
            covered = {name: found["curves"][name]["mean"] for name in COVERAGES}
            values["ensemble"] = {**numbers, "nominal_coverage": found["curves"]["coverage"]["x"], **covered}
        return values

    def rows(self) -> list[tuple[str, ...]]:
        """Name, value, meaning: for people."""
        numbers, curves = self.normal.numbers, self.normal.curves
        rows = self.means.rows()
        if "coverage" in curves:
            rows += [(name, text(float(numbers[name].mean[0])), meaning) for name, meaning in ENSEMBLE_MEANING.items()]
        for name, pixels in COVERAGES.items():
            if name in curves:
                rows += [
                    (name, text(float(y)), f"of the central {x:.0%} of the members, {pixels}")
                    for x, y in zip(curves[name].x, curves[name].y.mean, strict=True)
                ]
        return rows
