"""The source of each field of the gas: the file, the user, or a formula. Chosen before any data are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig
from iris_cli.errors import DataError
from iris_cli.snapshots.arrays import ArraySet, GasFile, gas
from iris_cli.snapshots.codes import ARRAYS, DATASETS
from iris_cli.snapshots.gas import temperature_K
from iris_cli.snapshots.units import SnapshotUnits
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


@dataclass(frozen=True)
class FieldSource:
    """A field as a formula of columns of the file and of fields that are already known. Can be pickled."""

    columns: tuple[Column, ...]
    formula: Callable[[Sequence[NDArray], Arrays], NDArray]
    description: str


def stored(column: Column) -> FieldSource:
    return FieldSource((column,), _product, column.label)


def constant(value: float, parts: tuple[int, ...] = ()) -> FieldSource:
    """One number for all cells, and for all `parts` of a vector."""
    return FieldSource((), partial(_constant, value, parts), f"{value:g}")


def _constant(value: float, parts: tuple[int, ...], raw: Sequence[NDArray], known: Arrays) -> NDArray:
    return np.full((len(known["position"]), *parts), value, np.float32)


def _product(raw: Sequence[NDArray], known: Arrays) -> NDArray:
    return np.prod(raw, axis=0)


def _mass_per_volume(raw: Sequence[NDArray], known: Arrays) -> NDArray:
    return raw[0] / raw[1]


def _from_energy(raw: Sequence[NDArray], known: Arrays) -> NDArray:
    return temperature_K(raw[0], known["x_H2"], known["x_H_plus"])


def _from_density(which: int, raw: Sequence[NDArray], known: Arrays) -> NDArray:
    """One of the four results of the relation that the mock galaxies use for temperatures and molecules."""
    n_H_cm3 = np.maximum(known["density"], 1e-30) / DENSITY_PER_N_H_CM3
    return temperature_and_molecules(n_H_cm3)[which]


@dataclass(frozen=True)
class FieldSources:
    """The source of each field, in the order of their computation."""

    fields: tuple[tuple[str, FieldSource], ...]
    #: Columns whose product is proportional to the mass of a cell; none if that has to be estimated.
    weight: tuple[Column, ...]
    warnings: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns to read, each once."""
        wanted = [column for _, source in self.fields for column in source.columns]
        return tuple(dict.fromkeys([*wanted, *self.weight]))

    def compute(self, raw: Arrays, position: NDArray) -> dict[str, NDArray]:
        known: dict[str, NDArray] = {"position": position}
        for name, source in self.fields:
            known[name] = source.formula([raw[column.label] for column in source.columns], known)
        return known


@dataclass
class SourceChooser:
    """Chooses the sources from one file of a snapshot. DataError names a missing field and the option to set it."""

    file: GasFile
    units: SnapshotUnits
    config: IngestConfig
    warnings: list[str] = field(default_factory=list)

    def choose(self) -> FieldSources:
        density = self.density()
        x_H2 = self.abundance("H2", self.config.x_H2, "--x-h2 0.5", 1, self.config.h2_factor)
        temperature, x_H_plus = self.temperature()
        x_CO = self.abundance("CO", self.config.x_CO, "--x-co 1.4e-4", 2)
        gas = (("density", density), ("x_H2", x_H2), ("x_H_plus", x_H_plus), ("x_CO", x_CO))
        fields = (*gas, ("temperature", temperature), ("dust", self.dust()), ("velocity", self.velocity()))
        return FieldSources(fields, self.weight(), tuple(self.warnings))

    def weight(self) -> tuple[Column, ...]:
        if mass := self.column("mass"):
            return (mass,)
        density, volume = self.column("density"), self.column("volume")
        if density is None or not isinstance(self.file, ArraySet):
            return ()
        if self.file.edges:
            return (density,)  # the cells are equal
        width = self.column("width")
        return (density, volume) if volume else (density, width, width, width) if width else ()

    @property
    def cells(self) -> int:
        return len(gas(self.file, "Coordinates"))

    def column(self, quantity: str) -> Column | None:
        """The dataset of a quantity under the first name that the file has, or None."""
        for name in DATASETS[quantity]:
            dataset = gas(self.file, name)
            if dataset is None:
                continue
            wanted = (self.cells, 3) if quantity == "velocity" else (self.cells,)
            if dataset.shape != wanted:
                raise DataError(f"{self.file.filename}: {dataset.name} has shape {dataset.shape}, not {wanted}")
            return Column(name, self.units.inner_per_file(dataset, quantity))
        return None

    def abundance_column(self, species: str) -> Column | None:
        """The column of ChemicalAbundances that the configuration names, or None."""
        name = DATASETS["abundances"][0]
        dataset = gas(self.file, name)
        if dataset is None or species not in self.config.columns:
            return self.column(species)
        place = self.config.columns.index(species)
        if len(dataset.shape) != 2 or len(dataset) != self.cells or place >= dataset.shape[1]:
            wanted = f"{species} should be column {place + 1} of {self.cells} cells"
            what = f"{self.file.filename}: {dataset.name} has shape {dataset.shape}; {wanted}"
            raise DataError(what, "--columns names them in order")
        return Column(name, self.units.inner_per_file(dataset, species), place)

    def density(self) -> FieldSource:
        if column := self.column("density"):
            return stored(column)
        mass, volume = self.column("mass"), self.column("volume")
        if mass and volume:
            return FieldSource((mass, volume), _mass_per_volume, f"{mass.label} / {volume.label}")
        raise self.missing("density", "a density cannot be set by an option; Masses and Volume would also do")

    def velocity(self) -> FieldSource:
        if self.config.zero_velocity:
            return constant(0.0, (3,))
        if column := self.column("velocity"):
            return stored(column)
        raise self.missing("velocity", "--zero-velocity sets the gas at rest")

    def dust(self) -> FieldSource:
        if self.config.dust_temperature_K is not None:
            return constant(self.config.dust_temperature_K)
        if column := self.column("dust"):
            return stored(column)
        return self.formula(3, "dust", "set it with --dust-temperature 20 or --formulas cmz")

    def temperature(self) -> tuple[FieldSource, FieldSource]:
        """The sources of the temperature and of x_H+, which only the formula from the energy needs."""
        no_ions = constant(0.0)
        if self.config.temperature_K is not None:
            return constant(self.config.temperature_K), no_ions
        if column := self.column("temperature"):
            return stored(column), no_ions
        if column := self.column("energy"):
            return FieldSource((column,), _from_energy, f"from {column.label}"), self.ions()
        quantity = "temperature" if isinstance(self.file, ArraySet) else "energy"
        return self.formula(0, quantity, "set a temperature with --temperature 50 or --formulas cmz"), no_ions

    def ions(self) -> FieldSource:
        if self.config.x_H_plus is not None:
            return constant(self.config.x_H_plus)
        if column := self.abundance_column("H+") or self.column("ions") or self.column("electrons"):
            return stored(column)
        self.warnings.append("no abundance of H+: 0 is used for the computation of temperatures (--x-h-plus sets it)")
        return constant(0.0)

    def abundance(self, species: str, given: float | None, option: str, which: int, factor: float = 1.0) -> FieldSource:
        if given is not None:
            return constant(given)
        if column := self.abundance_column(species):
            return stored(replace(column, inner_per_file=factor * column.inner_per_file))
        if species == "H2" and (molecular := self.molecular()):
            return molecular
        hint = f"set {species} with {option} or --formulas cmz; --columns names the columns in order"
        quantity = species if isinstance(self.file, ArraySet) else "abundances"
        return self.formula(which, quantity, hint, f" for {species}")

    def molecular(self) -> FieldSource | None:
        """x_H2 of GIZMO, whose MolecularMassFraction is the share of neutral hydrogen that is in molecules.

        NeutralHydrogenAbundance is the share of H nuclei in neutral species (documentation of STARFORGE's snapshots).
        """
        molecular, neutral = self.column("molecular"), self.column("neutral")
        if molecular is None:
            return None
        half = replace(molecular, inner_per_file=0.5 * molecular.inner_per_file)
        columns = (half, neutral) if neutral else (half,)
        return FieldSource(columns, _product, f"0.5 x {' x '.join(column.label for column in columns)}")

    def formula(self, which: int, quantity: str, hint: str, purpose: str = "") -> FieldSource:
        """The formula for a field without another source. Raises DataError unless the configuration allows it."""
        if self.config.formulas == "cmz":
            return FieldSource((), partial(_from_density, which), "from the density (formulas cmz)")
        raise self.missing(quantity, hint, purpose)

    def missing(self, quantity: str, hint: str, purpose: str = "") -> DataError:
        if isinstance(self.file, ArraySet):
            choices = [", ".join(names) for name in DATASETS[quantity] for names in ARRAYS.get(name, ())]
            return DataError(f"{self.file.filename} has no array {' or '.join(choices)}{purpose}", hint)
        names = " or ".join(DATASETS[quantity])
        return DataError(f"{self.file.filename} has no PartType0/{names}{purpose}", hint)
