"""Snapshots of AREPO and of codes that write alike (GADGET, GIZMO, EAGLE, SWIFT): HDF5 in, gas in inner units out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig, vector
from iris_cli.errors import DataError
from iris_cli.snapshots.field_sources import Chooser, Supplies
from iris_cli.snapshots.files import SnapshotFiles, cells_in, cells_promised
from iris_cli.snapshots.gas import (
    NOT_NEGATIVE,
    POSITIVE,
    Gas,
    check_abundances,
    estimated_masses,
    first_complaint,
    good_cells,
)
from iris_cli.snapshots.hdf5 import attribute, member, numbers, one_line, opened
from iris_cli.snapshots.units import LENGTH, groups, read_units

COORDINATES = "PartType0/Coordinates"
#: Rows that are read at once.
_ROWS = 1 << 20
#: Bytes that a cell takes in memory: read, computed, cut to a cone, in a search tree.
BYTES_PER_CELL = 320
_SMALLEST_SPHERE_PC = 250.0

_FLOORS = {"density": POSITIVE, "temperature": POSITIVE, "dust": NOT_NEGATIVE}

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot's headers say; nothing but a few rows has been read.

    `centre` is in the file's unit of length, `box` too (None where coordinates are not confined to one); `digest` is a
    fingerprint of the cells that does not depend on where the file lies.
    """

    files: SnapshotFiles
    cells: int
    digest: str
    pc_per_file: float
    box: Vector | None
    centre: Vector
    h: float
    a: float
    supplies: Supplies

    @classmethod
    def open(cls, files: SnapshotFiles, config: IngestConfig) -> Snapshot:
        """DataError when the files are no snapshot, contradict themselves, or lack a field that nobody supplies."""
        counts = [_count(path) for path in files.parts]
        first = next((path for path, count in zip(files.parts, counts, strict=True) if count), None)
        if first is None:
            raise DataError(
                f"{files.parts[0]} holds no gas: no cells in {COORDINATES}", "is it a snapshot with PartType0?"
            )
        with opened(first) as file:
            promised = cells_promised(file)
            if promised is not None and promised != sum(counts):
                raise DataError(
                    f"{first} promises {promised} gas cells in all; {len(counts)} files hold {sum(counts)}",
                    "name the snapshot with all its parts",
                )
            units = read_units(file, config)
            pc_per_file = units.inner_per_file(_coordinates(file), LENGTH)
            sample = np.concatenate([_sample(path) for path, count in zip(files.parts, counts, strict=True) if count])
            box = _box(file, sample)
            supplies = Chooser(file, units, config).choose()
        centre = _centre(config.centre, box, sample, str(first))
        digest = xxhash.xxh3_64_hexdigest(np.ascontiguousarray(sample, "<f8").tobytes() + str(sum(counts)).encode())
        made = cls(files, sum(counts), digest, pc_per_file, box, centre, units.h, units.a, supplies)
        return replace(made, centre=made.centre_of_gas()) if config.centre == "mass" else made

    @property
    def where(self) -> str:
        return str(self.files.parts[0])

    def offsets_pc(self, coordinates: NDArray) -> NDArray[np.float64]:
        """(N, 3) from the centre, the short way round where the box is periodic."""
        offset = coordinates.astype(np.float64) - self.centre
        if self.box is not None:
            offset -= np.multiply(self.box, np.rint(offset / self.box))
        return offset * self.pc_per_file

    def read(self, radius_pc: float, config: IngestConfig, most_cells: int) -> tuple[Gas, tuple[str, ...]]:
        """The gas within `radius_pc` of the centre, and words of caution.

        DataError on numbers that cannot be true, when nothing is there, or on more than `most_cells` cells.
        """
        pieces: list[tuple[NDArray, dict[str, NDArray]]] = []
        held = 0
        for file, rows in self._slabs():
            position = self.offsets_pc(_rows(numbers(file, COORDINATES), rows))
            inside = ~((position**2).sum(axis=1) > radius_pc**2)  # keeps NaN, to be complained about
            if inside.any():
                pieces.append((position[inside], self._raw(file, rows, inside)))
                held += int(inside.sum())
            if held > most_cells:
                raise DataError(
                    f"{self.where}: more than {most_cells:,} cells lie within {radius_pc:.0f} pc, too "
                    "many for the memory",
                    "give more --memory, or fewer --workers",
                )
        if not pieces:
            raise DataError(
                f"{self.where}: no gas within {radius_pc:.0f} pc of the centre {words(self.centre)}; "
                f"the gas lies around {words(self.centre_of_gas())}",
                "set --centre",
            )
        return self._gas(pieces, config)

    def _slabs(self) -> Iterator[tuple[h5py.File, slice]]:
        for path in self.files.parts:
            with opened(path) as file:
                for start in range(0, cells_in(file), _ROWS):
                    yield file, slice(start, start + _ROWS)

    def _raw(self, file: h5py.File, rows: slice, inside: NDArray[np.bool_]) -> dict[str, NDArray]:
        read = {name: _rows(_dataset(file, name), rows)[inside] for name in {c.dataset for c in self.supplies.columns}}
        return {
            c.label: (read[c.dataset] if c.column is None else read[c.dataset][:, c.column]) * c.inner_per_file
            for c in self.supplies.columns
        }

    def _gas(
        self, pieces: list[tuple[NDArray, dict[str, NDArray]]], config: IngestConfig
    ) -> tuple[Gas, tuple[str, ...]]:
        position = np.concatenate([piece[0] for piece in pieces])
        raw = {label: np.concatenate([piece[1][label] for piece in pieces]) for label in pieces[0][1]}
        position, raw = self._sound(position, raw, config)
        made = self.supplies.compute(raw, position)
        cautions = check_abundances(made["x_H2"], made["x_H_plus"], made["x_CO"], self.where)
        weight = (
            raw[self.supplies.weight.label] if self.supplies.weight else estimated_masses(position, made["density"])
        )
        single = {name: values.astype(np.float32) for name, values in made.items() if name != "position"}
        gas = Gas(
            position,
            single["velocity"],
            single["density"],
            single["temperature"],
            single["x_H2"].clip(0.0, 0.5),
            single["x_CO"].clip(0.0),
            single["dust"],
            weight.astype(np.float32),
        )
        return gas, (*self.supplies.cautions, *cautions)

    def _sound(
        self, position: NDArray, raw: dict[str, NDArray], config: IngestConfig
    ) -> tuple[NDArray, dict[str, NDArray]]:
        """The cells whose numbers can be true. DataError unless they all are, or the rest may be left out."""
        columns = {"Coordinates": position, **raw}
        floors = {
            c.label: _FLOORS[name] for name, supply in self.supplies.fields if name in _FLOORS for c in supply.columns
        }
        complaint = first_complaint(columns, floors)
        if not complaint:
            return position, raw
        if not config.drop_bad_cells:
            raise DataError(
                f"{self.where}: {complaint}", "--drop-bad-cells leaves those out; their neighbours fill the gap"
            )
        good = good_cells(columns, floors)
        if not good.any():
            raise DataError(f"{self.where}: {complaint}; no cell is left")
        return position[good], {label: column[good] for label, column in raw.items()}

    def centre_of_gas(self) -> Vector:
        """Where most cells are, in the file's unit of length: spheres that shrink around their mean place.

        They shrink to 250 pc and no further: a smaller one would end in a cloud.
        """
        step = max(1, self.cells // 2_000_000)
        found = np.concatenate([_rows(numbers(f, COORDINATES), rows)[::step] for f, rows in self._slabs()]).astype(
            float
        )
        found = found[np.isfinite(found).all(axis=1)]
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
        """For the data set's index."""
        return {
            "name": self.files.name,
            "files": [path.name for path in self.files.parts],
            "cells": self.cells,
            "digest": self.digest,
            "pc_per_length_unit": self.pc_per_file,
            "h": self.h,
            "a": self.a,
            "centre": list(self.centre),
            "fields": self.supplies.describe(),
        }


def words(place: Vector) -> str:
    """As one types it after --centre."""
    return ",".join(f"{x:.6g}" for x in place)


def _count(path: object) -> int:
    with opened(path) as file:  # type: ignore[arg-type]
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
        raise DataError(
            f"{dataset.file.filename}: {dataset.name} cannot be read: {one_line(error)}",
            "copy the file again; for a missing filter, h5repack it",
        ) from None


def _sample(path: object, rows: int = 1024) -> NDArray[np.float64]:
    """Positions of the first, middle and last cells of a file."""
    with opened(path) as file:  # type: ignore[arg-type]
        all_rows = _coordinates(file)
        starts = sorted({0, max(0, len(all_rows) // 2 - rows // 2), max(0, len(all_rows) - rows)})
        return np.concatenate([_rows(all_rows, slice(start, start + rows)) for start in starts]).astype(np.float64)


def _box(file: h5py.File, sample: NDArray) -> Vector | None:
    """BoxSize, if the coordinates lie in a box that begins at zero."""
    said = next((v for g in groups(file) if (v := attribute(g, "BoxSize")) is not None), 0.0)
    try:
        size = np.broadcast_to(np.ravel(said)[:3], 3).astype(float)
    except ValueError:
        raise DataError(
            f"{file.filename}: BoxSize is {said!r}, not one number or three", "give --centre x,y,z"
        ) from None
    if not (size > 0).all() or not np.isfinite(size).all():
        return None
    finite = sample[np.isfinite(sample).all(axis=1)]
    if (finite < -0.01 * size).any() or (finite > 1.01 * size).any():  # cells may have drifted out by a little
        return None
    return tuple(float(s) for s in size)  # type: ignore[return-value]


def _centre(chosen: str, box: Vector | None, sample: NDArray, where: str) -> Vector:
    """In the file's unit of length; `mass` is found later. DataError where `auto` would be a guess."""
    if chosen == "origin" or chosen == "mass":
        return (0.0, 0.0, 0.0)
    if chosen in ("auto", "box"):
        if box is not None:
            return (box[0] / 2, box[1] / 2, box[2] / 2)
        around_zero = (np.nanmin(sample, axis=0) < 0).all() and (np.nanmax(sample, axis=0) > 0).all()
        if chosen == "auto" and around_zero:
            return (0.0, 0.0, 0.0)
        beyond = "" if chosen == "box" else ", nor around zero"
        raise DataError(
            f"{where}: coordinates do not lie in a box from 0 to BoxSize{beyond}",
            "say where the centre is: --centre x,y,z, or --centre mass",
        )
    return vector(chosen, "centre", "auto, box, origin, mass")


def _circular_mean(points: NDArray, box: NDArray) -> NDArray:
    angle = 2.0 * np.pi * points / box
    return np.arctan2(np.sin(angle).mean(axis=0), np.cos(angle).mean(axis=0)) / (2.0 * np.pi) * box % box
