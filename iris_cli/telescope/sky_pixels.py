"""Pixels of an image of the sky <-> Galactic positions, also of images that go around the sky.

Longitudes are angles: a cylindrical image whose reference is at 180 degrees continues to -180, and a pixel 360 degrees
further along the native longitude is at the same place. wcslib takes native longitudes of -180 … 180 degrees only.
"""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Projections in which the native longitude is the first coordinate of the plane, in degrees.
CYLINDRICAL = ("CAR", "CEA", "MER")
#: A pixel farther from the reference than so many turns has no position: its digits do not suffice, or CRPIX is wrong.
MOST_TURNS = 10


def galactic_positions(sky: WCS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Galactic longitude and latitude (deg) of pixels from 0, NaN off the sky. ValueError for an unknown frame.

    The first axis of `sky` is the longitude.
    """
    lon, lat = sky.all_pix2world(*within_half_a_turn(sky, x, y), 0)
    on_sky = np.abs(lat) <= 90.0
    lon, lat = np.where(on_sky, lon, np.nan), np.where(on_sky, lat, np.nan)
    position = SkyCoord(lon * u.deg, lat * u.deg, frame=wcs_to_celestial_frame(sky)).galactic
    return position.l.deg, position.b.deg


def pixels_at(sky: WCS, lon: Floats, lat: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Pixels (from 0, with fractions) of Galactic positions (deg); of several, that nearest to the centre of the image.

    `shape` is (rows, columns).
    """
    x, y = sky.world_to_pixel(SkyCoord(l=lon * u.deg, b=lat * u.deg, frame="galactic"))
    if (turn := _turn(sky)) is None:
        return x, y
    along = (x - 0.5 * (shape[1] - 1)) * turn[0] + (y - 0.5 * (shape[0] - 1)) * turn[1]
    turns = np.round(along / (turn @ turn))
    return x - turns * turn[0], y - turns * turn[1]


def within_half_a_turn(sky: WCS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The pixels at the same places within 180 degrees of the reference of a cylindrical projection."""
    if (turn := _turn(sky)) is None:
        return x, y
    away = np.stack([x - sky.wcs.crpix[0] + 1.0, y - sky.wcs.crpix[1] + 1.0], axis=-1)
    turns = np.round(away @ sky.pixel_scale_matrix[sky.wcs.lng] / 360.0)
    turns = np.where(np.abs(turns) <= MOST_TURNS, turns, 0.0)
    with np.errstate(invalid="ignore"):  # pixels without a width are nowhere: NaN
        return x - turns * turn[0], y - turns * turn[1]


def _turn(sky: WCS) -> Floats | None:
    """(x, y) pixels that make 360 degrees of native longitude; None for projections that end there."""
    if str(sky.wcs.ctype[sky.wcs.lng])[5:8] not in CYLINDRICAL:
        return None
    turn = np.zeros(2)
    turn[sky.wcs.lng] = 360.0
    return np.linalg.solve(sky.pixel_scale_matrix, turn)
