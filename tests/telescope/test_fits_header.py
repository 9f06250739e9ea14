"""Headers as real programs write them are read as they were meant; what can be read in two ways is refused by name."""

import gzip
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, ICRS, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, IrisError
from iris_cli.telescope.cube_file import open_cube
from iris_cli.telescope.fits_image import read_fits
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

GRID = sky.GRID
SHAPE = (20, 12, 26)
HOW: dict[str, Any] = {"shape": SHAPE, "pixel_deg": 0.03}
CLOUD = sky.Cloud(width_km_s=20.0)


def cube(path, cards=None, **how):
    return sky.cube(path, CLOUD, cards, **{**HOW, **how})


def notes(path):
    with open_cube(path, CubeConfig()) as opened:
        return " | ".join(opened.info.notes)


def refusal(path):
    with pytest.raises(DataError) as caught, open_cube(path, CubeConfig()):
        pass
    assert "\n" not in caught.value.message
    return caught.value.message


def assert_cloud(path, cloud=CLOUD):
    """The image has the cloud's flux at the cloud's place."""
    image = regrid([path], GRID, config=CubeConfig(min_coverage=0.0)).image
    assert sky.flux(image) == pytest.approx(cloud.flux, rel=0.01)
    weight = image / image.sum()
    assert weight.sum(axis=1) @ GRID.longitude.centres() == pytest.approx(cloud.lon_deg, abs=3e-3)
    assert weight.sum(axis=0) @ GRID.velocity.centres() == pytest.approx(cloud.v_km_s, abs=0.5)


def raw_cards(path, *cards):
    """Write cards as they are before END."""
    raw = bytearray(path.read_bytes())
    end = raw.index(b"END" + b" " * 77)
    text = b"".join(card.encode("latin-1").ljust(80) for card in cards) + b"END" + b" " * 77
    assert end % 2880 + len(text) <= 2880
    raw[end : end + len(text)] = text
    path.write_bytes(bytes(raw))
    return path


# --- numbers and texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", ["CRVAL3", "CDELT3", "CRPIX3", "CRVAL1", "CDELT1", "CRPIX2", "RESTFRQ"])
@pytest.mark.parametrize("form", ["{:.10g}", " {:.10g} ", "{:.10E}"])
def test_a_number_written_as_a_text_is_read_with_a_note(path, card, form):
    value = sky.header(**HOW)[card]
    cube(path, {card: form.format(value).replace("E", "D")})
    assert re.search(rf"{card} is the text '.*'; it is read as the number", notes(path))
    assert_cloud(path)


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"CRVAL3": "abc"}, "CRVAL3 is 'abc', not a number"),
        ({"CRVAL3": "-60.0 km/s"}, "CRVAL3 is '-60.0 km/s'"),
        ({"CRVAL3": True}, "CRVAL3 is True"),
        ({"CDELT1": "nan"}, "CDELT1 is 'nan'"),
        ({"CRPIX2": 1 + 2j}, "CRPIX2 is"),
        ({"CUNIT2": 2147483647}, "CUNIT2 is 2147483647, not a text"),
        ({"CTYPE3": 5}, "CTYPE3 is 5"),
        ({"BUNIT": 1.0}, "BUNIT is 1.0"),
        ({"CRVAL3": None}, "CRVAL3 is missing"),
        ({"CDELT3": None}, "CDELT3 is missing"),
        ({"CROTA1": 30.0}, "CROTA1 = 30 is at longitude"),
        ({"CD1_1": -0.03, "CD2_2": 0.03, "CD3_3": 9.0, "PC1_1": 1.0, "PC1_2": 0.5}, "CDi_j and PCi_j"),
        ({"RADESYS": "GAPPT", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "the sky frame 'GAPPT'"),
        ({"EQUINOX": "summer", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "EQUINOX is 'summer'"),
        ({"EQUINOX": 20000.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "EQUINOX is 20000.0"),
        ({"EQUINOX": "B1950", "RADESYS": "FK5", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "contradict each other"),
        ({"CRPIX1": 1e20}, "none of its pixels is on the sky"),
        ({"CDELT1": 1e-320}, "none of its pixels is on the sky"),
        ({"CTYPE3": "VRAD-TAB"}, "world coordinates"),
        ({"CTYPE1": "ELON-CAR", "CTYPE2": "ELAT-CAR"}, "positions in ELON"),
        ({"CTYPE1": "SLON-CAR", "CTYPE2": "SLAT-CAR"}, "positions in SLON"),
        ({"CTYPE1": "RA---CAR", "CTYPE2": "GLAT-CAR"}, "Inconsistent projection types"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_ambiguous_or_unreadable_card_is_refused_by_name(path, cards, said):
    assert said in refusal(cube(path, cards))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("CRVAL3  = 40.0", "CRVAL3 appears twice, as -90.0 and 40.0"),
        ("NAXIS3  = 21", "NAXIS3 of HDU 0 appears twice"),
        ("CUNIT3  =             '\x1b[31mX'", "CUNIT3"),
        ("RESTFRQ = 879252\x0e8000.0", "RESTFRQ"),
        ("BSCALE  = '0.001'", "BSCALE is the text '0.001'"),
        ("BZERO   = (1.0, 2.0)", "BZERO is (1+2j), not a number"),
        ("BSCALE  = T", "BSCALE is True, not a number"),
        ("BLANK   = 'none'", "BLANK is the text 'none'"),
        ("GCOUNT  = -1", "GCOUNT of HDU 0 is -1"),
        ("TFIELDS = 99999999999999999999", "TFIELDS of HDU 0 is 99999999999999999999"),
        ("CRPIX3  = NAN", "the card CRPIX3 cannot be read"),
        ("CRVAL2  = 1E400", "CRVAL2 is inf"),
        ("BITPIX  = 1000000000", "BITPIX of HDU 0 appears twice"),
    ],
)
def test_a_damaged_or_a_second_card_is_refused_by_name(path, card, said):
    message = refusal(raw_cards(cube(path), card))
    assert said in message and "\x1b" not in message


def test_cards_that_nothing_depends_on_may_be_damaged(path):
    raw_cards(cube(path), "OBSERVER= NAN", "CRVAL3  = -90.0", "DATE    = 1", "CONTINUE  'of nothing'", "DATE    = 2")
    assert "not used: OBSERVER" in notes(path)
    assert_cloud(path)


@pytest.mark.parametrize(
    ("card", "value", "said"),
    [
        ("BITPIX", 1_000_000_000, "BITPIX of HDU 0 is 1000000000"),
        ("NAXIS", 2_147_483_647, "NAXIS of HDU 0 is 2147483647"),
        ("NAXIS", 4, "NAXIS4 of HDU 0 is missing"),
        ("NAXIS2", -3, "NAXIS2 of HDU 0 is -3"),
        ("NAXIS2", "'12'", "NAXIS2 of HDU 0 is '12'"),
        ("NAXIS3", 2_147_483_647, "cut short or damaged: HDU 0 needs"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(path, card, value, said):
    raw = cube(path).read_bytes()
    start = raw.index(f"{card:8}=".encode())
    path.write_bytes(raw[:start] + f"{card:8}= {value!s:>20}".encode().ljust(80) + raw[start + 80 :])
    assert said in refusal(path)
    with pytest.raises(DataError, match=re.escape(said)):
        read_fits(path)


@pytest.mark.parametrize(
    ("old", "new", "number"),
    [("SIMPLE", "= F", 0), ("SIMPLE", "= 1 2", 0), ("EXTEND", "GROUPS  = 'unclosed", 0), ("XTENSION", "= 1 2", 1)],
)
def test_a_packed_file_with_a_header_of_no_kind_is_refused(path, old, new, number):
    """astropy takes the size of its data from that of the packed file, and may read it again and again."""
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((500, 26), np.float32))]).writeto(path)
    raw = path.read_bytes()
    start, card = raw.index(f"{old:8}=".encode()), new if "GROUPS" in new else f"{old:8}{new}"
    path.write_bytes(gzip.compress(raw[:start] + card.encode().ljust(80) + raw[start + 80 :]))
    for read in (read_fits, notes):
        with pytest.raises(DataError, match=f"HDU {number} is of no known kind"):
            read(path)


@pytest.mark.parametrize(
    ("cards", "raw", "word", "value"),
    [
        ({"CRVAL3": "abc"}, (), "NUMBER", "-90.0"),
        ({"CUNIT3": None}, ("CUNIT3  = NAN",), "VALUE", "'km/s'"),
        ({"CRPIX3": None}, ("CRPIX3  = 1.0.0",), "VALUE", "1.0"),
    ],
)
def test_the_command_of_a_hint_writes_the_card(path, cards, raw, word, value):
    raw_cards(cube(path, cards), *raw)
    with pytest.raises(IrisError) as caught, open_cube(path, CubeConfig()):
        pass
    command = caught.value.hint
    exec(command[command.index('"') + 1 : command.rindex('"')].replace(word, value))
    assert_cloud(path)


# --- steps, rotations, axes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cards",
    [
        {"CDELT1": None, "CDELT2": None, "CD1_1": -0.03, "CD2_2": 0.03},
        {"CDELT1": None, "CDELT2": None, "CD1_1": -0.03, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.03},
        {"CDELT1": None, "CDELT2": None, "CD001001": -0.03, "CD002002": 0.03},
        {"CDELT2": None, "CD2_2": 0.03, "CDELT3": None, "CD3_3": 180 / 19},
        {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0},
        {"PC001001": 1.0, "PC002002": 1.0},
        {"CROTA1": 0.0, "CROTA2": 0.0, "CROTA3": 0.0},
        {"CROTA2": 360.0},
        {"CROTA3": 30.0},
        {"CD1_1": -0.03, "CD2_2": 0.03, "CD3_3": 180 / 19, "PC1_1": 1.0, "PC2_2": 1.0},
        {"CD1_1": -0.03, "CD2_2": 0.03, "CD3_3": 180 / 19, "CDELT1": 1.0, "CDELT2": 1.0, "CDELT3": 1.0},
        {"CTYPE1": "glon-car", "CTYPE2": "glat-car", "CTYPE3": "vrad"},
        {"WCSAXES": 5},
        {"WCSAXES": "3"},
        {"CTYPE4": "STOKES", "CDELT4": 0.0, "CRVAL4": 1.0, "CRPIX4": 1.0},
        {"RADESYS": "FK4", "EQUINOX": "B1950"},
        {"LATPOLE": "90.0"},
        {"A_ORDER": 2, "B_ORDER": 2, "A_0_2": 1e-3, "B_2_0": 1e-3},
        {"CTYPE1": "GLON", "CTYPE2": "GLAT"},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CDELT1": -108.0, "CDELT2": 108.0},
        {"CUNIT1": None, "CUNIT2": None},
        {"DATE-OBS": "2003-01-01", "MJD-OBS": "x", "OBSGEO-X": "y"},
    ],
    ids=str,
)
def test_steps_and_axes_are_understood_in_every_form(path, cards):
    assert_cloud(cube(path, cards))


def test_what_is_not_used_or_assumed_is_noted(path):
    cd = {"CD1_1": -0.03, "CD2_2": 0.03}
    assert "CD3_3 is missing; CDELT3 = 9.47" in notes(cube(path, cd))
    assert "CDELT3 = 1 is not used beside CDi_3" in notes(cube(path, {**cd, "CD3_3": 180 / 19, "CDELT3": 1.0}))
    assert "CROTA3 = 30 does not turn the sky" in notes(cube(path, {"CROTA3": 30.0}))
    assert "CROTA2 = 30 is not used beside PCi_j" in notes(cube(path, {"CROTA2": 30.0, "PC1_1": 1.0}))
    assert "CRPIX2 is missing" in notes(cube(path, {"CRPIX2": None}))


@pytest.mark.parametrize("angle", [30.0, -20.0])
def test_crota_turns_the_sky_as_pc_does(path, angle):
    h = sky.header(**HOW)
    turn = np.deg2rad(angle)
    h["PC1_1"] = h["PC2_2"] = np.cos(turn)
    h["PC1_2"], h["PC2_1"] = np.sin(turn), -np.sin(turn)  # CDELT1 = -CDELT2
    data = sky.sample(h, CLOUD)
    crota = sky.header(**HOW)
    crota["CROTA2"] = angle
    np.testing.assert_allclose(WCS(h).celestial.wcs_pix2world(3, 4, 0), WCS(crota).celestial.wcs_pix2world(3, 4, 0))
    assert_cloud(sky.write(path, data, crota))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_axes_of_one_pixel_may_be_anywhere(path, place):
    """Also with a step of zero, and without a row in the CD matrix."""
    h = sky.header(**HOW)
    data = sky.sample(h, CLOUD)
    order = [1, 2, 3]
    order.insert(place, 0)
    for matrix in (False, True):
        new = fits.Header({"BUNIT": "K", "SPECSYS": "LSRK", "RESTFRQ": sky.REST_HZ})
        for k, old in enumerate(order, 1):
            for card in ("CTYPE", "CUNIT", "CRPIX", "CRVAL"):
                new[f"{card}{k}"] = h[f"{card}{old}"] if old else {"CTYPE": "STOKES", "CUNIT": ""}.get(card, 1.0)
            new[f"CD{k}_{k}" if matrix and old else f"CDELT{k}"] = h[f"CDELT{old}"] if old else 0.0
        assert_cloud(sky.write(path, np.expand_dims(data, 3 - place), new))


def test_a_second_description_is_taken_where_it_is_the_only_one(path):
    h = sky.header(**HOW)
    data, alternate = sky.sample(h, CLOUD), fits.Header({"BUNIT": "K", "SPECSYSA": "LSRK", "RESTFRQA": sky.REST_HZ})
    for card in ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT"):
        for k in (1, 2, 3):
            alternate[f"{card}{k}A"] = h[f"{card}{k}"]
    alternate.update({"CDELT1": 7.0, "CRVAL3": 3.0})
    assert "under the key A alone" in notes(sky.write(path, data, alternate))
    assert_cloud(path)
    both = h.copy()
    both.update({"CTYPE3V": "FREQ", "CRVAL3V": 5.0, "CTYPE1A": "RA---TAN", "CRVAL1A": 266.0})
    assert "key" not in notes(sky.write(path, data, both))
    assert_cloud(path)


# --- the frame of the sky ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "cards", "note"),
    [
        (FK5(equinox="J2000"), {"EQUINOX": 0.0}, "EQUINOX is 0.0"),
        (FK5(equinox="J2000"), {"EQUINOX": 0, "RADESYS": "FK5"}, "EQUINOX is 0"),
        (FK5(equinox="J2000"), {"EQUINOX": "J2000"}, ""),
        (FK5(equinox="J2000"), {"EQUINOX": "2000.0"}, ""),
        (FK5(equinox="J2000"), {"EPOCH": "J2000.0"}, ""),
        (FK5(equinox="J2000"), {"RADESYS": "fk5"}, ""),
        (FK5(equinox="J2000"), {"RADECSYS": "FK5", "EQUINOX": 2000}, ""),
        (FK5(equinox="J2015.5"), {"EQUINOX": 2015.5}, "equinox 2015.5"),
        (ICRS(), {}, "ICRS is assumed"),
        (ICRS(), {"RADESYS": "icrs", "EQUINOX": 1950.0}, ""),
        (FK4(equinox="B1950"), {"EQUINOX": "B1950"}, ""),
        (FK4(equinox="B1950"), {"EQUINOX": 1950}, ""),
        (FK4(equinox="B1950"), {"EPOCH": 1950.0}, ""),
        (FK4(equinox="B1950"), {"EPOCH": 1950.0, "EQUINOX": 0.0}, "EQUINOX is 0.0"),
        (FK4(equinox="B1950"), {"RADESYS": "fk4"}, ""),
        (FK4(equinox="B1950"), {"RADESYS": "B1950"}, ""),
    ],
    ids=str,
)
def test_the_equinox_is_read_in_every_spelling(path, frame, cards, note):
    """The reference position, computed by astropy's frames, is at l = 0.2, b = 0.05."""
    place = SkyCoord(l=0.2 * u.deg, b=0.05 * u.deg, frame="galactic").transform_to(frame)
    h = sky.header("RA---TAN", **HOW)
    h["CRVAL1"], h["CRVAL2"], h["CRPIX1"], h["CRPIX2"] = place.ra.deg, place.dec.deg, 13.0, 6.0
    h.remove("RADESYS")
    sky.write(path, np.zeros(SHAPE, np.float32), h)
    with fits.open(path, mode="update") as file:
        file[0].header.update(cards)
    with open_cube(path, CubeConfig()) as opened:
        lon, lat = (0.25 * (a[5:7, 12:14]).sum() for a in opened.corners(slice(0, SHAPE[1])))
        assert (lon, lat) == (pytest.approx(0.2, abs=1e-4), pytest.approx(0.05, abs=1e-4))
        said = " ".join(opened.info.notes)
    assert note in said if note else not re.search("EQUINOX|equinox|ICRS", said)


# --- around the sky ---------------------------------------------------------------------------------------------------

FAR = replace(CLOUD, lat_deg=0.0, size_deg=0.1, lon_deg=-0.04)
WIDE = replace(GRID, lat_min_deg=-0.5, lat_max_deg=0.5, lon_min_deg=-0.6, lon_max_deg=0.6)


def plane(path, projection, first, reference, step, n):
    """A strip of the plane from longitude `first` on; its reference has `reference` and may be outside."""
    h = sky.header(f"GLON-{projection}", shape=(20, 20, n), pixel_deg=abs(step))
    h["CRVAL1"], h["CDELT1"], h["CRPIX1"] = reference, step, 1.0 + (reference - first) / step
    lon = (first + step * np.arange(n) + 180.0) % 360.0 - 180.0
    lat = (np.arange(20) - 9.5) * abs(step)
    if projection == "CEA":
        lat = np.rad2deg(np.arcsin(np.deg2rad(lat)))
    return sky.write(path, FAR.at(*np.meshgrid(lon, lat), sky.velocities(h)).astype(np.float32), h)


@pytest.mark.parametrize("projection", ["CAR", "CEA", "MER"])
@pytest.mark.parametrize(
    ("first", "reference", "step", "n"),
    [
        (180.0, 180.0, -0.05, 7201),  # the reference at the first pixel: 0 … -180 is beyond half a turn
        (-180.0, -180.0, 0.05, 7201),
        (360.0, 180.0, -0.05, 7200),  # 0 … 360
        (0.0, 0.0, 0.05, 7200),
        (359.0, 0.0, 0.05, 60),  # across 360, named by l = 0
        (1.0, 720.0, -0.05, 60),  # two turns away
        (1.0, 181.0, -0.05, 60),
        (1.0, -300.0, -0.05, 60),
    ],
)
def test_longitude_is_an_angle(path, projection, first, reference, step, n):
    plane(path, projection, first, reference, step, n)
    image = regrid([path], WIDE, config=CubeConfig(min_coverage=0.5)).image
    assert sky.flux(image, WIDE) == pytest.approx(FAR.flux, rel=0.01)
    assert WIDE.longitude.centres() @ image.sum(axis=1) / image.sum() == pytest.approx(FAR.lon_deg, abs=5e-3)
    drawn = read_fits(path)
    lon = drawn.axes[drawn.names.index("longitude")]
    profile = np.nansum(drawn.data, axis=(0, 1))
    peak = lon.centres()[profile.argmax()]
    assert (peak - FAR.lon_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=0.026)


def test_the_first_cube_counts_also_where_its_pixels_are_beyond_half_a_turn(tmp_path):
    first = plane(tmp_path / "a.fits", "CAR", 180.0, 180.0, -0.05, 7201)
    second = plane(tmp_path / "b.fits", "CAR", 1.0, 0.0, -0.05, 41)
    alone, both = regrid([first], WIDE), regrid([first, second], WIDE)
    np.testing.assert_allclose(both.image, alone.image, atol=1e-6)
    np.testing.assert_allclose(both.coverage, alone.coverage, atol=1e-6)


@pytest.mark.parametrize("projection", ["AIT", "MOL", "SFL", "CAR", "CEA", "ZEA", "HPX", "TSC"])
def test_maps_of_the_whole_sky_have_the_gas_of_the_centre(path, projection):
    """Pixels off the sky count for nothing, also with values; poles are no error."""
    h = sky.header(f"GLON-{projection}", shape=(20, 91, 181), pixel_deg=2.0)
    if projection in ("ZEA", "TSC", "HPX"):
        h = sky.header(f"GLON-{projection}", shape=(20, 181, 271), pixel_deg=2.0)
    data = np.full((20, h["NAXIS2"], h["NAXIS1"]), 3.0, np.float32)
    if projection == "ZEA":
        h["CRVAL2"] = 0.0
    elif projection == "HPX":
        h["CRVAL1"] = 45.0
    made = regrid([sky.write(path, data, h)], GRID)
    covered = made.coverage > 0.99
    assert covered.mean() > 0.5
    np.testing.assert_allclose(made.image[covered], 3.0, rtol=1e-5)


def test_a_cube_whose_middle_is_off_the_sky_has_a_place(path):
    h = sky.header("GLON-AIT", shape=(20, 90, 180), pixel_deg=2.0)
    h["CRPIX1"], h["CRPIX2"] = 180.0, 90.0
    sky.write(path, np.ones((20, 90, 180), np.float32), h)
    with open_cube(path, CubeConfig()) as opened:
        assert np.isfinite(opened.info.centre_deg).all()
        assert "off the sky" in " ".join(opened.info.notes)
