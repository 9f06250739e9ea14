"""Cubes and l-v images of FITS files for figures: on ascending axes that must be Galactic and evenly spaced.

In: a FITS file of a telescope, of `iris observe` or of `iris cube`. Out: a `SkyImage`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.console import warn
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.blanks import mask_blanks
from iris_cli.telescope.fits_file import choose_image, open_fits, reading
from iris_cli.telescope.fits_header import clean_header, world_coordinates
from iris_cli.telescope.header_units import read_unit, spell_units
from iris_cli.telescope.lv_image import METADATA_CARD
from iris_cli.telescope.sky_pixels import within_half_a_turn
from iris_cli.telescope.spectral_cards import repair_velocity_cards
from iris_cli.units import LIGHT_SPEED_M_S

#: The beginning of CTYPE -> kind of axis.
_KINDS = {"GLON": "longitude", "GLAT": "latitude", "VRAD": "velocity", "VELO": "velocity", "VOPT": "velocity"}
_UNITS = {"longitude": "deg", "latitude": "deg", "velocity": "km / s"}
_STANDARD = {"longitude": u.deg, "latitude": u.deg, "velocity": u.km / u.s}
#: The largest deviation from even spacing that a figure may ignore, in steps.
_CURVED = 0.5
_HINT = "`iris cube` makes an l-v image of it, on Galactic longitude and radio velocity"


@dataclass(frozen=True)
class SkyImage:
    """`data` with one dimension for each of `axes`, in their order; NaN where nothing was observed.

    `simulated`: from a simulation, whose centre is at longitude and latitude 0.
    """

    data: NDArray[np.float32]
    axes: tuple[Axis, ...]
    unit: str
    name: str
    simulated: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)


def read_fits(path: Path) -> SkyImage:
    """The first image of a file. DataError when it is no FITS file, or has axes that a figure cannot use."""
    notes: list[str] = []
    with open_fits(path, mapped=False, notes=notes) as hdus, reading(path, notes, "is cut short or damaged"):
        choice: list[str] = []
        if (hdu := choose_image(path, hdus, None, choice)) is None or hdu.size == 0:
            raise DataError(f"{path} holds no image")
        header = clean_header(path, hdu.header, notes)
        notes += [] if str(header.get("ORIGIN", "")).startswith("IRIS") else choice
        repair_velocity_cards(path, header)
        spell_units(header)
        data = np.array(hdu.data, np.float32)
        notes += mask_blanks(path, header, data)
    kept = [k for k in range(1, data.ndim + 1) if header[f"NAXIS{k}"] > 1 or _kind(header, k) in _UNITS]
    data = data.reshape([header[f"NAXIS{k}"] for k in reversed(kept)])
    axes = []
    for place, k in enumerate(reversed(kept)):
        axis = _axis(path, header, k, data.shape[place], notes)
        if axis.first > axis.last:
            data, axis = np.flip(data, place), Axis(axis.name, axis.unit, axis.last, axis.first, axis.steps)
        axes.append(axis)
    for note in notes:
        warn(note)
    # `iris observe` writes OBJECT for a simulated galaxy; elsewhere it is often a survey's field. `iris cube` writes
    # images of real observations.
    simulated = str(header.get("ORIGIN", "")).startswith("IRIS") and METADATA_CARD not in header
    name = str(header["OBJECT"]) if simulated and "OBJECT" in header else path.name
    return SkyImage(data, tuple(axes), str(header.get("BUNIT", "")).strip(), name, simulated)


def _kind(header: Mapping[str, Any], k: int) -> str:
    return _KINDS.get(str(header.get(f"CTYPE{k}", ""))[:4], "")


def _axis(path: Path, header: fits.Header, k: int, steps: int, notes: list[str]) -> Axis:
    """Axis k of a FITS header, in degrees or km/s, in the order of its pixels. DataError for other kinds."""
    kind = _kind(header, k)
    ctype, unit = str(header.get(f"CTYPE{k}", "")), str(header.get(f"CUNIT{k}", "")).strip()
    if kind == "velocity" and not unit:
        unit = "m/s"
        notes.append(f"{path.name} has no unit for its velocities (CUNIT{k}); m/s is assumed, as in the FITS standard")
    read = read_unit(unit or "deg", _STANDARD[kind]) if kind in _UNITS else None
    if read is None or (kind == "velocity" and len(ctype) > 4):  # VOPT-F2W is not linear
        raise DataError(f"{path}: axis {k} is '{ctype}' in '{unit}'", _HINT)
    kinds = {_kind(header, other) for other in range(1, int(header["NAXIS"]) + 1)}
    if kind == "velocity" or not {"longitude", "latitude"} <= kinds:
        world = _linear(path, header, k, steps) * read.to(_STANDARD[kind])
        rows = world[None]
    else:
        rows = _celestial(path, header, kind, steps, notes)
        world = rows[1]
    if kind == "velocity":
        _check_velocity(path, header, k, world)
    even = np.linspace(world[0], world[-1], steps)
    if steps > 1 and not (np.abs(rows - even).max() <= _CURVED * abs(even[1] - even[0])):
        raise DataError(f"{path}: {kind} is not evenly spaced", _HINT)
    shift = 360.0 * np.round(world.mean() / 360.0) if kind == "longitude" else 0.0
    return Axis(kind, _UNITS[kind], float(world[0] - shift), float(world[-1] - shift), steps)


def _linear(path: Path, header: Mapping[str, Any], k: int, steps: int) -> NDArray[np.float64]:
    """The values along a linear axis; the step is CDELT, CDELT x PC or CD. DataError when other axes contribute."""
    matrix = "CD" if any(re.fullmatch(r"CD\d_\d", card) for card in header) else "PC"
    others = [f"{matrix}{k}_{j}" for j in range(1, int(header["NAXIS"]) + 1) if j != k]
    if any(_card(path, header, name, 0.0) for name in others):
        raise DataError(f"{path}: axis {k} is rotated into another one ({matrix}{k}_j)", _HINT)
    step = _card(path, header, f"{matrix}{k}_{k}", 1.0 if matrix == "PC" else None)
    step *= _card(path, header, f"CDELT{k}", None) if matrix == "PC" else 1.0
    if steps > 1 and not 0.0 < abs(step) < float("inf"):
        raise DataError(f"{path}: the step of axis {k} is {step:g}", "fix CDELT, PC or CD of that axis")
    pixels = np.arange(1.0, steps + 1.0) - _card(path, header, f"CRPIX{k}", None)
    return _card(path, header, f"CRVAL{k}", None) + pixels * step


def _card(path: Path, header: Mapping[str, Any], name: str, absent: float | None) -> float:
    """A number of a header, or `absent` without the card. DataError for text, and when both are missing."""
    value = header.get(name, absent)
    if not isinstance(value, int | float):
        raise DataError(f"{path}: {name} is {'missing' if value is None else repr(value)}", f"write {name} there")
    return float(value)


def _celestial(path: Path, header: fits.Header, kind: str, steps: int, notes: list[str]) -> NDArray[np.float64]:
    """(3, steps) degrees along an axis of the sky, at the beginning, the middle and the end of the other one."""
    wcs = world_coordinates(path, header, notes).celestial
    along = wcs.wcs.lng if kind == "longitude" else wcs.wcs.lat
    others = wcs.pixel_shape[1 - along]
    pixels = [np.empty((3, steps)), np.empty((3, steps))]
    pixels[along][:] = np.arange(steps)
    pixels[1 - along][:] = np.array([0.0, (others - 1) / 2.0, others - 1.0])[:, None]
    world = wcs.wcs_pix2world(*within_half_a_turn(wcs, *pixels), 0)[along]
    if kind == "longitude":
        world = np.unwrap(np.unwrap(world, period=360.0, axis=1), period=360.0, axis=0)
    return np.asarray(world, np.float64)


def _check_velocity(path: Path, header: Mapping[str, Any], k: int, v_km_s: NDArray) -> None:
    """DataError for velocities that are not LSR, or optical ones that differ visibly from radio velocities."""
    system = str(header.get("SPECSYS", ""))
    if system and not system.startswith("LSR"):
        raise DataError(f"{path}: velocities are in the system {system}", "convert them to the local standard of rest")
    if not system:
        warn(f"{path} has no frame for its velocities (SPECSYS); the figure assumes LSR")
    shift = np.abs(v_km_s).max() ** 2 / (LIGHT_SPEED_M_S * 1e-3)  # cz against c dnu/nu, to first order
    if str(header[f"CTYPE{k}"]).startswith("VOPT") and shift > 0.5 * abs(v_km_s[-1] - v_km_s[0]) / (len(v_km_s) - 1):
        raise DataError(f"{path}: velocities are optical, up to {shift:.2g} km/s from radio velocities", _HINT)


def transposed(image: SkyImage, *names: str) -> NDArray[np.float32]:
    """The data with their axes in this order. UsageError when one of them is missing."""
    for name in names:
        if name not in image.names:
            raise UsageError(f"this figure needs a {name} axis; {image.name} has {', '.join(image.names)}")
    return image.data.transpose([image.names.index(name) for name in names])


def axis(image: SkyImage, name: str) -> Axis:
    return image.axes[image.names.index(name)]
