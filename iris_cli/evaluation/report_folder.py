"""The report of a test -> a folder with report.json, report.md, report.html and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from iris_cli.console import plural
from iris_cli.evaluation.bootstrap import LEVEL, RESAMPLES, Summary
from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.page import Block, Heading, Paragraph, Picture, Table, html, markdown
from iris_cli.evaluation.report import ENSEMBLE_MEANING, MEANING, RunReport, text
from iris_cli.evaluation.statistics import Curve, Statistics
from iris_cli.files import atomic_folder, to_json, write_text
from iris_cli.plots import curves
from iris_cli.plots.curves import Line
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.style import STYLES, save

FORMAT, VERSION = "iris-report", 1
#: What sets of inputs are compared by.
COMPARED = (
    "loss",
    "loss_zero",
    "loss_mean_image",
    "skill",
    "rmse_dex",
    "pearson_asinh",
    "ssim_asinh",
    "mass_ratio",
    "near_far_error",
    "near_far_sign_right",
    "crps",
    "spread",
    "error_of_mean",
    "spread_skill",
)


def write_report(
    out: Path,
    run: Path,
    report: RunReport,
    shown: dict[str, Predictions],
    *,
    overwrite: bool = False,
    history: Sequence[str] = (),
) -> Path:
    """Write the folder `out`, whole or not at all, and return its report.html. DataError when it exists.

    `shown` has a few galaxies of each set for the figures; `history` says how the report was made, and goes into them.
    """
    with atomic_folder(out, overwrite) as folder:
        record = {"format": FORMAT, "version": VERSION, "run": str(run), **report.to_dict()}
        write_text(folder / "report.json", to_json(record))
        with STYLES["screen"].applied():
            pictures = [_picture(folder, *drawn, history) for drawn in figures(report, shown)]
        blocks = list(page(run, report, pictures))
        write_text(folder / "report.md", markdown(blocks))
        write_text(folder / "report.html", html(f"Test of {run.name}", blocks, folder))
    return out / "report.html"


def _picture(folder: Path, name: str, figure: Figure, caption: str, history: Sequence[str]) -> Picture:
    save(figure, folder / f"{name}.png", history=history)
    return Picture(f"{name}.png", caption)


# --- figures ----------------------------------------------------------------------------------------------------------


def figures(report: RunReport, shown: dict[str, Predictions]) -> Iterator[tuple[str, Figure, str]]:
    """File name, figure and caption of each."""
    normal = report.normal
    yield (
        "pairs",
        _pairs(shown[normal.name]),
        (
            "The first galaxies of the set, in its order: the input of the network, the true map, and the predicted "
            "map, seen from Galactic north with the observer below."
        ),
    )
    others = {name: one for name, one in shown.items() if name != normal.name}
    if others:
        yield "stress", _stress(others), "The first galaxy of each other set of inputs."
    if "enclosed_mass_true" in normal.curves:
        yield (
            "profiles",
            _profiles(report),
            (
                "H2 around Sgr A*: surface density and enclosed mass of the normal set (means over pairs), and the "
                "mean ratio of predicted to true enclosed mass of every set."
            ),
        )
    yield (
        "spectra",
        curves.draw_spectra_of_maps(_each(report, "power_ratio"), _each(report, "cross_correlation")),
        (
            "Structure by size: power of the predicted map over that of the true one, and their cross-correlation. "
            "Means over pairs; 1 is perfect in both."
        ),
    )
    yield (
        "overlap",
        curves.draw_overlap(_each(report, "iou")),
        ("Overlap of predicted and true gas above a density threshold; pairs in which neither has any are left out."),
    )
    if "coverage" in normal.curves:
        yield (
            "calibration",
            _calibration(report),
            (
                "Calibration of the ensemble. Left: share of truths inside its central intervals. Middle: how many "
                "members lie below the truth; flat if calibrated, a bowl if overconfident. Right: error of the "
                "mean against the spread of the members. Grey lines are perfect calibration."
            ),
        )


def _pairs(shown: Predictions) -> Figure:
    return draw_pairs(
        [o[0] for o in shown.observations],
        [d[0] for d in shown.true],
        [d[0] for d in shown.predicted],
        shown.grid,
        shown.quantity,
        shown.sources,
        [s[0] for s in shown.spread],
    )


def _stress(shown: dict[str, Predictions]) -> Figure:
    each = list(shown.values())
    return draw_pairs(
        [one.observations[0][0] for one in each],
        [one.true[0][0] for one in each],
        [one.predicted[0][0] for one in each],
        each[0].grid,
        each[0].quantity,
        [f"{one.sources[0]}, {name}" for name, one in shown.items()],
        [s[0] for one in each for s in one.spread],
    )


def _line(curve: Curve) -> Line:
    return Line(curve.x, curve.y.mean, curve.y.low, curve.y.high)


def _each(report: RunReport, name: str) -> dict[str, Line]:
    """A curve of every set."""
    return {found.name: _line(found.curves[name]) for found in report.sets if name in found.curves}


def _profiles(report: RunReport) -> Figure:
    both = {"true": "true", "predicted": "pred"}
    surface, enclosed = (
        {name: _line(report.normal.curves[f"{what}_{end}"]) for name, end in both.items()}
        for what in ("surface_density", "enclosed_mass")
    )
    return curves.draw_profiles(surface, enclosed, _each(report, "enclosed_mass_ratio"))


def _calibration(report: RunReport) -> Figure:
    pixels = {"occupied pixels": "", "dense pixels": "_dense"}
    coverage, ranks = (
        {name: _line(report.normal.curves[f"{what}{end}"]) for name, end in pixels.items()}
        for what in ("coverage", "rank_share")
    )
    return curves.draw_calibration(coverage, ranks, _each(report, "error_of_spread"))


# --- words and tables -------------------------------------------------------------------------------------------------

_CURVES = {
    "enclosed_mass_ratio": "Predicted / true H2 mass within a radius",
    "power_ratio": "Power ratio",
    "cross_correlation": "Cross-correlation",
    "iou": "Intersection over union above a density",
    "coverage": "Coverage of the members' central intervals, occupied pixels",
    "coverage_dense": "Coverage of the members' central intervals, dense pixels",
}


def page(run: Path, report: RunReport, pictures: Sequence[Picture]) -> Iterator[Block]:
    settings, normal = report.settings.to_dict(), report.normal
    yield Heading(f"Test of {run.name}", 1)
    yield Paragraph(
        f"{plural(normal.pairs, 'pair')} of {plural(normal.sources, 'galaxy', 'galaxies')}, "
        f"{settings['split']} split, each seen once. Intervals hold "
        f"the mean with {LEVEL:.0%} confidence: a bootstrap of {RESAMPLES} draws over galaxies, because views of one "
        "galaxy are not independent." + (_FEW if normal.sources < MANY_SOURCES else "")
    )
    yield Table(("", ""), [(name, _words(value)) for name, value in {"run": str(run), **settings}.items()])
    yield Heading("Numbers")
    yield _numbers(normal, {name: MEANING[name] for name in MEANING if name in normal.numbers})
    if "crps" in normal.numbers:
        yield Heading("Calibration of the ensemble")
        yield _numbers(normal, ENSEMBLE_MEANING)
    if len(report.sets) > 1:
        yield Heading("Other inputs beside the normal set")
        yield Paragraph(
            "Predictions are compared with the true map of the galaxy that the input was made of. A network that reads "
            "its input must lose on noise alone, and on a galaxy that turns the wrong way."
        )
        yield _comparison(report.sets)
    yield Heading("Figures")
    yield from pictures
    yield Heading("Curves")
    yield Paragraph("Of the normal set; those of the other sets are in report.json.")
    for name, title in _CURVES.items():
        if name in normal.curves:
            yield Heading(title, 3)
            yield _curve(normal.curves[name])


#: With fewer galaxies than this, a percentile interval is too narrow.
MANY_SOURCES = 20
_FEW = " With so few galaxies the intervals are too narrow."


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "none" if value is None else str(value)


def _numbers(found: Statistics, meaning: dict[str, str]) -> Table:
    header = ("", "mean", "median", f"{LEVEL:.0%} interval of the mean", "pairs", "meaning")
    return Table(header, [(name, *_cells(found.numbers[name]), meaning[name]) for name in meaning])


def _cells(y: Summary, at: int = 0) -> tuple[str, str, str, str]:
    return text(float(y.mean[at])), text(float(y.median[at])), _interval(y, at), str(y.pairs[at])


def _interval(y: Summary, at: int = 0) -> str:
    low, high = float(y.low[at]), float(y.high[at])
    return "-" if np.isnan([low, high]).any() else f"{text(low)} … {text(high)}"


def _comparison(sets: Sequence[Statistics]) -> Table:
    rows = [
        (
            name,
            *(f"{text(float(found.numbers[name].mean[0]))} ({_interval(found.numbers[name])})" for found in sets),
        )
        for name in COMPARED
        if name in sets[0].numbers
    ]
    counts = ("pairs (galaxies)", *(f"{found.pairs} ({found.sources})" for found in sets))
    return Table(("", *(found.name for found in sets)), [counts, *rows])


def _curve(curve: Curve) -> Table:
    header = (f"{curve.of} [{curve.unit}]" if curve.unit != "1" else curve.of, "mean", "median", "interval", "pairs")
    return Table(header, [(text(float(x)), *_cells(curve.y, i)) for i, x in enumerate(curve.x)])
