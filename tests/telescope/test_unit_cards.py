"""Cards of units, frames, beams and blanks with any value: a cube is opened or refused, never anything else."""

import random
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import IrisError
from iris_cli.telescope.brightness_unit import KINDS
from iris_cli.telescope.cube_file import open_cube
from iris_cli.telescope.header_units import read_unit
from tests.telescope import sky

CARDS = """
BUNIT|BTYPE|LABEL|TEMPSCAL|CUNIT3|CTYPE3|SPECSYS|VELREF|VELDEF|VELO-LSR|RESTFRQ|RESTFREQ|RESTWAV|BMAJ|BMIN|CASAMBM
|BLANK|HISTORY|COMMENT|BEAMEFF|FORWEFF
""".replace("\n", "").split("|")
WORDS = """
K|mK|MK|Jy/beam|JY/BEAM|K (Tmb)|K (Ta*)|K km/s|km/s|KM S-1|m|Hz|GHZ|T*A|VELOCITY|VELO-LSR|FELO-HEL|VRAD|VOPT-F2W
|FREQ|ZOPT|WAVE|V|LSRK|BARY|TOPO||BMAJ=  1E-2 BMIN=  x|BMAJ=  1E-2 BMIN=  1E-2|(((|K**|10**99 K|Jy/|/|main beam|nan
|*
""".replace("\n", "").split("|")
NUMBERS = (0, 1, -1, 257, 258, 1e300, -1e300, 1e-300, 0.01, 36.0, 220.4, 2.2e11, 2**31, True, False)
FLAGS: tuple[dict[str, Any], ...] = (
    {},
    {"unit": "K"},
    {"rest_frequency_GHz": 220.4},
    {"beam_arcsec": 30.0, "velocity_shift_km_s": 0.0},
    {"spectral_unit": "km/s", "velocity_convention": "radio"},
    {"efficiency": 0.5, "blank": -1.0, "max_kelvin": 1e20},
)


def value(draw):
    kind = draw.random()
    if kind < 0.4:
        return draw.choice(WORDS)
    if kind < 0.7:
        return draw.choice(NUMBERS)
    if kind < 0.85:
        return "".join(draw.choice(draw.choice(WORDS) or " ") for _ in range(draw.randrange(1, 12)))
    return "".join(chr(draw.randrange(32, 127)) for _ in range(draw.randrange(1, 30)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_value_of_a_card_opens_a_cube_or_is_refused(path):
    draw, opened = random.Random(7), 0
    h = sky.header(shape=(4, 3, 2))
    for number in range(3000):
        header = h.copy()
        for card in draw.sample(CARDS, draw.randrange(1, 4)):
            header[card] = value(draw)
        fits.PrimaryHDU(np.full((4, 3, 2), -1.0, np.float32), header).writeto(
            path, overwrite=True, output_verify="ignore"
        )
        try:
            with open_cube(path, CubeConfig(**draw.choice(FLAGS))) as cube:
                slab = cube.slab(slice(0, 4), slice(0, 3), slice(0, 2))
                assert not np.isinf(slab).any(), (number, header)
                opened += 1
        except IrisError as error:
            assert "\n" not in error.message, (number, header)
    assert 300 < opened < 2700


@pytest.mark.slow
@settings(max_examples=300, deadline=2000, derandomize=True)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_any_text_is_a_unit_or_none(text):
    for wanted in (KINDS, (u.m / u.s,), (u.Hz,)):
        made = read_unit(text, *wanted)
        assert made is None or any(made.is_equivalent(kind) for kind in wanted)
