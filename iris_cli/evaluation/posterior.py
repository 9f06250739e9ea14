"""Samples of maps against true maps: what a test measures of each pair, and the statistics over pairs.

A predictor gives K samples for every image: those of a sampler, the maps of several networks, or a single map. The same
numbers are computed for each of them, so that they can be compared with trivial predictors (trivial.py). Maps are
transformed by asinh(density / normalization), so that faint gas counts beside bright clouds.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from iris_cli.evaluation import calibration, scores
from iris_cli.evaluation.bootstrap import Curve, Floats, Resampling, Summary, divided
from iris_cli.evaluation.calibration import PROBABILITY_EDGES, SPREAD_EDGES
from iris_cli.evaluation.metrics import DENSE, FLOOR, OCCUPIED, Maps

#: What ranks and coverage are computed of, and what is ranked against other galaxies' maps (TARP).
RANKED = {
    "pixels": "occupied pixels",
    "bright": "bright pixels",
    "columns": "mass of a longitude",
    "mass": "total mass",
    "near": "near share of the mass",
    "near_columns": "near share of a longitude",
}
TARP = "tarp"
#: Near or far: of a whole map, and of each longitude.
SIDES = {"map": "", "longitude": "_columns"}
#: The numbers of a predictor, beside its coverage.
MEANING = {
    "crps": "continuous ranked probability score of asinh maps, per pixel",
    "energy_score": "the same score of whole maps, which sees whether pixels vary together",
    "crps_mass_dex": "the same score of log10 of the total mass",
    "crps_near": "the same score of the near share of the mass",
    "brier_near": "Brier score of 'the near half is the heavier one'; 0.25 for 'one half'",
    "brier_near_columns": "the same at each longitude",
    "log_near": "-ln of the probability of the heavier half; 0.69 for 'one half'",
    "log_near_columns": "the same at each longitude",
    "mass_ratio": "mean mass of the samples / true mass",
    "mass_scatter_dex": "scatter of its log10 over pairs",
    "spread": "rms standard deviation of the samples, asinh maps",
    "error_of_mean": "rms error of the samples' mean, asinh maps",
    "spread_skill": "spread / error; 1 if calibrated, below 1 if overconfident",
    "tarp_deviation": "largest distance of the TARP curve from the diagonal",
    "row_correlation": "of deviations in pixels at one distance, far apart in longitude; 1 in samples of stripes",
    "row_correlation_true": "the same of the true maps; equal if calibrated",
}
#: Blocks along each axis of the map of coverage.
BLOCKS = 16


def meaning(number: str) -> str:
    """Of a number in `Predictive.numbers`."""
    if not number.startswith("coverage_"):
        return MEANING.get(number, "maps of the predictor")
    _, level, what = number.split("_", 2)
    return f"truths inside the central {level} % of the samples, {RANKED[what]}"


@dataclass(frozen=True)
class Predictive:
    """The statistics of one predictor with so many `samples` of each map.

    `coverage_map` (blocks, blocks), distance and longitude, is the share of occupied pixels whose truth is inside the
    central interval of the probability `coverage_level`; None for a single sample.
    """

    samples: int
    numbers: dict[str, Summary]
    curves: dict[str, Curve]
    coverage_level: float | None = None
    coverage_map: Floats | None = None


@dataclass(frozen=True)
class Posterior:
    """What is measured of a predictor with so many samples; `tarp` when there are maps to measure distances from."""

    samples: int
    tarp: bool = False

    @classmethod
    def of(cls, arrays: dict[str, Floats]) -> "Posterior":
        """The one that measured these per-pair results."""
        ranks = arrays.get("ranks_mass")
        return cls(1 if ranks is None else ranks.shape[1] - 1, "ranks_tarp" in arrays)

    @property
    def widths(self) -> dict[str, int]:
        """Name -> numbers per pair."""
        once = ("crps", "energy_score", "crps_mass_dex", "crps_near", "mass_ratio")
        sides = [f"{score}_near{end}" for end in SIDES.values() for score in ("brier", "log")]
        found = dict.fromkeys((*once, *sides), 1)
        found |= dict.fromkeys(("variance", "squared_error", "pixels"), len(SPREAD_EDGES))
        if self.samples == 1:
            return found
        bins = len(PROBABILITY_EDGES) - 1
        found |= {f"reliability{end}": 3 * bins for end in SIDES.values()}
        found |= {"row_products": 2, "row_squares": 2}
        found |= {f"ranks_{what}": self.samples + 1 for what in (*RANKED, *([TARP] if self.tarp else []))}
        return found | {"inside": BLOCKS**2, "counted": BLOCKS**2}

    def measure(self, maps: Maps, references: Tensor | None = None) -> dict[str, Tensor]:
        """(n, width) of each name in `widths`; `references` (M, n, 1, R', L) are densities."""
        samples, true, n = maps.members, maps.true, float(maps.loss.normalization)
        asinh, asinh_true = maps.asinh(samples), maps.asinh(true)
        mass, true_mass = maps.mass(samples), maps.mass(true)
        least = FLOOR * n * float(maps.volume.sum()) * true.shape[-1]
        dex, true_dex = (m.clamp(min=least).log10() for m in (mass, true_mass))
        sides, true_sides = Sides.of(maps, samples), Sides.of(maps, true)
        columns = calibration.reached(sides.column, true_sides.column, OCCUPIED * n * float(maps.volume.sum()))
        found = {
            "crps": scores.crps(asinh, asinh_true),
            "energy_score": scores.energy_score(asinh, asinh_true),
            "crps_mass_dex": scores.crps(dex, true_dex),
            "crps_near": scores.crps(sides.share, true_sides.share),
            "mass_ratio": torch.where(true_mass > 0, mass.mean(dim=0) / true_mass, math.nan),
            **calibration.spread_and_error(asinh, asinh_true),
        }
        gas = {"": (true_mass > 0)[:, None], "_columns": columns}
        for end, where in gas.items():
            name = "near" if end == "" else "near_column"
            p, happened = vars(sides)[name].mean(dim=0), vars(true_sides)[name]
            happened = torch.where(where & (happened != 0.5), happened, math.nan)
            found[f"brier_near{end}"] = scores.brier(p, happened, len(samples)).nanmean(dim=1)
            chances = scores.log_score(p, happened, len(samples))
            found[f"log_near{end}"] = torch.where(happened.isnan(), math.nan, chances).nanmean(dim=1)
            if self.samples > 1:
                found[f"reliability{end}"] = calibration.reliability(p, happened).flatten(1)
        if self.samples > 1:
            occupied = calibration.reached(samples, true, OCCUPIED * n)
            ranked = {
                "pixels": (samples, true, occupied),
                "bright": (samples, true, calibration.reached(samples, true, DENSE * n)),
                "columns": (sides.column, true_sides.column, columns),
                "mass": (mass, true_mass, None),
                "near": (sides.share, true_sides.share, None),
                "near_columns": (sides.share_column, true_sides.share_column, columns),
            }
            found |= {f"ranks_{what}": calibration.ranks(*of) for what, of in ranked.items()}
            inside = calibration.inside(samples, true, calibration.levels(self.samples)[0]) * occupied
            found |= {"inside": blocks(inside), "counted": blocks(occupied.double())}
            found |= calibration.along_rows(asinh, asinh_true)
            if self.tarp and references is not None:
                found["ranks_tarp"] = calibration.tarp_ranks(asinh, asinh_true, maps.asinh(references))
        return {name: value.reshape(len(true), -1) for name, value in found.items()}

    def statistics(self, arrays: dict[str, Floats], draw: Resampling) -> Predictive:
        """Of per-pair results (pairs, width)."""
        numbers = {name: draw.summary(arrays[name])[0] for name in MEANING if name in arrays}
        ratio = arrays["mass_ratio"]
        log = np.log10(ratio, out=np.full_like(ratio, np.nan), where=ratio > 0)
        numbers["mass_scatter_dex"] = draw.derived(_scatter, log, log**2, np.where(np.isnan(log), np.nan, 1.0))[0]
        variance, error, pixels = (arrays[name] for name in ("variance", "squared_error", "pixels"))
        numbers["error_of_mean"] = draw.derived(_root_mean, error[:, -1:], pixels[:, -1:])[0]
        if self.samples == 1:
            return Predictive(1, numbers, {})
        numbers["spread"] = draw.derived(_root_mean, variance[:, -1:], pixels[:, -1:])[0]
        numbers["spread_skill"] = draw.derived(
            lambda v, e: calibration.spread_skill(v, e, self.samples), variance[:, -1:], error[:, -1:]
        )[0]
        for k, name in enumerate(("row_correlation", "row_correlation_true")):
            sums = (arrays[f"row_{x}"][:, k : k + 1] for x in ("products", "squares"))
            numbers[name] = draw.derived(divided, *sums)[0]
        curves: dict[str, Curve] = {}
        for what in RANKED:
            shares = arrays[f"ranks_{what}"]
            for level in calibration.levels(self.samples):
                covered = calibration.coverage_at(shares, level)[:, None]
                numbers[f"coverage_{100 * level:.0f}_{what}"] = draw.summary(covered)[0]
            density = calibration.rank_histogram(shares)
            middle = (np.arange(density.shape[1]) + 0.5) / density.shape[1]
            curves[f"ranks_{what}"] = Curve("share of samples below the truth", "1", middle, draw.summary(density))
            nominal, covered = calibration.nominal_coverage(self.samples), calibration.coverage(shares)
            curves[f"coverage_{what}"] = Curve("nominal coverage", "1", nominal, draw.summary(covered))
        if self.tarp:
            nominal = np.arange(1.0, self.samples + 2.0) / (self.samples + 1.0)
            reached = np.cumsum(arrays["ranks_tarp"], axis=1)
            curves["tarp"] = Curve("credibility", "1", nominal, draw.summary(reached))
            known = np.where(np.isnan(reached[:, :1]), np.nan, 1.0)
            numbers["tarp_deviation"] = draw.derived(
                lambda r, n: np.abs(divided(r, n) - nominal).max(axis=1, keepdims=True), reached, known
            )[0]
        for side, end in SIDES.items():
            count, chance, happened = np.moveaxis(arrays[f"reliability{end}"].reshape(len(ratio), 3, -1), 1, 0)
            empty = np.where(count > 0, 0.0, np.nan)
            x = divided(np.nansum(chance, axis=0), np.nansum(count, axis=0))
            y = draw.derived(divided, happened + empty, count + empty)
            curves[f"reliability_{side}"] = Curve("probability that the near half is heavier", "1", x, y)
        spread = _root_mean(np.nansum(variance[:, :-1], axis=0), np.nansum(pixels[:, :-1], axis=0))
        by_spread = draw.derived(_root_mean, error[:, :-1], pixels[:, :-1])
        curves["error_of_spread"] = Curve("spread", "asinh", spread, by_spread)
        inside, counted = (np.nansum(arrays[name], axis=0) for name in ("inside", "counted"))
        level = calibration.levels(self.samples)[0]
        return Predictive(self.samples, numbers, curves, level, divided(inside, counted).reshape(BLOCKS, BLOCKS))


@dataclass(frozen=True)
class Sides:
    """Of maps (..., n): the mass at each longitude, the near share of it and of the whole (one half without mass).

    `near` and `near_column`: 1 where the near half is heavier, 0 where the far half is, 0.5 where they are equal.
    """

    column: Tensor
    share_column: Tensor
    share: Tensor
    near_column: Tensor
    near: Tensor

    @classmethod
    def of(cls, maps: Maps, image: Tensor) -> "Sides":
        near, far = maps.halves(image)
        halves = [(near, far), tuple(half.sum(dim=-1, keepdim=True) for half in (near, far))]
        (share_column, near_column), (share, heavier) = (_side(*pair) for pair in halves)
        column = (image * maps.volume).sum(dim=(-3, -2))
        return cls(column, share_column, share, near_column, heavier)


def _side(near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """The near share, and 1, 0.5 or 0 where the near half is heavier, equal or lighter."""
    return (near / (near + far)).nan_to_num(0.5), 0.5 + 0.5 * (near - far).sign()


def blocks(images: Tensor) -> Tensor:
    """(n, 1, R', L) -> (n, 1, BLOCKS, BLOCKS) means."""
    return adaptive_avg_pool2d(images, BLOCKS)


def _scatter(total: Floats, squares: Floats, count: Floats) -> Floats:
    return np.sqrt(np.maximum(divided(squares, count) - divided(total, count) ** 2, 0.0))


def _root_mean(total: Floats, count: Floats) -> Floats:
    return np.sqrt(divided(total, count))
