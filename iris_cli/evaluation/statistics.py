"""Per-pair results -> statistics: numbers and curves with medians and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.evaluation import calibration
from iris_cli.evaluation.bootstrap import Floats, Resampling, Summary, divided
from iris_cli.evaluation.evaluate import Arrays
from iris_cli.evaluation.metrics import MEASURES, THRESHOLDS
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.evaluation.radial_profiles import Annuli


@dataclass(frozen=True)
class Curve:
    """Numbers along `x`, which is `of` something in `unit`."""

    of: str
    unit: str
    x: Floats
    y: Summary

    def to_dict(self) -> dict[str, Any]:
        y = {key: _values(part) for key, part in vars(self.y).items()}
        return {"of": self.of, "unit": self.unit, "x": _values(self.x), **y}


@dataclass(frozen=True)
class Statistics:
    """Results on one set of inputs; each of the `numbers` is a Summary of width 1."""

    name: str
    pairs: int
    sources: int
    numbers: dict[str, Summary]
    curves: dict[str, Curve]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None instead of NaN."""
        numbers = {
            name: {key: _values(part)[0] for key, part in vars(number).items()} for name, number in self.numbers.items()
        }
        curves = {name: curve.to_dict() for name, curve in self.curves.items()}
        return {"pairs": self.pairs, "sources": self.sources, "numbers": numbers, "curves": curves}


def _values(numbers: NDArray) -> list[float | int | None]:
    return [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers.tolist()]


def statistics_of(
    name: str, arrays: Arrays, sources: Sequence[str], grid: Grid, normalization_kg_m3: float, seed: int
) -> Statistics:
    """The statistics of per-pair results, (pairs, width) each, with the source of each pair."""
    draw = Resampling.of(sources, seed)
    curves = {
        **_overlap(arrays, draw, normalization_kg_m3),
        **_profiles(arrays, draw, grid),
        **_spectra(arrays, draw, grid),
    }
    numbers = {measure: draw.summary(arrays[measure]) for measure in MEASURES}
    numbers["skill"] = _skill(arrays, draw)
    if "ranks" in arrays:
        numbers |= _ensemble_numbers(arrays, draw)
        curves |= _ensemble_curves(arrays, draw)
    read = ~np.isnan(arrays["loss"][:, 0])
    return Statistics(name, int(read.sum()), len({s for s, r in zip(sources, read, strict=True) if r}), numbers, curves)


def _derived(draw: Resampling, function: Callable[..., Floats], *arrays: Floats) -> Summary:
    """A function of sums over pairs: its value, and the interval of the same function of resampled sums."""
    value = function(*(np.nan_to_num(a).sum(axis=0, keepdims=True) for a in arrays))[0]
    low, high = draw.interval(function(*(draw.sums(a) for a in arrays)))
    return Summary(value, np.full_like(value, np.nan), low, high, (~np.isnan(arrays[0])).sum(axis=0))


def _skill(arrays: Arrays, draw: Resampling) -> Summary:
    """1 - loss / the better trivial predictor's; which of them is better is decided anew in each resample."""

    def skill(loss: Floats, *trivial: Floats) -> Floats:
        return 1.0 - divided(loss, np.minimum.reduce(trivial))

    trivial = [arrays["loss_zero"], *([] if np.isnan(m := arrays["loss_mean_image"]).all() else [m])]
    return _derived(draw, skill, arrays["loss"], *trivial)


def _overlap(arrays: Arrays, draw: Resampling, normalization_kg_m3: float) -> dict[str, Curve]:
    levels = np.array(THRESHOLDS) * normalization_kg_m3
    return {"iou": Curve("H2 density threshold", "kg m^-3", levels, draw.summary(arrays["iou"]))}


def _profiles(arrays: Arrays, draw: Resampling, grid: Grid) -> dict[str, Curve]:
    annuli = Annuli.of(grid)
    if annuli is None:
        return {}
    within = ("radius", "pc", annuli.edges_pc[1:])
    at = ("radius", "pc", annuli.centres_pc)
    ratio = divided(arrays["enclosed_mass_pred"], arrays["enclosed_mass_true"])
    return {
        "enclosed_mass_true": Curve(*within, draw.summary(arrays["enclosed_mass_true"])),
        "enclosed_mass_pred": Curve(*within, draw.summary(arrays["enclosed_mass_pred"])),
        "enclosed_mass_ratio": Curve(*within, draw.summary(ratio)),
        "surface_density_true": Curve(*at, draw.summary(arrays["surface_density_true"])),
        "surface_density_pred": Curve(*at, draw.summary(arrays["surface_density_pred"])),
    }


def _spectra(arrays: Arrays, draw: Resampling, grid: Grid) -> dict[str, Curve]:
    k = Wavenumbers.of(grid).k_per_pc
    return {
        name: Curve("wavenumber", "pc^-1", k, draw.summary(arrays[name]))
        for name in ("power_ratio", "cross_correlation")
    }


def _ensemble_numbers(arrays: Arrays, draw: Resampling) -> dict[str, Summary]:
    members = arrays["ranks"].shape[1] - 1
    variance, error, pixels = (arrays[name][:, -1:] for name in ("variance", "squared_error", "pixels"))
    return {
        "crps": draw.summary(arrays["crps"]),
        "mean_absolute_error": draw.summary(arrays["mean_absolute_error"]),
        "spread": _derived(draw, _root_mean, variance, pixels),
        "error_of_mean": _derived(draw, _root_mean, error, pixels),
        "spread_skill": _derived(draw, lambda v, e: calibration.spread_skill(v, e, members), variance, error),
    }


def _ensemble_curves(arrays: Arrays, draw: Resampling) -> dict[str, Curve]:
    ranks, dense = arrays["ranks"], arrays["ranks_dense"]
    members = ranks.shape[1] - 1
    variance, error, pixels = (arrays[name][:, :-1] for name in ("variance", "squared_error", "pixels"))
    below, nominal = np.arange(members + 1.0), calibration.nominal_coverage(members)
    return {
        "rank_share": Curve("members below the truth", "1", below, draw.summary(ranks)),
        "rank_share_dense": Curve("members below the truth", "1", below, draw.summary(dense)),
        "coverage": Curve("nominal coverage", "1", nominal, draw.summary(calibration.coverage(ranks))),
        "coverage_dense": Curve("nominal coverage", "1", nominal, draw.summary(calibration.coverage(dense))),
        "error_of_spread": Curve(
            "spread",
            "asinh",
            _root_mean(variance.sum(axis=0), pixels.sum(axis=0)),
            _derived(draw, _root_mean, error, pixels),
        ),
    }


def _root_mean(total: Floats, count: Floats) -> Floats:
    return np.sqrt(divided(total, count))
