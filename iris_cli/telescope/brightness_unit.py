"""The brightness unit of a cube: the factor to main-beam brightness temperatures in kelvin (Rayleigh-Jeans)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.units import LIGHT_SPEED_M_S

#: Unit -> (the solid angle that it refers to: none, a beam, a steradian; the factor to K or Jy). Letter case is ignored
#: where this is unambiguous.
UNITS = {
    "K": ("", 1.0),
    "Kelvin": ("", 1.0),
    "mK": ("", 1e-3),
    "Jy/beam": ("beam", 1.0),
    "mJy/beam": ("beam", 1e-3),
    "Jy/sr": ("sr", 1.0),
    "MJy/sr": ("sr", 1e6),
}
_LOWER = {name.lower(): entry for name, entry in UNITS.items()}
#: A unit and the temperature scale after it: 'K', 'K (Ta*)', 'K Tmb'.
_WITH_SCALE = re.compile(r"(.*?)\s*(\(.*|\bT_?(?:A|MB).*)?", re.I)
_ANTENNA = re.compile(r"T_?A|ANT", re.I)
_MAIN_BEAM = re.compile(r"T_?MB|MAIN", re.I)
_PLANCK = re.compile("planck", re.I)


@dataclass(frozen=True)
class Brightness:
    """`to_K` times a value of the cube is a main-beam temperature. `unit` is as stated by the header or the flag."""

    to_K: float
    unit: str
    rest_frequency_GHz: float | None
    beam_arcsec: tuple[float, float] | None
    efficiency: float | None
    notes: tuple[str, ...]


def read_brightness(path: Path, header: fits.Header, wcs: WCS, config: CubeConfig) -> Brightness:
    """The unit of a cube, with assumptions that the user should know as notes.

    DataError when the unit is missing or none of UNITS, when the conversion needs a beam or a rest frequency that
    neither header nor flags give, and for antenna temperatures without an efficiency.
    """
    unit = config.unit or str(header.get("BUNIT", "")).strip()
    if not unit:
        raise DataError(f"{path} has no unit (BUNIT)", "give --unit, e.g. --unit K")
    base, scale = _WITH_SCALE.fullmatch(unit).groups(default="")  # type: ignore[union-attr]
    name = re.sub(r"\s*/\s*|\s+(?=(beam|sr)-1)", "/", base.strip(), flags=re.I)
    name = re.sub(r"-1$", "", name)
    entry = UNITS.get(name) or _LOWER.get(name.lower())
    if entry is None:
        raise DataError(f"{path} is in '{unit}', not in a unit of brightness", f"--unit with one of {', '.join(UNITS)}")
    if _PLANCK.search(f"{scale} {header.get('BTYPE', '')}") and config.unit is None:
        message = f"{path} holds Planck temperatures, the model takes those of Rayleigh and Jeans"
        raise DataError(message, "`iris observe --unit K` writes them; --unit K takes the values as they are")
    solid_angle, factor = entry
    rest_Hz, beam = rest_frequency_Hz(wcs), _beam_arcsec(path, header, config)
    efficiency, notes = _efficiency(path, scale, config)
    if solid_angle:
        factor *= _kelvin_per_Jy(path, name, solid_angle, rest_Hz, beam)
    elif beam is None:
        notes.append(f"{path.name} has no beam (BMAJ); no value depends on it")
    return Brightness(factor / (efficiency or 1.0), unit, rest_Hz / 1e9 or None, beam, efficiency, tuple(notes))


def rest_frequency_Hz(wcs: WCS) -> float:
    """From the rest frequency or the rest wavelength; 0 if the header has neither."""
    if wcs.wcs.restfrq:
        return float(wcs.wcs.restfrq)
    return LIGHT_SPEED_M_S / float(wcs.wcs.restwav) if wcs.wcs.restwav else 0.0


def _kelvin_per_Jy(path: Path, unit: str, solid_angle: str, rest_Hz: float, beam: tuple[float, float] | None) -> float:
    """Kelvin of one jansky per beam or per steradian at the rest frequency."""
    if not rest_Hz:
        raise DataError(f"{path} is in {unit} and has no rest frequency (RESTFRQ)", "give --rest-frequency-ghz")
    steradians = 1.0
    if solid_angle == "beam":
        if beam is None:
            raise DataError(f"{path} is in {unit} and has no beam (BMAJ, BMIN)", "give --beam-arcsec")
        major, minor = np.deg2rad(beam[0] / 3600.0), np.deg2rad(beam[1] / 3600.0)
        steradians = float(np.pi / (4.0 * np.log(2.0)) * major * minor)
    return float((u.Jy / u.sr).to(u.K, 1.0 / steradians, equivalencies=u.brightness_temperature(rest_Hz * u.Hz)))


def _beam_arcsec(path: Path, header: fits.Header, config: CubeConfig) -> tuple[float, float] | None:
    """(major, minor) FWHM; the flag overrides the header. DataError for an impossible width."""
    if config.beam_arcsec is not None:
        return config.beam_arcsec, config.beam_arcsec
    if not (major := header.get("BMAJ")):
        return None
    minor = header.get("BMIN") or major
    for card, value in (("BMAJ", major), ("BMIN", minor)):
        if not isinstance(value, int | float) or not 0.0 < value < 360.0:
            raise DataError(f"{path}: {card} is {value!r}, not the width of a beam in degrees", "give --beam-arcsec")
    return 3600.0 * major, 3600.0 * minor


def _efficiency(path: Path, scale: str, config: CubeConfig) -> tuple[float | None, list[str]]:
    """The main-beam efficiency to divide by, and notes; None if values are, or are assumed to be, main-beam.

    `scale` is what follows the unit: '(Ta*)', '(Tmb)' or nothing.
    """
    scale = scale.strip()
    if _ANTENNA.search(scale) and config.efficiency is None:
        raise DataError(f"{path} holds antenna temperatures, '{scale}'", "--efficiency 0.75 divides by an efficiency")
    if _MAIN_BEAM.search(scale) and config.efficiency is not None:
        raise UsageError(f"{path} holds main-beam temperatures already, '{scale}'", "leave out --efficiency")
    if _MAIN_BEAM.search(scale) or config.efficiency is not None:
        return config.efficiency, []
    stated = f"the temperature scale '{scale}'" if scale else "no temperature scale"
    assumed = "antenna or main-beam; main-beam is assumed (--efficiency divides by an efficiency)"
    return None, [f"{path.name} has {stated}, {assumed}"]
