"""Cubes of a sky whose flux is known: Gaussian clouds, sampled by astropy's world coordinates alone."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.grid import Grid

C_KM_S = 299_792.458
REST_HZ = 220.3986841281e9
GRID = Grid(
    lon_min_deg=-0.5,
    lon_max_deg=0.5,
    lon_steps=32,
    lat_min_deg=-0.2,
    lat_max_deg=0.2,
    lat_steps=8,
    v_min_km_s=-100,
    v_max_km_s=100,
    v_steps=32,
)

PROJECTIONS = ("GLON-CAR", "GLON-SFL", "GLON-SIN", "GLON-GLS", "GLON-TAN", "RA---SIN", "RA---TAN", "RA---CAR")
SPECTRAL = ("VRAD km/s", "VRAD m/s", "VOPT m/s", "VELO km/s", "FREQ Hz", "FREQ GHz", "WAVE mm")


@dataclass(frozen=True)
class Cloud:
    lon_deg: float = 0.12
    lat_deg: float = -0.03
    v_km_s: float = 35.0
    size_deg: float = 0.04
    width_km_s: float = 9.0
    peak_K: float = 3.0

    @property
    def flux(self):
        """K deg^2 km/s"""
        return self.peak_K * (2 * np.pi) ** 1.5 * self.size_deg**2 * self.width_km_s

    def at(self, lon, lat, v):
        """(rows, columns) x (channels,) -> (channels, rows, columns)"""
        away = ((lon - self.lon_deg) ** 2 + (lat - self.lat_deg) ** 2) / self.size_deg**2
        return self.peak_K * np.exp(-0.5 * away - 0.5 * ((v[:, None, None] - self.v_km_s) / self.width_km_s) ** 2)


def header(
    projection="GLON-CAR",
    spectral="VRAD km/s",
    pixel_deg=0.011,
    shape=(120, 30, 62),
    descending=False,
):
    """A cube over l -0.34 … 0.34, b -0.165 … 0.165, v -90 … 90 km/s."""
    h = fits.Header()
    h["SIMPLE"], h["BITPIX"], h["NAXIS"] = True, -32, 3
    for k, n in enumerate(reversed(shape), start=1):
        h[f"NAXIS{k}"] = n
    kind = projection[-3:]
    if projection.startswith("GLON"):
        ctypes, centre = (projection, f"GLAT-{kind}"), (0.0, 0.0)
    else:
        place = SkyCoord(l=0 * u.deg, b=0 * u.deg, frame="galactic").icrs
        ctypes, centre = (projection, f"DEC--{kind}"), (place.ra.deg, place.dec.deg)
        h["RADESYS"] = "ICRS"
        # Rotate the pixels along Galactic longitude: the field is long and thin.
        angle = np.deg2rad(58.6)
        h["PC1_1"] = h["PC2_2"] = np.cos(angle)
        h["PC1_2"], h["PC2_1"] = np.sin(angle), -np.sin(angle)
    for k, (ctype, value, n, sign) in enumerate(zip(ctypes, centre, (shape[2], shape[1]), (-1, 1), strict=True), 1):
        h[f"CTYPE{k}"], h[f"CUNIT{k}"], h[f"CRVAL{k}"] = ctype, "deg", value
        h[f"CRPIX{k}"], h[f"CDELT{k}"] = (n + 1) / 2, sign * pixel_deg
    name, unit = spectral.split()
    first, step = spectral_axis(name, shape[0])
    per_unit = {"km/s": 1.0, "m/s": 1e3, "Hz": 1.0, "GHz": 1e-9, "mm": 1e3}[unit]
    if descending:
        first, step = first + step * (shape[0] - 1), -step
    h["CTYPE3"], h["CUNIT3"], h["CRPIX3"] = name, unit, 1.0
    h["CRVAL3"], h["CDELT3"] = first * per_unit, step * per_unit
    h["RESTFRQ"], h["SPECSYS"], h["BUNIT"] = REST_HZ, "LSRK", "K"
    return h


def spectral_axis(name, channels):
    """First value and step of an axis over -90 … 90 km/s, in km/s, Hz or m."""
    ends = np.array([-90.0, 90.0])
    if name == "FREQ":
        ends = REST_HZ * (1 - ends / C_KM_S)
    elif name == "WAVE":
        ends = C_KM_S * 1e3 / (REST_HZ * (1 - ends / C_KM_S))
    return ends[0], (ends[1] - ends[0]) / (channels - 1)


def velocities(h):
    """Radio velocity of each channel from its definition, km/s."""
    values = WCS(h).sub([3]).wcs_pix2world(np.arange(h["NAXIS3"]), 0)[0]
    name = h["CTYPE3"]
    if name == "FREQ":
        return C_KM_S * (1 - values / REST_HZ)
    if name == "WAVE":
        return C_KM_S * (1 - C_KM_S * 1e3 / values / REST_HZ)
    beta = values / (C_KM_S * 1e3)
    ratio = {"VRAD": 1 - beta, "VOPT": 1 / (1 + beta), "VELO": np.sqrt((1 - beta) / (1 + beta))}[name]
    return C_KM_S * (1 - ratio)


def sample(h, cloud):
    sky = WCS(h).celestial
    place = sky.pixel_to_world(*np.meshgrid(np.arange(h["NAXIS1"]), np.arange(h["NAXIS2"]))).galactic
    return cloud.at(place.l.wrap_at(180 * u.deg).deg, place.b.deg, velocities(h)).astype(np.float32)


def write(path, data, h):
    fits.PrimaryHDU(data, header=h).writeto(path, overwrite=True)
    return path


def cube(path, cloud=None, cards=None, **how):
    """A cube of one cloud; `cards` are changed or, if None, removed after its values are computed."""
    h = header(**how)
    data = sample(h, cloud or Cloud())
    for card, value in (cards or {}).items():
        if value is None:
            h.remove(card, ignore_missing=True)
        else:
            h[card] = value
    return write(path, data, h)


def flux(image, grid=GRID):
    """K deg^2 km/s of an l-v image that is a mean over latitude."""
    cell = grid.longitude.step * grid.latitude.step * grid.lat_steps * grid.velocity.step
    return float(image.sum(dtype=float) * cell)
