"""Inputs for which a network should give another result: noise alone, mirrored velocities."""

from collections.abc import Callable, Mapping

from numpy.typing import NDArray

from iris_cli.axes import reverse_velocity
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.overlap import Marks
from iris_cli.pairs.pair import OBSERVATION

#: Changes an observation (channel, L, V) in place, before litter and noise are added.
Alteration = Callable[[NDArray], None]


class Altered(Pairs):
    """The same pairs with changed observations; densities stay as they are."""

    def __init__(self, pairs: Pairs, alter: Alteration) -> None:
        self.pairs, self.alter, self.name = pairs, alter, pairs.name
        self.grid, self.quantity, self.latitude = pairs.grid, pairs.quantity, pairs.latitude
        self.sizes, self.fingerprint, self.litter = pairs.sizes, pairs.fingerprint, pairs.litter
        self.lines, self.on_the_fly = pairs.lines, pairs.on_the_fly
        self.channels, self.coverage = pairs.channels, pairs.coverage

    def read(self, number: int, rows: Mapping[str, NDArray]) -> None:
        self.pairs.read(number, rows)
        self.alter(rows[OBSERVATION])

    def groups(self) -> list[str]:
        return self.pairs.groups()

    @property
    def marks(self) -> Marks:
        return self.pairs.marks

    def key(self, number: int) -> str:
        return self.pairs.key(number)

    def source(self, number: int) -> str:
        return self.pairs.source(number)


def remove_emission(observation: NDArray) -> None:
    """Set to 0, so that noise is all that is left."""
    observation[...] = 0.0


def mirror_velocity(observation: NDArray) -> None:
    """Approaching gas recedes, and the other way round: a galaxy that rotates against the Milky Way."""
    observation[...] = reverse_velocity(observation).copy()


def has_symmetric_velocities(pairs: Pairs) -> bool:
    """Whether the velocity axis is symmetric about zero; otherwise it cannot be mirrored."""
    grid = pairs.grid
    return abs(grid.v_min_km_s + grid.v_max_km_s) <= 1e-6 * (grid.v_max_km_s - grid.v_min_km_s)
