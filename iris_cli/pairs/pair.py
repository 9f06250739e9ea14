"""The two arrays of a pair: what the telescope sees and what is really there, on one grid, float32, in inner units."""

from __future__ import annotations

from iris_cli import axes, units
from iris_cli.config.grid import Grid
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
