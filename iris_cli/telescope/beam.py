"""The beam of a cube: one for all channels, or one for each channel (CASA's table BEAMS)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.telescope.fits_file import reading
from iris_cli.telescope.header_units import read_unit

Floats = NDArray[np.float64]

#: A beam outside these numbers of pixels, or longer than this many times its width, has another unit than the header
#: says: real ones have 0.5 to 30 pixels. Degrees for arcseconds are a factor of 3600, for arcminutes of 60.
PIXELS_OF_A_BEAM = (0.01, 100.0)
LONGEST = 20.0
_HINT = "give --beam-arcsec"
_FROM_AIPS = re.compile(r"BMAJ=\s*(\S+)\s+BMIN=\s*(\S+)")


@dataclass(frozen=True)
class Beam:
    """FWHM of each channel, NaN in channels without a beam, and notes that the user should read."""

    major_arcsec: Floats
    minor_arcsec: Floats
    notes: tuple[str, ...] = ()

    @property
    def steradians(self) -> Floats:
        """(channels,) solid angle of a Gaussian."""
        radians = np.deg2rad(self.major_arcsec / 3600.0), np.deg2rad(self.minor_arcsec / 3600.0)
        return np.pi / (4.0 * np.log(2.0)) * radians[0] * radians[1]

    @property
    def typical_arcsec(self) -> tuple[float, float]:
        """The median of the channels."""
        return float(np.nanmedian(self.major_arcsec)), float(np.nanmedian(self.minor_arcsec))


def read_beam(
    path: Path, header: fits.Header, table: Any, channels: int, pixel_deg: float, config: CubeConfig
) -> Beam | None:
    """From --beam-arcsec, else the table BEAMS (None: the file has none), else BMAJ and BMIN, else AIPS's HISTORY.

    None if a file has no beam. DataError for a table that does not fit the channels, and for a beam that is impossible
    for pixels of this size.
    """
    if config.beam_arcsec is not None:
        return _one(config.beam_arcsec, config.beam_arcsec, channels)
    if table is not None:
        beam = _of_table(path, table, channels)
        if "BMAJ" in header:
            beam = Beam(beam.major_arcsec, beam.minor_arcsec, (*beam.notes, f"{path.name}: BMAJ and BMIN are not used"))
    elif header.get("CASAMBM") in (True, "T"):
        raise DataError(f"{path} has a beam for each channel (CASAMBM), but not its table BEAMS", _HINT)
    elif header.get("BMAJ"):
        minor = header.get("BMIN") or header["BMAJ"]
        for card, value in (("BMAJ", header["BMAJ"]), ("BMIN", minor)):
            if not isinstance(value, int | float) or not 0.0 < value < np.inf:
                raise DataError(f"{path}: {card} is {value!r}, not the width of a beam in degrees", _HINT)
        beam = _one(3600.0 * header["BMAJ"], 3600.0 * minor, channels)
    elif found := _of_history(header):
        beam = _one(3600.0 * found[0], 3600.0 * found[1], channels, f"{path.name}: its beam is that of AIPS's HISTORY")
    else:
        return None
    _check(path, beam, pixel_deg)
    return beam


def _one(major_arcsec: float, minor_arcsec: float, channels: int, *notes: str) -> Beam:
    return Beam(np.full(channels, float(major_arcsec)), np.full(channels, float(minor_arcsec)), notes)


def _of_history(header: fits.Header) -> tuple[float, float] | None:
    """BMAJ and BMIN in degrees of the last CLEAN that AIPS noted."""
    for line in reversed(list(header.get("HISTORY", []))):
        try:
            if found := _FROM_AIPS.search(line):
                return float(found[1]), float(found[2])
        except ValueError:
            continue
    return None


def _of_table(path: Path, table: Any, channels: int) -> Beam:
    said: list[str] = []
    with reading(path, said, "has a table BEAMS that cannot be read", _HINT):
        rows, units = table.data, {column.name: column.unit or "" for column in table.columns}
        if "POL" in units and len(rows):
            rows = rows[rows["POL"] == rows["POL"].min()]
        order = np.argsort(rows["CHAN"], kind="stable") if "CHAN" in units else np.arange(len(rows))
        widths = []
        for name in ("BMAJ", "BMIN"):
            if (unit := read_unit(units[name], u.arcsec)) is None:
                raise DataError(f"{path}: {name} of its table BEAMS is in '{units[name]}', not in an angle", _HINT)
            values = np.asarray(rows[name], np.float64)[order] * unit.to(u.arcsec)
            widths.append(np.where((values > 0.0) & np.isfinite(values), values, np.nan))
    major, minor = widths
    if len(major) != channels:
        raise DataError(f"{path}: its table BEAMS has {len(major)} beams for {channels} channels", _HINT)
    absent = int(np.isnan(major + minor).sum())
    if absent == channels:
        raise DataError(f"{path}: its table BEAMS holds no beam", _HINT)
    notes = [f"{path.name} has a beam for each channel (table BEAMS): {np.nanmin(minor):.4g} … {np.nanmax(major):.4g} "]
    notes[0] += "arcsec"
    if absent:
        notes.append(f"{path.name}: {absent} channels have no beam in the table BEAMS")
    return Beam(major, minor, (*notes, *said))


def _check(path: Path, beam: Beam, pixel_deg: float) -> None:
    """DataError for a beam that is impossible for these pixels."""
    major, minor = np.nanmax(beam.major_arcsec), np.nanmin(beam.minor_arcsec)
    pixel = 3600.0 * pixel_deg
    fewest, most = PIXELS_OF_A_BEAM
    if major > most * pixel or minor < fewest * pixel:
        shown = f"{major / 3600.0:g} deg" if major > most * pixel else f"{minor:.3g} arcsec"
        message = f"{path}: its beam (BMAJ, BMIN) of {shown} is doubtful for pixels of {pixel:.4g} arcsec"
        raise DataError(message, f"{_HINT}; BMAJ is in degrees")
    ratio = np.nanmax(np.maximum(beam.major_arcsec / beam.minor_arcsec, beam.minor_arcsec / beam.major_arcsec))
    if ratio > LONGEST:
        raise DataError(f"{path}: its beam (BMAJ, BMIN) is {ratio:.3g} times as long as wide", _HINT)
