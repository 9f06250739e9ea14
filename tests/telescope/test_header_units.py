"""Units as programs write them: each is understood or refused, none is taken for another."""

import pytest
from astropy import units as u

from iris_cli.telescope.brightness_unit import KINDS
from iris_cli.telescope.header_units import read_unit


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("MK", 1e6, u.K),
        ("mK", 1e-3, u.K),
        ("mk", 1e-3, u.K),
        ("k", 1, u.K),
        ("KELVIN", 1, u.K),
        ("1e-3 K", 1e-3, u.K),
        ("MJy/beam", 1e6, u.Jy / u.beam),
        ("mJy/beam", 1e-3, u.Jy / u.beam),
        ("mjy/beam", 1e-3, u.Jy / u.beam),
        ("uJy/beam", 1e-6, u.Jy / u.beam),
        ("10**-3 Jy/beam", 1e-3, u.Jy / u.beam),
        ("mJy/sr", 1e-3, u.Jy / u.sr),
        ("W/m2/Hz/sr", 1e26, u.Jy / u.sr),
        *((spelling, 1, u.Jy / u.beam) for spelling in ("JY/BEAM", "Jy/Beam", "beam-1 Jy", "Jy.beam-1", "Jy beam^-1")),
        *((spelling, 1, u.Jy / u.beam) for spelling in ("JY BEAM-1", "Jy beam^{-1}", "Jy per beam", "JANSKY/BM")),
        ("JY/PIXEL", 1, u.Jy / u.pix),
    ],
)
def test_a_unit_of_brightness_in_any_spelling(text, value, unit):
    made = read_unit(text, *KINDS)
    assert made is not None and made.to(unit) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "Jy", "K km/s", "km/s", "MJY/BEAM", "MJY/SR", "Jy/beam.km/s", "K_CMB", "count", "K/beam", "mag", "**"]
)
def test_no_unit_of_brightness_or_one_that_can_be_two(text):
    assert read_unit(text, *KINDS) is None


@pytest.mark.parametrize("text", ["km/s", "KM/S", "km s-1", "kms-1", "kms", "km/sec", "km.s-1", "Km/s", "KM S^-1"])
def test_kilometres_per_second(text):
    made = read_unit(text, u.m / u.s)
    assert made is not None and made.to(u.m / u.s) == 1e3


@pytest.mark.parametrize(("text", "hertz"), [("HZ", 1), ("GHZ", 1e9), ("MHZ", 1e6), ("kHz", 1e3), ("hertz", 1)])
def test_frequencies(text, hertz):
    made = read_unit(text, u.Hz)
    assert made is not None and made.to(u.Hz) == hertz
