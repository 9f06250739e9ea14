"""Units of the numbers in a snapshot: cgs per code unit, factors of h and of the cosmic scale factor a.

Simulation codes write `value` for `value x unit x a^p x h^q`. The unit is in the attributes of a group such as Header
or Units, or in the attributes of each dataset together with p and q (`codes`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from iris_cli import units
from iris_cli.config.ingest import MAX_HUBBLE_PARAM, MAX_SCALE_FACTOR, MIN_HUBBLE_PARAM, MIN_SCALE_FACTOR, IngestConfig
from iris_cli.errors import DataError
from iris_cli.snapshots import codes
from iris_cli.snapshots.arrays import ArraySet, GasFile
from iris_cli.snapshots.hdf5 import attribute, member, number, one_line

_CM_PER_PC = 100.0 * units.M_PER_PC


@dataclass(frozen=True)
class Kind:
    """A physical quantity: powers of length, mass and velocity, the usual powers of a and h, and its inner unit."""

    length: int
    mass: int
    velocity: int
    a: float
    h: float
    inner_per_cgs: float
    cgs: str


_LENGTH = Kind(1, 0, 0, 1.0, -1.0, 1.0 / _CM_PER_PC, "cm")
_TEMPERATURE = Kind(0, 0, 0, 0.0, 0.0, 1.0, "K")
_PURE = Kind(0, 0, 0, 0.0, 0.0, 1.0, "")
#: Of the quantities that are not pure numbers.
_KINDS = {
    "position": _LENGTH,
    "width": _LENGTH,
    "velocity": Kind(0, 0, 1, 0.5, 0.0, 1e-5, "cm / s"),
    "density": Kind(-3, 1, 0, -3.0, 2.0, 1e3 * units.INNER.density_per_SI, "g / cm3"),
    "mass": Kind(0, 1, 0, 0.0, -1.0, 1e-3 * units.INNER.mass_per_SI, "g"),
    "volume": Kind(3, 0, 0, 3.0, -3.0, _CM_PER_PC**-3, "cm3"),
    "energy": Kind(0, 0, 2, 0.0, 0.0, 1e-10, "cm2 / s2"),  # per mass; its inner unit is (km/s)^2
    "temperature": _TEMPERATURE,
    "dust": _TEMPERATURE,
}

_FLAGS = "--unit-length-cm, --unit-mass-g, --unit-velocity-cm-s"
_LONGEST_UNIT = 80
_SCALE_FLAG = "--cosmic-scale-factor"


@dataclass(frozen=True)
class SnapshotUnits:
    """cgs per code unit (None if unknown), h, a. With `given_by_user`, the units of datasets are ignored."""

    where: str
    length_cm: float | None
    mass_g: float | None
    velocity_cm_s: float | None
    h: float
    a: float
    given_by_user: bool

    def inner_per_file(self, dataset: h5py.Dataset, quantity: str) -> float:
        """The factor from a dataset's values to inner units. Raises DataError for unknown or contradictory units."""
        kind = _KINDS.get(quantity, _PURE)
        on_dataset, power_a, power_h = (None, None, None) if self.given_by_user else _dataset_unit(dataset, kind)
        from_header = self._from_header(kind)
        if on_dataset and from_header and not abs(on_dataset - from_header) <= 1e-2 * from_header:
            both = f"{on_dataset:g} {kind.cgs} by its attributes, {from_header:g} by the header"
            raise DataError(f"{self.where}: the unit of {dataset.name} is {both}", f"set the units: {_FLAGS}")
        unit = on_dataset or from_header
        if unit is None:
            missing = "no UnitLength_in_cm and the like in Header, Parameters or Units, no to_cgs"
            if isinstance(dataset.file, ArraySet):
                missing = f"its attribute units is '{dataset.attrs['units']}', not a unit such as '{kind.cgs}'"
            raise DataError(f"{self.where} does not say in which unit {dataset.name} is: {missing}", f"give {_FLAGS}")
        p, q = (kind.a if power_a is None else power_a), (kind.h if power_h is None else power_h)
        with np.errstate(all="ignore"):
            factor = float(unit * np.float64(self.a) ** p * np.float64(self.h) ** q * kind.inner_per_cgs)
        if not 0.0 < factor < float("inf"):
            parts = f"{unit:g} {kind.cgs} x a^{p:g} x h^{q:g} with a = {self.a:g}, h = {self.h:g}"
            raise DataError(f"{self.where}: the unit of {dataset.name} is {parts}", f"set the units: {_FLAGS}")
        return factor

    def _from_header(self, kind: Kind) -> float | None:
        product = np.float64(1.0)
        units_ = (self.length_cm, self.mass_g, self.velocity_cm_s)
        for unit, power in zip(units_, (kind.length, kind.mass, kind.velocity), strict=True):
            if power:
                if unit is None:
                    return None
                with np.errstate(all="ignore"):  # inner_per_file checks the result
                    product *= np.float64(unit) ** power
        return float(product)


def read_units(file: GasFile, config: IngestConfig) -> SnapshotUnits:
    """The units of the header, unless the configuration overrides them. Raises DataError for contradictions."""
    if isinstance(file, ArraySet) and (config.hubble_param or config.cosmic_scale_factor):
        what = f"{file.filename} is a set of arrays, which have physical units without h and a"
        raise DataError(what, "leave out --hubble-param and --cosmic-scale-factor")
    length = config.unit_length_cm or _unit(file, codes.LENGTH_UNIT, "--unit-length-cm")
    mass = config.unit_mass_g or _unit(file, codes.MASS_UNIT, "--unit-mass-g")
    velocity = config.unit_velocity_cm_s or _unit(file, codes.VELOCITY_UNIT, "--unit-velocity-cm-s")
    if velocity is None and length and (time := _unit(file, codes.TIME_UNIT, "--unit-velocity-cm-s")):
        velocity = length / time
    given = any(u is not None for u in (config.unit_length_cm, config.unit_mass_g, config.unit_velocity_cm_s))
    h = config.hubble_param or hubble_param(file)
    a = config.cosmic_scale_factor or scale_factor(file)
    return SnapshotUnits(file.filename, length, mass, velocity, h, a, given)


def groups(file: GasFile) -> list[Any]:
    if isinstance(file, ArraySet):
        return []
    found = (member(file, name) for name in codes.GROUPS)
    return [group for group in found if group is not None]


def parameter(file: GasFile, name: str) -> float | None:
    """A parameter of the header, or None. Raises DataError when two groups give different values."""
    return _agreed(file, (name,), f"set it: {'--hubble-param' if name == 'HubbleParam' else _SCALE_FLAG}")


def _unit(file: GasFile, names: Sequence[str], flag: str) -> float | None:
    """A unit in cgs, or None. Raises DataError for impossible values and for groups that disagree."""
    value = _agreed(file, names, f"set it: {flag}")
    if value is not None and not value > 0.0:
        raise DataError(f"{file.filename}: {names[0]} is {value:g}", f"set it: {flag}")
    return value


def _agreed(file: GasFile, names: Sequence[str], hint: str) -> float | None:
    """The number that the groups give under one of these names."""
    numbers = ((group.name, number(group, name, hint)) for group in groups(file) for name in names)
    found = [(group, value) for group, value in numbers if value is not None]
    for group, value in found:
        if not abs(value - found[0][1]) <= 1e-3 * abs(found[0][1]) + 1e-9:
            both = f"{found[0][1]:g} in {found[0][0]} and {value:g} in {group}"
            raise DataError(f"{file.filename}: {names[0]} is {both}", hint)
    return found[0][1] if found else None


def hubble_param(file: GasFile) -> float:
    """h = H0 / (100 km/s/Mpc); 1 for a run without h, which has 0 or none. Raises DataError for an impossible one."""
    h = parameter(file, "HubbleParam") or 1.0
    if not MIN_HUBBLE_PARAM <= h <= MAX_HUBBLE_PARAM:
        meant = f" {h / 100:g}" if MIN_HUBBLE_PARAM <= h / 100 <= MAX_HUBBLE_PARAM else ""
        what = f"HubbleParam is {h:g}; H0/(100 km/s/Mpc) is between {MIN_HUBBLE_PARAM:g} and {MAX_HUBBLE_PARAM:g}"
        raise DataError(f"{file.filename}: {what}", f"set it: --hubble-param{meant}")
    return h


def scale_factor(file: GasFile) -> float:
    """The cosmic scale factor a = 1/(1 + z), 1 for a run that is not cosmological. Raises DataError if ambiguous."""
    found = {name: value for name in codes.SCALE_FACTOR if (value := parameter(file, name))}
    time, redshift, comoving = (parameter(file, n) for n in ("Time", "Redshift", "ComovingIntegrationOn"))
    if redshift is not None:
        found[f"1/(1 + Redshift) with Redshift = {redshift:g}"] = 1.0 / (1.0 + redshift) if redshift > -1.0 else 0.0
    if comoving is not None and not comoving:
        found["1, as ComovingIntegrationOn is 0,"] = 1.0
    time_is_meant = comoving or (not found.keys() & set(codes.SCALE_FACTOR) and redshift)
    if time is not None and time_is_meant:
        found["Time"] = time
    for name, a in found.items():
        if not MIN_SCALE_FACTOR <= a <= MAX_SCALE_FACTOR:
            what = f"{name} is the cosmic scale factor, and it is {a:g}"
            raise DataError(f"{file.filename}: {what}", f"set it: {_SCALE_FLAG}")
    (first, a), *others = found.items() or [("", 1.0)]
    for name, other in others:
        if abs(other / a - 1.0) > 1e-2:
            both = f"{first} is {a:g}, {name} is {other:g}"
            what = f"{file.filename} gives two cosmic scale factors: {both}"
            raise DataError(what, f"set it: {_SCALE_FLAG} {a:g}, or {_SCALE_FLAG} {other:g}")
    cosmological = parameter(file, "HubbleParam") not in (None, 0.0, 1.0) or parameter(file, "OmegaLambda")
    if not found and cosmological:
        seen = f"whether Time = {time:g} is a scale factor" if time is not None else "the cosmic scale factor"
        likely = f"{time:g}, or 1" if time is not None and 0.0 < time < 1.0 else "1, if lengths are not comoving"
        raise DataError(f"{file.filename} does not say {seen}", f"give {_SCALE_FLAG} {likely}")
    return a


def _dataset_unit(dataset: h5py.Dataset, kind: Kind) -> tuple[float | None, float | None, float | None]:
    """(cgs per file unit, power of a, power of h) from a dataset's attributes; None where they are missing."""
    for names in codes.DATASET_UNITS:
        factor, a, h = (number(dataset, name, f"give {_FLAGS}") for name in names)
        if (factor, a, h) != (None, None, None):
            return (factor if factor and factor > 0 else None), a, h
    return _named_unit(dataset, kind), None, None


def _named_unit(dataset: h5py.Dataset, kind: Kind) -> float | None:
    """An attribute such as `unit = "kpc"` in cgs. Raises DataError when it is the unit of another quantity."""
    text = next((v for name in codes.UNIT_TEXTS if (v := attribute(dataset, name)) is not None), None)
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_UNIT:
        return None
    from astropy import units as u

    parse: Callable[[str], Any] = u.Unit
    own = getattr(dataset.file, "code_units", {})
    try:
        used = {name: known for name, known in own.items() if name in text}
        with u.add_enabled_units([u.def_unit(name, value * parse(unit)) for name, (value, unit) in used.items()]):
            unit = parse(text)
    except (ValueError, TypeError):
        return None  # not a unit; the header decides
    try:
        return float(unit.to(parse(kind.cgs)))
    except u.UnitConversionError:
        what = f"is in '{one_line(text)}', which cannot be converted to {kind.cgs or 'a pure number'}"
        raise DataError(f"{dataset.file.filename}: {dataset.name} {what}", f"give {_FLAGS}") from None
