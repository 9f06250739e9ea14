"""Per-pair results -> statistics: numbers and curves with medians and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
        numbers = {name: {key: _values(x)[0] for key, x in vars(n).items()} for name, n in self.numbers.items()}
        curves = {name: curve.to_dict() for name, curve in self.curves.items()}
        return {"pairs": self.pairs, "sources": self.sources, "numbers": numbers, "curves": curves}


def _values(numbers: NDArray) -> list[float | int | None]:
    return [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers.tolist()]


def statistics_of(
    name: str, arrays: Arrays, sources: Sequence[str], grid: Grid, normalization_kg_m3: float, seed: int
) -> Statistics:
    """The statistics of per-pair results, (pairs, width) each, with the source of each pair."""
    draw = Resampling.of(sources, seed)
    numbers = {measure: draw.summary(arrays[measure]) for measure in MEASURES} | {"skill": _skill(arrays, draw)}
    curves: dict[str, Curve] = {}
    for axis, each in _curves(arrays, grid, normalization_kg_m3):
        curves |= {curve: Curve(*axis, draw.summary(values)) for curve, values in each.items()}
    if "ranks" in arrays:
        numbers |= _ensemble_numbers(arrays, draw)
        curves["error_of_spread"] = _error_of_spread(arrays, draw)
    read = ~np.isnan(arrays["loss"][:, 0])
    return Statistics(name, int(read.sum()), len({s for s, r in zip(sources, read, strict=True) if r}), numbers, curves)


def _curves(
    arrays: Arrays, grid: Grid, normalization_kg_m3: float
) -> Iterator[tuple[tuple[str, str, Floats], dict[str, Floats]]]:
    """What the points of curves are `of`, its unit and their `x`, with the curves of all pairs, (pairs, points)."""

    def named(*names: str) -> dict[str, Floats]:
        return {name: arrays[name] for name in names}

    yield ("H2 density threshold", "kg m^-3", np.array(THRESHOLDS) * normalization_kg_m3), named("iou")
    if annuli := Annuli.of(grid):
        ratio = divided(arrays["enclosed_mass_pred"], arrays["enclosed_mass_true"])
        enclosed = named("enclosed_mass_true", "enclosed_mass_pred") | {"enclosed_mass_ratio": ratio}
        yield ("radius", "pc", annuli.edges_pc[1:]), enclosed
        yield ("radius", "pc", annuli.centres_pc), named("surface_density_true", "surface_density_pred")
    yield ("wavenumber", "pc^-1", Wavenumbers.of(grid).k_per_pc), named("power_ratio", "cross_correlation")
    if "ranks" in arrays:
        ranks, dense = arrays["ranks"], arrays["ranks_dense"]
        members = ranks.shape[1] - 1
        below = np.arange(members + 1.0)
        yield ("members below the truth", "1", below), {"rank_share": ranks, "rank_share_dense": dense}
        covered = {"coverage": calibration.coverage(ranks), "coverage_dense": calibration.coverage(dense)}
        yield ("nominal coverage", "1", calibration.nominal_coverage(members)), covered


def _skill(arrays: Arrays, draw: Resampling) -> Summary:
    """1 - loss / the better trivial predictor's; which of them is better is decided anew in each resample."""

    def skill(loss: Floats, *trivial: Floats) -> Floats:
        return 1.0 - divided(loss, np.minimum.reduce(trivial))

    trivial = [arrays["loss_zero"], *([] if np.isnan(m := arrays["loss_mean_image"]).all() else [m])]
    return draw.derived(skill, arrays["loss"], *trivial)


def _ensemble_numbers(arrays: Arrays, draw: Resampling) -> dict[str, Summary]:
    members = arrays["ranks"].shape[1] - 1
    variance, error, pixels = (arrays[name][:, -1:] for name in ("variance", "squared_error", "pixels"))
    return {
        "crps": draw.summary(arrays["crps"]),
        "mean_absolute_error": draw.summary(arrays["mean_absolute_error"]),
        "spread": draw.derived(_root_mean, variance, pixels),
        "error_of_mean": draw.derived(_root_mean, error, pixels),
        "spread_skill": draw.derived(lambda v, e: calibration.spread_skill(v, e, members), variance, error),
    }


def _error_of_spread(arrays: Arrays, draw: Resampling) -> Curve:
    variance, error, pixels = (arrays[name][:, :-1] for name in ("variance", "squared_error", "pixels"))
    spread = _root_mean(variance.sum(axis=0), pixels.sum(axis=0))
    return Curve("spread", "asinh", spread, draw.derived(_root_mean, error, pixels))


def _root_mean(total: Floats, count: Floats) -> Floats:
    return np.sqrt(divided(total, count))
