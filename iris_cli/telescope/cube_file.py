"""One FITS cube as it lies on disk: where its pixels are on the Galactic sky, how fast its channels, what its values.

Whatever a header leaves open and a number depends on is an error that names the flag which supplies it. World
coordinates are astropy's (wcslib's); nothing is read but the header until a slab of channels is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.brightness_unit import to_kelvin
from iris_cli.telescope.spectral_axis import channel_edges_km_s, check_frame

Floats = NDArray[np.float64]

#: Spellings that astropy's units do not know.
_SPELLINGS = {
    "KM/S": "km/s",
    "KM S-1": "km/s",
    "M/S": "m/s",
    "HZ": "Hz",
    "GHZ": "GHz",
    "MHZ": "MHz",
    "DEGREES": "deg",
    "DEGREE": "deg",
    "DEG": "deg",
    "DEGS": "deg",
}


@dataclass
class CubeFile:
    """`shape` is (channels, rows, columns); channel k spans `v_low[k]` … `v_high[k]`, km/s LSR radio, receding > 0.

    A file that is `mapped` is read where it is needed, others (scaled integers, gzip) by whole channels.
    A number of the file times `to_K` is a main-beam temperature. `told` is what a header should say of it, `notes`
    what a user should hear.
    """

    path: Path
    hdu: Any
    mapped: bool
    axes: tuple[int, int, int]
    sky: WCS
    shape: tuple[int, int, int]
    v_low: Floats
    v_high: Floats
    to_K: float
    centre_deg: tuple[float, float]
    told: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def slab(self, channels: slice, rows: slice, columns: slice) -> NDArray[np.float32]:
        """(channels, rows, columns) in kelvin, read from disk now. DataError when the file ends too early."""
        index = [slice(0, 1)] * self.hdu.header["NAXIS"]  # a number among slices may leave its axis in place
        for axis, part in zip(self.axes, (channels, rows, columns), strict=True):
            index[axis] = part if self.mapped or axis == self.axes[0] else slice(0, self.hdu.shape[axis])
        try:
            read = np.asarray(self.hdu.section[tuple(index)])
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise DataError(f"{self.path} is cut short or damaged: {error}", "copy the file again") from None
        others = [axis for axis in range(read.ndim) if axis not in self.axes]
        ordered = read.transpose([*self.axes, *others]).reshape([read.shape[axis] for axis in self.axes])
        if not self.mapped:
            ordered = ordered[:, rows, columns]
        return ordered.astype(np.float32) * np.float32(self.to_K)

    def corners(self, rows: slice) -> tuple[Floats, Floats]:
        """(n + 1, columns + 1) longitude and latitude of the corners of some rows of pixels, deg from the centre."""
        x, y = np.arange(self.shape[2] + 1) - 0.5, np.arange(rows.start, rows.stop + 1) - 0.5
        place = self.sky.pixel_to_world(*np.meshgrid(x, y)).galactic
        lon0, lat0 = self.centre_deg
        return (place.l.deg - lon0 + 180.0) % 360.0 - 180.0, place.b.deg - lat0

    def pixel_at(self, lon: Floats, lat: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) of the pixel that holds a direction, deg from the centre; -1 where none does."""
        from astropy.coordinates import SkyCoord

        lon0, lat0 = self.centre_deg
        place = SkyCoord(l=(lon + lon0) * u.deg, b=(lat + lat0) * u.deg, frame="galactic")
        x, y = (np.floor(np.nan_to_num(a, nan=-9.0) + 0.5) for a in self.sky.world_to_pixel(place))
        inside = (x >= 0) & (x < self.shape[2]) & (y >= 0) & (y < self.shape[1])
        return np.where(inside, y, -1).astype(np.int64), np.where(inside, x, -1).astype(np.int64)


@contextmanager
def open_cube(path: Path, config: CubeConfig) -> Iterator[CubeFile]:
    """Read the header and keep the file open. DataError for what cannot be read, or is not said and needed."""
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # astropy on every old-fashioned card; what matters is checked below
        hdu = _image(path, stack.enter_context(_opened(path, mapped=True)), config.hdu)
        mapped = not any(card in hdu.header for card in ("BSCALE", "BZERO", "BLANK"))
        if not mapped:
            hdu = _image(path, stack.enter_context(_opened(path, mapped=False)), config.hdu)
        yield _described(path, hdu, mapped, config)


@contextmanager
def _opened(path: Path, mapped: bool) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}", "name a FITS cube")
    try:
        file = fits.open(path, memmap=mapped)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{path} is not a FITS file: {str(error).splitlines()[0]}", "name a FITS cube") from None
    with file:
        yield file


def _image(path: Path, file: Any, number: int | None) -> Any:
    """The HDU that was asked for, or the first with three axes or more."""
    if number is not None:
        if not 0 <= number < len(file):
            raise UsageError(f"{path} has no HDU {number}", f"it has {len(file)}, from 0")
        candidates = [file[number]]
    else:
        candidates = list(file)
    for hdu in candidates:
        if hdu.is_image and hdu.header.get("NAXIS", 0) >= 3:
            return hdu
    where = f"HDU {number}" if number is not None else "any HDU"
    raise DataError(f"{path} holds no cube: there is no image of three axes in {where}", "--hdu N names another HDU")


def _described(path: Path, hdu: Any, mapped: bool, config: CubeConfig) -> CubeFile:
    header, notes = hdu.header.copy(), []
    _spell_out(header)
    wcs = _wcs(path, header, config)
    lon, lat, spectral = wcs.wcs.lng, wcs.wcs.lat, wcs.wcs.spec
    absent = {
        name: k
        for name, k in (("longitude", lon), ("latitude", lat), ("spectral", spectral))
        if not 0 <= k < header["NAXIS"]
    }
    if absent:
        kinds = ", ".join(str(t) or "(blank)" for t in wcs.wcs.ctype)
        raise DataError(f"{path} has no {' and no '.join(absent)} axis: its CTYPEs are {kinds}", "mend the header")
    _check_degenerate(path, header, wcs, {lon, lat, spectral})
    order = (spectral, lat, lon)
    n_spectral, n_lat, n_lon = (header["NAXIS"] - 1 - k for k in order)
    shape = (header[f"NAXIS{spectral + 1}"], header[f"NAXIS{lat + 1}"], header[f"NAXIS{lon + 1}"])
    if 0 in shape:
        raise DataError(f"{path} holds {shape[0]} channels of {shape[1]} x {shape[2]} pixels", "name another cube")
    notes += check_frame(path, wcs, config)
    low, high, told = channel_edges_km_s(path, header, wcs, shape[0], config)
    to_K, told_unit, more = to_kelvin(path, header, wcs, config)
    sky = wcs.sub([lon + 1, lat + 1])
    try:
        middle = sky.pixel_to_world(0.5 * (shape[2] - 1), 0.5 * (shape[1] - 1)).galactic
    except (ValueError, AttributeError):
        frame = header.get("RADESYS") or wcs.wcs.ctype[lon]
        raise DataError(
            f"{path}: its sky frame '{frame}' cannot be brought to Galactic coordinates", "mend RADESYS and CTYPE"
        ) from None
    place = [round(float(middle.l.deg), 4), round(float(middle.b.deg), 4)]
    told = {"file": path.name, "shape": list(shape), "centre_deg": place, **told, **told_unit}
    centre = (config.centre_lon_deg, config.centre_lat_deg)
    return CubeFile(
        path, hdu, mapped, (n_spectral, n_lat, n_lon), sky, shape, low, high, to_K, centre, told, notes + more
    )


def _spell_out(header: fits.Header) -> None:
    for k in range(1, header["NAXIS"] + 1):
        name = str(header.get(f"CUNIT{k}", "")).strip()
        if name.upper() in _SPELLINGS and name not in _SPELLINGS.values():
            header[f"CUNIT{k}"] = _SPELLINGS[name.upper()]


def _wcs(path: Path, header: fits.Header, config: CubeConfig) -> WCS:
    if config.rest_frequency_GHz is not None:
        header["RESTFRQ"] = config.rest_frequency_GHz * 1e9
        header.pop("RESTFREQ", None)
        header.pop("RESTWAV", None)
    try:
        wcs = WCS(header)
        wcs.wcs.set()
    except Exception as error:  # wcslib has a dozen kinds
        said = str(error).strip().splitlines()
        what = next((line for line in reversed(said) if line.strip()), type(error).__name__)
        unsaid = not any(header.get(card) for card in ("RESTFRQ", "RESTFREQ", "RESTWAV"))
        hint = "mend the header" + (", or give --rest-frequency-ghz if that is what it lacks" if unsaid else "")
        raise DataError(f"{path}: its world coordinates cannot be read: {what.strip()}", hint) from None
    return wcs


def _check_degenerate(path: Path, header: fits.Header, wcs: WCS, used: set[int]) -> None:
    for k in range(header["NAXIS"]):
        if k not in used and header[f"NAXIS{k + 1}"] != 1:
            kind = wcs.wcs.ctype[k] or "unnamed"
            raise DataError(
                f"{path} has {header[f'NAXIS{k + 1}']} planes along its {kind} axis; one is expected",
                "cut out the one to use, Stokes I",
            )
