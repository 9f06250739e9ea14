"""Units as they are spelt in FITS headers: by the FITS standard, else as CASA, GILDAS, MIRIAD, AIPS and CLASS do."""

import re
import warnings
from collections.abc import Iterator

import numpy as np
from astropy import units as u
from astropy.io import fits

#: Words in capital letters -> astropy's spelling. Only words are here that mean one unit in any letter case.
_PLAIN = ("K", "Jy", "beam", "sr", "pix", "W", "erg", "Hz", "kHz", "MHz", "GHz", "km", "m", "cm", "mm", "um", "nm", "s")
_WORDS = {word.upper(): word for word in (*_PLAIN, "deg", "arcsec", "arcmin")}
_WORDS |= {"KELVIN": "K", "KELVINS": "K", "JANSKY": "Jy", "JANSKYS": "Jy", "BEAMS": "beam", "BM": "beam", "PER": "/"}
_WORDS |= {"STERADIAN": "sr", "STER": "sr", "PIXEL": "pix", "PIXELS": "pix", "PX": "pix"}
_WORDS |= {"SEC": "s", "SECOND": "s", "METER": "m", "METRE": "m", "HERTZ": "Hz", "KMS": "km s"}
_WORDS |= {"DEGREE": "deg", "DEGREES": "deg", "DEGS": "deg", "MICRON": "um"}
#: Whole spellings, likewise.
_WHOLE = {"KMS": "km/s", "KMPS": "km/s"}
#: Units with prefixes; 'M' in a word of capital letters may be milli or mega, so that such a word is not read.
_PREFIXED = re.compile(r"([numkMG])(JY|JANSKYS?|K|KELVINS?)", re.I)


def read_unit(text: str, *wanted: u.UnitBase) -> u.UnitBase | None:
    """The unit of a header, which must be convertible to one of `wanted`; None if it is not, or can be two units.

    Letter case counts, as in the FITS standard, unless the text is no unit in its own letter case.
    """
    for spelling in _spellings(text.strip()):
        for standard in ("fits", "generic"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", u.UnitsWarning)  # on several slashes: the result is of a wanted kind
                try:
                    unit = u.Unit(spelling, format=standard)
                except (ValueError, TypeError, OverflowError):
                    continue
            for kind in wanted:
                if isinstance(unit, u.UnitBase) and unit.is_equivalent(kind) and 0.0 < unit.to(kind) < np.inf:
                    return unit
    return None


def fits_spelling(unit: u.UnitBase) -> str | None:
    """As wcslib knows it; None for a unit that the FITS standard cannot express, such as 3 km/s."""
    try:
        return str(unit.to_string("fits"))
    except ValueError:
        return None


def spell_units(header: fits.Header) -> None:
    """Replace the units of axes by wcslib's spelling, where they are angles, velocities, frequencies or lengths."""
    for k in range(1, header["NAXIS"] + 1):
        unit = read_unit(str(header.get(f"CUNIT{k}", "")), u.deg, u.m / u.s, u.Hz, u.m)
        if unit is not None and (text := fits_spelling(unit)):
            header[f"CUNIT{k}"] = text


def _spellings(text: str) -> Iterator[str]:
    yield text
    plain = re.sub(r"[{}$\[\]\\'\"]", "", text)
    yield _WHOLE.get(plain.upper(), plain)
    yield re.sub(r"[A-Za-z]+", lambda word: _word(word[0]), plain)


def _word(word: str) -> str:
    if word.upper() in _WORDS:
        return _WORDS[word.upper()]
    found = _PREFIXED.fullmatch(word)
    if not found or (word.isupper() and found[1] == "M"):
        return word
    prefix = found[1] if found[1] in "mM" else found[1].lower()
    return prefix + _WORDS[found[2].upper()]
