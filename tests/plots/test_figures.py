"""Figures of spectra, moments, losses and reports: labels, directions, ranges; styles and files."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.axes import Axis
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.errors import UsageError
from iris_cli.plots.axes_of_sky import Picture
from iris_cli.plots.calibration import draw_calibration, draw_coverage_maps, draw_rank_histograms, draw_reliability
from iris_cli.plots.curves import Line, draw_power_spectra, draw_radial_profiles, draw_threshold_overlap
from iris_cli.plots.images import draw_moments
from iris_cli.plots.losses import History, draw_losses
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.spectrum import draw_spectra
from iris_cli.plots.style import STYLES, save, style_of

GRID = GRID_PRESETS["tiny"].scaled(8, 6, 4, 10)
LON, LAT = Axis("longitude", "deg", -1.0, 1.0, 6), Axis("latitude", "deg", -0.3, 0.3, 4)
V = Axis("velocity", "km / s", -100.0, 100.0, 5)


def line(y, points=5):
    x = np.geomspace(0.01, 1.0, points)
    return Line(x, np.full(points, y), np.full(points, 0.8 * y), np.full(points, 1.2 * y))


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_moment_maps_share_longitude_and_receding_gas_is_red():
    velocity = np.full((4, 6), -50.0)
    velocity[:, 3:] = 80.0
    velocity[0, 0] = np.nan
    figure = draw_moments(Picture(np.ones((4, 6)), LON, LAT, "column [x]", ""), velocity, np.full((4, 6), 9.0))
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 3 and all(ax.get_xlim()[0] > ax.get_xlim()[1] for ax in panels)
    norm, colours = panels[1].images[0].norm, panels[1].images[0].get_cmap()
    assert norm.vmin == -norm.vmax == -80.0
    red, _, blue, _ = colours(norm(80.0))
    assert red > blue and colours(norm(-80.0))[2] > colours(norm(-80.0))[0]
    labels = [ax.get_ylabel() for ax in figure.axes if not ax.images]
    assert labels == ["column [x]", "mean LSR velocity [km/s]", "velocity dispersion [km/s]"]
    assert panels[2].get_xlabel() and not panels[0].get_xlabel()


def test_truth_and_prediction_have_one_scale_and_units():
    true, predicted = np.full((8, 6), 2.0), np.full((8, 6), 5.0)
    figure = draw_pairs([np.ones((6, 10))], {"true": [true], "predicted": [predicted]}, GRID, "v_density", ["galaxy-7"])
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["observation of galaxy-7", "true", "predicted"]
    assert panels[1].images[0].norm.vmax == panels[2].images[0].norm.vmax == 5.0
    labels = [ax.get_ylabel() for ax in figure.axes if not ax.images]
    assert any("pc$^{-3}$" in label for label in labels) and any("(km/s)$^{-1}$" in label for label in labels)
    alone = draw_pairs([np.ones((6, 10))], {"true": [true], "predicted": []}, GRID, "v_density", ["g"])
    assert [ax.get_title() for ax in alone.axes if ax.images] == ["observation of g", "true"]


@pytest.mark.parametrize("count", [1, 3])
def test_labels_of_pairs_do_not_overlap_on_a_page_of_a_journal(count):
    maps = {f"map {k}": [np.ones((8, 6))] for k in range(count)}
    with STYLES["apj"].applied() as style:
        figure = draw_pairs([np.ones((6, 10))], maps, GRID, "v_density", ["mock-0-000002"], style)
        figure.draw_without_rendering()
    axes = [ax for ax in figure.axes if ax.images]
    for texts in ([ax.title for ax in axes], [ax.xaxis.label for ax in axes], [ax.yaxis.label for ax in figure.axes]):
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and figure.bbox.y0 <= box.y0 for box in boxes)


def test_a_spectrum_is_a_histogram_of_channels():
    figure = draw_spectra({"a": np.arange(5.0), "b": np.ones(5)}, V, "T [K]", title="here")
    ax = figure.axes[0]
    values, edges, _ = ax.patches[0].get_data()
    assert values.tolist() == [0, 1, 2, 3, 4] and edges[0] == -125.0 and ax.get_xlim() == (-125.0, 125.0)
    assert "LSR velocity [km/s]" in ax.get_xlabel() and ax.get_ylabel() == "T [K]" and texts(ax) == ["a", "b"]


def test_the_losses_mark_the_best_epoch_and_the_trivial_predictors():
    history = History([(1, 0.9), (2, 0.7), (3, 0.6)], [(2, 0.65), (3, 0.68)], {"predicting nothing": 0.8})
    ax = draw_losses({"run": history}).axes[0]
    assert texts(ax) == ["training", "validation", "best epoch", "predicting nothing"]
    best = next(line for line in ax.lines if line.get_marker() == "o")
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.65)
    assert ax.get_yscale() == "log" and "steps" in ax.get_xlabel()
    several = draw_losses({"one": history, "two": history}).axes[0]
    assert texts(several) == ["one", "two", "predicting nothing"]
    assert draw_losses({"new": History([(1, 0.9)], [], {})}).axes


def test_profiles_have_units_and_a_line_of_perfect_agreement():
    figure = draw_radial_profiles({"true": line(3.0)}, {"true": line(1e6)}, {"normal": line(1.1)})
    surface, enclosed, ratio = figure.axes
    assert "pc$^{-2}$" in surface.get_ylabel() and r"M$_\odot$" in enclosed.get_ylabel()
    assert "[pc]" in surface.get_xlabel() and surface.get_yscale() == "log"
    assert any(set(np.asarray(one.get_ydata())) == {1.0} for one in ratio.lines)


def test_power_spectra_have_wavelengths_on_the_upper_axis():
    figure = draw_power_spectra({"normal": line(0.5)}, {"normal": line(0.9)})
    ax = figure.axes[0]
    above = ax.child_axes[0]
    figure.canvas.draw()
    k = np.array(ax.get_xlim())
    np.testing.assert_allclose(sorted(above.get_xlim()), sorted(1.0 / k), rtol=1e-6)
    assert "pc$^{-1}$" in ax.get_xlabel() and "[pc]" in above.get_xlabel()
    assert figure.axes[1].get_ylim()[1] >= 1.0


def test_bands_are_the_intervals():
    ax = draw_threshold_overlap({"normal": line(0.5)}).axes[0]
    y = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(0.4) and y.max() == pytest.approx(0.6)
    assert ax.get_ylim() == (0.0, 1.0) and r"M$_\odot$ pc$^{-3}$" in ax.get_xlabel()


def test_calibration_shows_the_lines_of_perfect_calibration():
    coverage = Line(np.array([0.6, 0.2]), np.array([0.5, 0.1]), np.array([0.4, 0.1]), np.array([0.6, 0.2]))
    empty = Line(*np.full((4, 1), np.nan))
    for error in (line(0.3), empty):
        first, second, third = draw_calibration({"a": coverage}, {"a": coverage}, {"a": error}).axes
        for ax in (first, second, *draw_reliability({"map": {"a": coverage}}).axes):
            assert any(np.array_equal(one.get_xdata(), one.get_ydata()) for one in ax.lines)
        assert "spread" in third.get_xlabel() and "TARP" in second.get_xlabel()
    panels = draw_rank_histograms({"mass": {"a": line(1.1)}, "pixels": {"a": line(0.9)}}).axes
    assert [ax.get_title() for ax in panels[:2]] == ["mass", "pixels"]
    assert any(set(np.asarray(one.get_ydata())) == {1.0} for one in panels[0].lines)


def test_a_map_of_coverage_is_centred_on_its_probability_and_looks_like_a_map():
    ax = draw_coverage_maps({"samples": np.full((4, 4), 0.6)}, 0.68, GRID).axes[0]
    low, high = ax.images[0].norm.vmin, ax.images[0].norm.vmax
    assert 0.5 * (low + high) == pytest.approx(0.68) and ax.get_xlim()[0] > ax.get_xlim()[1]
    edges = GRID.longitude.edges()
    assert sorted(ax.images[0].get_extent()[:2]) == pytest.approx([edges[0], edges[-1]])


def test_a_journal_style_has_the_width_of_its_column():
    for name, width_mm in (("mnras", 84.0), ("aanda", 88.0), ("apj", 85.0)):
        style = style_of(name)
        assert style.figure().get_figwidth() * 25.4 == pytest.approx(width_mm)
        assert style.figure(3).get_figwidth() * 25.4 == pytest.approx(style.page_mm)
        with style.applied():
            figure = draw_spectra({"a": np.ones(5)}, V, "T", style=style)
        assert figure.axes[0].xaxis.label.get_fontsize() == style.font_pt <= 9.0
    with pytest.raises(UsageError, match="unknown style 'nature'"):
        style_of("nature")


def test_styles_do_not_change_matplotlib_permanently():
    before = dict(matplotlib.rcParams)
    with STYLES["talk"].applied():
        assert matplotlib.rcParams["font.size"] == 16.0
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_figure_is_the_same_file(tmp_path, suffix):
    def drawn(name):
        with STYLES["mnras"].applied():
            save(draw_spectra({"a": np.ones(5)}, V, "T [K]"), tmp_path / (name + suffix), STYLES["mnras"])
        return (tmp_path / (name + suffix)).read_bytes()

    one = drawn("one")
    assert drawn("other") == one
    assert suffix != ".svg" or b"LSR velocity" in one  # text stays text
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"one{suffix}", f"other{suffix}"]


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path):
    figure = Figure()
    figure.text(0.5, 0.5, r"$\wrong{$")
    with pytest.raises(UsageError, match="wrong"):
        save(figure, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
