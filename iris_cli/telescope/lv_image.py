"""The l-v image of a telescope's cubes on the grid of a network, and its files.

`.npz` is for numpy, `.fits` for everything else; both hold the whole image and can be read back and reverted.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.cube import LEAST_COVERAGE, CubeConfig
from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import LATITUDE_CHANNELS
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.errors import DataError
from iris_cli.files import add_history, atomic_file, json_card
from iris_cli.telescope.cube_file import CubeInput
from iris_cli.telescope.fits_file import open_fits, reading

FORMAT = "iris-lv-image-2"
SUFFIXES = (".fits", ".npz")
#: HDUs of the moments 1 and 2 along latitude.
MOMENTS = ("LATMOM1", "LATMOM2")
#: FITS card with the grid, the latitude reduction, the cubes and the options of an image as JSON.
METADATA_CARD = "IRISLV"


@dataclass(frozen=True)
class LvImage:
    """`image` (L, V) brightness temperature in K, `coverage` (L, V) the share of each pixel that the cubes fill.

    Ascending axes of `grid`; `latitude` is the reduction along the third axis, "mean", "max" or "moments". `cubes` and
    `options` describe what the image was made from. `moments` (2, L, V) are the means of T b/b0 and T (b/b0)^2, with b0
    the grid's farthest latitude; (0, L, V) for other reductions.
    """

    image: NDArray[np.float32]
    coverage: NDArray[np.float32]
    grid: Grid
    latitude: str
    cubes: tuple[CubeInput, ...] = ()
    options: CubeConfig = field(default_factory=CubeConfig)
    moments: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))

    @property
    def channels(self) -> NDArray[np.float32]:
        """(channel, L, V) what a network takes."""
        return np.stack([self.image, *self.moments])

    @property
    def sampled(self) -> float:
        """The share of the image that the cubes fill."""
        return float(self.coverage.mean())

    @property
    def observed_longitudes(self) -> NDArray[np.bool_]:
        """(L,) False where nothing was observed at any velocity."""
        return np.asarray(self.coverage.max(axis=1) >= LEAST_COVERAGE)

    @property
    def centre_deg(self) -> tuple[float, float]:
        """The Galactic longitude and latitude of (0, 0) of the grid."""
        return self.options.centre_lon_deg, self.options.centre_lat_deg

    def to_dict(self) -> dict[str, Any]:
        """A summary for JSON."""
        return {
            "sampled": self.sampled,
            "peak_K": float(self.image.max()),
            "mean_K": float(self.image.mean(dtype="float64")),
            "latitude": self.latitude,
            "shape": self.image.shape,
            "grid": self.grid,
            "cubes": self.cubes,
            "options": self.options,
        }


def save_lv(lv: LvImage, path: Path, history: Sequence[str] = ()) -> None:
    """Write `.npz` or `.fits`. `history` says how the image was made, in an array or in HISTORY cards."""
    if path.suffix.lower() == ".npz":
        texts = {"format": FORMAT, "unit": "K", "metadata": _metadata(lv), "history": list(history)}
        texts["grid"] = json.dumps(asdict(lv.grid))  # for readers that need no more of the metadata
        arrays = {name: np.array(text, dtype=np.str_) for name, text in texts.items()}
        axes = {"longitude_deg": lv.grid.longitude.centres(), "velocity_km_s": lv.grid.velocity.centres()}
        with atomic_file(path) as file:
            images = {"image": lv.image, "coverage": lv.coverage, "moments": lv.moments}
            np.savez(file, allow_pickle=False, **images, **axes, **arrays)
        return
    image = fits.PrimaryHDU(to_fits_axes(lv.image), header=lv_header(lv, "K"))
    coverage = fits.ImageHDU(to_fits_axes(lv.coverage), header=lv_header(lv, ""), name="COVERAGE")
    add_history(image.header, history)
    with atomic_file(path) as file:
        fits.HDUList([image, coverage, *moment_hdus(lv)]).writeto(file)


def moment_hdus(lv: LvImage) -> list[fits.ImageHDU]:
    """Images of the latitude moments, if there are any."""
    return [
        fits.ImageHDU(to_fits_axes(image), header=lv_header(lv, "K"), name=name)
        for name, image in zip(MOMENTS, lv.moments, strict=False)
    ]


def load_lv(path: Path) -> LvImage | None:
    """The image of a file that `save_lv` wrote; None for other FITS files. DataError for a damaged file."""
    again = "write it again with `iris cube`"
    if path.suffix.lower() != ".npz":
        notes: list[str] = []
        with open_fits(path, False, notes) as hdus, reading(path, notes, "is not a whole l-v image", again):
            return read_hdus(path, hdus, 0) if METADATA_CARD in hdus[0].header else None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["format"]) != FORMAT:
                raise DataError(f"{path} holds no l-v image", "write one with `iris cube`")
            return _described(
                path, arrays["image"], arrays["coverage"], str(arrays["metadata"]), list(arrays["moments"])
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise DataError(f"{path} is not a whole l-v image: {reason}", again) from None


def to_fits_axes(image: NDArray) -> NDArray:
    """(L, rows) -> (rows, L) with longitude falling: the first pixel is the leftmost on the sky."""
    return np.ascontiguousarray(image.T[:, ::-1])


def from_fits_axes(image: NDArray) -> NDArray[np.float32]:
    """The inverse of `to_fits_axes`."""
    return np.ascontiguousarray(image[:, ::-1].T, dtype=np.float32)


def longitude_cards(header: fits.Header, grid: Grid, centre_lon_deg: float) -> None:
    """Axis 1 of an image with the axes of `to_fits_axes`."""
    lon = grid.longitude
    header["CTYPE1"], header["CUNIT1"] = "GLON", "deg"
    header["CRPIX1"], header["CRVAL1"], header["CDELT1"] = 1.0, lon.last + centre_lon_deg, -lon.step


def lv_header(lv: LvImage, unit: str) -> fits.Header:
    header, v = fits.Header(), lv.grid.velocity
    longitude_cards(header, lv.grid, lv.centre_deg[0])
    header["CTYPE2"], header["CUNIT2"] = "VRAD", "km/s"
    header["CRPIX2"], header["CRVAL2"], header["CDELT2"] = 1.0, v.first, v.step
    header["SPECSYS"] = "LSRK"
    header["BUNIT"] = unit
    header["ORIGIN"] = f"IRIS {__version__}"
    header["LATREDUC"] = (lv.latitude, "reduction along latitude")
    header[METADATA_CARD] = _metadata(lv)
    return header


def read_hdus(path: Path, hdus: fits.HDUList, image: int | str) -> LvImage:
    """The l-v image in one HDU of an open file, and its coverage in another. KeyError where a card is missing."""
    coverage = from_fits_axes(hdus["COVERAGE"].data)
    moments = [from_fits_axes(hdus[name].data) for name in MOMENTS if name in hdus]
    return _described(path, from_fits_axes(hdus[image].data), coverage, hdus[image].header[METADATA_CARD], moments)


@dataclass(frozen=True)
class _Metadata:
    """The fields of an LvImage that are not arrays."""

    grid: Grid
    latitude: str
    cubes: tuple[CubeInput, ...]
    options: CubeConfig


def _metadata(lv: LvImage) -> str:
    """JSON."""
    return json_card(to_dict(_Metadata(lv.grid, lv.latitude, lv.cubes, lv.options)))


def _described(path: Path, image: NDArray, coverage: NDArray, metadata: str, moments: list[NDArray]) -> LvImage:
    stacked = np.stack(moments) if moments else np.zeros((0, *image.shape), np.float32)
    lv = LvImage(image, coverage, **vars(from_dict(_Metadata, json.loads(metadata), str(path))), moments=stacked)
    if len(moments) != LATITUDE_CHANNELS[lv.latitude] - 1:
        raise DataError(f"{path} does not hold the images of latitude = {lv.latitude}", "write it again")
    for array in (image, coverage, *moments):
        if array.shape != lv.grid.observation_shape[1:] or not np.isfinite(array).all():
            raise DataError(f"{path} does not hold finite images of {lv.grid.observation_shape[1:]} pixels")
    return lv
