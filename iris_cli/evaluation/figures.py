"""The figures of a report: pairs with their predictions, and curves of statistics for each set of inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from iris_cli.config.grid import Grid
from iris_cli.console import plural
from iris_cli.evaluation.bootstrap import LEVEL, Curve
from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.posterior import RANKED, SIDES, TARP
from iris_cli.evaluation.report import RunReport
from iris_cli.plots.calibration import draw_calibration, draw_coverage_maps, draw_rank_histograms, draw_reliability
from iris_cli.plots.curves import Line, draw_power_spectra, draw_radial_profiles, draw_threshold_overlap
from iris_cli.plots.near_far import FAINTEST, draw_near_far_pairs, draw_tenths
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.style import Style, as_label


def draw_predictions(shown: Predictions, names: Sequence[str] | None = None, **style: Any) -> Figure:
    """A row for each galaxy: observation, truth, and what was predicted: a map, or several's mean and spread.

    `names` are the titles of the rows, instead of the galaxies' own; `style` goes to `draw_pairs`.
    """
    rows = [as_label(source) for source in shown.sources] if names is None else names
    return draw_pairs(shown.observations, shown.maps, shown.grid, shown.quantity, rows, **style)


def draw_report(report: RunReport, shown: Mapping[str, Predictions], style: Style) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of all figures; `shown` has a few predictions for each set of inputs.

    The first sentence of a caption is the figure's title.
    """
    normal = report.normal
    tested = f"{plural(normal.pairs, 'pair')} of {plural(normal.sources, 'galaxy', 'galaxies')}"
    bands = f"Means over {tested}, with {100 * LEVEL:.0f} % intervals."
    if len(report.sets) > 1:
        bands += (
            f" {' and '.join(found.name for found in report.sets[1:])}: other inputs, to which true maps do not belong."
        )
    yield (
        "pairs",
        draw_predictions(shown[normal.name], style=style),
        "Maps of some galaxies. The first ones of the set, in its order: the input of the network, the true map of H2 "
        "density and what was predicted, seen from Galactic north with the Sun below. A galaxy's maps have one scale.",
    )
    others = {name: one for name, one in shown.items() if name != normal.name}
    if others:
        names = [as_label(f"{one.sources[0]}, {name}") for name, one in others.items()]
        joined = Predictions.joined(list(others.values()))
        yield (
            "stress",
            draw_predictions(joined, names, style=style),
            "Other inputs. The first galaxy of each other set: the changed input, the true map of H2 density of the "
            "galaxy that it was made of, and the predicted one.",
        )
    if "enclosed_mass_true" in normal.curves:
        surface, enclosed = (
            {"true": _line(normal.curves[f"{what}_true"]), "predicted": _line(normal.curves[f"{what}_pred"])}
            for what in ("surface_density", "enclosed_mass")
        )
        yield (
            "profiles",
            draw_radial_profiles(surface, enclosed, _each(report, "enclosed_mass_ratio"), style),
            "Mass around Sgr A*. Left and middle: surface density in rings and enclosed mass of H2, true and "
            f"predicted. Right: predicted over true enclosed mass. {bands}",
        )
    yield (
        "spectra",
        draw_power_spectra(_each(report, "power_ratio"), _each(report, "cross_correlation"), style),
        "Structure by size. Power of the predicted map over that of the true one, and their cross-correlation; 1 is "
        f"perfect in both. {bands}",
    )
    yield (
        "overlap",
        draw_threshold_overlap(_each(report, "iou"), style),
        "Overlap of dense gas. Pixels that reach a density of H2 in both maps, predicted and true, over those that "
        f"reach it in one of them; pairs in which none does are left out. {bands}",
    )
    yield from _draw_posterior(report, shown[normal.name].grid, style)
    yield from _draw_distances(report, shown[normal.name], style)


def _draw_posterior(report: RunReport, grid: Grid, style: Style) -> Iterator[tuple[str, Figure, str]]:
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
            {of: _line(best.curves[f"coverage_{what}"]) for what, of in RANKED.items()}, each(TARP), errors, style
        ),
        f"Calibration. Left: truths inside central intervals ({normal.best}). Middle: TARP, the rank of the truth's "
        "distance from other galaxies' maps among the samples' distances. Right: error of the mean against the spread "
        "of the samples, for each set of inputs. Grey lines are perfect calibration. An overconfident posterior is "
        "below the line on the left and above it on the right.",
    )
    yield (
        "ranks",
        draw_rank_histograms({of: each(f"ranks_{what}") for what, of in RANKED.items()}, style),
        "Ranks of the truth. How many samples are below it: flat if calibrated, a bowl if overconfident, a hill if "
        "underconfident, a slope if biased (falling: too much gas is predicted).",
    )
    yield (
        "reliability",
        draw_reliability({f"heavier half of a {side}": each(f"reliability_{side}") for side in SIDES}, style),
        "Near or far in samples. How often the near half is the heavier one where this share of the samples has it so. "
        "On the grey line the shares are probabilities.",
    )
    maps = {name: f.coverage_map for name, f in sampled.items() if f.coverage_level == best.coverage_level}
    yield (
        "coverage",
        draw_coverage_maps({k: m for k, m in maps.items() if m is not None}, best.coverage_level or 0.0, grid, style),
        "Where the intervals hold. Share of occupied pixels whose truth is inside, by place. Blue is overconfident.",
    )


def _draw_distances(report: RunReport, shown: Predictions, style: Style) -> Iterator[tuple[str, Figure, str]]:
    """Of the distance networks on the normal set, where there are any."""
    if (found := report.distances) is None:
        return
    tenths = {"distance network": found.tenths, "prior, without the image": found.prior_tenths}
    yield (
        "near_far_reliability",
        draw_tenths(
            {name: Line(one.p_near, one.near.mean, one.near.low, one.near.high) for name, one in tenths.items()},
            {name: Line(one.p_near, one.gas, one.gas, one.gas) for name, one in tenths.items()},
            style,
        ),
        "P(near) at each (l, v). Left: the share of the gas that is near, by tenths of P(near). On the grey line "
        "P(near) is a probability; flatter is overconfident. Right: how much gas has such a P(near); the image helps "
        "where the network is more often close to 0 or 1 than its prior.",
    )
    rows = []
    for one in shown.near:
        drawn = one.gas > FAINTEST * one.gas.max()
        seen = np.where((one.observation != 0).any(axis=1, keepdims=True), one.observation, np.nan)
        rows.append([seen, *(np.where(drawn, part, np.nan) for part in (one.near, one.p_near, one.prior))])
    if rows:
        names = [as_label(one.source) for one in shown.near]
        yield (
            "near_far",
            draw_near_far_pairs(rows, names, shown.grid, shown.quantity, style),
            "Near or far at each (l, v) of some galaxies. The input, the share of the gas that is nearer than the "
            "Galactic Centre, the network's P(near), and that of all training galaxies at the same place. Blue is "
            f"near; grey has less than {100 * FAINTEST:.1f} % of the highest column; the line is at 0.5; hatched "
            "longitudes were not observed.",
        )


def _line(curve: Curve) -> Line:
    return Line(curve.x, curve.y.mean, curve.y.low, curve.y.high)


def _each(report: RunReport, name: str) -> dict[str, Line]:
    """A curve of every set."""
    return {as_label(found.name): _line(found.curves[name]) for found in report.sets if name in found.curves}
