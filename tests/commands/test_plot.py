"""`iris plot`: from folders and files to figures."""

import json

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.figure import Figure

from iris_cli.plots import style
from tests.commands.errors import done, error_of
from tests.training.makers import GRID, images, write_pairs


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a command saves."""
    figures: list[Figure] = []
    save = style.save

    def keep(figure, path, *how):
        figures.append(figure)
        save(figure, path, *how)

    monkeypatch.setattr(style, "save", keep)
    return figures


def panels(figure):
    return [ax for ax in figure.axes if ax.images or ax.collections]


def test_an_lv_image_of_a_shard(iris, tiny_shards, tmp_path, drawn):
    out = tmp_path / "lv.png"
    ran = iris("plot", "lv", tiny_shards, "--number", 3, "--orbit", "walker", "-o", out)
    assert ran.code == 0 and ran.out.strip() == str(out) and out.read_bytes()[:4] == b"\x89PNG", ran.err
    ax = drawn[0].axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), images(3, GRID)[0][0].T)
    assert ax.get_xlim()[0] > ax.get_xlim()[1] and ax.get_title() == "g0001_v1"
    assert "(km/s)$^{-1}$" in drawn[0].axes[1].get_ylabel() and len(ax.lines) >= 2


def test_a_file_sets_the_look_and_flags_win(iris, tiny_shards, tmp_path, drawn):
    text = 'colours = "magma"\nhigh = 5.0\nstyle = "mnras"\ntitle = ""\norbits = ["walker"]\n'
    (tmp_path / "paper.toml").write_text(text)
    words = (tiny_shards, "-o", tmp_path / "a.png", "--config", tmp_path / "paper.toml")
    result = json.loads(iris("plot", "lv", *words, "--json").out)
    assert result == {"figure": str(tmp_path / "a.png"), "shows": "an l-v image"}
    assert iris("plot", "lv", *words, "--colours", "gray", "--low", 1, "--title", "mine").code == 0
    assert iris("plot", "spectrum", *words).code == 0, "it has no colours, and takes what it has"
    (by_file, by_flags) = (figure.axes[0] for figure in drawn[:2])
    assert (by_file.images[0].get_cmap().name, by_flags.images[0].get_cmap().name) == ("magma", "gray")
    assert by_file.images[0].get_clim() == (0.0, 5.0) and by_flags.images[0].get_clim() == (1.0, 5.0)
    assert (by_file.get_title(), by_flags.get_title()) == ("", "mine") and len(by_file.lines) >= 2
    assert all(figure.get_figwidth() == pytest.approx(84 / 25.4) for figure in drawn)


def test_a_sample_is_found_by_key_or_number(iris, tiny_shards, tmp_path, drawn):
    for words in (("--key", "g0101_v0"), ("--split", "test", "-n", 2)):
        assert iris("plot", "lv", tiny_shards, *words, "-o", tmp_path / "lv.pdf", "--title", "").code == 0
    for figure in drawn:
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images(202, GRID)[0][0].T)
        assert figure.axes[0].get_title() == ""


def test_views_from_north_of_shards_and_tensors_agree(iris, tmp_path, drawn):
    assert iris("mock", tmp_path / "standard", "-n", 2, "--preset", "tiny", "-q").code == 0
    one_split = ("--observer", "simple", "--validation-fraction", 0)
    assert iris("preobserve", tmp_path / "standard", tmp_path / "shards", *one_split, "-q").code == 0
    for folder in ("standard", "shards"):
        done(iris("plot", "top-down", tmp_path / folder, "-n", 0, "--orbit", "lipman", "-o", tmp_path / "a.svg"))
    maps = [np.asarray(figure.axes[0].collections[0].get_array()) for figure in drawn]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5)
    assert iris("plot", "moments", tmp_path / "standard", "-n", 1, "-o", tmp_path / "m.png").code == 0
    column = np.asarray(drawn[2].axes[0].images[0].get_array())
    assert column.shape == (16, 64) and 10 < column.max() < 1e6
    assert iris("plot", "lb", tmp_path / "standard", "-n", 1, "-o", tmp_path / "m.png").code == 0
    np.testing.assert_array_equal(drawn[3].axes[0].images[0].get_array(), column)


def test_a_continuum_map_is_drawn_as_it_is(iris, tmp_path, drawn):
    image, header = np.arange(6, dtype=np.float32).reshape(2, 3), fits.Header()
    for k, kind in enumerate(("GLON-CAR", "GLAT-CAR"), start=1):
        header[f"CTYPE{k}"], header[f"CUNIT{k}"], header[f"CRVAL{k}"], header[f"CRPIX{k}"] = kind, "deg", 0.0, 1.0
    header["CDELT1"], header["CDELT2"], header["BUNIT"] = -0.1, 0.1, "MJy/sr"
    fits.PrimaryHDU(image, header).writeto(tmp_path / "dust.fits")
    assert iris("plot", "lb", tmp_path / "dust.fits", "-o", tmp_path / "lb.png").code == 0
    np.testing.assert_array_equal(drawn[0].axes[0].images[0].get_array(), image[:, ::-1])
    assert drawn[0].axes[1].get_ylabel() == "brightness [MJy/sr]"
    ran = iris("plot", "lb", tmp_path / "dust.fits", "--velocity-range", "-10:10", "-o", tmp_path / "lb.png")
    assert "has no axis of velocity" in error_of(ran, 2)


def header_of(up, **changes):
    """Of an image whose second axis is a latitude or a velocity."""
    header = fits.Header({"CTYPE1": "GLON-CAR", "CUNIT1": "deg", "CRVAL1": 0.0, "CRPIX1": 1.0, "CDELT1": -0.1})
    header.update({"CTYPE2": up, "CUNIT2": "deg" if up.startswith("GLAT") else "m/s", "CRVAL2": 0.0, "CRPIX2": 1.0})
    header.update({"CDELT2": 0.1 if up.startswith("GLAT") else 1000.0, "BUNIT": "K", "SPECSYS": "LSRK"})
    header.update(changes)
    return header


@pytest.mark.parametrize("up", ["VRAD", "GLAT-CAR"])
def test_two_images_of_one_grid_are_compared(up, iris, tmp_path, drawn):
    """Twice as bright everywhere: B / A is 2, B - A is A; one pixel of B is not observed, one of A is faint."""
    one = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4) + 10.0
    one[1, 2] = 0.01
    other = 2.0 * one
    other[0, 0] = np.nan
    for name, values in (("a.fits", one), ("b.fits", other)):
        fits.writeto(tmp_path / name, values, header_of(up))
    done(iris("plot", "compare", tmp_path / "a.fits", tmp_path / "b.fits", "--out", tmp_path / "c.png"))
    a, b, difference, ratio = (np.ma.filled(ax.images[0].get_array(), np.nan) for ax in drawn[0].axes[:4])
    np.testing.assert_allclose(b - a, difference)
    assert np.isnan(difference).sum() == 1 and np.isnan(ratio).sum() == 2
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 2.0)
    norms = [ax.images[0].norm for ax in drawn[0].axes[:4]]
    assert norms[0].vmax == norms[1].vmax == 44.0 and norms[2].vmin == -norms[2].vmax
    titles = [ax.get_title() for ax in drawn[0].axes[:4]]
    assert titles == ["A: a.fits", "B: b.fits", "B - A", "B / A"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"CRVAL1": 0.3}, "longitude of the pixels"),
        ({"BUNIT": "Jy/sr"}, "brightness [Jy/sr]"),
        ({"CDELT2": 2000.0}, "velocity of the pixels"),
        ({"cut": 3}, "pixels along longitude: 4 and 3"),
    ],
)
def test_images_of_different_grids_are_not_compared(change, says, iris, tmp_path):
    values = np.ones((3, 4), np.float32)
    fits.writeto(tmp_path / "a.fits", values, header_of("VRAD"))
    cards = {card: value for card, value in change.items() if card != "cut"}
    fits.writeto(tmp_path / "b.fits", values[:, : change.get("cut", 4)], header_of("VRAD", **cards))
    ran = iris("plot", "compare", tmp_path / "a.fits", tmp_path / "b.fits", "--out", tmp_path / "c.png")
    assert ran.code == 1 and says in ran.err and not (tmp_path / "c.png").exists(), ran.err


def test_a_pair_and_its_prediction(iris, tiny_shards, trained_ensemble, tmp_path, drawn):
    assert iris("plot", "pair", tiny_shards, "-n", 1, "-o", tmp_path / "a.png").code == 0
    for run in (trained_ensemble, trained_ensemble / "member-01", trained_ensemble / "member-02"):
        words = ("--clean", "-n", 1, "-o", tmp_path / "a.png", "--style", "mnras")
        done(iris("plot", "pair", tiny_shards, "--run", run, *words))
    titles = [[ax.get_title() for ax in panels(figure) if ax.get_title()] for figure in drawn]
    assert titles[0][1:] == ["true"] and titles[2][1:] == ["true", "predicted"]
    assert titles[1] == ["g0100_v1", "true", "predicted", "members' spread"]  # of the test split
    both, one, other = (figure.axes[2].images[0].get_array() for figure in drawn[1:])
    np.testing.assert_allclose(both, 0.5 * (one + other), rtol=1e-5, atol=1e-6)
    spread = drawn[1].axes[3].images[0].get_array()
    np.testing.assert_allclose(spread, np.abs(one - other) / np.sqrt(2.0), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(drawn[2].axes[1].images[0].get_array(), images(201, GRID)[1][0])


def test_losses_of_runs_and_ensembles(iris, trained_ensemble, tmp_path, drawn):
    assert iris("plot", "losses", trained_ensemble / "member-01", "-o", tmp_path / "a.png").code == 0
    assert iris("plot", "losses", trained_ensemble, "-o", tmp_path / "b.png").code == 0
    one, two = ([text.get_text() for text in figure.axes[0].get_legend().get_texts()] for figure in drawn)
    assert one == ["training", "validation", "best epoch", "predicting nothing", "the mean image"]
    assert two[:2] == ["member-01", "member-02"]
    assert all(figure.axes[1].get_ylabel() == "learning rate" and figure.axes[1].lines for figure in drawn)


def test_a_cube_is_drawn_with_orbits(iris, shared_data, tmp_path, drawn):
    cube = shared_data / "cmz_hnco_recon_lbv.fits.gz"
    for words in (
        ("lv", cube, "--orbit", shared_data / "cmz_orbits", "--colours", "gray_r", "--stretch", "log"),
        ("moments", cube, "--orbit", "walker"),
        ("spectrum", cube, "--lon", 0.67, "--lat", -0.03, "--lon", "-0.5", "--lat", "-0.1"),
    ):
        done(iris("plot", *words, "-o", tmp_path / "a.png"))
    named = {text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()}
    assert {"ellipse", "kdl", "molinari", "sofue"} <= named
    sgr_b2, sgr_c = (patch.get_data().values for patch in drawn[2].axes[0].patches)
    v = np.linspace(-200, 200, len(sgr_b2))
    assert v[np.argmax(sgr_b2)] > 30 and v[np.argmax(sgr_c)] < -30


def test_litter_has_an_observation_and_no_view_from_north(iris, tmp_path):
    litter = write_pairs(tmp_path / "litter", {"litter": range(300, 304)}, litter=True)
    assert iris("plot", "lv", litter, "-o", tmp_path / "a.png").code == 0
    for kind in ("top-down", "pair"):
        assert "is litter" in error_of(iris("plot", kind, litter, "-o", tmp_path / "b.png"), 1)
