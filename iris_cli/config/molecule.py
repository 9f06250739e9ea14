"""What `iris molecule` prints."""

from __future__ import annotations

from dataclasses import dataclass

from iris_cli.errors import UsageError


@dataclass(frozen=True)
class MoleculeConfig:
    """A table's length, and the gas that critical densities are of."""

    temperature_K: float = 50.0
    #: Levels and transitions to print.
    rows: int = 12

    def __post_init__(self) -> None:
        if self.temperature_K < 2.0 or self.rows < 1:
            raise UsageError(
                f"molecule: temperature_K = {self.temperature_K:g} and rows = {self.rows}; at least 2 K and 1 row"
            )
