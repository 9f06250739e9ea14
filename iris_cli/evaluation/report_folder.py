"""The report of a test -> a folder with report.json, report.md, report.html and figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from iris_cli.config.toml import to_dict
from iris_cli.console import plural
from iris_cli.evaluation import runs
from iris_cli.evaluation.bootstrap import LEVEL, RESAMPLES, Curve, Summary
from iris_cli.evaluation.evaluate import Predictions
from iris_cli.evaluation.figures import draw_report
from iris_cli.evaluation.page import FIGURES, Block, Code, Heading, Paragraph, Picture, Table, html, markdown
from iris_cli.evaluation.report import MEANING, RunReport, interval, posterior_table, rounded, text, with_interval
from iris_cli.evaluation.statistics import Statistics
from iris_cli.files import atomic_folder, write_text
from iris_cli.plots.losses import History, draw_losses
from iris_cli.plots.style import STYLES, save
from iris_cli.text import to_json

FORMAT, VERSION = "iris-report", 3
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
LOSSES = (
    "Training. The loss of the training pairs (thin) and of the validation pairs (thick) against optimizer steps; the "
    "dot is the tested epoch. Horizontal lines are the losses of predictions that use no image."
)
#: With fewer galaxies than this, a percentile interval is too narrow.
MANY_SOURCES = 20


@dataclass(frozen=True)
class Made:
    """How a report was made: `rows` (name, value) such as command and date, the configuration as TOML, and the lines
    that each figure's metadata keeps.
    """

    rows: Sequence[tuple[str, str]] = ()
    configuration: str = ""
    history: Sequence[str] = ()


def write_report(
    out: Path,
    tested: Sequence[Path],
    report: RunReport,
    shown: Mapping[str, Predictions],
    losses: Mapping[str, History],
    made: Made,
    *,
    style: str = "screen",
    overwrite: bool = False,
) -> Path:
    """Write the folder `out`, whole or not at all, and return its report.html. DataError when it exists.

    `shown` has a few galaxies of each set for the figures, `losses` the trainings of the runs. In a `style` other than
    that of the page, the figures are also PDF files in the folder `figures`, with captions for a paper.
    """
    with atomic_folder(out, overwrite) as folder:
        record = {"format": FORMAT, "version": VERSION, "runs": [*map(str, tested)], **report.everything()}
        write_text(folder / "report.json", to_json(record))
        pictures = []
        for number, (name, figure, caption) in enumerate(_figures(report, shown, losses, "screen"), 1):
            pictures.append(Picture(number, f"{name}.png", caption))
            save(figure, folder / pictures[-1].file, history=made.history)
        if style != "screen":
            (folder / "figures").mkdir()
            for name, figure, caption in _figures(report, shown, losses, style):
                save(figure, folder / "figures" / f"{name}.pdf", STYLES[style], made.history, caption)
        blocks = list(page(tested, report, pictures, made))
        write_text(folder / "report.md", markdown(blocks))
        write_text(folder / "report.html", html(_title(tested), blocks, folder))
    return out / "report.html"


def _figures(
    report: RunReport, shown: Mapping[str, Predictions], losses: Mapping[str, History], style: str
) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption."""
    with STYLES[style].applied():
        yield from draw_report(report, shown, STYLES[style])
        if losses:
            yield "losses", draw_losses(losses, style=STYLES[style]), LOSSES


def page(tested: Sequence[Path], report: RunReport, pictures: Sequence[Picture], made: Made) -> Iterator[Block]:
    """Headings, tables and figures, from top to bottom."""
    normal = report.normal
    yield Heading(_title(tested), 1)
    yield Paragraph(
        f"{plural(normal.pairs, 'pair')} of {plural(normal.sources, 'galaxy', 'galaxies')}, "
        f"{report.settings.split} split, each evaluated once. The intervals contain the mean with {100 * LEVEL:.0f} % "
        f"confidence: a bootstrap with {RESAMPLES} draws over galaxies, because views of a galaxy are not independent."
        + (" With so few galaxies the intervals are too narrow." if normal.sources < MANY_SOURCES else "")
    )
    yield Heading("Settings")
    settings = {"runs": [*map(str, tested)], **vars(report.settings)}
    settings["noise"] = None if report.settings.noise.is_zero else to_dict(report.settings.noise)
    yield Table(("setting", "value"), [*made.rows, *((name, _setting(value)) for name, value in settings.items())])
    yield Heading("Numbers")
    yield Paragraph(f"Of {report.map}.")
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
    yield Heading(FIGURES)
    yield from pictures
    yield Heading("Curves")
    yield Paragraph("Of the normal set; those of the other sets are in report.json.")
    for name, title in CURVES.items():
        if name in normal.curves:
            yield Heading(title, 3)
            yield _curve(normal.curves[name])
    if made.configuration:
        yield Heading("Configuration")
        yield Code(made.configuration)


def _title(tested: Sequence[Path]) -> str:
    return f"Test of {', '.join(run.name for run in tested)}"


def _setting(value: object) -> str:
    if isinstance(value, dict):  # without what has no effect
        return ", ".join(f"{name} {_setting(inner)}" for name, inner in value.items() if inner) or "none"
    if value is True:
        return "yes"
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value))
    return "none" if value is None else str(value)


def _numbers(numbers: Mapping[str, Summary], meaning: Mapping[str, str]) -> Table:
    header = ("name", "mean", "median", f"{100 * LEVEL:.0f} % interval of the mean", "pairs", "meaning")
    rows = {name: (name, *_cells(numbers[name]), meaning[name]) for name in meaning if name in numbers}
    for name in rows.keys() & {"near_far_sign_right"}:  # 0 or 1 for each pair
        rows[name] = (*rows[name][:2], "-", *rows[name][3:])
    return Table(header, list(rows.values()))


def _cells(y: Summary) -> tuple[str, str, str, str]:
    return rounded(y.mean, y), rounded(y.median, y), interval(y), str(y.pairs)


def _comparison(sets: Sequence[Statistics]) -> Table:
    """Means with their intervals, a column for each set."""
    rows = [("pairs (galaxies)", *(f"{found.pairs} ({found.sources})" for found in sets))]
    best = [found.predictors[found.best].numbers for found in sets]
    for names, tables in ((COMPARED, [found.numbers for found in sets]), (COMPARED_POSTERIOR, best)):
        for name in names:
            if all(name in numbers for numbers in tables):
                means = [numbers[name] for numbers in tables]
                rows.append((name, *(with_interval(name, y) for y in means)))
    return Table(("name", *(found.name for found in sets)), rows)


def _curve(curve: Curve) -> Table:
    header = (f"{curve.of} [{curve.unit}]" if curve.unit != "1" else curve.of, "mean", "median", "interval", "pairs")
    return Table(header, [(text(float(x)), *_cells(curve.y[i])) for i, x in enumerate(curve.x)])
