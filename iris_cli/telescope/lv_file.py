"""An l-v image on disk: `.npz` for numpy, `.fits` for everything else; both can be read back and reverted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.errors import DataError
from iris_cli.files import add_history, atomic_file
from iris_cli.telescope.regrid import LvImage

FORMAT = "iris-lv-image"
SUFFIXES = (".fits", ".npz")
#: FITS cards that hold what the image's axes do not say.
_TOLD, _GRID, _LATITUDE = "IRISTOLD", "IRISGRID", "IRISBRED"


def save_lv(made: LvImage, path: Path, history: Sequence[str] = ()) -> None:
    """`history` says in words how it was made: HISTORY cards, or the array `history` of an .npz."""
    if path.suffix.lower() == ".npz":
        with atomic_file(path) as file:
            _write_npz(made, file, history)
    else:
        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(on_sky(made.image), header=lv_header(made, "K")),
                fits.ImageHDU(on_sky(made.coverage), header=lv_header(made, ""), name="COVERAGE"),
            ]
        )
        add_history(hdus[0].header, history)
        with atomic_file(path) as file:
            hdus.writeto(file)


def load_lv(path: Path) -> LvImage | None:
    """What `save_lv` wrote; None when a FITS file is something else. DataError when it is damaged."""
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        with fits.open(path, memmap=False) as hdus:
            return load_observed(path, hdus, 0) if _GRID in hdus[0].header else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} is no whole l-v image: {str(error).splitlines()[0] if str(error) else error!r}",
            "write it again with `iris cube`",
        ) from None


def load_observed(path: Path, hdus: fits.HDUList, image: int | str = "OBSERVED") -> LvImage:
    """The l-v image in one of the HDUs of an open file, with its coverage. KeyError where it lacks something."""
    header = hdus[image].header
    return _checked(
        path,
        from_sky(hdus[image].data),
        from_sky(hdus["COVERAGE"].data),
        json.loads(header[_GRID]),
        header[_LATITUDE],
        json.loads(header[_TOLD]),
    )


def on_sky(image: NDArray) -> NDArray:
    """(L, up) -> (up, L) with longitude falling: the first pixel is the leftmost, as on the sky."""
    return np.ascontiguousarray(image.T[:, ::-1])


def from_sky(image: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(image[:, ::-1].T, dtype=np.float32)


def longitude_cards(header: Any, grid: Grid, centre_lon_deg: float) -> None:
    """Axis 1 of an image that is on the sky."""
    lon = grid.longitude
    header["CTYPE1"], header["CUNIT1"] = "GLON", "deg"
    header["CRPIX1"], header["CRVAL1"], header["CDELT1"] = 1.0, lon.last + centre_lon_deg, -lon.step


def lv_header(made: LvImage, unit: str) -> Any:
    header, v = fits.Header(), made.grid.velocity
    longitude_cards(header, made.grid, made.centre_deg[0])
    header["CTYPE2"], header["CUNIT2"] = "VRAD", "km/s"
    header["CRPIX2"], header["CRVAL2"], header["CDELT2"] = 1.0, v.first, v.step
    header["SPECSYS"] = "LSRK"
    header["BUNIT"] = unit
    header["ORIGIN"] = f"IRIS {__version__}"
    header[_LATITUDE] = (made.latitude, "how latitude was reduced")
    header[_GRID], header[_TOLD] = json.dumps(to_dict(made.grid)), json.dumps(made.told)
    return header


def _write_npz(made: LvImage, file: IO[bytes], history: Sequence[str]) -> None:
    np.savez(
        file,
        format=np.array(FORMAT),
        image=made.image,
        coverage=made.coverage,
        unit=np.array("K"),
        longitude_deg=made.grid.longitude.centres(),
        velocity_km_s=made.grid.velocity.centres(),
        latitude=np.array(made.latitude),
        grid=np.array(json.dumps(to_dict(made.grid))),
        told=np.array(json.dumps(made.told)),
        history=np.array(list(history), dtype=np.str_),
    )


def _read_npz(path: Path) -> LvImage:
    with np.load(path, allow_pickle=False) as arrays:
        if str(arrays["format"]) != FORMAT:
            raise DataError(f"{path} holds no l-v image", "write one with `iris cube`")
        return _checked(
            path,
            arrays["image"],
            arrays["coverage"],
            json.loads(str(arrays["grid"])),
            str(arrays["latitude"]),
            json.loads(str(arrays["told"])),
        )


def _checked(path: Path, image: Any, coverage: Any, grid: dict[str, Any], latitude: str, told: Any) -> LvImage:
    made = LvImage(image, coverage, from_dict(Grid, grid, str(path)), latitude, told)
    for array in (image, coverage):
        if array.shape != made.grid.observation_shape[1:] or not np.isfinite(array).all():
            raise DataError(f"{path} does not hold finite images of {made.grid.observation_shape[1:]} pixels")
    return made
