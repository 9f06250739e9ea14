"""The source of each field of the gas: the file, the user, or a formula. Chosen before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig
from iris_cli.errors import DataError
from iris_cli.snapshots.codes import COORDINATES, DATASETS
from iris_cli.snapshots.gas import temperature_K
from iris_cli.snapshots.hdf5 import numbers
from iris_cli.snapshots.units import (
    DENSITY,
    ENERGY,
    MASS,
    PURE,
    TEMPERATURE,
    VELOCITY,
    VOLUME,
    Kind,
    SnapshotUnits,
)
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, temperature_and_molecules

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Column:
    """A dataset of PartType0, or one of its columns, and the factor to inner units."""

    dataset: str
    inner_per_file: float
    column: int | None = None

    @property
    def label(self) -> str:
        return self.dataset if self.column is None else f"{self.dataset} column {self.column + 1}"


class FieldSource(Protocol):
    """Computes a field from the columns that it needs (`raw`) and the fields that are already known (`known`)."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def values(self, raw: Arrays, known: Arrays) -> NDArray: ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class Stored:
    """A column of the file."""

    column: Column

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.column,)

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return raw[self.column.label]

    def describe(self) -> str:
        return self.column.label


@dataclass(frozen=True)
class Constant:
    """One number for all cells, and for all `parts` of a vector."""

    value: float
    parts: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return np.full((len(known["position"]), *self.parts), self.value, np.float32)

    def describe(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class MassPerVolume:
    """A density from masses and volumes."""

    columns: tuple[Column, ...]

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        mass, volume = (raw[column.label] for column in self.columns)
        return mass / volume

    def describe(self) -> str:
        return " / ".join(column.label for column in self.columns)


@dataclass(frozen=True)
class FromEnergy:
    """A temperature from the internal energy."""

    columns: tuple[Column, ...]

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return temperature_K(raw[self.columns[0].label], known["x_H2"], known["x_H_plus"])

    def describe(self) -> str:
        return f"from {self.columns[0].label}"


@dataclass(frozen=True)
class FromDensity:
    """The relation that the mock galaxies use for temperatures and molecules; `which` of its four results."""

    which: int
    columns: tuple[Column, ...] = ()

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        n_H_cm3 = np.maximum(known["density"], 1e-30) / DENSITY_PER_N_H_CM3
        return temperature_and_molecules(n_H_cm3)[self.which]

    def describe(self) -> str:
        return "from the density (formulas cmz)"


@dataclass(frozen=True)
class FieldSources:
    """The source of each field, in the order of their computation."""

    fields: tuple[tuple[str, FieldSource], ...]
    weight: Column | None
    warnings: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns to read, each once."""
        wanted = [column for _, source in self.fields for column in source.columns]
        return tuple(dict.fromkeys(wanted + ([self.weight] if self.weight else [])))

    def compute(self, raw: Arrays, position: NDArray) -> dict[str, NDArray]:
        known: dict[str, NDArray] = {"position": position}
        for name, source in self.fields:
            known[name] = source.values(raw, known)
        return known

    def describe(self) -> dict[str, str]:
        return {name: source.describe() for name, source in self.fields}


@dataclass
class SourceChooser:
    """Chooses the sources from one file of a snapshot. DataError names a missing field and the option to set it."""

    file: h5py.File
    units: SnapshotUnits
    config: IngestConfig
    warnings: list[str] = field(default_factory=list)

    def choose(self) -> FieldSources:
        density = self.density()
        x_H2 = self.abundance("H2", self.config.x_H2, "--x-h2 0.5", 1, self.config.h2_factor)
        temperature, x_H_plus = self.temperature(x_H2)
        fields = (
            ("density", density),
            ("x_H2", x_H2),
            ("x_H_plus", x_H_plus),
            ("x_CO", self.abundance("CO", self.config.x_CO, "--x-co 1.4e-4", 2)),
            ("temperature", temperature),
            ("dust", self.dust()),
            ("velocity", self.velocity()),
        )
        return FieldSources(fields, self.stored("mass", MASS), tuple(self.warnings))

    def stored(self, quantity: str, kind: Kind, width: int | None = None) -> Column | None:
        for name in DATASETS[quantity]:
            dataset = numbers(self.file, f"PartType0/{name}")
            if dataset is None:
                continue
            wanted = (self.cells,) if width is None else (self.cells, width)
            if dataset.shape != wanted:
                raise DataError(f"{self.file.filename}: PartType0/{name} has shape {dataset.shape}, not {wanted}")
            return Column(name, self.units.inner_per_file(dataset, kind))
        return None

    @property
    def cells(self) -> int:
        return len(numbers(self.file, COORDINATES))

    def density(self) -> FieldSource:
        if column := self.stored("density", DENSITY):
            return Stored(column)
        mass, volume = self.stored("mass", MASS), self.stored("volume", VOLUME)
        if mass and volume:
            return MassPerVolume((mass, volume))
        raise self.missing("density", "a density cannot be set by an option; Masses and Volume would also do")

    def velocity(self) -> FieldSource:
        if self.config.zero_velocity:
            return Constant(0.0, (3,))
        if column := self.stored("velocity", VELOCITY, 3):
            return Stored(column)
        raise self.missing("velocity", "--zero-velocity sets the gas at rest")

    def dust(self) -> FieldSource:
        if self.config.dust_temperature_K is not None:
            return Constant(self.config.dust_temperature_K)
        if column := self.stored("dust", TEMPERATURE):
            return Stored(column)
        return self.formula(3, "dust", "set it with --dust-temperature 20 or --formulas cmz")

    def temperature(self, x_H2: FieldSource) -> tuple[FieldSource, FieldSource]:
        """The sources of the temperature and of x_H+, which only the formula from the energy needs."""
        no_ions = Constant(0.0)
        if self.config.temperature_K is not None:
            return Constant(self.config.temperature_K), no_ions
        if column := self.stored("temperature", TEMPERATURE):
            return Stored(column), no_ions
        if column := self.stored("energy", ENERGY):
            return FromEnergy((column,)), self.ions()
        return self.formula(0, "energy", "set a temperature with --temperature 50 or --formulas cmz"), no_ions

    def ions(self) -> FieldSource:
        if self.config.x_H_plus is not None:
            return Constant(self.config.x_H_plus)
        if column := self.column_of("H+"):
            return Stored(column)
        if column := self.stored("electrons", PURE):
            return Stored(column)
        self.warnings.append("no abundance of H+: 0 is used for the computation of temperatures (--x-h-plus sets it)")
        return Constant(0.0)

    def abundance(self, species: str, given: float | None, flag: str, which: int, factor: float = 1.0) -> FieldSource:
        if given is not None:
            return Constant(given)
        if column := self.column_of(species):
            return Stored(replace(column, inner_per_file=factor * column.inner_per_file))
        hint = f"set {species} with {flag} or --formulas cmz; --columns names the columns in order"
        return self.formula(which, "abundances", hint, f" for {species}")

    def column_of(self, species: str) -> Column | None:
        """The column of ChemicalAbundances that the configuration names, or None."""
        dataset = numbers(self.file, f"PartType0/{DATASETS['abundances'][0]}")
        if dataset is None or species not in self.config.columns:
            return None
        place = self.config.columns.index(species)
        if len(dataset.shape) != 2 or len(dataset) != self.cells or place >= dataset.shape[1]:
            raise DataError(
                f"{self.file.filename}: {dataset.name} has shape {dataset.shape}; {species} should be "
                f"column {place + 1} of {self.cells} cells",
                "--columns names them in order",
            )
        return Column(DATASETS["abundances"][0], self.units.inner_per_file(dataset, PURE), place)

    def formula(self, which: int, quantity: str, hint: str, purpose: str = "") -> FieldSource:
        """The formula for a field without another source. Raises DataError unless the configuration allows it."""
        if self.config.formulas == "cmz":
            return FromDensity(which)
        raise self.missing(quantity, hint, purpose)

    def missing(self, quantity: str, hint: str, purpose: str = "") -> DataError:
        names = " or ".join(DATASETS[quantity])
        return DataError(f"{self.file.filename} has no PartType0/{names}{purpose}", hint)
