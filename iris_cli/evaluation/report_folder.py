"""The report of a test -> a folder with report.json, report.md, report.html and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from iris_cli.console import plural
from iris_cli.evaluation import runs
from iris_cli.evaluation.bootstrap import LEVEL, RESAMPLES, Summary
from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.figures import draw_report
from iris_cli.evaluation.page import Block, Heading, Paragraph, Picture, Table, html, markdown
from iris_cli.evaluation.report import MEANING, RunReport, interval, posterior_table, text
from iris_cli.evaluation.statistics import Statistics
from iris_cli.evaluation.summaries import Curve
from iris_cli.files import atomic_folder, to_json, write_text
from iris_cli.plots.style import STYLES, save

FORMAT, VERSION = "iris-report", 2
#: The numbers in which sets of inputs are compared, and those of the best predictor's posterior.
COMPARED = tuple(name for name in MEANING if name not in ("pairs", "near_far_pairs"))
COMPARED_POSTERIOR = ("crps", "energy_score", "spread", "error_of_mean", "spread_skill", "brier_near", "tarp_deviation")
#: Curves that the page has as tables.
CURVES = {
    "enclosed_mass_ratio": "Predicted / true H2 mass within a radius",
    "power_ratio": "Power ratio",
    "cross_correlation": "Cross-correlation",
    "iou": "Intersection over union above a density",
}
#: With fewer galaxies than this, a percentile interval is too narrow.
MANY_SOURCES = 20


def write_report(
    out: Path,
    tested: Sequence[Path],
    report: RunReport,
    shown: Mapping[str, Predictions],
    *,
    overwrite: bool = False,
    history: Sequence[str] = (),
) -> Path:
    """Write the folder `out`, whole or not at all, and return its report.html. DataError when it exists.

    `shown` has a few galaxies of each set for the figures; `history` says how the report was made and is stored in
    the figures.
    """
    with atomic_folder(out, overwrite) as folder:
        record = {"format": FORMAT, "version": VERSION, "runs": [*map(str, tested)], **report.to_dict()}
        write_text(folder / "report.json", to_json(record))
        pictures = []
        with STYLES["screen"].applied():
            for name, figure, caption in draw_report(report, shown):
                pictures.append(Picture(f"{name}.png", caption))
                save(figure, folder / pictures[-1].file, history=history)
        blocks = list(page(tested, report, pictures))
        write_text(folder / "report.md", markdown(blocks))
        write_text(folder / "report.html", html(_title(tested), blocks, folder))
    return out / "report.html"


def page(tested: Sequence[Path], report: RunReport, pictures: Sequence[Picture]) -> Iterator[Block]:
    """Headings, tables and figures, from top to bottom."""
    normal = report.normal
    yield Heading(_title(tested), 1)
    yield Paragraph(
        f"{plural(normal.pairs, 'pair')} of {plural(normal.sources, 'galaxy', 'galaxies')}, "
        f"{report.settings.split} split, each evaluated once. The intervals contain the mean with {LEVEL:.0%} "
        f"confidence: a bootstrap with {RESAMPLES} draws over galaxies, because views of a galaxy are not independent."
        + (" With so few galaxies the intervals are too narrow." if normal.sources < MANY_SOURCES else "")
    )
    settings = {"runs": [*map(str, tested)], **report.settings.to_dict()}
    yield Table(("setting", "value"), [(name, _setting(value)) for name, value in settings.items()])
    yield Heading("Numbers")
    yield _numbers(normal.numbers, MEANING)
    yield Heading("Posterior")
    yield Paragraph(
        "Every predictor as samples of maps. The trivial ones use no image: the prior's "
        "samples are the true maps of other galaxies of the set, the mean map is that of the training set. A single "
        "map is scored as a certain prediction and has no calibration. In brackets: intervals of the means."
    )
    yield Table(*posterior_table(normal.predictors, intervals=True))
    if normal.runs:
        yield Heading("Consistency between runs")
        yield Paragraph(
            "How far the posteriors of runs lie apart that differ in their seed alone, on the same images: 0 if they "
            "agree. Their samples are pooled in all other numbers."
        )
        yield _numbers(normal.runs, runs.MEANING)
    if report.distances:
        yield Heading("Near or far at each (l, v)")
        yield Paragraph(
            "P(near), the probability that gas at a longitude and velocity is nearer than the Galactic Centre, and its "
            "distance (CRPS in pc), as scores of a random atom of a galaxy's gas. The prior is where the gas of all "
            "training galaxies at this place is. The floor is the truth of each pixel, which mixes near and far gas."
        )
        yield Table(*report.distances.table(intervals=True))
        yield from map(Paragraph, report.distances.sentences())
    if len(report.sets) > 1:
        yield Heading("Other inputs")
        yield Paragraph(
            "Predictions are compared with the true map of the galaxy that the input was made of. A network that uses "
            "its input must score worse on noise alone, and on a galaxy that rotates the other way."
        )
        yield _comparison(report.sets)
    yield Heading("Figures")
    yield from pictures
    yield Heading("Curves")
    yield Paragraph("Of the normal set; those of the other sets are in report.json.")
    for name, title in CURVES.items():
        if name in normal.curves:
            yield Heading(title, 3)
            yield _curve(normal.curves[name])


def _title(tested: Sequence[Path]) -> str:
    return f"Test of {', '.join(run.name for run in tested)}"


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_setting(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_setting, value))
    return "none" if value is None else str(value)


def _numbers(numbers: Mapping[str, Summary], meaning: Mapping[str, str]) -> Table:
    header = ("name", "mean", "median", f"{LEVEL:.0%} interval of the mean", "pairs", "meaning")
    return Table(header, [(name, *_cells(numbers[name]), meaning[name]) for name in meaning if name in numbers])


def _cells(y: Summary, at: int = 0) -> tuple[str, str, str, str]:
    return text(float(y.mean[at])), text(float(y.median[at])), interval(y, at), str(y.pairs[at])


def _comparison(sets: Sequence[Statistics]) -> Table:
    """Means with their intervals, a column for each set."""
    rows = [("pairs (galaxies)", *(f"{found.pairs} ({found.sources})" for found in sets))]
    best = [found.predictors[found.best].numbers for found in sets]
    for names, tables in ((COMPARED, [found.numbers for found in sets]), (COMPARED_POSTERIOR, best)):
        for name in names:
            if all(name in numbers for numbers in tables):
                means = [numbers[name] for numbers in tables]
                rows.append((name, *(f"{text(float(y.mean[0]))} ({interval(y)})" for y in means)))
    return Table(("name", *(found.name for found in sets)), rows)


def _curve(curve: Curve) -> Table:
    header = (f"{curve.of} [{curve.unit}]" if curve.unit != "1" else curve.of, "mean", "median", "interval", "pairs")
    return Table(header, [(text(float(x)), *_cells(curve.y, i)) for i, x in enumerate(curve.x)])
