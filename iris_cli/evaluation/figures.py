"""The figures of a report: pairs with their predictions, and curves of statistics for each set of inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from iris_cli.config.grid import Grid
from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.posterior import RANKED, SIDES, TARP
from iris_cli.evaluation.report import RunReport
from iris_cli.evaluation.summaries import Curve
from iris_cli.plots.calibration import draw_calibration, draw_coverage_maps, draw_rank_histograms, draw_reliability
from iris_cli.plots.curves import Line
from iris_cli.plots.near_far import FAINTEST, draw_near_far_pairs, draw_tenths
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.power_spectra import draw_power_spectra
from iris_cli.plots.radial_profiles import draw_radial_profiles
from iris_cli.plots.style import as_label
from iris_cli.plots.threshold_overlap import draw_threshold_overlap


def draw_predictions(shown: Predictions, names: Sequence[str] | None = None, **style: Any) -> Figure:
    """A row for each galaxy: observation, truth, prediction and, of an ensemble, the members' spread.

    `names` are the titles of the rows, instead of the galaxies' own; `style` goes to `draw_pairs`.
    """
    rows = [as_label(source) for source in shown.sources] if names is None else names
    images = shown.observations, shown.true, shown.predicted
    return draw_pairs(*images, shown.grid, shown.quantity, rows, shown.spread, **style)


def draw_report(report: RunReport, shown: Mapping[str, Predictions]) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of all figures; `shown` has a few predictions for each set of inputs."""
    normal = report.normal
    yield (
        "pairs",
        draw_predictions(shown[normal.name]),
        "The first galaxies of the set, in its order: the input of the network, the true map, and the predicted map, "
        "seen from Galactic north with the observer below.",
    )
    others = {name: one for name, one in shown.items() if name != normal.name}
    if others:
        names = [as_label(f"{one.sources[0]}, {name}") for name, one in others.items()]
        joined = Predictions.joined(list(others.values()))
        yield "stress", draw_predictions(joined, names), "The first galaxy of each other set of inputs."
    if "enclosed_mass_true" in normal.curves:
        surface, enclosed = (
            {"true": _line(normal.curves[f"{what}_true"]), "predicted": _line(normal.curves[f"{what}_pred"])}
            for what in ("surface_density", "enclosed_mass")
        )
        yield (
            "profiles",
            draw_radial_profiles(surface, enclosed, _each(report, "enclosed_mass_ratio")),
            "H2 around Sgr A*: surface density and enclosed mass of the normal set (means over pairs), and the mean "
            "ratio of predicted to true enclosed mass of every set.",
        )
    yield (
        "spectra",
        draw_power_spectra(_each(report, "power_ratio"), _each(report, "cross_correlation")),
        "Structure by size: power of the predicted map over that of the true one, and their cross-correlation. Means "
        "over pairs; 1 is perfect in both.",
    )
    yield (
        "overlap",
        draw_threshold_overlap(_each(report, "iou")),
        "Overlap of predicted and true gas above a density threshold; pairs in which neither has any are left out.",
    )
    yield from _draw_posterior(report, shown[normal.name].grid)
    yield from _draw_distances(report, shown[normal.name])


def _draw_posterior(report: RunReport, grid: Grid) -> Iterator[tuple[str, Figure, str]]:
    """Of the normal set; nothing if the best predictor gives single maps."""
    normal = report.normal
    sampled = {name: found for name, found in normal.predictors.items() if found.samples > 1}
    best = sampled.get(normal.best)
    if best is None:
        return

    def each(curve: str) -> dict[str, Line]:
        return {name: _line(found.curves[curve]) for name, found in sampled.items() if curve in found.curves}

    errors = {as_label(f.name): _line(f.predictors[f.best].curves["error_of_spread"]) for f in report.sets}
    yield (
        "calibration",
        draw_calibration(
            {of: _line(best.curves[f"coverage_{what}"]) for what, of in RANKED.items()}, each(TARP), errors
        ),
        f"Calibration. Left: truths inside central intervals ({normal.best}). Middle: TARP, the rank of the truth's "
        "distance from other galaxies' maps among the samples' distances. Right: error of the mean against the spread "
        "of the samples, for each set of inputs. Grey lines are perfect calibration. An overconfident posterior is "
        "below the line on the left and above it on the right.",
    )
    yield (
        "ranks",
        draw_rank_histograms({of: each(f"ranks_{what}") for what, of in RANKED.items()}),
        "How many samples are below the truth: flat if calibrated, a bowl if overconfident, a hill if underconfident, "
        "a slope if biased (falling: too much gas is predicted).",
    )
    yield (
        "reliability",
        draw_reliability({f"heavier half of a {side}": each(f"reliability_{side}") for side in SIDES}),
        "Near or far: how often the near half is the heavier one where this share of the samples has it so. On the "
        "grey line the shares are probabilities.",
    )
    maps = {name: f.coverage_map for name, f in sampled.items() if f.coverage_level == best.coverage_level}
    yield (
        "coverage",
        draw_coverage_maps({k: m for k, m in maps.items() if m is not None}, best.coverage_level or 0.0, grid),
        "Where the intervals hold: share of occupied pixels whose truth is inside, by place. Blue is overconfident.",
    )


def _draw_distances(report: RunReport, shown: Predictions) -> Iterator[tuple[str, Figure, str]]:
    """Of the distance networks on the normal set, where there are any."""
    if (found := report.distances) is None:
        return
    tenths = {"distance network": found.tenths, "prior, without the image": found.prior_tenths}
    yield (
        "near_far_reliability",
        draw_tenths(
            {name: Line(one.p_near, one.near.mean, one.near.low, one.near.high) for name, one in tenths.items()},
            {name: Line(one.p_near, one.gas, one.gas, one.gas) for name, one in tenths.items()},
        ),
        "P(near) at each (l, v). Left: the share of the gas that is near, by tenths of P(near). On the grey line "
        "P(near) is a probability; flatter is overconfident. Right: how much gas has such a P(near); the image helps "
        "where the network is more often close to 0 or 1 than its prior.",
    )
    rows = []
    for one in shown.near:
        drawn = one.gas > FAINTEST * one.gas.max()
        rows.append([one.observation, *(np.where(drawn, part, np.nan) for part in (one.near, one.p_near, one.prior))])
    if rows:
        names = [as_label(one.source) for one in shown.near]
        yield (
            "near_far",
            draw_near_far_pairs(rows, names, shown.grid, shown.quantity),
            "Galaxies on the plane of longitude and velocity: the input, the share of the gas that is nearer than the "
            "Galactic Centre, the network's P(near), and that of all training galaxies at the same place. Blue is "
            f"near; grey has less than {FAINTEST:.1%} of the highest column; the line is at 0.5.",
        )


def _line(curve: Curve) -> Line:
    return Line(curve.x, curve.y.mean, curve.y.low, curve.y.high)


def _each(report: RunReport, name: str) -> dict[str, Line]:
    """A curve of every set."""
    return {as_label(found.name): _line(found.curves[name]) for found in report.sets if name in found.curves}
