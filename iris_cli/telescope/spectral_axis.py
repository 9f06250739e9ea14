"""The spectral axis of a cube, of any kind, as velocities: km/s in the LSR, radio convention, positive receding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import FK4, SkyCoord
from astropy.wcs import WCS
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.brightness_unit import rest_frequency_Hz
from iris_cli.telescope.spectral_cards import SI
from iris_cli.units import LIGHT_SPEED_M_S

Floats = NDArray[np.float64]

#: CTYPE -> velocity convention.
_CONVENTIONS = {"VRAD": "radio", "VOPT": "optical", "ZOPT": "optical", "VELO": "relativistic"}
#: Channels of a line are not wider or narrower than this, in km/s, and not at higher velocities.
POSSIBLE_WIDTH_KM_S = (0.01, 100.0)
HIGHEST_KM_S = 20_000.0


@dataclass(frozen=True)
class SpectralAxis:
    """Channel k spans `v_low[k]` … `v_high[k]` in km/s. `ctype` and `frame` are those of the header."""

    v_low: Floats
    v_high: Floats
    ctype: str
    frame: str | None


def read_spectral_axis(path: Path, wcs: WCS, channels: int, config: CubeConfig) -> SpectralAxis:
    """The velocities of the channels of a repaired header, in the frame of the header.

    DataError when the axis is of a kind without a velocity, when it needs a rest frequency that neither header nor
    flags give, and when its velocities are doubtful.
    """
    k = wcs.wcs.spec
    ctype = str(wcs.wcs.ctype[k])
    kind = ctype[:4]
    if kind not in SI:
        raise DataError(f"{path}: no velocity can be made of a spectral axis '{ctype}'", f"known: {', '.join(SI)}")
    try:
        values = wcs.sub([k + 1]).wcs_pix2world(np.arange(channels + 1) - 0.5, 0)[0]
    except Exception as error:  # an axis that is coupled to those of the sky, or one that needs a rest frequency
        reason = str(error).strip().splitlines()[-1]
        hint = "its axis must not be coupled to those of the sky"
        raise DataError(f"{path}: its spectral axis cannot be read: {reason}", hint) from None
    radio = 1e-3 * LIGHT_SPEED_M_S * (1.0 - _ratio(path, values, kind, wcs, config))
    edges = radio + (config.velocity_shift_km_s or 0.0)
    if not np.isfinite(edges).all() or (np.diff(edges) == 0).any():
        message = f"{path}: its spectral axis gives velocities that are not finite or do not change"
        raise DataError(message, "fix CRVAL, CDELT and CUNIT of that axis")
    _check_velocities(path, edges, kind, k, config)
    ends = np.stack([edges[:-1], edges[1:]])
    return SpectralAxis(ends.min(axis=0), ends.max(axis=0), ctype, wcs.wcs.specsys or None)


def frequency_ratio(velocity_m_s: Floats, convention: str) -> Floats:
    """nu / nu0 of a line at this velocity (Greisen et al. 2006, A&A 446, 747)."""
    beta = velocity_m_s / LIGHT_SPEED_M_S
    if convention == "radio":
        return 1.0 - beta
    if convention == "optical":
        return 1.0 / (1.0 + beta)
    return np.sqrt((1.0 - beta) / (1.0 + beta))


def solar_motion_km_s(lon_deg: float, lat_deg: float) -> float:
    """What LSRK velocities at a Galactic position exceed barycentric ones by: 20 km/s towards 18h +30d (B1900)."""
    apex = SkyCoord(270.0 * u.deg, 30.0 * u.deg, frame=FK4(equinox="B1900")).galactic
    place = SkyCoord(lon_deg * u.deg, lat_deg * u.deg, frame="galactic")
    return 20.0 * float(np.cos(apex.separation(place).rad))


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


def _check_velocities(path: Path, edges: Floats, kind: str, k: int, config: CubeConfig) -> None:
    """DataError for velocities that no line has, unless the unit is that of the flag."""
    if config.spectral_unit is not None:
        return
    width = float(np.abs(np.diff(edges)).max())
    low, high = POSSIBLE_WIDTH_KM_S
    if low <= width <= high and np.abs(edges).max() <= HIGHEST_KM_S:
        return
    unit = {"FREQ": "Hz", "WAVE": "m"}.get(kind, "m/s")
    rest = "; a wrong RESTFRQ with --rest-frequency-ghz" if kind in ("FREQ", "WAVE") else ""
    raise DataError(
        f"{path}: its channels are {width:.3g} km/s wide, from {edges[0]:.5g} to {edges[-1]:.5g} km/s: doubtful",
        f"replace a wrong CUNIT{k + 1}, or confirm it, with --spectral-unit, e.g. {unit}{rest}",
    )


def check_frame(path: Path, frame: str | None, centre_deg: tuple[float, float], config: CubeConfig) -> tuple[str, ...]:
    """DataError unless velocities are in the LSR or --velocity-shift is given; a note if the header has no frame.

    `centre_deg` is the Galactic position of the middle of the cube.
    """
    if config.velocity_shift_km_s is not None:
        return ()
    if not frame:
        return (f"{path.name} has no frame for its velocities (SPECSYS); LSR is assumed",)
    if frame == "LSRD":  # (9, 12, 7) km/s of the Sun, against 20 km/s to 18h +30d (1900)
        higher = (
            "towards the Galactic Centre those in the kinematic LSR are 1.3 km/s higher (--velocity-shift adds to them)"
        )
        return (f"{path.name} has velocities in the dynamical LSR, which are not changed; {higher}",)
    if frame.startswith("LSR"):
        return ()
    hint = "--velocity-shift KM_S is added to them (0 leaves them unchanged)"
    if frame in ("BARYCENT", "HELIOCEN"):
        shift = f"--velocity-shift {solar_motion_km_s(*centre_deg):.2f}"
        hint = f"{shift} adds the Sun's motion towards the middle of the cube (0 leaves them unchanged)"
    elif frame in ("TOPOCENT", "GEOCENTR"):
        hint = f"convert them, e.g. with CASA's imreframe(outframe='lsrk'); or {hint}"
    raise DataError(f"{path} has velocities in the frame {frame}, the model takes LSR", hint)
