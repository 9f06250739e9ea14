"""The two arrays of a pair: what the telescope sees and what is really there, on one grid, float32, in inner units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.errors import DataError
from shards.codec import ArraySchema

#: The l-v image, (line, L, V).
OBSERVATION = "observation"
#: The view from above, (1, R', L); litter has none.
DENSITY = "density"


def schemas(grid: Grid, quantity: str, *, lines: int = 1, litter: bool = False) -> list[ArraySchema]:
    """Shapes, units and axes of a pair's arrays; `quantity` is that of the observation."""
    observed = (lines, *grid.observation_shape[1:])
    found = [_schema(OBSERVATION, observed, quantity, axes.OBSERVATION_AXES)]
    if not litter:
        found.append(_schema(DENSITY, grid.density_shape, "density", axes.DENSITY_AXES))
    return found


def _schema(name: str, shape: tuple[int, ...], quantity: str, names: tuple[str, ...]) -> ArraySchema:
    attributes = {
        "quantity": quantity,
        "unit": units.QUANTITIES[quantity],
        "SI_per_unit": 1.0 / units.INNER.per_SI(quantity),
        "axes": list(names),
    }
    return ArraySchema(name, shape, "float32", attributes)


def check_arrays(found: Mapping[str, ArraySchema], wanted: Iterable[ArraySchema], name: str) -> None:
    """DataError when an array of a set has not the shape and type that a network takes on the set's grid."""
    for schema in wanted:
        if schema.name not in found:
            continue
        array = found[schema.name]
        if schema.name == OBSERVATION and array.shape[:1] > (1,) and array.shape[1:] == schema.shape[1:]:
            what = f"{name} holds observations of {array.shape[0]} spectral lines; a reverter takes one"
            raise DataError(what, "its data are sound; for a training observe each line into a set of its own")
        if (array.shape, array.dtype) != (schema.shape, schema.dtype):
            what = f"the {schema.name} of {name} is {array.dtype} {array.shape}"
            hint = "write the arrays in that shape and type, or name the grid that they are on"
            raise DataError(f"{what}; its grid has {schema.dtype} {schema.shape}", hint)


class Viewed(Protocol):
    """What a set of pairs shows, and how it was observed."""

    grid: Grid
    quantity: str

    @property
    def name(self) -> str: ...

    @property
    def latitude(self) -> str: ...


def check_alike(a: Viewed, b: Viewed, what: str, hint: str, axes: Iterable[str] | None = None) -> None:
    """DataError that lists all differences of two sets in their grids, or in some fields of these, and observations."""
    mine, theirs = to_dict(a.grid), to_dict(b.grid)
    differ = [f"{name} = {mine[name]} and {theirs[name]}" for name in axes or mine if mine[name] != theirs[name]]
    for name in ("quantity", "latitude", "line_count"):
        one, other = getattr(a, name, None), getattr(b, name, None)
        if one != other:
            differ.append(f"{name} = {one} and {other}")
    if differ:
        raise DataError(f"{a.name} and {b.name} {what}: {', '.join(differ)}", hint)
