"""Headers of cubes: units, frames and conventions are understood, and nothing is assumed without a note."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy import constants

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, IrisError, UsageError
from iris_cli.telescope.regrid import regrid
from iris_cli.telescope.spectral_axis import frequency_ratio
from tests.telescope import sky

GRID, CLOUD = sky.GRID, sky.Cloud()


def image(path, cards=None, spectral="VRAD km/s", **flags):
    """The l-v image of the cloud, from a cube with some cards changed."""
    return regrid([sky.cube(path, cards=cards, spectral=spectral)], GRID, config=CubeConfig(**flags)).image


def notes(path, **cards):
    return " ".join(regrid([sky.cube(path, cards=cards)], GRID).cubes[0].notes)


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE3": "VELO-LSR", "SPECSYS": None},
        {"CTYPE3": "VELO-LSR", "SPECSYS": None, "VELREF": 257},
        {"CUNIT3": "KM/S", "BUNIT": "K (Tmb)"},
        {"CUNIT3": "km s-1", "BUNIT": "K Tmb"},
        {"CUNIT1": "DEGREE", "CUNIT2": "DEGREE", "CRVAL1": 360.0, "BUNIT": "Kelvin"},
    ],
    ids=str,
)
def test_usual_spellings_are_understood(path, cards):
    made = regrid([sky.cube(path, cards=cards)], GRID)
    assert sky.flux(made.image) == pytest.approx(CLOUD.flux, rel=5e-3)
    assert made.cubes[0].frame == "LSRK"


@pytest.mark.parametrize(
    ("cards", "flags", "message"),
    [
        ({"BUNIT": None}, {}, "--unit"),
        ({"BUNIT": "Jy"}, {}, "Jy/beam"),
        ({"BUNIT": "K km/s"}, {}, "integrals or moments"),
        ({"BUNIT": "K (Tmb) km/s"}, {}, "integrals or moments"),
        ({"BUNIT": "K.km/s"}, {}, "integrals or moments"),
        ({"BUNIT": "JY/BEAM*KM/S"}, {}, "integrals or moments"),
        ({"BUNIT": "MJY/BEAM"}, {}, "letter case counts"),
        ({"BUNIT": "Jy/beam"}, {}, "--beam-arcsec"),
        ({"BUNIT": "Jy/beam", "BMAJ": "30"}, {}, "(BMAJ, BMIN) of 30 deg is doubtful"),
        ({"BUNIT": "Jy/beam", "BMAJ": 0.01, "BMIN": -0.01}, {}, "BMIN is -0.01"),
        ({"BUNIT": "K (Ta*)"}, {}, "antenna"),
        ({"BUNIT": "K TA*"}, {}, "antenna"),
        ({"BUNIT": ("K", "T_A*")}, {}, "comment of BUNIT"),
        ({"BTYPE": "Ta*"}, {}, "'Ta*' (BTYPE)"),
        ({"LABEL": "T*A  corrected antenna temperature"}, {}, "LABEL"),
        ({"TEMPSCAL": "TA"}, {}, "TEMPSCAL"),
        ({"COMMENT": "Intensities are on the T_A^* scale."}, {}, "COMMENT 1"),
        ({"BUNIT": "K (Ta*)", "BEAMEFF": 0.6, "FORWEFF": 0.9}, {}, "--efficiency 0.667"),
        ({"BUNIT": "K (Tmb)"}, {"efficiency": 0.5}, "leave out --efficiency"),
        ({"BTYPE": "Planck brightness temperature"}, {}, "--unit K"),
        ({"BUNIT": "Jy/beam", "BMAJ": 0.01, "RESTFRQ": None}, {}, "--rest-frequency-ghz"),
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 2.2e11, "RESTFRQ": None}, {}, "--rest-frequency-ghz"),
        ({"CUNIT3": None}, {}, "--spectral-unit"),
        ({"CUNIT3": None}, {"spectral_unit": "kg"}, "'kg' is not a unit of a VRAD axis"),
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 2.2e11}, {"velocity_convention": "radio"}, "has no convention"),
        ({"CTYPE3": "VOPT-F2W", "CUNIT3": "m/s", "RESTFRQ": None}, {}, "or give --rest-frequency-ghz"),
        ({"SPECSYS": "TOPOCENT"}, {}, "--velocity-shift"),
        ({"CTYPE3": "STOKES", "CUNIT3": None}, {}, "no spectral axis"),
        ({"CTYPE1": "X", "CTYPE2": "Y"}, {}, "no longitude and no latitude"),
        ({"CTYPE3": "AWAV", "CUNIT3": "m"}, {}, "AWAV"),
        ({"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 1.0, "CDELT3": 1e-300}, {}, "not finite or do not change"),
        ({"PC3_1": 0.1}, {}, "must not be coupled to those of the sky"),
        ({"CRVAL1": 40.0}, {}, "--centre-lon"),
        ({"CRVAL3": 9000.0}, {}, "--min-coverage"),
        ({}, {"min_coverage": 0.9}, "the minimum is 90 %"),
        ({}, {"hdu": 4}, "has no HDU 4"),
    ],
)
def test_a_missing_or_impossible_entry_is_an_error_that_names_the_flag(path, cards, flags, message):
    with pytest.raises(IrisError) as caught:
        image(path, cards, **flags)
    assert message in f"{caught.value.message} ({caught.value.hint})"
    assert "\n" not in caught.value.message


def test_each_of_those_flags_fixes_it(path):
    cards = dict.fromkeys(("BUNIT", "RESTFRQ", "SPECSYS", "CUNIT3"))
    flags = {"unit": "K", "rest_frequency_GHz": sky.REST_HZ / 1e9, "spectral_unit": "Hz", "velocity_shift_km_s": 0.0}
    np.testing.assert_allclose(image(path, cards, "FREQ Hz", **flags), image(path), atol=0.02)


def test_assumptions_are_noted(path):
    said = notes(path, SPECSYS=None, BUNIT="K (T_R*)")
    assert "SPECSYS" in said and "no beam" in said and "'(T_R*)'" in said and "main-beam is assumed" in said
    converted = "T_A* was divided by the main-beam efficiency to give T_MB."
    assert "main-beam is assumed" in notes(path, COMMENT=converted, HISTORY="T_A*")
    assert "main-beam" not in notes(path, BUNIT="K (Tmb)", LABEL="T_A*") and not notes(path, LABEL="T_MB").count(
        "assumed"
    )
    assert "main-beam is assumed" in notes(path) and "main-beam" not in notes(path, BUNIT="K (Tmb)")


def test_the_dynamical_lsr_is_distinguished_from_the_kinematic_one(path):
    """The note states the difference towards the Galactic Centre that astropy's frames have."""
    from astropy import units as u
    from astropy.coordinates import LSRD, LSRK, Galactic

    rest = {"distance": 8 * u.kpc, "pm_l_cosb": 0 * u.mas / u.yr, "pm_b": 0 * u.mas / u.yr}
    gas = Galactic(l=0 * u.deg, b=0 * u.deg, radial_velocity=0 * u.km / u.s, **rest)
    kinematic, dynamical = (gas.transform_to(frame).radial_velocity.to_value("km/s") for frame in (LSRK(), LSRD()))
    assert kinematic - dynamical == pytest.approx(1.3, abs=0.05)
    assert "1.3 km/s" in notes(path, SPECSYS="LSRD") and "1.3 km/s" not in notes(path, SPECSYS="LSRK")


def test_the_three_conventions_differ_at_a_tenth_of_the_speed_of_light():
    v = np.array([0.1 * constants.c])
    assert frequency_ratio(v, "radio")[0] == pytest.approx(0.9)
    assert frequency_ratio(v, "optical")[0] == pytest.approx(1 / 1.1)
    assert frequency_ratio(v, "relativistic")[0] == pytest.approx(np.sqrt(0.9 / 1.1))


def test_velocities_of_another_frame_are_shifted_by_the_flag(path):
    for shift in (0.0, 12.5, -20.0):
        made = image(path, {"SPECSYS": "TOPOCENT"}, velocity_shift_km_s=shift)
        middle = made.sum(axis=0) @ GRID.velocity.centres() / made.sum()
        assert middle == pytest.approx(CLOUD.v_km_s + shift, abs=0.2)


def test_a_rest_frequency_flag_overrides_the_header(path):
    expected, wrong = image(path, spectral="FREQ Hz"), 0.9999 * sky.REST_HZ
    for cards in ({"RESTFRQ": None, "RESTFREQ": wrong}, {"RESTFRQ": wrong, "RESTFREQ": wrong}):
        assert np.abs(image(path, cards, "FREQ Hz") - expected).max() > 0.1
        given = image(path, cards, "FREQ Hz", rest_frequency_GHz=sky.REST_HZ / 1e9)
        np.testing.assert_allclose(given, expected, atol=1e-5)


PER_JY_SR = 1e-26 * constants.c**2 / (2.0 * constants.k * sky.REST_HZ**2)  # Rayleigh-Jeans: T = I c^2 / (2 k nu^2)
PER_ARCSEC2 = PER_JY_SR / (np.pi / (4.0 * np.log(2.0)) * np.deg2rad(1 / 3600) ** 2)  # of a Gaussian beam, FWHM
BEAM = {"BMAJ": 30 / 3600, "BMIN": 20 / 3600}


@pytest.mark.parametrize(
    ("cards", "flags", "factor"),
    [
        ({"BUNIT": "K (Ta*)"}, {"efficiency": 0.5}, 2.0),
        ({"BUNIT": "mJy/beam", **BEAM}, {}, 1e-3 * PER_ARCSEC2 / (30 * 20)),
        ({"BUNIT": "mJy/beam", **BEAM}, {"beam_arcsec": 60.0}, 1e-3 * PER_ARCSEC2 / 60**2),
        ({"BUNIT": "Jy/sr"}, {}, PER_JY_SR),
        ({"BUNIT": "mJy/sr"}, {}, 1e-3 * PER_JY_SR),
        ({"BUNIT": "Jy/pixel"}, {}, PER_JY_SR / np.deg2rad(0.011) ** 2),
        ({"BUNIT": "MJY/BEAM", **BEAM}, {"unit": "beam-1 mJy"}, 1e-3 * PER_ARCSEC2 / (30 * 20)),
        ({"BUNIT": "MJy/sr"}, {}, 1e6 * PER_JY_SR),
    ],
)
def test_every_unit_becomes_main_beam_kelvins(path, cards, flags, factor):
    kelvin = image(path)
    made, bright = image(path, cards, **flags), kelvin > 1e-3 * kelvin.max()
    np.testing.assert_allclose(made[bright], kelvin[bright] * factor, rtol=1e-5)
    # The rule of thumb of every array's handbook: T = 1.222e3 I[mJy/beam] / (nu[GHz]^2 theta_maj theta_min[arcsec]).
    thumb = 1.222e3 / 220.3986841**2
    assert thumb == pytest.approx(1e-3 * PER_ARCSEC2, rel=1e-3)


def test_the_hdu_of_the_flag_is_read_else_the_first_cube(path):
    h = sky.header()
    cubes = [fits.ImageHDU(sky.sample(h, replace(CLOUD, lon_deg=lon)), header=h) for lon in (-0.2, 0.2)]
    fits.HDUList([fits.PrimaryHDU(), *cubes]).writeto(path)
    for number, lon in ((None, -0.2), (1, -0.2), (2, 0.2)):
        made = regrid([path], GRID, config=CubeConfig(hdu=number)).image
        assert GRID.longitude.centres() @ made.sum(axis=1) / made.sum() == pytest.approx(lon, abs=2e-3)
    with pytest.raises(DataError, match="no image of three axes in HDU 0"):
        regrid([path], GRID, config=CubeConfig(hdu=0))
    for number in (3, -1):
        with pytest.raises(UsageError):
            regrid([path], GRID, config=CubeConfig(hdu=number))


def middle_km_s(path, cards, spectral="VRAD km/s", **flags):
    made = image(path, cards, spectral, **flags)
    return float(made.sum(axis=0) @ GRID.velocity.centres() / made.sum())


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({"VELREF": 257}, None),
        ({"VELREF": 258}, "HELIOCEN"),
        ({"VELREF": 259.0}, "TOPOCENT"),
        ({"VELREF": 5}, "GEOCENTR"),
        ({"CTYPE3": "VELO-HEL"}, "HELIOCEN"),
        ({"CTYPE3": "VELO-LSR", "VELREF": 258}, "HELIOCEN"),
        ({"CTYPE3": "VELO-OBS"}, "TOPOCENT"),
        ({"CTYPE3": "VELO-BAR"}, "BARYCENT"),
        ({"CTYPE3": "VHEL"}, "HELIOCEN"),
        ({"VELDEF": "RADI-HEL"}, "HELIOCEN"),
        ({"VELDEF": "RADI-LSR"}, None),
        ({"SPECSYS": "lsrk"}, None),
        ({"SPECSYS": "LSR"}, None),
        ({"SPECSYS": "BARY"}, "BARYCENT"),
        ({"SPECSYS": "TOPO", "VELREF": 257}, "TOPOCENT"),
        ({"SPECSYS": "SOURCE"}, "SOURCE"),
        ({"SPECSYS": "REST"}, "SOURCE"),
        ({"SPECSYS": "CMBDIPOL"}, "CMBDIPOL"),
        ({"SPECSYS": "somewhere"}, "SOMEWHERE"),
    ],
    ids=str,
)
def test_a_frame_is_found_wherever_it_is_stated(path, cards, frame):
    """None is the LSR; any other frame is refused, with a flag that helps."""
    cards = {"SPECSYS": None, **cards}
    if frame is None:
        assert middle_km_s(path, cards) == pytest.approx(CLOUD.v_km_s, abs=0.2)
        return
    with pytest.raises(DataError, match=f"in the frame {frame}") as caught:
        image(path, cards)
    assert "--velocity-shift" in caught.value.hint
    assert middle_km_s(path, cards, velocity_shift_km_s=0.0) == pytest.approx(CLOUD.v_km_s, abs=0.2)


def test_the_hint_for_heliocentric_velocities_gives_the_motion_of_the_sun(path):
    from astropy import units as u
    from astropy.coordinates import ICRS, LSRK, Galactic

    with pytest.raises(DataError) as caught:
        image(path, {"SPECSYS": "BARYCENT"})
    rest = {"distance": 8 * u.kpc, "pm_l_cosb": 0 * u.mas / u.yr, "pm_b": 0 * u.mas / u.yr}
    gas = Galactic(l=0 * u.deg, b=0 * u.deg, radial_velocity=0 * u.km / u.s, **rest)
    shift = (gas.transform_to(LSRK()).radial_velocity - gas.transform_to(ICRS()).radial_velocity).to_value("km/s")
    assert float(caught.value.hint.split()[1]) == pytest.approx(shift, abs=0.02)


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"VELREF": 257}, "by VELREF"),
        ({"VELO-LSR": 0.0}, "by card VELO-LSR"),
        ({"VELREF": 999}, "LSR is assumed"),
        ({"SPECSYS": "UNDEFINED"}, "LSR is assumed"),
        ({"SPECSYS": "LSRK", "VELREF": 258}, "HELIOCEN (VELREF) is not"),
        ({"CTYPE3": "VELO-LSR"}, "taken as optical"),
        ({"CTYPE3": "VELOCITY"}, "taken as radio"),
        ({"RESTFREQ": 110.2e9}, "RESTFRQ = 2.20398684e+11 is used, RESTFREQ = 1.102e+11 is not"),
    ],
    ids=str,
)
def test_what_is_assumed_of_the_spectral_axis_is_noted(path, cards, said):
    assert said in notes(path, **{"SPECSYS": None, **cards})
    assert "VELREF" not in notes(path) + notes(path, SPECSYS="LSRK", VELREF=257)


@pytest.mark.parametrize(
    "ctype", ["VELOCITY", "VELO-LSR", "velo-lsr", "vrad", "VEL", "VLSR", "V", "VRAD-LSR", "VELO_LSR"]
)
def test_a_velocity_axis_of_another_name_is_read(path, ctype):
    assert middle_km_s(path, {"CTYPE3": ctype, "SPECSYS": None}) == pytest.approx(CLOUD.v_km_s, abs=0.2)


@pytest.mark.parametrize("ctype", ["FREQUENC", "FREQ-LSR", "freq", "FREQUENCY"])
def test_a_frequency_axis_of_another_name_is_read(path, ctype):
    found = middle_km_s(path, {"CTYPE3": ctype, "SPECSYS": None}, "FREQ Hz")
    assert found == pytest.approx(CLOUD.v_km_s, abs=0.2)


def test_felo_has_optical_velocities_in_steps_of_frequency(path):
    said = regrid([sky.cube(path, cards={"CTYPE3": "FELO-LSR", "CUNIT3": "M/S"}, spectral="VOPT m/s")], GRID).cubes[0]
    assert (said.spectral_axis, said.frame) == ("VOPT-F2W", "LSRK")


def test_an_axis_without_a_name_is_read_with_the_convention(path):
    for ctype in (None, "", "LINEAR"):
        with pytest.raises(DataError, match="no spectral axis") as caught:
            image(path, {"CTYPE3": ctype})
        assert "--velocity-convention radio" in caught.value.hint
        assert middle_km_s(path, {"CTYPE3": ctype}, velocity_convention="radio") == pytest.approx(CLOUD.v_km_s, abs=0.2)


@pytest.mark.parametrize(
    ("cards", "flags", "message"),
    [
        ({"CUNIT3": "m"}, {"spectral_unit": "km/s"}, "CUNIT3 = 'm' is not a unit of a VRAD axis"),
        ({"CUNIT3": "kms-l"}, {"spectral_unit": "km/s"}, "not a unit"),
        ({"CUNIT3": "Hz"}, {"spectral_unit": "KM/S"}, "not a unit"),
        ({"CUNIT3": "Mm/s"}, {"spectral_unit": "km/s"}, "km/s wide"),
        ({"CUNIT3": "m/s"}, {"spectral_unit": "km/s"}, "0.00151 km/s wide"),
        ({"BUNIT": "Jy/sr", "RESTFRQ": 220.3986841}, {"rest_frequency_GHz": 220.3986841}, "RESTFRQ is 220.399"),
        ({"RESTFRQ": 220398.6841}, {"rest_frequency_GHz": 220.3986841}, "--rest-frequency-ghz 220.3986841"),
        ({"RESTFRQ": -1.0}, {"rest_frequency_GHz": 220.3986841}, "RESTFRQ is -1"),
        ({"RESTFRQ": None, "RESTFREQ": 220.3986841}, {"rest_frequency_GHz": 220.3986841}, "RESTFREQ is 220.399"),
        ({"RESTFRQ": None, "RESTWAV": 1.36}, {"rest_frequency_GHz": 220.3986841}, None),
        ({"RESTFRQ": None, "RESTWAV": 1.36e6}, {"rest_frequency_GHz": 220.3986841}, "RESTWAV is 1.36e+06"),
    ],
    ids=str,
)
def test_a_doubtful_number_is_an_error_that_the_named_flag_fixes(path, cards, flags, message):
    if message is not None:
        with pytest.raises(DataError) as caught:
            image(path, cards)
        assert message in f"{caught.value.message} ({caught.value.hint})"
        assert all(f"--{flag.lower().replace('_', '-')}" in caught.value.hint for flag in flags)
    assert middle_km_s(path, cards, **flags) == pytest.approx(CLOUD.v_km_s, abs=0.2)


@pytest.mark.parametrize("step", [39.6, 7.0, 3.5])
def test_pixels_in_arcseconds_whose_unit_says_degrees_are_refused(path, step):
    with pytest.raises(DataError, match=r"pixels of .* deg are doubtful") as caught:
        image(path, {"CDELT1": -step, "CDELT2": step})
    assert "CUNIT1" in caught.value.hint
    cards = {"CDELT1": -39.6, "CDELT2": 39.6, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}
    assert middle_km_s(path, cards) == pytest.approx(CLOUD.v_km_s, abs=0.2)


def test_a_doubtful_unit_can_be_confirmed(path):
    wide = {"CDELT3": 150.0, "CRVAL3": -8925.0}
    with pytest.raises(DataError, match="150 km/s wide"):
        image(path, wide)
    assert image(path, wide, spectral_unit="km/s").max() > 0.0


def test_of_several_images_the_first_cube_is_read_and_said(path):
    h = sky.header()
    cube, flat = sky.sample(h, CLOUD), np.ones((1, 30, 62), np.float32)
    for hdus, used in (
        ([fits.PrimaryHDU(flat), fits.ImageHDU(cube, header=h, name="DATA")], "0, 1; 1 (DATA) is read (--hdu)"),
        ([fits.PrimaryHDU(flat[0]), fits.ImageHDU(cube, header=h)], "0, 1; 1 is read"),
        ([fits.PrimaryHDU(cube, header=h), fits.ImageHDU(cube, name="ERROR")], "0, 1; 0 (PRIMARY) is read"),
    ):
        fits.HDUList(hdus).writeto(path, overwrite=True)
        made = regrid([path], GRID)
        assert used in " ".join(made.cubes[0].notes)
        assert sky.flux(made.image) == pytest.approx(CLOUD.flux, rel=5e-3)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, header=h)]).writeto(path, overwrite=True)
    assert "is read" not in " ".join(regrid([path], GRID).cubes[0].notes)


@pytest.mark.parametrize(
    ("card", "flags"),
    [
        ("BUNIT", {"unit": "K"}),
        ("RESTFRQ", {"rest_frequency_GHz": sky.REST_HZ / 1e9}),
        ("BMAJ", {"beam_arcsec": 60.0}),
        ("CUNIT3", {"spectral_unit": "km/s"}),
        ("SPECSYS", {"velocity_shift_km_s": 0.0}),
        ("CTYPE3", {"velocity_convention": "radio"}),
    ],
)
@pytest.mark.parametrize("text", ["= 1 2 3 / no value", "= T", "= 'abc'"])
def test_a_flag_replaces_a_card_that_cannot_be_read(path, card, flags, text):
    expected = image(path, {"BMAJ": 0.01})
    raw = path.read_bytes()
    start = next(k for k in range(0, len(raw), 80) if raw[k : k + 8] == card.ljust(8).encode())
    path.write_bytes(raw[:start] + f"{card:8}{text}".ljust(80).encode() + raw[start + 80 :])
    try:
        regrid([path], GRID)
    except DataError as error:
        flag = next(iter(flags)).removesuffix("_km_s").replace("_", "-").lower()
        assert f"--{flag}" in f"{error.message} {error.hint}"
    np.testing.assert_allclose(regrid([path], GRID, config=CubeConfig(**flags)).image, expected, atol=1e-5)
