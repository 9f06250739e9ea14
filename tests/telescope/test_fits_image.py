"""FITS cubes and l-v images, as telescopes and programs write them."""

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.commands.options import Sample
from iris_cli.commands.plot_data import cube as cube_of
from iris_cli.commands.plot_data import lv_image, moments, spectra
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.fits_image import axis, read_fits, transposed

AXES = {
    1: ("GLON-CAR", 0.0, -0.1, 3.0, "deg"),
    2: ("GLAT-CAR", 0.0, 0.1, 2.0, "deg"),
    3: ("VRAD", -2e4, 1e4, 1.0, "m/s"),
}
NAMES = ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT")
CARDS = {f"{name}{k}": value for k, axis in AXES.items() for name, value in zip(NAMES, axis, strict=True)}
CARDS |= {"BUNIT": "K", "SPECSYS": "LSRK"}


def write(path, data, **changes):
    """Write (V, B, L), or the axes of the changed cards; None removes a card."""
    header = fits.Header({key: value for key, value in {**CARDS, **changes}.items() if value is not None})
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(path)
    return path


def point(shape=(4, 3, 5)):
    """A cloud in the last channel, the first row and the first column: receding, south, and leftmost."""
    cube = np.zeros(shape)
    cube[..., -1, 0, 0] = 3.0
    return cube


def test_a_cloud_keeps_its_position_for_any_direction_of_the_axes(tmp_path):
    """Left on the sky is positive longitude; the last channel is +10 km/s."""
    plain = write(tmp_path / "a.fits", point())
    flipped = write(tmp_path / "b.fits", point()[::-1, :, ::-1], CDELT1=0.1, CRPIX1=3.0, CDELT3=-10e3, CRVAL3=10e3)
    in_km_s = write(tmp_path / "c.fits", point(), CRVAL3=-20.0, CDELT3=10.0, CUNIT3="km/s")
    stokes = write(tmp_path / "d.fits", point((1, 4, 3, 5)), CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    cd = write(tmp_path / "e.fits", point(), CDELT1=None, CDELT2=None, CDELT3=None, CD1_1=-0.1, CD2_2=0.1, CD3_3=10e3)
    pc = write(tmp_path / "f.fits", point(), CDELT3=10.0, PC3_3=1e3)
    text = write(tmp_path / "h.fits", point(), CRVAL3="-20000.0", CUNIT3="M/S", CTYPE3="vrad", CRPIX1="3")
    sky_cd = write(tmp_path / "i.fits", point(), CDELT1=None, CDELT2=None, CD1_1=-0.1, CD2_2=0.1, RESTFRQ=220.4)
    gildas = write(tmp_path / "j.fits", point(), CTYPE3="VELOCITY")
    for path in (plain, flipped, in_km_s, stokes, cd, pc, text, sky_cd, gildas):
        found = lv_image(path, Sample())
        assert found.across.centres() == pytest.approx([-0.2, -0.1, 0.0, 0.1, 0.2]), path
        assert found.up.centres() == pytest.approx([-20, -10, 0, 10]), path
        assert found.image[3, 4] == found.image.sum() == pytest.approx(1.0), path  # 3 K in one of 3 rows
        assert found.label == "brightness temperature [K]"
    across = write(tmp_path / "g.fits", point(), CRVAL1=359.95)  # longitudes on both sides of zero
    assert axis(read_fits(across), "longitude").centres() == pytest.approx([-0.25, -0.15, -0.05, 0.05, 0.15])


def test_unobserved_pixels_do_not_enter_means(tmp_path):
    cube = np.ones((4, 3, 5))
    cube[:, 0] = np.nan
    cube[:, :, 2] = np.nan
    found = lv_image(write(tmp_path / "a.fits", cube), Sample())
    assert np.isnan(found.image[:, 2]).all() and (found.image[:, [0, 1, 3, 4]] == 1.0).all()


def test_an_lv_image_is_not_changed(tmp_path):
    header = {key.replace("3", "2") if key.endswith("3") else key: v for key, v in CARDS.items() if key[-1] != "2"}
    image = np.zeros((4, 5))
    image[3, 0] = 2.0
    fits.PrimaryHDU(image.astype(np.float32), fits.Header(header)).writeto(tmp_path / "lv.fits")
    found = lv_image(tmp_path / "lv.fits", Sample())
    assert found.image.shape == (4, 5) and found.image[3, 4] == 2.0
    with pytest.raises(UsageError, match="no latitudes"):
        spectra(cube_of(tmp_path / "lv.fits", Sample()), [(0.1, 0.0)])
    with pytest.raises(UsageError, match="needs a latitude axis"):
        moments(tmp_path / "lv.fits", Sample())


def test_moments_of_a_cloud_are_its_integral_and_its_velocity(tmp_path):
    total, mean, dispersion = moments(write(tmp_path / "a.fits", point()), Sample())
    assert total.image[0, 4] == pytest.approx(30.0)  # 3 K in a channel of 10 km/s
    assert mean[0, 4] == pytest.approx(10.0) and dispersion[0, 4] == pytest.approx(0.0, abs=1e-3)
    assert np.isnan(mean[1, 1]) and "K km/s" in total.label


def test_a_spectrum_is_that_of_the_requested_pixel(tmp_path):
    data = cube_of(write(tmp_path / "a.fits", point()), Sample())
    found = spectra(data, [(0.2, -0.1), (0.2, None), (-0.2, 0.0)])
    assert [round(float(s[3]), 6) for s in found.values()] == [3.0, 1.0, 0.0]
    assert next(iter(found)) == "l = 0.2°, b = -0.1°"
    assert spectra(data, [(360.2, -0.1)])["l = 360.2°, b = -0.1°"][3] == 3.0
    assert spectra(data, [])["mean"][3] == pytest.approx(3.0 / 15.0)
    with pytest.raises(UsageError, match=r"longitude 363 is outside -0\.25 … 0\.25"):
        spectra(data, [(363.0, None)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR"}, "axis 2 is 'DEC--CAR'"),
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz"}, "axis 3 is 'FREQ'"),
        ({"SPECSYS": "HELIOCEN"}, "HELIOCEN"),
        ({"SPECSYS": None, "CTYPE3": "VELO-HEL"}, "HELIOCEN"),
        ({"SPECSYS": None, "VELREF": 258}, "HELIOCEN"),
        ({"CTYPE3": "FELO-LSR"}, "axis 3 is 'VOPT-F2W'"),
        ({"CUNIT3": "m"}, "axis 3 is 'VRAD' in 'm'"),
        ({"PC3_1": 0.1}, "rotated into another"),
        ({"CRVAL3": None}, "CRVAL3 is missing"),
        ({"CRPIX3": "one"}, "CRPIX3 is 'one'"),
        ({"CDELT3": 0.0}, "the step of axis 3 is 0"),
        ({"CDELT1": 0.0}, "singular"),
        ({"CTYPE3": "VOPT", "CRVAL3": 3e6, "CDELT3": 1e2}, "optical"),
        ({"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN", "CDELT1": -3.0}, "not evenly spaced"),
    ],
)
def test_axes_that_would_be_drawn_wrong_are_refused(tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        read_fits(write(tmp_path / "a.fits", point((4, 3, 35)), **changes))


def test_simulations_are_distinguished_from_the_sky(tmp_path):
    """The position of ellipses depends on it. `iris cube` writes images of the sky."""
    cards = {"ORIGIN": "IRIS 1", "OBJECT": "galaxy 7"}
    observed = read_fits(write(tmp_path / "a.fits", point(), **cards))
    regridded = read_fits(write(tmp_path / "b.fits", point(), **cards, IRISLV="{}"))
    telescope = read_fits(write(tmp_path / "c.fits", point(), OBJECT="field 3"))
    assert [image.simulated for image in (observed, regridded, telescope)] == [True, False, False]
    assert (observed.name, telescope.name) == ("galaxy 7", "c.fits")


def test_optical_velocities_that_hardly_differ_are_accepted_and_a_missing_frame_gives_a_warning(tmp_path, capfd):
    found = read_fits(write(tmp_path / "a.fits", point(), CTYPE3="VOPT", SPECSYS=None, CUNIT3=None))
    assert found.names == ("velocity", "latitude", "longitude")
    said = capfd.readouterr().err
    assert "SPECSYS" in said and "CUNIT3" in said


def test_files_without_an_image_are_refused(tmp_path):
    (tmp_path / "a.fits").write_text("not FITS")
    fits.PrimaryHDU().writeto(tmp_path / "b.fits")
    cut = write(tmp_path / "c.fits", np.ones((40, 30, 50)))
    cut.write_bytes(cut.read_bytes()[:6000])
    for name in ("a.fits", "b.fits", "c.fits", "absent.fits"):
        with pytest.raises(DataError):
            read_fits(tmp_path / name)


def test_real_cubes_have_their_known_features(shared_data):
    hnco = read_fits(shared_data / "cmz_hnco_recon_lbv.fits.gz")
    assert not hnco.simulated and transposed(hnco, "longitude", "latitude", "velocity").shape == (202, 54, 101)
    total, v, _ = moments(shared_data / "cmz_hnco_recon_lbv.fits.gz", Sample())
    lon = total.across.centres()
    sgr_b2 = total.image[:, np.abs(lon - 0.67) < 0.05]
    assert sgr_b2.max() == pytest.approx(total.image.max(), rel=0.2)  # the brightest cloud of the CMZ
    assert np.nanmean(v[:, lon > 0.5]) > 30 > -30 > np.nanmean(v[:, lon < -0.45])
    grs = lv_image(shared_data / "grs_13co10_galactic.fits", Sample())
    assert 55.3 < grs.across.first < grs.across.last < 55.5


@pytest.mark.parametrize(
    "changes",
    [{"CTYPE3": "VELOCITY"}, {"CTYPE3": "VELO-LSR", "SPECSYS": None}, {"CUNIT3": "M/S"}, {"VELREF": 257}],
    ids=str,
)
def test_velocities_are_read_as_for_a_cube(tmp_path, changes):
    found = axis(read_fits(write(tmp_path / "a.fits", point(), **changes)), "velocity")
    assert found.centres() == pytest.approx([-20, -10, 0, 10])


@pytest.mark.parametrize(
    "changes", [{"VELREF": 258}, {"CTYPE3": "VELO-HEL"}, {"CTYPE3": "VHEL"}, {"VELDEF": "RADI-OBS"}]
)
def test_velocities_of_another_frame_are_not_drawn(tmp_path, changes):
    with pytest.raises(DataError, match="velocities are in the system"):
        read_fits(write(tmp_path / "a.fits", point(), SPECSYS=None, **changes))


@pytest.mark.parametrize(("number", "cards"), [(-1000.0, {"BLANK": -1000}), (-1000.0, {}), (-3.4e38, {}), (1e30, {})])
def test_finite_blanks_are_not_drawn(tmp_path, capsys, number, cards):
    cube = point()
    cube[:, 2] = number
    found = read_fits(write(tmp_path / "a.fits", cube, **cards))
    assert np.isnan(found.data[:, 2]).all() and np.isfinite(found.data[:, :2]).all()
    said = capsys.readouterr().err
    assert ("(BLANK) count as missing" if cards else "20 values of") in said


def test_a_cube_is_drawn_before_a_map_or_a_second_cube(tmp_path, capsys):
    with fits.open(write(tmp_path / "a.fits", point())) as file:
        cube = fits.ImageHDU(file[0].data, file[0].header)
        hdus = [fits.PrimaryHDU(np.ones((3, 5), np.float32)), cube, fits.ImageHDU(0 * file[0].data, file[0].header)]
        fits.HDUList(hdus).writeto(tmp_path / "b.fits")
    assert read_fits(tmp_path / "b.fits").data.max() == 3.0
    assert "HDUs 0, 1, 2; 1 is read" in capsys.readouterr().err


def test_moments_of_chosen_velocities(tmp_path):
    cube = np.zeros((4, 3, 5))
    cube[:, 1, 2] = 1.0, 5.0, 1.0, 3.0
    path = write(tmp_path / "a.fits", cube)
    total, mean, _ = moments(path, Sample(), velocities=(-15.0, 5.0))
    assert (total.image[1, 2], mean[1, 2]) == pytest.approx((60.0, -50.0 / 6.0))
    with pytest.raises(UsageError, match="no channel within 50 … 60"):
        moments(path, Sample(), velocities=(50.0, 60.0))
    with pytest.raises(UsageError, match="not a FITS cube"):
        moments(tmp_path, Sample(), clip_sigma=3.0)


@pytest.mark.parametrize("ending", [".npz", ".fits"])
def test_what_no_cube_observed_is_hatched_in_an_lv_image(tmp_path, ending):
    from matplotlib.figure import Figure

    from iris_cli.plots.axes_of_sky import draw_lv
    from iris_cli.telescope.lv_image import LvImage, save_lv
    from tests.telescope.sky import GRID

    coverage = np.ones((GRID.lon_steps, GRID.v_steps), np.float32)
    coverage[:5] = 0.0
    save_lv(LvImage(0.0 * coverage, coverage, GRID, "mean"), tmp_path / f"lv{ending}")
    found = lv_image(tmp_path / f"lv{ending}", Sample())
    lv = found.image.T
    assert np.isnan(lv[:5]).all() and (lv[5:] == 0.0).all()
    for image, hatch in ((lv, "///"), (lv[5:], None)):
        axes = Figure().subplots()
        draw_lv(axes, image, (found.across, found.up))
        assert axes.patch.get_hatch() == hatch
