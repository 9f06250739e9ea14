"""Mass and surface density as a function of the distance from Sgr A*, of predicted and true views from above."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.standard.top_down_plane import Plane

#: No more annuli than this, and none narrower than one and a half pixels.
MOST_ANNULI, LEAST_PIXELS = 24, 1.5


@dataclass(frozen=True)
class Annuli:
    """Rings around Sgr A* out to the largest one that is entirely inside the map.

    A pixel belongs to the ring that contains its centre. Images are densities (n, 1, R', L) in M_sun/pc^3.
    """

    edges_pc: NDArray[np.float64]
    #: (R' L,) the ring of each pixel; the number of rings for those outside all.
    ring: Tensor
    #: (R' L,)
    volume_pc3: Tensor
    #: (rings,)
    area_pc2: Tensor

    @classmethod
    def of(cls, grid: Grid) -> "Annuli | None":
        """None when the map does not contain two rings around Sgr A*."""
        plane = Plane.of(grid)
        rings = min(MOST_ANNULI, int(plane.complete_radius_pc / (LEAST_PIXELS * max(plane.step_pc))))
        if rings < 2:
            return None
        edges = np.linspace(0.0, plane.complete_radius_pc, rings + 1)
        ring = np.searchsorted(edges, plane.radius_pc.ravel(), side="right") - 1
        area = np.bincount(ring, plane.area_pc2.ravel(), minlength=rings + 1)[:rings]
        return cls(edges, torch.from_numpy(ring), torch.from_numpy(plane.volume_pc3.ravel()), torch.from_numpy(area))

    def __len__(self) -> int:
        return len(self.edges_pc) - 1

    @property
    def centres_pc(self) -> NDArray[np.float64]:
        return (self.edges_pc[1:] + self.edges_pc[:-1]) / 2.0

    def mass(self, image: Tensor) -> Tensor:
        """(n, rings) M_sun of H2 in each ring."""
        mass = image.flatten(1) * self.volume_pc3
        return mass.new_zeros(len(image), len(self) + 1).index_add_(1, self.ring, mass)[:, :-1]

    def enclosed_mass(self, image: Tensor) -> Tensor:
        """(n, rings) M_sun of H2 within the outer edge of each ring."""
        return self.mass(image).cumsum(dim=1)

    def surface_density(self, image: Tensor) -> Tensor:
        """(n, rings) M_sun/pc^2 of H2, seen from Galactic north."""
        return self.mass(image) / self.area_pc2
