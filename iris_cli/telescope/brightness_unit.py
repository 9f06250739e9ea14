"""What a cube's numbers measure, as main-beam brightness temperatures in kelvin (Rayleigh-Jeans)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.units import LIGHT_SPEED_M_S

#: Unit -> (what it is per: nothing, a beam, a steradian; the factor to K or Jy). Other cases of letters are tried too.
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
#: 'K', 'K (Ta*)', 'K Tmb'
_WITH_SCALE = re.compile(r"(.*?)\s*(\(.*|\bT_?(?:A|MB).*)?", re.I)
_ANTENNA = re.compile(r"T_?A|ANT", re.I)
_MAIN_BEAM = re.compile(r"T_?MB|MAIN", re.I)
_PLANCK = re.compile("planck", re.I)


def to_kelvin(path: Path, header: fits.Header, wcs: WCS, config: CubeConfig) -> tuple[float, dict[str, Any], list[str]]:
    """What a value is multiplied with, what a header should tell of it, and what the user should hear.

    DataError when the unit is missing or none of UNITS, when it needs a beam or a rest frequency that nobody gave, and
    for antenna temperatures without an efficiency.
    """
    said = config.unit or str(header.get("BUNIT", "")).strip()
    if not said:
        raise DataError(f"{path} does not say its unit (BUNIT)", "give --unit, e.g. --unit K")
    base, scale = _WITH_SCALE.fullmatch(said).groups(default="")  # type: ignore[union-attr]
    name = re.sub(r"\s*/\s*|\s+(?=(beam|sr)-1)", "/", base.strip(), flags=re.I)
    name = re.sub(r"-1$", "", name)
    entry = UNITS.get(name) or _LOWER.get(name.lower())
    if entry is None:
        raise DataError(f"{path} is in '{said}', not in a unit of brightness", f"--unit with one of {', '.join(UNITS)}")
    if _PLANCK.search(f"{scale} {header.get('BTYPE', '')}") and config.unit is None:
        raise DataError(
            f"{path} holds Planck temperatures, the model takes those of Rayleigh and Jeans",
            "`iris observe --unit K` writes them; --unit K takes the values as they are",
        )
    per, factor = entry
    rest_Hz, beam = rest_frequency_Hz(wcs), _beam_arcsec(path, header, config)
    efficiency, notes = _efficiency(path, scale, config)
    if per:
        factor *= _kelvin_per_Jy(path, name, per, rest_Hz, beam)
    elif beam is None:
        notes.append(f"{path.name} does not say its beam; nothing is computed with it")
    told = {"unit": said, "rest_frequency_GHz": rest_Hz / 1e9 or None, "beam_arcsec": beam, "efficiency": efficiency}
    return factor / (efficiency or 1.0), told, notes


def rest_frequency_Hz(wcs: WCS) -> float:
    """0 where the header has none."""
    if wcs.wcs.restfrq:
        return float(wcs.wcs.restfrq)
    return LIGHT_SPEED_M_S / float(wcs.wcs.restwav) if wcs.wcs.restwav else 0.0


def _kelvin_per_Jy(path: Path, unit: str, per: str, rest_Hz: float, beam: list[float] | None) -> float:
    """Of a jansky per steradian or per beam, at the rest frequency."""
    if not rest_Hz:
        raise DataError(
            f"{path} is in {unit} and does not say its rest frequency (RESTFRQ)", "give --rest-frequency-ghz"
        )
    solid_angle = 1.0
    if per == "beam":
        if beam is None:
            raise DataError(f"{path} is in {unit} and does not say its beam (BMAJ, BMIN)", "give --beam-arcsec")
        major, minor = np.deg2rad(beam[0] / 3600.0), np.deg2rad(beam[1] / 3600.0)
        solid_angle = float(np.pi / (4.0 * np.log(2.0)) * major * minor)
    return float((u.Jy / u.sr).to(u.K, 1.0 / solid_angle, equivalencies=u.brightness_temperature(rest_Hz * u.Hz)))


def _beam_arcsec(path: Path, header: fits.Header, config: CubeConfig) -> list[float] | None:
    """[major, minor] FWHM; the flag wins over the header. DataError for a beam that cannot be."""
    if config.beam_arcsec is not None:
        return [config.beam_arcsec] * 2
    if not (major := header.get("BMAJ")):
        return None
    minor = header.get("BMIN") or major
    for card, value in (("BMAJ", major), ("BMIN", minor)):
        if not isinstance(value, int | float) or not 0.0 < value < 360.0:
            raise DataError(f"{path}: {card} is {value!r}, not the width of a beam in degrees", "give --beam-arcsec")
    return [3600.0 * major, 3600.0 * minor]


def _efficiency(path: Path, scale: str, config: CubeConfig) -> tuple[float | None, list[str]]:
    """The main-beam efficiency to divide by; None where the values are main-beam temperatures, or are taken as such.

    `scale` is what stands behind the unit: '(Ta*)', '(Tmb)' or nothing.
    """
    if _ANTENNA.search(scale) and config.efficiency is None:
        raise DataError(
            f"{path} holds antenna temperatures, '{scale.strip()}'",
            "give the main-beam efficiency to divide by: --efficiency 0.75",
        )
    if _MAIN_BEAM.search(scale) and config.efficiency is not None:
        raise UsageError(f"{path} holds main-beam temperatures already, '{scale.strip()}'", "leave out --efficiency")
    if _MAIN_BEAM.search(scale) or config.efficiency is not None:
        return config.efficiency, []
    said = f"says '{scale.strip()}', not" if scale.strip() else "does not say"
    return None, [
        f"{path.name} {said} whether it holds antenna or main-beam temperatures; taken as main-beam "
        "(--efficiency divides by a main-beam efficiency)"
    ]
