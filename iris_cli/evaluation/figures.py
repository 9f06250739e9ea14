"""The figures of a report: pairs with their predictions, and curves of statistics for each set of inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.report import RunReport
from iris_cli.evaluation.statistics import Curve
from iris_cli.plots.calibration import draw_calibration
from iris_cli.plots.curves import Line
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
    if "coverage" in normal.curves:
        coverage, ranks = (
            {"occupied pixels": _line(normal.curves[what]), "dense pixels": _line(normal.curves[f"{what}_dense"])}
            for what in ("coverage", "rank_share")
        )
        yield (
            "calibration",
            draw_calibration(coverage, ranks, _each(report, "error_of_spread")),
            "Calibration of the ensemble. Left: share of truths inside its central intervals. Middle: how many members "
            "are below the truth; flat if calibrated, a bowl if overconfident. Right: error of the mean against the "
            "spread of the members. Grey lines are perfect calibration.",
        )


def _line(curve: Curve) -> Line:
    return Line(curve.x, curve.y.mean, curve.y.low, curve.y.high)


def _each(report: RunReport, name: str) -> dict[str, Line]:
    """A curve of every set."""
    return {as_label(found.name): _line(found.curves[name]) for found in report.sets if name in found.curves}
