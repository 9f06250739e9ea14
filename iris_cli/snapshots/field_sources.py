"""Where each field of the gas comes from: the file, the user, or a formula. Decided before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig
from iris_cli.errors import DataError
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

#: What the quantities are called by different codes; the first name that a file has is taken.
NAMES: dict[str, tuple[str, ...]] = {
    "velocity": ("Velocities", "Velocity"),
    "density": ("Density", "Densities"),
    "mass": ("Masses", "Mass"),
    "volume": ("Volume", "Volumes"),
    "energy": ("InternalEnergy", "InternalEnergies"),
    "temperature": ("Temperature", "Temperatures", "GasTemperature"),
    "abundances": ("ChemicalAbundances",),
    "electrons": ("ElectronAbundance",),
    "dust": ("DustTemperature", "Dust_Temperature", "DustTemperatures"),
}

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Column:
    """A dataset of PartType0, or one column of it, and the factor to inner units."""

    dataset: str
    inner_per_file: float
    column: int | None = None

    @property
    def label(self) -> str:
        return self.dataset if self.column is None else f"{self.dataset} column {self.column + 1}"


class Supply(Protocol):
    """What a field is made of: columns to read, then their values and fields that are known already -> the field."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def values(self, raw: Arrays, known: Arrays) -> NDArray: ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class Stored:
    column: Column

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.column,)

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return raw[self.column.label]

    def describe(self) -> str:
        return self.column.label


@dataclass(frozen=True)
class Given:
    """A number for all cells; `parts` numbers for a vector."""

    value: float
    parts: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return np.full((len(known["position"]), *self.parts), self.value, np.float32)

    def describe(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class MassPerVolume:
    columns: tuple[Column, ...]

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        mass, volume = (raw[column.label] for column in self.columns)
        return mass / volume

    def describe(self) -> str:
        return " / ".join(column.label for column in self.columns)


@dataclass(frozen=True)
class FromEnergy:
    columns: tuple[Column, ...]

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        return temperature_K(raw[self.columns[0].label], known["x_H2"], known["x_H_plus"])

    def describe(self) -> str:
        return f"from {self.columns[0].label}"


@dataclass(frozen=True)
class FromDensity:
    """The relation by which the mock galaxies know temperatures and molecules; `which` of its four results."""

    which: int
    columns: tuple[Column, ...] = ()

    def values(self, raw: Arrays, known: Arrays) -> NDArray:
        n_H_cm3 = np.maximum(known["density"], 1e-30) / DENSITY_PER_N_H_CM3
        return temperature_and_molecules(n_H_cm3)[self.which]

    def describe(self) -> str:
        return "from the density (formulas cmz)"


@dataclass(frozen=True)
class Supplies:
    """A supply per field, in the order in which they are computed."""

    fields: tuple[tuple[str, Supply], ...]
    weight: Column | None
    cautions: tuple[str, ...] = field(default=())

    @property
    def columns(self) -> tuple[Column, ...]:
        """What must be read, each once."""
        wanted = [column for _, supply in self.fields for column in supply.columns]
        return tuple(dict.fromkeys(wanted + ([self.weight] if self.weight else [])))

    def compute(self, raw: Arrays, position: NDArray) -> dict[str, NDArray]:
        known: dict[str, NDArray] = {"position": position}
        for name, supply in self.fields:
            known[name] = supply.values(raw, known)
        return known

    def describe(self) -> dict[str, str]:
        return {name: supply.describe() for name, supply in self.fields}


@dataclass
class Chooser:
    """Looks into one file of a snapshot and decides. DataError names the field that is missing and the flag for it."""

    file: h5py.File
    units: SnapshotUnits
    config: IngestConfig
    cautions: list[str] = field(default_factory=list)

    def choose(self) -> Supplies:
        density = self.density()
        x_H2 = self.abundance("H2", self.config.x_H2, "--x-h2 0.5", 1, self.config.h2_factor)
        temperature, x_H_plus = self.temperature(x_H2)
        named = (
            ("density", density),
            ("x_H2", x_H2),
            ("x_H_plus", x_H_plus),
            ("x_CO", self.abundance("CO", self.config.x_CO, "--x-co 1.4e-4", 2)),
            ("temperature", temperature),
            ("dust", self.dust()),
            ("velocity", self.velocity()),
        )
        return Supplies(named, self.stored("mass", MASS), tuple(self.cautions))

    def stored(self, quantity: str, kind: Kind, width: int | None = None) -> Column | None:
        for name in NAMES[quantity]:
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
        return len(numbers(self.file, "PartType0/Coordinates"))

    def density(self) -> Supply:
        if column := self.stored("density", DENSITY):
            return Stored(column)
        mass, volume = self.stored("mass", MASS), self.stored("volume", VOLUME)
        if mass and volume:
            return MassPerVolume((mass, volume))
        raise self.lacking("density", "no flag can supply a density; Masses and Volume would do")

    def velocity(self) -> Supply:
        if self.config.zero_velocity:
            return Given(0.0, (3,))
        if column := self.stored("velocity", VELOCITY, 3):
            return Stored(column)
        raise self.lacking("velocity", "--zero-velocity takes gas at rest")

    def dust(self) -> Supply:
        if self.config.dust_temperature_K is not None:
            return Given(self.config.dust_temperature_K)
        if column := self.stored("dust", TEMPERATURE):
            return Stored(column)
        return self.formula(3) or self._raise("dust", "--dust-temperature 20, or --formulas cmz, supplies it")

    def temperature(self, x_H2: Supply) -> tuple[Supply, Supply]:
        """The temperature's supply and that of x_H+, which only the formula from the energy needs."""
        no_ions = Given(0.0)
        if self.config.temperature_K is not None:
            return Given(self.config.temperature_K), no_ions
        if column := self.stored("temperature", TEMPERATURE):
            return Stored(column), no_ions
        if column := self.stored("energy", ENERGY):
            return FromEnergy((column,)), self.ions()
        found = self.formula(0)
        return found or self._raise("energy", "--temperature 50, or --formulas cmz, supplies a temperature"), no_ions

    def ions(self) -> Supply:
        if self.config.x_H_plus is not None:
            return Given(self.config.x_H_plus)
        if column := self.column_of("H+"):
            return Stored(column)
        if column := self.stored("electrons", PURE):
            return Stored(column)
        self.cautions.append("no abundance of H+: taken as 0 where temperatures are computed (--x-h-plus sets it)")
        return Given(0.0)

    def abundance(self, species: str, given: float | None, flag: str, which: int, factor: float = 1.0) -> Supply:
        if given is not None:
            return Given(given)
        if column := self.column_of(species):
            return Stored(replace(column, inner_per_file=factor * column.inner_per_file))
        hint = f"{flag}, or --formulas cmz, supplies {species}; --columns names the columns in order"
        return self.formula(which) or self._raise("abundances", hint, f" for {species}")

    def column_of(self, species: str) -> Column | None:
        """A column of ChemicalAbundances, if the configuration names it and the file has so many."""
        dataset = numbers(self.file, f"PartType0/{NAMES['abundances'][0]}")
        if dataset is None or species not in self.config.columns:
            return None
        place = self.config.columns.index(species)
        if len(dataset.shape) != 2 or len(dataset) != self.cells or place >= dataset.shape[1]:
            raise DataError(
                f"{self.file.filename}: {dataset.name} has shape {dataset.shape}; {species} should be "
                f"column {place + 1} of {self.cells} cells",
                "--columns names them in order",
            )
        return Column(NAMES["abundances"][0], self.units.inner_per_file(dataset, PURE), place)

    def formula(self, which: int) -> Supply | None:
        return FromDensity(which) if self.config.formulas == "cmz" else None

    def lacking(self, quantity: str, hint: str, purpose: str = "") -> DataError:
        names = " or ".join(NAMES[quantity])
        return DataError(f"{self.file.filename} has no PartType0/{names}{purpose}", hint)

    def _raise(self, quantity: str, hint: str, purpose: str = "") -> Supply:
        raise self.lacking(quantity, hint, purpose)
