"""The arrays of a pair on one grid, in inner units: what the telescope sees, what is really there, further truth."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from numpy.typing import NDArray
from torch import Tensor

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.errors import DataError
from iris_cli.observers.line_of_sight import columns_by_distance, distance_edges, total_and_nearer, velocity_from_above
from iris_cli.observers.observer import Observer
from iris_cli.observers.top_down import top_down_density
from shards.codec import ArraySchema

#: The l-v image, (channel, L, V): one channel for each line, or three with latitude = "moments".
OBSERVATION = "observation"
#: The view from above, (1, R', L); litter has none.
DENSITY = "density"
#: Where the gas at (l, v) is: the H2 column per velocity (1, L, V), and 255 times the share of it that is nearer than
#: the end of each bin in distance but the last, (bins - 1, L, V) uint8.
LV_COLUMN, LV_NEARER = "lv_column", "lv_nearer"
#: Mean line-of-sight velocity and its standard deviation, seen from above, (2, R', L) float16.
VELOCITY = "velocity"
#: Truth that only some losses need; sets of other programs have none of it.
FURTHER = (LV_COLUMN, LV_NEARER, VELOCITY)


def schemas(
    grid: Grid, quantity: str, *, channels: int = 1, litter: bool = False, further: Collection[str] = ()
) -> list[ArraySchema]:
    """Shapes, units and axes of a pair's arrays; `quantity` is that of the observation, `further` some of FURTHER."""
    sky = grid.observation_shape[1:]
    found = [_schema(OBSERVATION, (channels, *sky), quantity, axes.OBSERVATION_AXES)]
    if not litter:
        found.append(_schema(DENSITY, grid.density_shape, "density", axes.DENSITY_AXES))
    edges_pc = distance_edges(grid)
    share = {"unit": "1/255", "axes": ["edge", *axes.OBSERVATION_AXES[1:]], "edges_pc": edges_pc[1:-1].tolist()}
    known = [
        _schema(LV_COLUMN, (1, *sky), "v_density", axes.OBSERVATION_AXES),
        ArraySchema(LV_NEARER, (len(edges_pc) - 2, *sky), "uint8", share),
        _schema(VELOCITY, (2, *grid.density_shape[1:]), "velocity", axes.DENSITY_AXES, "float16"),
    ]
    return found + [schema for schema in known if schema.name in further]


def _schema(
    name: str, shape: tuple[int, ...], quantity: str, names: tuple[str, ...], dtype: str = "float32"
) -> ArraySchema:
    attributes = {
        "quantity": quantity,
        "unit": units.QUANTITIES[quantity],
        "SI_per_unit": 1.0 / units.INNER.per_SI(quantity),
        "axes": list(names),
    }
    return ArraySchema(name, shape, dtype, attributes)


def observed_pair(
    observer: Observer, tensor: Tensor, names: Collection[str], galaxy: str, view_deg: float | None
) -> dict[str, NDArray]:
    """The arrays `names` of a pair, made from a tensor (6, R, L, B) on the observer's grid.

    The identity of the galaxy, and its view, decide the abundance of the tracer where that varies.
    """
    grid, made = observer.grid, dict[str, Tensor]()
    if OBSERVATION in names:
        made[OBSERVATION] = observer.observe(observer.with_abundance(tensor, galaxy, view_deg))
    if DENSITY in names:
        made[DENSITY] = top_down_density(tensor, grid)
    if not made.keys() >= set(names):
        v_km_s = observer.velocity(tensor)
        made[VELOCITY] = velocity_from_above(tensor, v_km_s, grid)
        if LV_COLUMN in names or LV_NEARER in names:
            made[LV_COLUMN], made[LV_NEARER] = total_and_nearer(columns_by_distance(tensor, v_km_s, grid))
    return {name: made[name].numpy() for name in names}


def check_arrays(found: Mapping[str, ArraySchema], wanted: Iterable[ArraySchema], name: str) -> None:
    """DataError when an array of a set has not the shape and type that a network takes on the set's grid."""
    for schema in wanted:
        if schema.name not in found:
            continue
        array = found[schema.name]
        if schema.name == OBSERVATION and array.shape[:1] > schema.shape[:1] and array.shape[1:] == schema.shape[1:]:
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
    for name in ("quantity", "latitude", "channels", "coverage"):
        one, other = getattr(a, name, None), getattr(b, name, None)
        if one != other:
            differ.append(f"{name} = {one} and {other}")
    if differ:
        raise DataError(f"{a.name} and {b.name} {what}: {', '.join(differ)}", hint)
