"""The reverted map as a FITS file: distance upwards, longitude falling to the right, where it came from in its header.

HDU 0 is the mean over the networks, SPREAD (if there are several) their standard deviation; OBSERVED and COVERAGE are
the l-v image that was reverted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.files import add_history, atomic_file, fits_cards
from iris_cli.telescope.lv_file import (
    from_sky,
    load_observed,
    longitude_cards,
    lv_header,
    on_sky,
)
from iris_cli.telescope.regrid import LvImage
from iris_cli.units import INNER, SI, convert

#: What `--unit` takes -> (BUNIT, factor from inner units).
DENSITY_UNITS = {
    "kg/m3": ("kg m-3", convert("density", INNER, SI)),
    "Msun/pc3": ("solMass pc-3", 1.0),
}


def density_unit(name: str) -> tuple[str, float]:
    if name not in DENSITY_UNITS:
        raise UsageError(f"unknown unit '{name}'", nearest(name, DENSITY_UNITS))
    return DENSITY_UNITS[name]


def save_map(
    path: Path,
    density: NDArray,
    spread: NDArray | None,
    seen: LvImage,
    unit: str,
    told: dict[str, Any],
    caption: str = "",
    history: Iterable[str] = (),
) -> None:
    """(R', L) in inner units. Whole or not at all; `told` goes into the header as JSON, its main entries as cards.

    `caption` is what the map must not be shown without: COMMENT cards. `history` says how the file came about.
    """
    bunit, factor = density_unit(unit)
    header = map_header(seen.grid, seen.centre_deg[0], bunit)
    _provenance(header, told)
    for line in fits_cards(caption):
        header.add_comment(line)
    add_history(header, history)
    hdus = fits.HDUList([fits.PrimaryHDU((on_sky(density.T) * factor).astype(np.float32), header=header)])
    if spread is not None:
        plain = map_header(seen.grid, seen.centre_deg[0], bunit)
        hdus.append(fits.ImageHDU((on_sky(spread.T) * factor).astype(np.float32), header=plain, name="SPREAD"))
    for name, image, its_unit in (("OBSERVED", seen.image, "K"), ("COVERAGE", seen.coverage, "")):
        hdus.append(fits.ImageHDU(on_sky(image), header=lv_header(seen, its_unit), name=name))
    with atomic_file(path) as file:
        hdus.writeto(file)


def load_map(path: Path) -> tuple[NDArray[np.float32], LvImage]:
    """(R', L) in inner units, and what it was made of. DataError when the file is no whole map of `iris revert`."""
    try:
        with fits.open(path, memmap=False) as hdus:
            bunit = hdus[0].header.get("BUNIT")
            factors = dict(DENSITY_UNITS.values())
            if bunit not in factors or "OBSERVED" not in hdus:
                raise DataError(f"{path} is no map of `iris revert`")
            density, seen = from_sky(hdus[0].data).T / np.float32(factors[bunit]), load_observed(path, hdus)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no whole map of `iris revert`: {error or type(error).__name__}") from None
    if density.shape != seen.grid.density_shape[1:]:
        raise DataError(f"{path} does not hold a map of {seen.grid.density_shape[1:]} pixels")
    return density, seen


def load_caption(path: Path) -> str:
    """What stands under a map of `iris revert` wherever it is shown; "" for one that an older version wrote."""
    with fits.open(path, memmap=False) as hdus:
        return " ".join(map(str, hdus[0].header.get("COMMENT", ())))


def map_header(grid: Grid, centre_lon_deg: float, bunit: str) -> fits.Header:
    header, r = fits.Header(), grid.distance
    longitude_cards(header, grid, centre_lon_deg)
    header["CTYPE2"], header["CUNIT2"] = ("DIST", "distance from the Sun"), "pc"
    header["CRPIX2"], header["CRVAL2"], header["CDELT2"] = 1.0, float(r.centres()[grid.r_crop_min]), r.step
    header["BUNIT"] = (bunit, "mean H2 density over latitude")
    header["BTYPE"] = "H2 mass density"
    header["GCDIST"] = (grid.observer_distance_pc, "[pc] Sun to the model's centre")
    header["LATMIN"], header["LATMAX"] = (
        (grid.latitude.edges()[0], "[deg] the mean is"),
        (grid.latitude.edges()[-1], "[deg] over these latitudes"),
    )
    return header


def _provenance(header: fits.Header, told: dict[str, Any]) -> None:
    header["ORIGIN"] = f"IRIS {__version__}"
    header["DATE"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    for name, version in told["software"].items():
        header[f"V_{name.upper()[:6]}"] = (version, f"version of {name}")
    for k, member in enumerate(told["networks"], start=1):
        header[f"CKPT{k}"], header[f"CKSHA{k}"] = _ascii(member["checkpoint"]), member["sha256"]
    for k, cube in enumerate(told["files"], start=1):
        header[f"CUBE{k}"], header[f"CUSHA{k}"] = _ascii(cube["file"]), cube["sha256"]
    header["IRISTOLD"] = json.dumps(told)


def _ascii(text: str) -> str:
    """A FITS card holds nothing else."""
    return text.encode("ascii", "replace").decode()
