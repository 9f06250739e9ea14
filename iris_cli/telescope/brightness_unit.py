"""The brightness unit of a cube: the factor to main-beam brightness temperatures in kelvin (Rayleigh-Jeans)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.beam import Beam, Floats, read_beam
from iris_cli.telescope.header_units import read_unit
from iris_cli.units import LIGHT_SPEED_M_S

#: A unit of brightness is convertible to one of these.
KINDS = (u.K, u.Jy / u.beam, u.Jy / u.sr, u.Jy / u.pix)
_HINT = "--unit with K, mK, Jy/beam, mJy/beam, Jy/sr, MJy/sr or Jy/pixel; letter case counts"
#: A temperature scale behind a unit: 'K (Ta*)', 'K Tmb', 'K_RJ', 'K (main beam)'.
_SCALE = re.compile(
    r"\(\s*(?:T|RJ|[^()]*(?:temp|antenna|main|planck|rayleigh|bright))[^()]*\)"
    r"|(?<![A-Za-z])(?:T[_*^ ]*\{?(?:A|ANT|MB|B|R)\}?|RJ)(?![A-Za-z])[*^{}]*",
    re.I,
)
_ANTENNA = re.compile(r"(?<![A-Za-z])T[_*^{ ]*(A|ANT)(?![A-Za-z])|antenna", re.I)
#: The same in free text, where 'Ta' may be a word.
_ANTENNA_IN_TEXT = re.compile(r"(?<![A-Za-z])T(_?\{?A\}?\^?\*|_\{?A\b|\*_?A\b)|antenna temp", re.I)
_MAIN_BEAM = re.compile(r"(?<![A-Za-z])T[_*^{ ]*MB(?![A-Za-z])|main[- _]?beam", re.I)
_PLANCK = re.compile("planck", re.I)
#: The part of a unit that is left by an integral over velocity or frequency.
_INTEGRATED = re.compile(r"(?<![A-Za-z])(k?m\s*[/. *]?\s*s(?![A-Za-z])|[kMG]?Hz)", re.I)


@dataclass(frozen=True)
class Brightness:
    """`to_K` (channels,) times a value of the cube is a main-beam temperature. `unit` is that of the header or flag."""

    to_K: Floats
    unit: str
    rest_frequency_GHz: float | None
    beam_arcsec: tuple[float, float] | None
    efficiency: float | None
    notes: tuple[str, ...]


def read_brightness(
    path: Path, header: fits.Header, beams: Any, wcs: WCS, channels: int, config: CubeConfig
) -> Brightness:
    """The unit of a cube, with assumptions that the user should know as notes. `beams` is its table BEAMS or None.

    DataError when the unit is missing or none of KINDS, when the conversion needs a beam or a rest frequency that
    neither header nor flags give, and for antenna temperatures without an efficiency.
    """
    text = config.unit or str(header.get("BUNIT", "")).strip()
    if not text:
        raise DataError(f"{path} has no unit (BUNIT)", "give --unit, e.g. --unit K")
    unit = _unit(path, text)
    scale = " ".join(found[0] for found in _SCALE.finditer(text))
    if _PLANCK.search(f"{scale} {header.get('BTYPE', '')}") and config.unit is None:
        message = f"{path} holds Planck temperatures, the model takes those of Rayleigh and Jeans"
        raise DataError(message, "`iris observe --unit K` writes them; --unit K takes the values as they are")
    rest_Hz = rest_frequency_Hz(wcs)
    pixel_deg = np.asarray(proj_plane_pixel_scales(wcs.celestial))
    efficiency, notes = _efficiency(path, header, scale, config)
    factor = np.ones(channels)
    beam = None
    try:
        beam = read_beam(path, header, beams, channels, float(np.sqrt(pixel_deg.prod())), config)
    except DataError as error:
        if unit.is_equivalent(u.Jy / u.beam):
            raise
        notes.append(f"{error.message}; no value depends on it")
    else:
        notes += [f"{path.name} has no beam (BMAJ); no value depends on it"] if beam is None else beam.notes
    if unit.is_equivalent(u.K):
        factor *= unit.to(u.K)
    else:
        factor *= _kelvin(path, unit, text, rest_Hz, beam, float(np.deg2rad(pixel_deg).prod()))
    widths = beam.typical_arcsec if beam else None
    return Brightness(factor / (efficiency or 1.0), text, rest_Hz / 1e9 or None, widths, efficiency, tuple(notes))


def rest_frequency_Hz(wcs: WCS) -> float:
    """From the rest frequency or the rest wavelength; 0 if the header has neither."""
    if wcs.wcs.restfrq:
        return float(wcs.wcs.restfrq)
    return LIGHT_SPEED_M_S / float(wcs.wcs.restwav) if wcs.wcs.restwav else 0.0


def _unit(path: Path, text: str) -> u.UnitBase:
    """The unit without its temperature scale. DataError when it is none of brightness."""
    base = _SCALE.sub(" ", text).strip(" _,;")
    if (unit := read_unit(base, *KINDS)) is not None:
        return unit
    message = f"{path} is in '{text}', not in a unit of brightness"
    if _INTEGRATED.search(base):
        raise DataError(f"{message}: it holds integrals or moments, not a cube", f"name the cube; else {_HINT}")
    raise DataError(message, _HINT)


def _kelvin(path: Path, unit: u.UnitBase, text: str, rest_Hz: float, beam: Beam | None, pixel_sr: float) -> Floats:
    """(channels,) or () kelvin of a flux density per solid angle of 1 `unit`, at the rest frequency."""
    if not rest_Hz:
        raise DataError(f"{path} is in {text} and has no rest frequency (RESTFRQ)", "give --rest-frequency-ghz")
    steradians: Floats | float = 1.0
    if unit.is_equivalent(u.Jy / u.beam):
        if beam is None:
            raise DataError(f"{path} is in {text} and has no beam (BMAJ, BMIN)", "give --beam-arcsec")
        steradians, unit = beam.steradians, unit * u.beam
    elif unit.is_equivalent(u.Jy / u.pix):
        steradians, unit = pixel_sr, unit * u.pix
    else:
        unit = unit * u.sr
    janskys = unit.to(u.Jy) / np.asarray(steradians)
    return np.asarray((u.Jy / u.sr).to(u.K, janskys, equivalencies=u.brightness_temperature(rest_Hz * u.Hz)))


def _efficiency(path: Path, header: fits.Header, scale: str, config: CubeConfig) -> tuple[float | None, list[str]]:
    """The main-beam efficiency to divide by, and notes; None if values are, or are assumed to be, main-beam.

    `scale` is what follows the unit: '(Ta*)', '(Tmb)' or nothing.
    """
    if _MAIN_BEAM.search(scale) and config.efficiency is not None:
        raise UsageError(f"{path} holds main-beam temperatures already, '{scale}'", "leave out --efficiency")
    if _MAIN_BEAM.search(scale) or config.efficiency is not None:
        return config.efficiency, []
    labels = {"BUNIT": scale, **_labels(header, config)}
    for where, text in labels.items():
        if (_ANTENNA_IN_TEXT if "COMMENT" in where else _ANTENNA).search(text) and not _MAIN_BEAM.search(text):
            raise DataError(f"{path} holds antenna temperatures, '{text}' ({where})", _efficiency_hint(header))
    if any(_MAIN_BEAM.search(text) and not _ANTENNA.search(text) for text in labels.values()):
        return None, []
    stated = f"the temperature scale '{scale}'" if scale else "no temperature scale"
    assumed = "antenna or main-beam; main-beam is assumed (--efficiency divides by an efficiency)"
    return None, [f"{path.name} has {stated}, {assumed}"]


def _labels(header: fits.Header, config: CubeConfig) -> dict[str, str]:
    """Where else a header may state the temperature scale -> what it says there."""
    labels = {f"COMMENT {n}": str(line).strip() for n, line in enumerate(header.get("COMMENT", []), 1)}
    for card in ("BTYPE", "LABEL", "TEMPSCAL"):
        if card in header:
            labels[card] = f"{header[card]} {header.comments[card]}".strip()
    if "BUNIT" in header and config.unit is None:
        labels["comment of BUNIT"] = header.comments["BUNIT"]
    return labels


def _efficiency_hint(header: fits.Header) -> str:
    """With the efficiencies that CLASS writes."""
    beam, forward = (header.get(card) for card in ("BEAMEFF", "FORWEFF"))
    known = isinstance(beam, float) and 0.0 < beam < 1.0
    if known and isinstance(forward, float) and beam <= forward <= 1.0:
        beam = beam / forward
    stated = f"--efficiency {beam:.3g} divides by that of the header" if known else "--efficiency 0.75 divides by it"
    return f"{stated}; --efficiency 1 takes the values as they are"
