"""Snapshots of AREPO, GADGET, GIZMO, EAGLE and SWIFT: HDF5 files in, gas in inner units out.

The codes write the same layout under different names, which are tables in `codes`; one class reads them all. A reader
of another format needs the members of `Snapshot` that `galaxy.load_galaxy` and `ingest` use: `files`, `digest`,
`where`, `centre_of_gas`, `offsets_pc`, `read` and `describe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig, vector
from iris_cli.errors import DataError
from iris_cli.snapshots.codes import COORDINATES
from iris_cli.snapshots.field_sources import FieldSources, SourceChooser
from iris_cli.snapshots.files import SnapshotFiles, cells_in, cells_listed
from iris_cli.snapshots.gas import NOT_NEGATIVE, POSITIVE, Gas, check_abundances, check_cells, estimated_masses
from iris_cli.snapshots.hdf5 import attribute, member, numbers, one_line, opened
from iris_cli.snapshots.units import LENGTH, groups, read_units

#: Rows read at once.
_ROWS = 1 << 20
#: Bytes that a cell takes in memory: read, computed, cut to a cone, in a search tree.
BYTES_PER_CELL = 320
_SMALLEST_SPHERE_PC = 250.0

_FLOORS = {"density": POSITIVE, "temperature": POSITIVE, "dust": NOT_NEGATIVE}

Vector = tuple[float, float, float]


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

    @classmethod
    def open(cls, files: SnapshotFiles, config: IngestConfig) -> Snapshot:
        """Raises DataError for files that are no snapshot, are contradictory, or lack a required field."""
        counts = [_count(path) for path in files.parts]
        cells, with_gas = sum(counts), [path for path, count in zip(files.parts, counts, strict=True) if count]
        if not with_gas:
            what = f"{files.parts[0]} holds no gas: no cells in {COORDINATES}"
            raise DataError(what, "is it a snapshot with PartType0?")
        with opened(with_gas[0]) as file:
            listed = cells_listed(file)
            if listed is not None and listed != cells:
                what = f"{with_gas[0]} lists {listed} gas cells in all; {len(counts)} files hold {cells}"
                raise DataError(what, "name the snapshot with all its parts")
            units = read_units(file, config)
            pc_per_file = units.inner_per_file(_coordinates(file), LENGTH)
            sample = np.concatenate([_sample(path) for path in with_gas])
            box = _box(file, sample)
            sources = SourceChooser(file, units, config).choose()
        centre = _centre(config.centre, box, sample, str(with_gas[0]))
        digest = xxhash.xxh3_64_hexdigest(np.ascontiguousarray(sample, "<f8").tobytes() + str(cells).encode())
        made = cls(files, cells, digest, pc_per_file, box, centre, units.h, units.a, sources)
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
            position = self.offsets_pc(_rows(numbers(file, COORDINATES), rows))
            inside = ~((position**2).sum(axis=1) > radius_pc**2)  # keeps NaN, which is reported below
            if inside.any():
                pieces.append((position[inside], self._raw(file, rows, inside)))
                held += int(inside.sum())
            if held > most_cells:
                too_many = f"more than {most_cells:,} cells are within {radius_pc:.0f} pc, too many for the memory"
                raise DataError(f"{self.where}: {too_many}", "more --memory, or fewer --workers")
        if not pieces:
            none = f"no gas within {radius_pc:.0f} pc of the centre {as_option(self.centre)}"
            there = f"the gas is around {as_option(self.centre_of_gas())}"
            raise DataError(f"{self.where}: {none}; {there}", "set --centre")
        position = np.concatenate([piece[0] for piece in pieces])
        raw = {label: np.concatenate([piece[1][label] for piece in pieces]) for label in pieces[0][1]}
        position, raw = self._valid(position, raw, config)
        return self._gas(position, raw)

    def _slabs(self) -> Iterator[tuple[h5py.File, slice]]:
        for path in self.files.parts:
            with opened(path) as file:
                for start in range(0, cells_in(file), _ROWS):
                    yield file, slice(start, start + _ROWS)

    def _raw(self, file: h5py.File, rows: slice, inside: NDArray[np.bool_]) -> dict[str, NDArray]:
        read = {name: _rows(_dataset(file, name), rows)[inside] for name in {c.dataset for c in self.sources.columns}}
        return {
            c.label: (read[c.dataset] if c.column is None else read[c.dataset][:, c.column]) * c.inner_per_file
            for c in self.sources.columns
        }

    def _gas(self, position: NDArray, raw: dict[str, NDArray]) -> tuple[Gas, tuple[str, ...]]:
        made = self.sources.compute(raw, position)
        warnings = check_abundances(made["x_H2"], made["x_H_plus"], made["x_CO"], self.where)
        weight = raw[self.sources.weight.label] if self.sources.weight else estimated_masses(position, made["density"])
        single = {name: values.astype(np.float32) for name, values in made.items() if name != "position"}
        velocity, rho, T_gas, T_dust = (single[name] for name in ("velocity", "density", "temperature", "dust"))
        x_H2, x_CO = single["x_H2"].clip(0.0, 0.5), single["x_CO"].clip(0.0)
        gas = Gas(position, velocity, rho, T_gas, x_H2, x_CO, T_dust, weight.astype(np.float32))
        return gas, (*self.sources.warnings, *warnings)

    def _valid(
        self, position: NDArray, raw: dict[str, NDArray], config: IngestConfig
    ) -> tuple[NDArray, dict[str, NDArray]]:
        """The cells with possible numbers. Raises DataError for other cells, unless these may be left out."""
        with_floor = [(name, source) for name, source in self.sources.fields if name in _FLOORS]
        floors = {column.label: _FLOORS[name] for name, source in with_floor for column in source.columns}
        good, problem = check_cells({"Coordinates": position, **raw}, floors)
        if not problem:
            return position, raw
        if not config.drop_bad_cells:
            hint = "--drop-bad-cells leaves them out; their neighbours fill the gaps"
            raise DataError(f"{self.where}: {problem}", hint)
        if not good.any():
            raise DataError(f"{self.where}: {problem}; no cell is left")
        return position[good], {label: column[good] for label, column in raw.items()}

    def centre_of_gas(self) -> Vector:
        """The centre of the cells in the file's unit of length: the limit of shrinking spheres around their mean.

        The last sphere has a radius of 250 pc: a smaller one would end in a cloud.
        """
        step = max(1, self.cells // 2_000_000)
        found = np.concatenate([_rows(numbers(f, COORDINATES), rows)[::step] for f, rows in self._slabs()])
        found = found[np.isfinite(found).all(axis=1)].astype(float)
        centre = np.median(found, axis=0) if self.box is None else _circular_mean(found, np.asarray(self.box))
        offset = self._wrapped(found - centre)
        radius = float(np.linalg.norm(offset, axis=1).max())
        while radius * self.pc_per_file > _SMALLEST_SPHERE_PC:
            radius = max(0.8 * radius, 0.999 * _SMALLEST_SPHERE_PC / self.pc_per_file)
            near = np.linalg.norm(offset, axis=1) <= radius
            if near.sum() < 100:
                break
            shift = offset[near].mean(axis=0)
            centre, offset = centre + shift, self._wrapped(offset - shift)
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
    return ",".join(f"{x:.6g}" for x in position)


def _count(path: Path) -> int:
    with opened(path) as file:
        if member(file, "PartType0") is not None:
            _coordinates(file)
        return cells_in(file)


def _coordinates(file: h5py.File) -> h5py.Dataset:
    found = numbers(file, COORDINATES)
    if found is None or len(found.shape) != 2 or found.shape[1] != 3:
        shape = "missing" if found is None else f"of shape {found.shape}"
        raise DataError(f"{file.filename}: {COORDINATES} is {shape}; it should be (cells, 3)")
    return found


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = numbers(file, f"PartType0/{name}")
    if found is None:
        raise DataError(f"{file.filename} lacks PartType0/{name}, which other parts of the snapshot hold")
    return found


def _rows(dataset: h5py.Dataset, rows: slice) -> NDArray:
    try:
        return dataset[rows]
    except (OSError, RuntimeError) as error:  # a damaged chunk, a compression that is not installed
        what = f"{dataset.file.filename}: {dataset.name} cannot be read: {one_line(error)}"
        raise DataError(what, "copy the file again; if a compression filter is missing, use h5repack") from None


def _sample(path: Path, rows: int = 1024) -> NDArray[np.float64]:
    """Positions of the first, middle and last cells of a file."""
    with opened(path) as file:
        all_rows = _coordinates(file)
        starts = sorted({0, max(0, len(all_rows) // 2 - rows // 2), max(0, len(all_rows) - rows)})
        return np.concatenate([_rows(all_rows, slice(start, start + rows)) for start in starts]).astype(np.float64)


def _box(file: h5py.File, sample: NDArray) -> Vector | None:
    """BoxSize, if the coordinates are in a box that starts at zero."""
    value = next((v for g in groups(file) if (v := attribute(g, "BoxSize")) is not None), 0.0)
    try:
        size = np.broadcast_to(np.ravel(value)[:3], 3).astype(float)
    except ValueError:
        what = f"{file.filename}: BoxSize is {value!r}, not one number or three"
        raise DataError(what, "give --centre x,y,z") from None
    finite = sample[np.isfinite(sample).all(axis=1)]
    outside = (finite < -0.01 * size).any() or (finite > 1.01 * size).any()  # cells may have drifted out by a little
    if outside or not (size > 0).all() or not np.isfinite(size).all():
        return None
    return tuple(float(s) for s in size)  # type: ignore[return-value]


def _centre(chosen: str, box: Vector | None, sample: NDArray, where: str) -> Vector:
    """The centre in the file's unit of length; `mass` is computed later. Raises DataError if `auto` is ambiguous."""
    if chosen == "origin" or chosen == "mass":
        return (0.0, 0.0, 0.0)
    if chosen in ("auto", "box"):
        if box is not None:
            return (box[0] / 2, box[1] / 2, box[2] / 2)
        around_zero = (np.nanmin(sample, axis=0) < 0).all() and (np.nanmax(sample, axis=0) > 0).all()
        if chosen == "auto" and around_zero:
            return (0.0, 0.0, 0.0)
        beyond = "" if chosen == "box" else ", nor around zero"
        what = f"{where}: coordinates are not in a box from 0 to BoxSize{beyond}"
        raise DataError(what, "set the centre: --centre x,y,z, or --centre mass")
    return vector(chosen, "centre", "auto, box, origin, mass")


def _circular_mean(points: NDArray, box: NDArray) -> NDArray:
    angle = 2.0 * np.pi * points / box
    return np.arctan2(np.sin(angle).mean(axis=0), np.cos(angle).mean(axis=0)) / (2.0 * np.pi) * box % box
