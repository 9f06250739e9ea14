"""A plain set of arrays (HDF5 or FITS) as columns of cells: the way in for FLASH, RAMSES, Athena, and grids.

yt writes such files. An array is found by its name (`codes.ARRAYS`) and has its unit in an attribute. All arrays have
one shape: (x, y, z) for a uniform grid, or (cells,) with arrays x, y and z for cells of any size.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError
from iris_cli.snapshots import codes
from iris_cli.snapshots.hdf5 import attribute, damage_of, member, number, numbers, numbers_of, one_line, opened

Vector = tuple[float, float, float]
_HINT = "docs/ingest.md describes sets of arrays"


@dataclass(frozen=True)
class Flat:
    """An array of any shape, in its own order of memory. Reads no more than the planes that hold the rows."""

    array: Any

    def __getitem__(self, rows: slice) -> NDArray:
        shape = self.array.shape
        start, stop, _ = rows.indices(math.prod(shape))
        plane = math.prod(shape[1:])
        first, last = start // plane, -(-stop // plane)
        return np.asarray(self.array[first:last]).reshape(-1)[start - first * plane : stop - first * plane]


@dataclass(frozen=True)
class Column:
    """A quantity of all cells, like a dataset of h5py: (cells,), or (cells, 3) of three parts."""

    file: "ArraySet"
    name: str
    parts: tuple[Flat, ...]
    attrs: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.file.cells,) if len(self.parts) == 1 else (self.file.cells, len(self.parts))

    def __len__(self) -> int:
        return self.file.cells

    def __getitem__(self, rows: slice) -> NDArray:
        return self.parts[0][rows] if len(self.parts) == 1 else np.stack([part[rows] for part in self.parts], axis=1)


@dataclass
class ArraySet:
    """The arrays of a file. `edges` are those of a uniform grid, in the unit of its coordinates.

    `code_units`: name of a unit of the simulation, such as code_length -> its value and unit.
    """

    filename: str
    shape: tuple[int, ...]
    code_units: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    edges: tuple[Vector, Vector] | None = None

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    def add(self, name: str, parts: Sequence[Flat], unit: str, shown: str) -> None:
        self.columns[name] = Column(self, shown, tuple(parts), {"units": unit})


GasFile: TypeAlias = h5py.File | ArraySet


def gas(file: GasFile, name: str) -> Any:
    """The column of the gas with this name (that of a dataset of PartType0), or None."""
    return file.columns.get(name) if isinstance(file, ArraySet) else numbers(file, f"PartType0/{name}")


def is_fits(path: Path) -> bool:
    """Whether a file begins as FITS does."""
    try:
        with path.open("rb") as file:
            return file.read(9) == b"SIMPLE  ="
    except OSError:
        return False


@contextmanager
def open_gas(path: Path) -> Iterator[GasFile]:
    """Opens a snapshot, or a set of arrays. Raises DataError when it is neither, or damaged."""
    if is_fits(path):
        with _fits_arrays(path) as arrays:
            yield arrays
    else:
        with opened(path) as file:
            yield _hdf5_arrays(file) or file


def _assembled(made: ArraySet, found: Mapping[str, tuple[Any, str]]) -> ArraySet:
    """The set with the columns that `found` (name -> array, unit) gives. Raises DataError for arrays that differ."""
    for name, (array, _) in found.items():
        if tuple(array.shape) != made.shape:
            what = f"{name} has shape {tuple(array.shape)}, density {made.shape}"
            raise DataError(f"{made.filename}: {what}; all arrays must have one shape", _HINT)
    for column, choices in codes.ARRAYS.items():
        for names in choices:
            held = [name for name in names if name in found]
            if len(held) == len(names):
                units = {found[name][1] for name in names}
                if len(units) > 1:
                    raise DataError(f"{made.filename}: {', '.join(names)} are in {' and '.join(sorted(units))}", _HINT)
                made.add(column, [Flat(found[name][0]) for name in names], units.pop(), ", ".join(names))
                break
            if held:
                lacking = next(name for name in names if name not in found)
                raise DataError(f"{made.filename} has {held[0]}, but no {lacking}", _HINT)
    return made


def _with_lattice(made: ArraySet, low: NDArray, high: NDArray, unit: str, axes: Sequence[int]) -> ArraySet:
    """The set with the cell centres between the edges of a uniform grid; coordinate k changes along array axis k."""
    cells = np.array([made.shape[axis] for axis in axes])
    step = (high - low) / cells
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (step > 0).all()):
        raise DataError(f"{made.filename}: a grid from {low.tolist()} to {high.tolist()} has no volume", _HINT)
    centres = [low[k] + 0.5 * step[k] + step[k] * np.arange(cells[k], dtype=np.float64) for k in range(3)]
    along = [np.moveaxis(centre[:, None, None], 0, axis) for centre, axis in zip(centres, axes, strict=True)]
    parts = [Flat(np.broadcast_to(centre, made.shape)) for centre in along]
    made.add("Coordinates", parts, unit, "the grid")
    (x0, y0, z0), (x1, y1, z1) = low.tolist(), high.tolist()
    made.edges = ((x0, y0, z0), (x1, y1, z1))
    return made


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def _hdf5_arrays(file: h5py.File) -> ArraySet | None:
    """The arrays at the root of a file, or in one of its groups, as yt writes them; None if there is no density."""
    if member(file, "PartType0") is not None:
        return None
    with damage_of(file.filename, "/"):
        places = ["", *(f"{name}/" for name in file if file.get(name, getclass=True, getlink=True) is h5py.HardLink)]
        groups = [place for place in places if isinstance(file[place or "/"], h5py.Group)]
        paths = [f"{group}{name}" for group in groups for name in file[group or "/"]]
    found: dict[str, tuple[Any, str]] = {}
    for name in codes.ARRAY_NAMES:
        held = [path for path in paths if path.rpartition("/")[2].lower() == name]
        held = [path for path in held if isinstance(member(file, path), h5py.Dataset)]
        if len(held) > 1:
            raise DataError(f"{file.filename} holds {' and '.join(held)}; which is meant?", "keep one of them")
        for path in held:
            array = numbers(file, path)
            found[name] = array, _unit_text(array)
    density = next((found[name][0] for (name,) in codes.ARRAYS["Density"] if name in found), None)
    if density is None:
        return None
    if not density.size:
        raise DataError(f"{file.filename}: {density.name} is empty", _HINT)
    made = _assembled(ArraySet(file.filename, tuple(density.shape), _code_units(file)), found)
    if "Coordinates" in made.columns:
        return _on_lattice(made)
    holder = next((h for h in (density.parent, file) if attribute(h, "left_edge") is not None), None)
    if len(made.shape) != 3 or holder is None:
        what = f"{file.filename} has no arrays x, y, z, nor attributes left_edge and right_edge of a 3-D grid"
        raise DataError(what, _HINT)
    low, high = numbers_of(holder, "left_edge"), numbers_of(holder, "right_edge")
    found_units = (attribute(holder, f"{edge}_edge_units") for edge in ("left", "right"))
    texts = {one_line(text) for text in found_units if text is not None}
    if low is None or high is None or low.shape != (3,) or high.shape != (3,) or len(texts) != 1:
        what = f"{file.filename}: left_edge and right_edge are not three numbers each with one unit in left_edge_units"
        raise DataError(what, _HINT)
    return _with_lattice(made, low, high, texts.pop(), (0, 1, 2))


def _on_lattice(made: ArraySet) -> ArraySet:
    """The set with edges, if its 3-D arrays x, y, z increase evenly along their axis; cells of any size have none."""
    if len(made.shape) == 3 and min(made.shape) > 1:
        ends = np.array([made.columns["Coordinates"][slice(k, k + 1)][0] for k in (0, made.cells - 1)], np.float64)
        half = 0.5 * (ends[1] - ends[0]) / (np.array(made.shape) - 1)
        if np.isfinite(ends).all() and (half > 0).all():
            (x0, y0, z0), (x1, y1, z1) = (ends[0] - half).tolist(), (ends[1] + half).tolist()
            made.edges = ((x0, y0, z0), (x1, y1, z1))
    return made


def _unit_text(array: h5py.Dataset) -> str:
    text = next((v for name in codes.UNIT_TEXTS if (v := attribute(array, name)) is not None), "")
    return one_line(text)


def _code_units(file: h5py.File) -> dict[str, tuple[float, str]]:
    """The units of the simulation, in which yt writes coordinates."""
    found = {}
    for name in ("length", "mass", "time", "velocity"):
        value, unit = number(file, f"{name}_unit"), attribute(file, f"{name}_unit_units")
        if value is not None and isinstance(unit, str):
            found[f"code_{name}"] = value, unit
    return found


# --- FITS -------------------------------------------------------------------------------------------------------------


@contextmanager
def _fits_arrays(path: Path) -> Iterator[ArraySet]:
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            with path.open("rb") as stream, fits.open(stream, memmap=True) as hdus:
                yield _images(path, hdus)
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, Warning) as error:
        raise DataError(f"{path} cannot be read as FITS: {one_line(error)}", _HINT) from None


def _images(path: Path, hdus: Any) -> ArraySet:
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) == 3]
    named = [(str(hdu.header.get("EXTNAME") or hdu.header.get("BTYPE") or "").strip().lower(), hdu) for hdu in images]
    known = [(name, hdu) for name, hdu in named if name in codes.ARRAY_NAMES]
    chosen = dict(known)
    density = next((chosen[name] for (name,) in codes.ARRAYS["Density"] if name in chosen), None)
    if density is None or len(chosen) < len(known):
        names = ", ".join(name or "without a name" for name, _ in named) or "none"
        raise DataError(f"{path} holds no 3-D image 'density' (EXTNAME or BTYPE), or one twice; it has: {names}", _HINT)
    found = {name: (hdu.data, str(hdu.header.get("BUNIT", "")).strip()) for name, hdu in chosen.items()}
    made = _assembled(ArraySet(str(path), tuple(density.data.shape)), found)
    places = {name: _edges(path, name, hdu) for name, hdu in chosen.items()}
    low, high, unit = places[next(iter(places))]
    for name, (other_low, other_high, other_unit) in places.items():
        near = np.allclose([other_low, other_high], [low, high], rtol=1e-6, atol=1e-6 * float(np.abs(high - low).max()))
        if other_unit != unit or not near:
            raise DataError(f"{path}: {name} is on another grid than {next(iter(places))}", _HINT)
    return _with_lattice(made, low, high, unit, (2, 1, 0))


def _edges(path: Path, name: str, hdu: Any) -> tuple[NDArray, NDArray, str]:
    """Lower and upper edges (x, y, z) of an image, and their unit. Raises DataError unless its axes are lengths."""
    from astropy.wcs import WCS

    wcs = WCS(hdu.header, naxis=3)
    matrix, units = wcs.pixel_scale_matrix, {str(unit) for unit in wcs.wcs.cunit}
    steps = np.diag(matrix)
    turned = np.abs(matrix - np.diag(steps)).max() > 1e-9 * np.abs(steps).max()
    if wcs.has_celestial or wcs.has_spectral or turned or len(units) != 1 or units == {""}:
        types = ", ".join(
            f"{t or 'no CTYPE'} ({u or 'no CUNIT'})" for t, u in zip(wcs.wcs.ctype, wcs.wcs.cunit, strict=True)
        )
        what = f"{path}: the axes of {name} are {types}; they must be three lengths along x, y, z in one unit"
        raise DataError(what, "write CTYPE LINEAR, CUNIT, CRVAL, CRPIX and CDELT for each axis")
    shape = np.array(hdu.shape[::-1])
    low = wcs.wcs.crval + (0.5 - wcs.wcs.crpix) * steps
    return low, low + shape * steps, units.pop()
