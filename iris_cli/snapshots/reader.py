"""Snapshots of AREPO, GADGET, GIZMO, EAGLE and SWIFT, and sets of arrays: files in, gas in inner units out.

The codes write the same layout under different names, which are tables in `codes`; one class reads them all. A reader
of another format needs the members of `Snapshot` that `galaxy.load_galaxy` and `ingest` use: `files`, `digest`,
`where`, `centre_of_gas`, `offsets_pc`, `read` and `describe`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig, vector
from iris_cli.console import plural
from iris_cli.errors import DataError
from iris_cli.snapshots.arrays import ArraySet, GasFile, Vector, gas, open_gas
from iris_cli.snapshots.codes import COORDINATES
from iris_cli.snapshots.field_sources import FieldSources, SourceChooser
from iris_cli.snapshots.files import SnapshotFiles, cells_in, cells_listed
from iris_cli.snapshots.gas import (
    NOT_NEGATIVE,
    POSITIVE,
    Gas,
    check_abundances,
    check_cells,
    densest,
    estimated_masses,
    relative,
)
from iris_cli.snapshots.hdf5 import damage_of, numbers_of
from iris_cli.snapshots.units import groups, read_units

#: Rows read at once.
_ROWS = 1 << 20
#: Rows at the start, in the middle and at the end of a file whose positions tell one galaxy from another.
_SAMPLE = 1024
#: Bytes that a cell takes in memory: read, computed, cut to a cone, in a search tree.
BYTES_PER_CELL = 320
_SMALLEST_SPHERE_PC = 250.0

_FLOORS = {"density": POSITIVE, "temperature": POSITIVE, "dust": NOT_NEGATIVE}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of which only the headers and a few rows have been read.

    `centre` and `box` (None if the coordinates are not confined to one) are in the file's unit of length; `digest` is
    a hash of the cells that does not depend on the path.
    """

    files: SnapshotFiles
    cells: int
    digest: str
    pc_per_file: float
    box: Vector | None
    centre: Vector
    h: float
    a: float
    sources: FieldSources
    #: Edges of a uniform grid, in the file's unit of length.
    edges: tuple[Vector, Vector] | None = None

    @classmethod
    def open(cls, files: SnapshotFiles, config: IngestConfig) -> "Snapshot":
        """Raises DataError for files that are no snapshot, are contradictory, or lack a required field."""
        counts = [_count(path, config.cutouts) for path in files.parts]
        cells, with_gas = sum(counts), [path for path, count in zip(files.parts, counts, strict=True) if count]
        if not with_gas:
            what = f"{files.parts[0]} holds no gas: no cells in {COORDINATES}"
            hint = "is it a snapshot with PartType0, or a set of arrays with 'density'? See docs/ingest.md"
            raise DataError(what, hint)
        with open_gas(with_gas[0]) as file:
            listed = None if config.cutouts else cells_listed(file)
            if listed and listed != cells:
                held = f"{plural(len(counts), 'file holds', 'files hold')} {cells}"
                what = f"{with_gas[0]} lists {listed} gas cells in all; {held}"
                raise DataError(what, "name the snapshot with all its parts; if it is a cut-out, --cutouts")
            units = read_units(file, config)
            pc_per_file = units.inner_per_file(_coordinates(file), "position")
            sample = np.concatenate([_sample(path) for path in with_gas])
            box = _box(file, sample, config.centre)
            sources = SourceChooser(file, units, config).choose()
            edges = file.edges if isinstance(file, ArraySet) else None
            # the positions of a grid say nothing about its galaxy
            more = _sample_of(gas(file, "Density")) if isinstance(file, ArraySet) else np.zeros(0)
        centre = _centre(config.centre, box or edges, sample, str(with_gas[0]))
        seen = b"".join(np.ascontiguousarray(each, "<f8").tobytes() for each in (sample, more))
        digest = xxhash.xxh3_64_hexdigest(seen + str(cells).encode())
        made = cls(files, cells, digest, pc_per_file, box, centre, units.h, units.a, sources, edges)
        return replace(made, centre=made.centre_of_gas()) if config.centre == "mass" else made

    @property
    def where(self) -> str:
        return str(self.files.parts[0])

    def offsets_pc(self, coordinates: NDArray) -> NDArray[np.float64]:
        """(N, 3) from the centre; in a periodic box, to the nearest image."""
        return self._wrapped(coordinates.astype(np.float64) - self.centre) * self.pc_per_file

    def read(self, radius_pc: float, config: IngestConfig, most_cells: int) -> tuple[Gas, tuple[str, ...]]:
        """The gas within `radius_pc` of the centre, and warnings.

        Raises DataError for impossible numbers, for no gas, and for more than `most_cells` cells.
        """
        pieces: list[tuple[NDArray, dict[str, NDArray]]] = []
        held = 0
        for file, rows in self._slabs():
            position = self.offsets_pc(_rows(_coordinates(file), rows))
            inside = ~((position**2).sum(axis=1) > radius_pc**2)  # keeps NaN, which is reported below
            if inside.any():
                pieces.append((position[inside], self._raw(file, rows, inside)))
                held += int(inside.sum())
            if held > most_cells:
                too_many = f"more than {most_cells:,} cells are within {radius_pc:.0f} pc, too many for the memory"
                raise DataError(f"{self.where}: {too_many}", "more --memory, or fewer --workers")
        if not pieces:
            raise self.no_gas(radius_pc)
        position = np.concatenate([piece[0] for piece in pieces])
        raw = {label: np.concatenate([piece[1][label] for piece in pieces]) for label in pieces[0][1]}
        return self._gas(position, raw, config)

    def no_gas(self, radius_pc: float) -> DataError:
        """The error for a sphere around the centre without gas; its hint is a centre with gas."""
        there = as_option(self.centre_of_gas())
        what = f"no gas within {radius_pc:.0f} pc of the centre {as_option(self.centre)}; the gas lies around {there}"
        return DataError(f"{self.where}: {what}", f"if that is the galaxy, --centre {there}; else check the units")

    def _slabs(self) -> Iterator[tuple[GasFile, slice]]:
        for path in self.files.parts:
            with open_gas(path) as file:
                for start in range(0, cells_in(file, cutout=True), _ROWS):
                    yield file, slice(start, start + _ROWS)

    def _raw(self, file: GasFile, rows: slice, inside: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        """The columns of some cells in inner units. Numbers too large for float32 become infinite."""
        read = {name: _rows(_dataset(file, name), rows)[inside] for name in {c.dataset for c in self.sources.columns}}
        with np.errstate(over="ignore", invalid="ignore"):  # _gas checks the results
            return {
                c.label: np.multiply(
                    read[c.dataset] if c.column is None else read[c.dataset][:, c.column],
                    c.inner_per_file,
                    dtype=np.float64,
                ).astype(np.float32)
                for c in self.sources.columns
            }

    def _floors(self) -> dict[str, float]:
        """The lower limits of the columns that have one."""
        with_floor = [(source, _FLOORS[name]) for name, source in self.sources.fields if name in _FLOORS]
        floors = {column.label: floor for source, floor in with_floor for column in source.columns}
        return floors | {column.label: floors.get(column.label, NOT_NEGATIVE) for column in self.sources.weight}

    def _gas(
        self, position: NDArray, raw: dict[str, NDArray[np.float32]], config: IngestConfig
    ) -> tuple[Gas, tuple[str, ...]]:
        with np.errstate(all="ignore"):  # the results are checked below
            made = self.sources.compute(raw, position)
            single = {name: values.astype(np.float32) for name, values in made.items() if name != "position"}
        good, problem = check_cells({"Coordinates": position, **raw, **single}, self._floors() | _FLOORS)
        if problem and not config.drop_bad_cells:
            hint = "--drop-bad-cells leaves them out; their neighbours fill the gaps"
            raise DataError(f"{self.where}: {problem}", hint)
        if not good.any():
            raise DataError(f"{self.where}: {problem}; no cell is left")
        if not good.all():
            return self._gas(position[good], {label: column[good] for label, column in raw.items()}, config)
        warnings = check_abundances(single["x_H2"], single["x_H_plus"], single["x_CO"], self.where)
        weights = [raw[column.label].astype(np.float64) for column in self.sources.weight]
        weight = relative(np.prod(weights, axis=0)) if weights else estimated_masses(position, single["density"])
        velocity, rho, T_gas, T_dust = (single[name] for name in ("velocity", "density", "temperature", "dust"))
        x_H2, x_CO = single["x_H2"].clip(0.0, 0.5), single["x_CO"].clip(0.0)
        gas = Gas(position, velocity, rho, T_gas, x_H2, x_CO, T_dust, weight)
        return gas, (*self.sources.warnings, *warnings)

    def centre_of_gas(self) -> Vector:
        """A centre of the cells, with gas around it, in the file's unit of length.

        The limit of shrinking spheres around the mean of the cells. The last sphere has a radius of 250 pc: a smaller
        one would end in a cloud. If there is no gas within it, as between two galaxies, the cell in the densest place.
        """
        step = max(1, self.cells // 2_000_000)
        found = np.concatenate([_rows(_coordinates(f), rows)[::step] for f, rows in self._slabs()])
        found = found[np.isfinite(found).all(axis=1)].astype(np.float64)
        if not len(found):
            raise DataError(f"{self.where}: no cell has finite coordinates")
        smallest = _SMALLEST_SPHERE_PC / self.pc_per_file
        centre = np.median(found, axis=0) if self.box is None else _circular_mean(found, np.asarray(self.box))
        offset = self._wrapped(found - centre)
        radius = float(np.linalg.norm(offset, axis=1).max())
        while np.isfinite(radius) and radius > smallest:
            radius = max(0.8 * radius, 0.999 * smallest)
            near = np.linalg.norm(offset, axis=1) <= radius
            if near.sum() < 100:
                break
            shift = offset[near].mean(axis=0)
            centre, offset = centre + shift, self._wrapped(offset - shift)
        if not (np.linalg.norm(offset, axis=1) <= smallest).any():
            centre = densest(found)
        return tuple(float(c) for c in (centre if self.box is None else centre % self.box))  # type: ignore[return-value]

    def _wrapped(self, offset: NDArray) -> NDArray:
        return offset if self.box is None else offset - np.multiply(self.box, np.rint(offset / self.box))

    def describe(self) -> dict[str, object]:
        """The snapshot as plain JSON, for the index of the data set."""
        return {
            "name": self.files.name,
            "files": [path.name for path in self.files.parts],
            "cells": self.cells,
            "digest": self.digest,
            "pc_per_length_unit": self.pc_per_file,
            "h": self.h,
            "a": self.a,
            "centre": list(self.centre),
            "fields": {name: source.description for name, source in self.sources.fields},
        }


def as_option(position: Vector) -> str:
    """A position in the form of the option --centre."""
    return ",".join(f"{x:.10g}" for x in position)


def _count(path: Path, cutout: bool) -> int:
    with open_gas(path) as file:
        if cells_in(file, cutout=True):
            _coordinates(file)
        return cells_in(file, cutout)


def _coordinates(file: GasFile) -> Any:
    found = gas(file, "Coordinates")
    if found is None or len(found.shape) != 2 or found.shape[1] != 3:
        shape = "missing" if found is None else f"of shape {found.shape}"
        raise DataError(f"{file.filename}: {COORDINATES} is {shape}; it should be (cells, 3)")
    return found


def _dataset(file: GasFile, name: str) -> Any:
    found = gas(file, name)
    if found is None:
        raise DataError(f"{file.filename} lacks PartType0/{name}, which other parts of the snapshot hold")
    return found


def _rows(dataset: Any, rows: slice) -> NDArray:
    with damage_of(dataset.file.filename, dataset.name):  # a damaged chunk, a compression that is not installed
        return dataset[rows]


def _sample(path: Path) -> NDArray[np.float64]:
    """Positions of the first, middle and last cells of a file."""
    with open_gas(path) as file:
        return _sample_of(_coordinates(file))


def _sample_of(dataset: Any) -> NDArray[np.float64]:
    starts = sorted({0, max(0, len(dataset) // 2 - _SAMPLE // 2), max(0, len(dataset) - _SAMPLE)})
    return np.concatenate([_rows(dataset, slice(start, start + _SAMPLE)) for start in starts]).astype(np.float64)


def _box(file: GasFile, sample: NDArray, centre: str) -> Vector | None:
    """BoxSize, if the coordinates are in a box that starts at zero. An unreadable one is ignored for a given centre."""
    found = (v for g in groups(file) if (v := numbers_of(g, "BoxSize", "give --centre x,y,z")) is not None)
    try:
        size = next(found, np.zeros(1))
    except DataError:
        if "," not in centre:
            raise
        size = np.zeros(1)
    size = np.full(3, size[0]) if len(size) < 3 else size[:3]
    finite = sample[np.isfinite(sample).all(axis=1)]
    outside = (finite < -0.01 * size).any() or (finite > 1.01 * size).any()  # cells may have drifted out by a little
    if outside or not (size > 0).all():
        return None
    return tuple(float(s) for s in size)  # type: ignore[return-value]


def _centre(chosen: str, box: Vector | tuple[Vector, Vector] | None, sample: NDArray, where: str) -> Vector:
    """The centre in the file's unit of length; `mass` is computed later. Raises DataError if `auto` is ambiguous."""
    if chosen == "origin" or chosen == "mass":
        return (0.0, 0.0, 0.0)
    if chosen in ("auto", "box"):
        if box is not None:
            x, y, z = np.mean(box, axis=0).tolist() if np.ndim(box) == 2 else (0.5 * np.array(box)).tolist()
            return (x, y, z)
        around_zero = (sample < 0).any(axis=0).all() and (sample > 0).any(axis=0).all()  # also with NaN
        if chosen == "auto" and around_zero:
            return (0.0, 0.0, 0.0)
        beyond = "" if chosen == "box" else ", nor around zero"
        what = f"{where}: coordinates are not in a box from 0 to BoxSize{beyond}"
        raise DataError(what, "set the centre: --centre x,y,z, or --centre mass")
    return vector(chosen, "centre", "auto, box, origin, mass")


def _circular_mean(points: NDArray, box: NDArray) -> NDArray:
    angle = 2.0 * np.pi * points / box
    return np.arctan2(np.sin(angle).mean(axis=0), np.cos(angle).mean(axis=0)) / (2.0 * np.pi) * box % box
