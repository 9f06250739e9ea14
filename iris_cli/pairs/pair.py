"""A pair: what the telescope sees and what is really there, on one grid, in inner units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OBSERVATION = "observation"
DENSITY = "density"


@dataclass(frozen=True)
class Pair:
    """`observation` (line, L, V) and `density` (1, R', L), float32; litter has no density.

    `source` names the galaxy (a split never separates its views), `info` whatever else is known: view, scale, seed.
    """

    key: str
    source: str
    observation: NDArray[np.float32]
    density: NDArray[np.float32] | None = None
    info: dict[str, Any] = field(default_factory=dict)
