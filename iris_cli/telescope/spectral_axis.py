"""The spectral axis of a cube, of any kind, as velocities: km/s in the LSR, radio convention, positive receding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.brightness_unit import rest_frequency_Hz
from iris_cli.units import LIGHT_SPEED_M_S

Floats = NDArray[np.float64]

#: CTYPE -> velocity convention.
_CONVENTIONS = {"VRAD": "radio", "VOPT": "optical", "ZOPT": "optical", "VELO": "relativistic"}
#: CTYPE -> the SI unit in which wcslib returns values.
_SI = {"VRAD": "m/s", "VOPT": "m/s", "VELO": "m/s", "ZOPT": "", "FREQ": "Hz", "WAVE": "m"}


@dataclass(frozen=True)
class SpectralAxis:
    """Channel k spans `v_low[k]` … `v_high[k]` in km/s. `ctype` and `frame` are those of the header."""

    v_low: Floats
    v_high: Floats
    ctype: str
    frame: str | None
    notes: tuple[str, ...]


def read_spectral_axis(path: Path, header: fits.Header, wcs: WCS, channels: int, config: CubeConfig) -> SpectralAxis:
    """The velocities of the channels, with assumptions that the user should know as notes.

    DataError when the axis is of a kind without a velocity, when it needs a unit or a rest frequency that neither
    header nor flags give, and when its frame is not the LSR.
    """
    notes = _check_frame(path, wcs, config)
    k = wcs.wcs.spec
    ctype = str(wcs.wcs.ctype[k])
    kind = ctype[:4]
    if kind not in _SI:
        raise DataError(f"{path}: no velocity can be made of a spectral axis '{ctype}'", f"known: {', '.join(_SI)}")
    per_SI = _unit_factor(path, header, k, kind, config)
    try:
        values = wcs.sub([k + 1]).wcs_pix2world(np.arange(channels + 1) - 0.5, 0)[0] * per_SI
    except Exception as error:  # an axis that is coupled to those of the sky, or one that needs a rest frequency
        reason = str(error).strip().splitlines()[-1]
        hint = "its axis must not be coupled to those of the sky"
        raise DataError(f"{path}: its spectral axis cannot be read: {reason}", hint) from None
    radio = 1e-3 * LIGHT_SPEED_M_S * (1.0 - _ratio(path, values, kind, wcs, config))
    edges = radio + (config.velocity_shift_km_s or 0.0)
    if not np.isfinite(edges).all() or (np.diff(edges) == 0).any():
        message = f"{path}: its spectral axis gives velocities that are not finite or do not change"
        raise DataError(message, "fix CRVAL, CDELT and CUNIT of that axis")
    ends = np.stack([edges[:-1], edges[1:]])
    return SpectralAxis(ends.min(axis=0), ends.max(axis=0), ctype, wcs.wcs.specsys or None, notes)


def frequency_ratio(velocity_m_s: Floats, convention: str) -> Floats:
    """nu / nu0 of a line at this velocity (Greisen et al. 2006, A&A 446, 747)."""
    beta = velocity_m_s / LIGHT_SPEED_M_S
    if convention == "radio":
        return 1.0 - beta
    if convention == "optical":
        return 1.0 / (1.0 + beta)
    return np.sqrt((1.0 - beta) / (1.0 + beta))


def _ratio(path: Path, values: Floats, kind: str, wcs: WCS, config: CubeConfig) -> Floats:
    """nu / nu0 of values in SI units."""
    if kind in ("FREQ", "WAVE"):
        if config.velocity_convention:
            raise UsageError(f"{path} has a {kind} axis, which has no convention", "leave out --velocity-convention")
        if not (rest_Hz := rest_frequency_Hz(wcs)):
            hint = "give --rest-frequency-ghz, e.g. 220.3986841 for 13CO(2-1)"
            raise DataError(f"{path} has a {kind} axis and no rest frequency (RESTFRQ)", hint)
        return (values if kind == "FREQ" else LIGHT_SPEED_M_S / values) / rest_Hz
    velocity = values * LIGHT_SPEED_M_S if kind == "ZOPT" else values
    return frequency_ratio(velocity, config.velocity_convention or _CONVENTIONS[kind])


def _unit_factor(path: Path, header: fits.Header, k: int, kind: str, config: CubeConfig) -> float:
    """The factor from wcslib's values to SI: 1, unless the header has no CUNIT and --spectral-unit gives it."""
    stated = str(header.get(f"CUNIT{k + 1}", "")).strip()
    if kind == "ZOPT" or (stated and config.spectral_unit is None):
        return 1.0
    if config.spectral_unit is None:
        raise DataError(f"{path} has no unit for its spectral axis (CUNIT{k + 1})", "give it: --spectral-unit km/s")
    if stated:
        raise UsageError(f"{path} has a unit for its spectral axis: {stated}", "leave out --spectral-unit")
    try:
        return float(u.Unit(config.spectral_unit).to(_SI[kind]))
    except (ValueError, u.UnitConversionError):
        raise UsageError(
            f"'{config.spectral_unit}' is not a unit of a {kind} axis", "e.g. km/s, m/s, Hz, GHz"
        ) from None


def _check_frame(path: Path, wcs: WCS, config: CubeConfig) -> tuple[str, ...]:
    """DataError unless velocities are in the LSR or --velocity-shift is given; a note if the header has no frame."""
    frame = str(wcs.wcs.specsys).strip().upper()
    if config.velocity_shift_km_s is not None:
        return ()
    if frame == "LSRD":  # (9, 12, 7) km/s of the Sun, against 20 km/s to 18h +30d (1900)
        higher = (
            "towards the Galactic Centre those in the kinematic LSR are 1.3 km/s higher (--velocity-shift adds to them)"
        )
        return (f"{path.name} has velocities in the dynamical LSR, which are not changed; {higher}",)
    if frame.startswith("LSR"):
        return ()
    if frame:
        hint = "--velocity-shift KM_S is added to them (0 leaves them unchanged)"
        raise DataError(f"{path} has velocities in the frame {frame}, the model takes LSR", hint)
    return (f"{path.name} has no frame for its velocities (SPECSYS); LSR is assumed",)
