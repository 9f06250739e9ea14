"""Consistency between runs: how far the posteriors of several runs lie apart, in units of themselves.

Runs that differ in their seed alone should give the same posterior. Members are (M, K, n, 1, R', L): K samples of M
runs. Differences that finite K alone would make are subtracted in the mean, so that K does not matter: two halves of
the samples of one run differ by 0. Of several runs, all pairs are averaged. With fewer than three samples there is no
unit, and maps are compared with their error instead.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from iris_cli.evaluation.bootstrap import Floats, Resampling, Summary, divided
from iris_cli.evaluation.metrics import OCCUPIED, Maps
from iris_cli.evaluation.posterior import Sides
from iris_cli.evaluation.scores import distances

MEANING = {
    "shift_of_mean": "rms shift of the posterior mean over occupied pixels, in standard deviations of a run's samples",
    "near_difference": "rms difference of the probability that the near half of a map is the heavier one",
    "near_difference_columns": "the same at each longitude",
    "energy_distance": "distance of samples of different runs over that within a run, minus 1",
    "difference": "rms difference of the runs' mean maps over occupied pixels, asinh maps",
    "difference_over_error": "the same over the rms error of one run's mean map",
}
#: A smaller standard deviation of a pixel counts as this, on the asinh scale.
LEAST_DEVIATION = OCCUPIED
#: The number of samples that a standard deviation of a run needs.
FEWEST_SAMPLES = 3


def _root_ratio(total: Floats, count: Floats) -> Floats:
    return np.sqrt(np.maximum(divided(total, count), 0.0))


def _excess(between: Floats, within: Floats) -> Floats:
    return divided(between, within) - 1.0


#: Number -> its function of two sums over pairs, and the names of these.
FUNCTIONS: dict[str, tuple[Callable[[Floats, Floats], Floats], str, str]] = {
    "shift_of_mean": (_root_ratio, "shift", "pixels"),
    "near_difference": (_root_ratio, "near", "maps"),
    "near_difference_columns": (_root_ratio, "near_columns", "columns"),
    "energy_distance": (_excess, "between", "within"),
    "difference": (_root_ratio, "square", "pixels"),
    "difference_over_error": (_root_ratio, "square", "error"),
}


def between_runs(maps: Maps, runs: int) -> dict[str, Tensor]:
    """(n,) sums of squares and counts, see FUNCTIONS; `maps.members` are K samples of the first run, of the second, …

    `error` is that of a run's mean, NaN where the truth is.
    """
    split = maps.members.unflatten(0, (runs, -1))
    samples, asinh, sides = split.shape[1], maps.asinh(split), Sides.of(maps, split)
    n, pairs = float(maps.loss.normalization), list(combinations(range(runs), 2))
    occupied = maps.pred >= OCCUPIED * n
    columns = sides.column.mean(dim=(0, 1)) >= OCCUPIED * n * float(maps.volume.sum())
    whole = columns.any(dim=1, keepdim=True)
    mean = asinh.mean(dim=1)
    found = {"pixels": _sum(occupied), "columns": _sum(columns), "maps": _sum(whole)}
    found["error"] = _sum((mean - maps.asinh(maps.true)).square().mean(dim=0) * occupied)
    variance = asinh.var(dim=1) if samples > 1 else torch.zeros_like(mean)
    squares = [((mean[a] - mean[b]).square(), variance[a] + variance[b]) for a, b in pairs]
    found["square"] = _mean(_sum((square - both / samples) * occupied) for square, both in squares)
    for name, p, where in (("near", sides.near, whole), ("near_columns", sides.near_column, columns)):
        share = p.mean(dim=1)
        chance = share * (1.0 - share) / (samples - 1.0) if samples > 1 else torch.zeros_like(share)
        found[name] = _mean(_sum(((share[a] - share[b]).square() - chance[a] - chance[b]) * where) for a, b in pairs)
    if samples < FEWEST_SAMPLES:
        return found
    # 1/variance has the expectation freedom/(freedom - 2) for normal samples
    freedom, least = 2.0 * (samples - 1.0), LEAST_DEVIATION**2
    units = [(square * (1.0 - 2.0 / freedom) - both / samples, 0.5 * both) for square, both in squares]
    found["shift"] = _mean(_sum(square / unit.clamp(min=least) * occupied) for square, unit in units)
    within = [distances(part, part).sum(dim=(1, 2)) / (samples * (samples - 1.0)) for part in asinh]
    found["between"] = _mean(distances(asinh[a], asinh[b]).mean(dim=(1, 2)) for a, b in pairs)
    found["within"] = _mean(0.5 * (within[a] + within[b]) for a, b in pairs)
    return found


def names(samples: int) -> tuple[str, ...]:
    """Of what `between_runs` returns."""
    plain = ("pixels", "columns", "maps", "error", "square", "near", "near_columns")
    return (*plain, "shift", "between", "within") if samples >= FEWEST_SAMPLES else plain


def _sum(values: Tensor) -> Tensor:
    """(n, ...) -> (n,)"""
    return values.flatten(1).sum(dim=1, dtype=torch.float64)


def _mean(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(dim=0)


def of_each_map(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    """(pairs, 1) of the numbers of MEANING that are known, from those of `between_runs`."""
    known = {name: f for name, f in FUNCTIONS.items() if f[1] in arrays and not np.isnan(arrays[f[2]]).all()}
    return {name: function(arrays[top], arrays[bottom]) for name, (function, top, bottom) in known.items()}


def statistics(arrays: Mapping[str, Floats], draw: Resampling) -> dict[str, Summary]:
    """The numbers of MEANING over all pairs; their median is over maps."""
    found = {}
    for name, values in of_each_map(arrays).items():
        function, *sums = FUNCTIONS[name]
        whole = draw.derived(function, *(arrays[each] for each in sums))[0]
        found[name] = replace(whole, median=draw.summary(values)[0].median)
    return found


def of_one_map(maps: Maps, runs: int) -> dict[str, float]:
    """The numbers of MEANING that are known of a single image; without a truth (NaN), none that need it."""
    arrays = {name: value[:, None].numpy() for name, value in between_runs(maps, runs).items()}
    return {name: float(value[0, 0]) for name, value in of_each_map(arrays).items() if math.isfinite(value[0, 0])}


def in_words(numbers: Mapping[str, float]) -> str:
    """How far the runs lie apart for one input: a part of a caption."""
    words = {
        "shift_of_mean": "{:.2f} standard deviations of the posterior (rms)",
        "difference": "{:.2f} (rms of asinh maps)",
        "near_difference_columns": "{:.2f} in the probability that the near half of a longitude is the heavier one",
    }
    if "shift_of_mean" in numbers:
        del words["difference"]
    return "the runs differ by " + " and by ".join(text.format(numbers[k]) for k, text in words.items() if k in numbers)
