"""FITS files of cubes and their moments, with axes GLON-CAR, GLAT-CAR, VRAD, for astropy, spectral-cube and CARTA.

On the sky longitude increases to the left and the first pixel is the leftmost: arrays are reversed along longitude.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.errors import DataError
from iris_cli.files import add_history, atomic_file

_M_S_PER_KM_S = 1e3
#: BTYPE of the moments.
_MOMENTS = ("Integral over velocity", "Mean velocity", "Velocity dispersion")
_AXIS_CARDS = ("CTYPE", "CUNIT", "CRVAL", "CDELT", "CRPIX")


def header(grid: Grid, unit: str, frequency_Hz: float | None = None, beam_fwhm_arcsec: float | None = None) -> Any:
    """The header of a cube (V, B, L). Both axes refer to 0, because CAR is undistorted only there.

    Without a frequency or a beam, the cube is not of a line or not of a telescope, and has no such cards.
    """
    from astropy.io import fits

    h = fits.Header()
    lon, lat, v = grid.longitude, grid.latitude, grid.velocity
    axes = (
        ("GLON-CAR", "deg", 0.0, -lon.step, lon.last / lon.step + 1.0),
        ("GLAT-CAR", "deg", 0.0, lat.step, -lat.first / lat.step + 1.0),
        ("VRAD", "m/s", v.first * _M_S_PER_KM_S, v.step * _M_S_PER_KM_S, 1.0),
    )
    for k, axis in enumerate(axes, start=1):
        h.update({f"{card}{k}": value for card, value in zip(_AXIS_CARDS, axis, strict=True)})
    h["SPECSYS"], h["BUNIT"], h["ORIGIN"] = "LSRK", unit, f"IRIS {__version__}"
    if frequency_Hz is not None:
        h["RESTFRQ"] = (frequency_Hz, "[Hz]")
    if beam_fwhm_arcsec is not None:
        h["BMAJ"] = h["BMIN"] = beam_fwhm_arcsec / 3600.0
        h["BPA"] = 0.0
    return h


def on_sky(cube: NDArray) -> NDArray[np.float32]:
    """(L, B, V) -> (V, B, L) with decreasing longitude."""
    return np.ascontiguousarray(cube.transpose(2, 1, 0)[:, :, ::-1], dtype=np.float32)


def moments(cube: NDArray, v_km_s: NDArray, dv_km_s: float) -> dict[int, NDArray[np.float32]]:
    """Moments of (V, B, L): 0 in [cube] km/s; 1 mean velocity and 2 dispersion, km/s.

    All are NaN where no channel is finite. The latter two are NaN, too, where moment 0 is below 1e-4 of its maximum or
    negative (absorption), and where noise makes the variance negative or moves the mean out of the axis.
    """
    observed = np.isfinite(cube).any(axis=0)
    cube = np.nan_to_num(cube, posinf=0.0, neginf=0.0)
    total = np.where(observed, cube.sum(axis=0, dtype=np.float64) * dv_km_s, np.nan)
    lit = total > 1e-4 * max(np.fmax.reduce(total, axis=None), 0.0)
    weight = np.where(lit, dv_km_s / np.where(lit, total, 1.0), np.nan)
    mean = np.einsum("vbl,v->bl", cube, v_km_s, dtype=np.float64) * weight
    variance = np.einsum("vbl,v->bl", cube, v_km_s**2, dtype=np.float64) * weight - mean**2
    within = (mean >= np.min(v_km_s) - dv_km_s) & (mean <= np.max(v_km_s) + dv_km_s)
    real = within & (variance > -1e-6 * dv_km_s**2)  # rounding aside
    mean, spread = np.where(within, mean, np.nan), np.sqrt(np.where(real, np.maximum(variance, 0.0), np.nan))
    return {0: total.astype(np.float32), 1: mean.astype(np.float32), 2: spread.astype(np.float32)}


def clipped(cube: NDArray, sigmas: float) -> NDArray:
    """A cube whose values below so many standard deviations of its noise are 0; NaN stays.

    The noise is that of the negative values: their median is 0.6745 standard deviations below 0, also where a part of
    the cube emits. DataError when fewer than one in a hundred values are negative.
    """
    negative = cube[cube < 0.0]
    if len(negative) < 0.01 * np.isfinite(cube).sum():
        raise DataError(
            "the cube has hardly any negative values, so that its noise is unknown", "leave out --clip-sigma"
        )
    noise = -float(np.median(negative)) / 0.6745
    return np.where(cube < sigmas * noise, 0.0, cube)


def write_cube(path: Path, cube: NDArray, h: Any, history: Sequence[str]) -> None:
    """Writes a cube (V, B, L), with one paragraph of HISTORY cards per item of `history`."""
    from astropy.io import fits

    hdu = fits.PrimaryHDU(cube, header=h)
    add_history(hdu.header, history)
    with atomic_file(path) as file:
        hdu.writeto(file)


def moment_names(path: Path) -> dict[int, Path]:
    """Order -> path of that moment of the cube `path`."""
    return {order: path.with_name(f"{path.name.removesuffix('.fits')}.mom{order}.fits") for order in range(3)}


def write_moments(path: Path, cube: NDArray, grid: Grid, h: Any, history: Sequence[str]) -> list[Path]:
    """`cube.fits` -> `cube.mom0.fits`, `cube.mom1.fits`, `cube.mom2.fits`."""
    from astropy.units import Unit

    names, total = moment_names(path), (Unit(h["BUNIT"]) * Unit("km/s")).to_string("fits")
    for order, image in moments(cube, grid.velocity.centres(), grid.velocity.step).items():
        flat = h.copy()
        for card in _AXIS_CARDS:
            del flat[f"{card}3"]
        flat["BUNIT"], flat["BTYPE"] = "km/s" if order else total, _MOMENTS[order]
        write_cube(names[order], image, flat, history)
    return list(names.values())
