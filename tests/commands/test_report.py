"""`iris test --report`: the contents of the folder, their agreement with the plain test, and what is refused."""

import io
import json
import math
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from iris_cli import __version__
from iris_cli.app import main
from iris_cli.console import LOG_EVERY, QUIET, VERBOSE
from iris_cli.evaluation.metrics import MEASURES
from iris_cli.evaluation.posterior import RANKED
from iris_cli.plots.style import save
from tests.browser import after, needs_browser
from tests.commands.errors import done, error_of
from tests.training.makers import another_sky, write_pairs

NUMBERS = {*MEASURES, "skill"}
CURVES = (
    "iou enclosed_mass_true enclosed_mass_pred enclosed_mass_ratio surface_density_true surface_density_pred "
    "power_ratio cross_correlation"
)
POSTERIOR_CURVES = {*(f"{kind}_{what}" for what in RANKED for kind in ("ranks", "coverage"))}
POSTERIOR_CURVES |= {"tarp", "reliability_map", "reliability_longitude", "error_of_spread"}
PREDICTORS = ["network", "ensemble", "prior", "mean map", "empty map"]
FIGURES = ["pairs", "stress", "profiles", "spectra", "overlap"]
FIGURES += ["calibration", "ranks", "reliability", "coverage", "losses"]


@dataclass(frozen=True)
class Written:
    """The folder of a report, its report.json, and what the command printed."""

    folder: Path
    values: dict[str, Any]
    printed: dict[str, Any]


@pytest.fixture(scope="module")
def report(trained_ensemble, tiny_shards, tmp_path_factory):
    """Of an ensemble on 5 pairs of 3 galaxies, also against another family."""
    family = write_pairs(tmp_path_factory.mktemp("other") / "family", {"test": range(500, 504)})
    folder, printed = tmp_path_factory.mktemp("report") / "report", io.StringIO()
    words = ("test", trained_ensemble, tiny_shards, "--report", folder, "--against", family, "--json", "-q")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), pytest.raises(SystemExit, match="0"):
        for name in (LOG_EVERY, QUIET, VERBOSE):  # options set them
            patch.setenv(name, "")
        patch.setattr("sys.argv", ["iris", *map(str, words)])
        patch.setattr("iris_cli.evaluation.report_folder.save", save_without_layout)
        main()
    return Written(folder, json.loads((folder / "report.json").read_text()), json.loads(printed.getvalue()))


def save_without_layout(figure, path, **how):
    """The layout takes most of a figure's time."""
    figure.set_layout_engine(None)
    save(figure, path, **how)


def test_a_report_agrees_with_the_test(iris, report, trained_ensemble, tiny_shards):
    plain = json.loads(iris("test", trained_ensemble, tiny_shards, "--json", "-q").out)
    assert {**plain, "report": str(report.folder / "report.html")} == report.printed
    predictors, runs = plain.pop("predictors"), plain.pop("runs")
    assert {name: report.values[name] for name in plain} == plain  # to the last digit
    assert plain["members"] == 2 and list(predictors) == PREDICTORS
    ensemble = predictors["ensemble"]
    assert ensemble["samples"] == 2 and ensemble["spread"] > 0 and "coverage_33_mass" in ensemble
    assert ensemble["crps"] < predictors["network"]["crps"]
    assert ensemble["mass_ratio"] == pytest.approx(plain["mass_ratio"]) and runs["difference_over_error"] > 0
    table = iris("test", trained_ensemble, tiny_shards, "-q").out
    assert "spread_skill" in table and "coverage_33_bright" in table and "difference_over_error" in table
    alone = json.loads(iris("test", trained_ensemble / "member-01", tiny_shards, "--json", "-q").out)
    assert not alone["runs"] and alone["loss"] != plain["loss"]
    assert alone["predictors"]["network"] == predictors["network"]


def test_several_runs_are_tested_as_their_ensemble_and_no_run_is_marked(iris, trained_ensemble, tiny_shards):
    members = [trained_ensemble / "member-01", trained_ensemble / "member-02" / "checkpoints" / "best.pt"]
    before = [(run / "test.json").read_bytes() for run in members[:1] if (run / "test.json").exists()]
    together = json.loads(iris("test", *members, tiny_shards, "--json", "-q").out)
    assert {**together, "checkpoint": ""} == {
        **json.loads(iris("test", trained_ensemble, tiny_shards, "--json", "-q").out),
        "checkpoint": "",
    }
    assert [(run / "test.json").read_bytes() for run in members[:1] if (run / "test.json").exists()] == before
    assert "no data" in error_of(iris("test", *members, "-q"), 2)


def test_every_set_of_inputs_has_numbers_and_curves_with_intervals(report):
    sets = report.values["sets"]
    assert list(sets) == ["normal", "noise only", "velocity mirrored", "against family"]
    for found in sets.values():
        assert found["numbers"].keys() == NUMBERS and found["curves"].keys() == set(CURVES.split())
        for curve in found["curves"].values():
            assert len(curve["x"]) == len(curve["y"]["mean"]) == len(curve["y"]["low"]) == len(curve["y"]["median"])
        few = found["sources"] < 3  # no galaxy is left for the prior
        assert list(found["predictors"]) == [name for name in PREDICTORS if not (few and name == "prior")]
        ensemble = found["predictors"]["ensemble"]
        assert ensemble["curves"].keys() == POSTERIOR_CURVES and len(ensemble["coverage_map"]) == 16
        assert len(found["runs_by_pair"]["difference"]) == found["pairs"]
    assert (sets["normal"]["pairs"], sets["normal"]["sources"], sets["against family"]["sources"]) == (5, 3, 2)
    for name in MEASURES:
        number = sets["normal"]["numbers"][name]
        assert number["mean"] == report.values[name] and number["low"] <= number["mean"] <= number["high"], name
    skill = sets["normal"]["numbers"]["skill"]
    assert skill["mean"] == pytest.approx(report.values["skill"]) and skill["low"] < skill["mean"] < skill["high"]
    assert skill["median"] is None  # a function of sums has none


def test_the_page_shows_every_table_and_embeds_its_figures(report):
    html, markdown = (report.folder / "report.html").read_text(), (report.folder / "report.md").read_text()
    number = report.values["sets"]["normal"]["numbers"]["loss"]
    decimals = 1 - math.floor(math.log10(number["high"] - number["low"]))
    loss = f"{number['mean']:.{decimals}f}"
    for text in ("loss", "crps", "velocity mirrored", "noise only", "median", "95 % interval", "too narrow", loss):
        assert text in html and text in markdown, text
    assert html.count("data:image/png;base64,") == len(FIGURES)
    assert not re.search(r'(src|href)="(?!data:|#)', html)  # nothing outside the file
    assert re.findall(r"\]\((\w+)\.png\)", markdown) == FIGURES
    assert {path.stem for path in report.folder.glob("*.png")} == {*FIGURES}
    for path in report.folder.glob("*.png"):  # a copy in a paper still has its origin
        assert f"--report {report.folder}" in Image.open(path).info["Description"]
    assert [path.name for path in report.folder.parent.iterdir()] == ["report"]


def test_the_page_says_how_it_was_made_and_its_contents_lead_to_headings_and_figures(report):
    html = (report.folder / "report.html").read_text()
    ids = re.findall(r'id="([^"]+)"', html)
    linked = re.findall(r'href="#([^"]+)"', html)
    assert len(linked) == len({*linked}) > len(FIGURES) and {*linked} <= {*ids} and len(ids) == len({*ids})
    for text in (f"iris test {report.values['runs'][0]}", f"iris {__version__}, python", "learning_rate = "):
        assert text in html, text
    assert re.search(r"written</td><td>\d{4}-\d\d-\d\dT.*Z in ", html) and 'name="viewport"' in html
    captions = re.findall(r"<figcaption><b>Figure (\d+): [^<]+\.</b> ([^<]+)</figcaption>", html)
    assert [int(number) for number, _ in captions] == [*range(1, len(FIGURES) + 1)]
    assert all(len(text) > 60 for _, text in captions)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [500, 1280])  # the narrowest window of Chromium, and a desktop
def test_nothing_is_wider_than_the_window_of_a_browser(report, width):
    script = """
        const broken = [...document.images].filter((image) => !image.naturalWidth).length;
        const targets = [...document.querySelectorAll('nav a')].filter((a) => !document.querySelector(a.hash)).length;
        return [document.documentElement.scrollWidth <= innerWidth, broken, targets];"""
    assert json.loads(after(report.folder / "report.html", script, width)) == [[True, 0, 0], []]


def test_figures_for_a_paper_are_as_wide_as_its_columns_and_have_captions(
    iris, trained_run, tiny_shards, tmp_path, monkeypatch
):
    drawn = Figure(figsize=(85 / 25.4, 2)), Figure(figsize=(180 / 25.4, 2))
    figures = [("one", drawn[0], "H2 & 50 %. {Sgr A*}"), ("two", drawn[1], "wide")]
    monkeypatch.setattr("iris_cli.evaluation.report_folder.draw_report", lambda *given: figures)
    done(iris("test", trained_run, tiny_shards, "--report", tmp_path / "report", "--style", "apj", "-q"))
    folder = tmp_path / "report" / "figures"
    assert {path.name for path in folder.iterdir()} == {
        f"{n}.{s}" for n in ("one", "two", "losses") for s in ("pdf", "tex")
    }
    assert re.search(rb"/MediaBox \[ 0 0 240\.9\d* 144 \]", (folder / "one.pdf").read_bytes())
    one, two = ((folder / f"{name}.tex").read_text() for name in ("one", "two"))
    assert r"\caption{H$_2$ \& 50 \%. \{Sgr~A*\}}" in one and r"\begin{figure}" in one and "one.pdf" in one
    assert r"\begin{figure*}" in two


def refused(iris, code, *words):
    return error_of(iris("test", *words, "-q"), code)


def test_only_a_report_is_overwritten(iris, trained_run, tmp_path, monkeypatch):
    monkeypatch.setattr("iris_cli.evaluation.report_folder.draw_report", lambda *given: [])
    pairs = write_pairs(tmp_path / "one galaxy", {"test": range(600, 602)})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("mine")
    assert "exists" in refused(iris, 1, trained_run, pairs, "--report", tmp_path / "mine")
    assert "something other than a report" in refused(
        iris, 1, trained_run, pairs, "--report", tmp_path / "mine", "--overwrite"
    )
    assert (tmp_path / "mine" / "note").read_text() == "mine" and len(list((tmp_path / "mine").iterdir())) == 1
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text("an older one")
    (out / "old.png").write_text("")
    ran = iris("test", trained_run, pairs, "--report", out, "--overwrite", "-q")
    assert ran.code == 0 and str(out / "report.html") in ran.out and not (out / "old.png").exists(), ran.err
    number = json.loads((out / "report.json").read_text())["sets"]["normal"]["numbers"]["loss"]
    assert number["low"] is None and number["mean"] > 0  # a single galaxy has no interval


def test_other_images_and_empty_ensembles_are_refused(iris, trained_run, tiny_shards, tmp_path):
    larger = write_pairs(tmp_path / "larger", {"test": range(4)}, grid=another_sky().scaled(64, 64, 16, 64))
    said = refused(iris, 1, trained_run, tiny_shards, "--report", tmp_path / "report", "--against", larger)
    assert "32 x 32" in said and "larger" in said and not (tmp_path / "report").exists()
    (tmp_path / "empty" / "member-01").mkdir(parents=True)
    assert "holds no checkpoint" in refused(iris, 1, tmp_path / "empty", tiny_shards)
