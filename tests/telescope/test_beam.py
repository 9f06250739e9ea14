"""The beam of a cube: one for all channels, one for each, and one that cannot be."""

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

JANSKYS = {"BUNIT": "Jy/beam", "BMAJ": 60 / 3600, "BMIN": 60 / 3600}


def table(widths, unit="arcsec", **columns):
    """As CASA writes it."""
    angles = [fits.Column(name, "E", unit, array=widths) for name in ("BMAJ", "BMIN", "BPA")]
    numbers = {"CHAN": np.arange(len(widths)), "POL": np.zeros(len(widths))} | columns
    others = [fits.Column(name, "J", array=values) for name, values in numbers.items()]
    return fits.BinTableHDU.from_columns(angles + others, name="BEAMS")


def with_beams(path, beams, cards=None):
    sky.cube(path, cards={**JANSKYS, "CASAMBM": True, **(cards or {})})
    with fits.open(path) as file:
        hdus = [fits.PrimaryHDU(file[0].data, file[0].header), *([beams] if beams else [])]
        fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def image(path, **flags):
    return regrid([path], sky.GRID, config=CubeConfig(**flags)).image


@pytest.fixture(scope="module")
def one_beam(tmp_path_factory):
    """The image of a cube in janskys per beam of 60 arcsec."""
    return image(sky.cube(tmp_path_factory.mktemp("one") / "cube.fits", cards=JANSKYS))


@pytest.mark.parametrize("cards", [{}, {"BMAJ": 30 / 3600, "BMIN": 30 / 3600}, {"BMAJ": None, "BMIN": None}], ids=str)
def test_each_channel_has_the_beam_of_the_table(path, one_beam, cards):
    channels = sky.header()["NAXIS3"]
    widths = np.where(np.arange(channels) < channels // 2, 60.0, 120.0)  # the second half is four times fainter
    made = regrid([with_beams(path, table(widths), cards)], sky.GRID)
    early = sky.GRID.velocity.edges()[1:] < 0.0
    np.testing.assert_allclose(made.image[:, early], one_beam[:, early], rtol=1e-5, atol=1e-9)
    late = sky.GRID.velocity.edges()[:-1] > 0.0
    np.testing.assert_allclose(made.image[:, late], one_beam[:, late] / 4.0, rtol=1e-5, atol=1e-9)
    assert "table BEAMS" in " ".join(made.cubes[0].notes) and "no beam" not in " ".join(made.cubes[0].notes)


def test_order_unit_and_polarisation_of_the_table_are_read(path, one_beam):
    channels = sky.header()["NAXIS3"]
    widths = np.linspace(30.0, 120.0, channels)
    expected = image(with_beams(path, table(widths)))
    falling = table(widths[::-1] / 3600, "deg", CHAN=np.arange(channels)[::-1])
    np.testing.assert_allclose(image(with_beams(path, falling)), expected, rtol=1e-5, atol=1e-9)
    twice = table(
        np.concatenate([widths, 3 * widths]), CHAN=np.tile(np.arange(channels), 2), POL=np.arange(2).repeat(channels)
    )
    np.testing.assert_allclose(image(with_beams(path, twice)), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(image(with_beams(path, twice), beam_arcsec=60.0), one_beam, rtol=1e-5, atol=1e-9)


def test_a_channel_without_a_beam_was_not_observed(path):
    widths = np.full(sky.header()["NAXIS3"], 60.0)
    whole = regrid([with_beams(path, table(widths))], sky.GRID)
    widths[:10] = 0.0
    made = regrid([with_beams(path, table(widths))], sky.GRID)
    assert "10 channels have no beam" in " ".join(made.cubes[0].notes)
    assert np.isfinite(made.image).all() and made.sampled < whole.sampled


@pytest.mark.parametrize(
    ("beams", "cards", "message"),
    [
        (None, {}, "not its table BEAMS"),
        (np.full(7, 60.0), {}, "7 beams for 120 channels"),
        (np.zeros(120), {}, "holds no beam"),
        (np.full(120, 60.0), {"unit": "kg"}, "in 'kg', not in an angle"),
        (None, {"CASAMBM": False, "BMAJ": 36.0, "BMIN": 36.0}, "36 deg is doubtful"),
        (None, {"CASAMBM": False, "BMAJ": 0.04, "BMIN": 4e-4}, "100 times as long as wide"),
        (None, {"CASAMBM": False, "BMAJ": 1e-6, "BMIN": 1e-6}, "0.0036 arcsec is doubtful"),
    ],
)
def test_a_beam_that_cannot_be_used_is_an_error_that_the_flag_fixes(path, beams, cards, message, one_beam):
    others = {card: value for card, value in cards.items() if card != "unit"}
    with_beams(path, None if beams is None else table(beams, cards.get("unit", "arcsec")), others)
    with pytest.raises(DataError) as caught:
        image(path)
    assert message in caught.value.message and "--beam-arcsec" in caught.value.hint
    np.testing.assert_allclose(image(path, beam_arcsec=60.0), one_beam, rtol=1e-5, atol=1e-9)


def test_in_kelvin_a_doubtful_beam_is_only_noted(path):
    made = regrid([sky.cube(path, cards={"BMAJ": 36.0, "BMIN": 36.0})], sky.GRID)
    assert "36 deg is doubtful" in " ".join(made.cubes[0].notes) and made.cubes[0].beam_arcsec is None


def test_a_beam_written_as_a_text_is_that_beam(path, one_beam):
    sky.cube(path, cards=JANSKYS | {"BMAJ": f" {60 / 3600:.12E}", "BMIN": f"{60 / 3600:.12f}"})
    np.testing.assert_allclose(image(path), one_beam, rtol=1e-5, atol=1e-6)


def test_the_beam_of_a_clean_that_aips_noted_is_used(path, one_beam):
    history = "AIPS   CLEAN BMAJ=  1.6667E-02 BMIN=  1.6667E-02 BPA=   0.00"
    made = regrid([sky.cube(path, cards={"BUNIT": "JY/BEAM", "HISTORY": history})], sky.GRID)
    np.testing.assert_allclose(made.image, one_beam, rtol=1e-4, atol=1e-9)
    assert "HISTORY" in " ".join(made.cubes[0].notes)
