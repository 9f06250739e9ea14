"""Pairs of another program: what its tars do not say about their arrays, and whether the arrays fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.pairs.pair import DENSITY, OBSERVATION, check_arrays, schemas
from iris_cli.units import QUANTITIES, SI
from shards.codec import ArraySchema

#: Units in the SI that astropy can parse, of the quantities of a pair.
SI_UNITS = {"temperature": "K", "density": "kg / m3", "v_density": "kg s / m3", "intensity": "kg / s2"}

OBSERVED = ("temperature", "v_density", "intensity")


def described(grid: Grid, quantity: str, units: Mapping[str, str | None]) -> dict[str, ArraySchema]:
    """The arrays of a pair in the units of another program; without a unit, in the inner one.

    UsageError for a unit that is not one of the quantity, and for an unknown quantity.
    """
    if quantity not in OBSERVED:
        raise UsageError(f"unknown quantity '{quantity}'", nearest(quantity, OBSERVED))
    arrays = {}
    for schema in schemas(grid, quantity):
        measured = schema.attributes["quantity"]
        unit = units.get(schema.name) or QUANTITIES[measured]
        about = {**schema.attributes, "unit": unit}
        if units.get(schema.name):
            about["SI_per_unit"] = si_per_unit(unit, measured) * SI.per_SI(measured)
        arrays[schema.name] = replace(schema, attributes=about)
    return arrays


def si_per_unit(unit: str, quantity: str) -> float:
    """The value of a unit in the SI. UsageError when it is unknown, or not one of the quantity."""
    from astropy import units as u

    try:
        return float(u.Unit(unit, parse_strict="raise").to(u.Unit(SI_UNITS[quantity])))
    except (ValueError, TypeError, u.UnitConversionError):
        hint = f"write it as astropy does, e.g. '{QUANTITIES[quantity]}' or '{SI_UNITS[quantity]}'"
        raise UsageError(f"'{unit}' is not a unit of a {quantity}", hint) from None


def check_external(arrays: Mapping[str, ArraySchema], grid: Grid, quantity: str, name: str) -> None:
    """DataError unless there is an observation, and all arrays have the shapes of the grid."""
    if OBSERVATION not in arrays:
        hint = f"a pair has the members KEY.{OBSERVATION}.npy and KEY.{DENSITY}.npy"
        raise DataError(f"{name} holds no array '{OBSERVATION}', but {', '.join(arrays)}", hint)
    check_arrays(arrays, schemas(grid, quantity), name)


def attributes_of(grid: Grid, latitude: str) -> dict[str, Any]:
    """The attributes of a set of another program, as `iris preobserve` writes them."""
    return {"grid": to_dict(grid), "latitude": latitude, "observer": {"name": "external"}}
