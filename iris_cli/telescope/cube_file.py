"""A FITS cube on disk: where its pixels are on the Galactic sky, the velocities of its channels, its values in kelvin.

In: a FITS file and the flags of `CubeConfig`. Out: a `CubeFile`, whose slabs are read on demand. If the header lacks a
quantity that a number depends on, an error names the flag for it. World coordinates are astropy's (wcslib's).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.console import warn
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.blanks import Blanks, read_blanks
from iris_cli.telescope.brightness_unit import read_brightness
from iris_cli.telescope.fits_file import choose_image, open_fits, reading
from iris_cli.telescope.fits_header import clean_header, set_card, world_coordinates
from iris_cli.telescope.header_units import spell_units
from iris_cli.telescope.sky_pixels import galactic_positions, pixels_at
from iris_cli.telescope.spectral_axis import check_frame, read_spectral_axis
from iris_cli.telescope.spectral_cards import repair_spectral_cards, replaced_cards

Floats = NDArray[np.float64]


#: Numbers in arcsec, where CUNIT says deg, make larger ones; maps of the whole sky can have empty margins.
LARGEST_PIXEL_DEG, LARGEST_CUBE_DEG = 3.0, 720.0


@dataclass(frozen=True)
class CubeInput:
    """The description of a cube from its header and the flags.

    `shape` is (channels, rows, columns), `centre_deg` the Galactic longitude and latitude of the middle pixel. `unit`
    is the unit of the values in the file. None is unknown. `notes` are assumptions that the user should know.
    """

    file: str
    shape: tuple[int, int, int]
    centre_deg: tuple[float, float]
    spectral_axis: str
    velocity_range_km_s: tuple[float, float]
    unit: str
    frame: str | None = None
    rest_frequency_GHz: float | None = None
    beam_arcsec: tuple[float, float] | None = None
    efficiency: float | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None


@dataclass(frozen=True)
class CubeFile:
    """An open cube.

    Channel k spans `v_low[k]` … `v_high[k]`: km/s, LSR, radio convention, receding > 0. A number of the file times
    `to_K[k]` is a main-beam temperature. A `mapped` file is read where it is needed; others (scaled integers, gzip) are
    read by whole channels. `axes` are those of the array, in the order (channels, rows, columns). `origin_deg` is the
    Galactic position that positions are measured from.
    """

    path: Path
    hdu: Any
    mapped: bool
    axes: tuple[int, int, int]
    sky: WCS
    v_low: Floats
    v_high: Floats
    to_K: Floats
    origin_deg: tuple[float, float]
    info: CubeInput
    blanks: Blanks
    #: What astropy has warned about so far.
    warnings: list[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.info.shape

    def slab(self, channels: slice, rows: slice, columns: slice) -> NDArray[np.float32]:
        """(channels, rows, columns) in kelvin, read from disk now; NaN without a measurement.

        DataError when the file ends too early, and as in `Blanks.to_kelvin`.
        """
        index = [slice(0, 1)] * self.hdu.header["NAXIS"]  # a number among slices may leave its axis in place
        for axis, part in zip(self.axes, (channels, rows, columns), strict=True):
            index[axis] = part if self.mapped or axis == self.axes[0] else slice(0, self.hdu.shape[axis])
        known = len(self.warnings)
        with reading(self.path, self.warnings, "is cut short or damaged"):
            read = np.asarray(self.hdu.section[tuple(index)])
        for line in self.warnings[known:]:
            warn(line)
        others = [axis for axis in range(read.ndim) if axis not in self.axes]
        ordered = read.transpose([*self.axes, *others]).reshape([read.shape[axis] for axis in self.axes])
        if not self.mapped:
            ordered = ordered[:, rows, columns]
        return self.blanks.to_kelvin(ordered, self.to_K[channels])

    def corners(self, rows: slice) -> tuple[Floats, Floats]:
        """(rows + 1, columns + 1) longitude and latitude of the corners of some rows of pixels, deg from the origin."""
        x, y = np.arange(self.shape[2] + 1) - 0.5, np.arange(rows.start, rows.stop + 1) - 0.5
        lon, lat = galactic_positions(self.sky, *np.meshgrid(x, y))
        lon0, lat0 = self.origin_deg
        return (lon - lon0 + 180.0) % 360.0 - 180.0, lat - lat0

    def pixel_at(self, lon: Floats, lat: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) of the pixel that holds a position, deg from the origin; -1 outside the cube."""
        lon0, lat0 = self.origin_deg
        found = pixels_at(self.sky, lon + lon0, lat + lat0, self.shape[1:])
        x, y = (np.floor(np.nan_to_num(a, nan=-9.0) + 0.5) for a in found)
        inside = (x >= 0) & (x < self.shape[2]) & (y >= 0) & (y < self.shape[1])
        return np.where(inside, y, -1).astype(np.int64), np.where(inside, x, -1).astype(np.int64)


@contextmanager
def open_cube(path: Path, config: CubeConfig) -> Iterator[CubeFile]:
    """Read the header and keep the file open.

    DataError for a file that cannot be read, and when header and flags lack a quantity that a number depends on.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        file = stack.enter_context(open_fits(path, mapped=True, notes=notes))
        with reading(path, notes):
            hdu = _image(path, file, config.hdu, notes)
            mapped = not any(card in hdu.header for card in ("BSCALE", "BZERO", "BLANK"))
        if not mapped:
            file = stack.enter_context(open_fits(path, mapped=False, notes=notes))
            with reading(path, notes):
                hdu = _image(path, file, config.hdu, notes)
        with reading(path, notes):
            beams = next((table for table in file if table.name == "BEAMS" and not table.is_image), None)
        yield _described(path, hdu, beams, mapped, config, notes)


def _image(path: Path, file: Any, number: int | None, notes: list[str]) -> Any:
    """The image to read. UsageError for a number that the file has not, DataError for one without three axes."""
    if number is not None and not 0 <= number < len(file):
        raise UsageError(f"{path} has no HDU {number}", f"it has {len(file)}, from 0")
    hdu = choose_image(path, file, number, notes, " (--hdu)")
    if hdu is None or len(hdu.shape) < 3:
        where = f"HDU {number}" if number is not None else "any HDU"
        message = f"{path} holds no cube: there is no image of three axes in {where}"
        raise DataError(message, "--hdu N names another HDU")
    return hdu


def _described(path: Path, hdu: Any, beams: Any, mapped: bool, config: CubeConfig, notes: list[str]) -> CubeFile:
    """`notes` are those of the opening; what astropy warns about later is added to it."""
    header = clean_header(path, hdu.header, notes, replaced_cards(hdu.header, config))
    wcs = _cube_coordinates(path, header, config, notes)
    lon, lat, spectral = _axis_numbers(path, header, wcs)
    shape = (header[f"NAXIS{spectral + 1}"], header[f"NAXIS{lat + 1}"], header[f"NAXIS{lon + 1}"])
    if 0 in shape:
        raise DataError(f"{path} holds {shape[0]} channels of {shape[1]} x {shape[2]} pixels", "name another cube")
    axis = read_spectral_axis(path, wcs, shape[0], config)
    sky = wcs.sub([lon + 1, lat + 1])
    _check_pixels(path, sky, shape)
    centre = _centre(path, sky, shape, notes)
    notes += check_frame(path, axis.frame, centre, config)
    brightness = read_brightness(path, header, beams, wcs, shape[0], config)
    velocities = float(axis.v_low.min()), float(axis.v_high.max())
    unit, rest_GHz, beam = brightness.unit, brightness.rest_frequency_GHz, brightness.beam_arcsec
    blanks, of_blanks = read_blanks(path, header, unit, config)
    efficiency, said = brightness.efficiency, (*notes, *brightness.notes, *of_blanks)
    info = CubeInput(
        path.name, shape, centre, axis.ctype, velocities, unit, axis.frame, rest_GHz, beam, efficiency, said
    )
    last = header["NAXIS"] - 1  # numpy counts axes from the other end
    axes = (last - spectral, last - lat, last - lon)
    origin = (config.centre_lon_deg, config.centre_lat_deg)
    v_low, v_high = axis.v_low, axis.v_high
    return CubeFile(path, hdu, mapped, axes, sky, v_low, v_high, brightness.to_K, origin, info, blanks, notes)


def _check_pixels(path: Path, sky: WCS, shape: tuple[int, int, int]) -> None:
    """DataError for pixels that are larger than any survey's, or a cube that is larger than the sky."""
    across, up = (float(size) for size in proj_plane_pixel_scales(sky))
    if max(across, up) > LARGEST_PIXEL_DEG or max(shape[2] * across, shape[1] * up) > LARGEST_CUBE_DEG:
        message = f"{path}: {shape[2]} x {shape[1]} pixels of {across:g} x {up:g} deg are doubtful"
        hint = f"fix CDELT, or CUNIT: {set_card(path, 'CUNIT1', repr('arcsec'))}, and CUNIT2"
        raise DataError(message, hint)


def _centre(path: Path, sky: WCS, shape: tuple[int, int, int], notes: list[str]) -> tuple[float, float]:
    """Galactic longitude and latitude of the middle pixel, else of one near it.

    A note when many pixels are beyond the edge of the projection. DataError when all are.
    """
    rows, columns = ((np.linspace(0, n - 1, 65) if n > 1 else np.zeros(1)) for n in shape[1:])
    x, y = (a.ravel() for a in np.meshgrid(columns, rows))
    with reading(path, [], "has no Galactic positions", "fix CTYPE and RADESYS"):
        lon, lat = galactic_positions(sky, x, y)
    on_sky = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    if len(on_sky) == 0:
        raise DataError(f"{path}: none of its pixels is on the sky", "fix CRPIX, CDELT and CRVAL")
    if len(on_sky) < 0.75 * len(lon):  # an ellipse in a rectangle has 79 %
        off = 100 * (1.0 - len(on_sky) / len(lon))
        notes.append(f"{path.name}: {off:.0f} % of its pixels are off the sky: not used")
    away = np.hypot(x - 0.5 * (shape[2] - 1), y - 0.5 * (shape[1] - 1))
    middle = on_sky[away[on_sky].argmin()]
    return round(float(lon[middle]), 4), round(float(lat[middle]), 4)


def _cube_coordinates(path: Path, header: fits.Header, config: CubeConfig, notes: list[str]) -> WCS:
    """The WCS of a header whose spectral cards and units are repaired with the flags."""
    notes += repair_spectral_cards(path, header, config)
    spell_units(header)
    flag = "" if "RESTFRQ" in header else ", or give --rest-frequency-ghz if that is what it lacks"
    return world_coordinates(path, header, notes, f"fix the header{flag}")


def _axis_numbers(path: Path, header: fits.Header, wcs: WCS) -> tuple[int, int, int]:
    """(longitude, latitude, spectral) numbers from 0. DataError unless each exists and any other axis has one pixel."""
    numbers = {"longitude": wcs.wcs.lng, "latitude": wcs.wcs.lat, "spectral": wcs.wcs.spec}
    absent = [name for name, k in numbers.items() if not 0 <= k < header["NAXIS"]]
    if absent:
        kinds = ", ".join(str(t) or "(blank)" for t in wcs.wcs.ctype)
        hint = (
            "--velocity-convention radio takes the third axis as velocities" if absent == ["spectral"] else "fix CTYPE"
        )
        raise DataError(f"{path} has no {' and no '.join(absent)} axis: its CTYPEs are {kinds}", hint)
    for k in range(header["NAXIS"]):
        planes, name = header[f"NAXIS{k + 1}"], wcs.wcs.ctype[k] or "unnamed"
        if k not in numbers.values() and planes != 1:
            raise DataError(f"{path} has {planes} planes along its {name} axis; one is expected", "cut out Stokes I")
    return wcs.wcs.lng, wcs.wcs.lat, wcs.wcs.spec
