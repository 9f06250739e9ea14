"""Radiative transfer along rays, from the far end to the observer: the effect of one cell on the spectrum behind it.

The variable is D, line minus continuum. A cell with line depth y = tau phi, line emission W phi, dust depth d and dust
temperature J, with continuum C behind it, changes D to (Rybicki & Lightman 1979, eq. 1.30, minus the same equation
without the line)

    D <- D e^-(y+d) + C e^-d (e^-y - 1) + (W phi + J d) f(y+d) - J d f(d),     f(t) = (1 - e^-t)/t
    C <- C e^-d + J (1 - e^-d)

This is exact for constant coefficients and either sign of y. Outside the line, y = W phi = 0 and D only decreases by
e^-d. The fast backends multiply each cell's contribution by the dust transmission in front of it, so that nothing
remains to be computed outside the line.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from iris_cli.observers.emission import Cells
from iris_cli.observers.line_profile import Sampling


class Regime(ABC):
    """The terms that count. `linear`: D is a sum of profiles, so channel means are exact; `dusty`: with dust."""

    name: ClassVar[str]
    linear: ClassVar[bool] = True
    dusty: ClassVar[bool] = True

    @abstractmethod
    def step(self, profile: Tensor, cell: Cells, continuum: Tensor) -> tuple[Tensor, Tensor]:
        """(transmission of the line e^-y, what the cell adds to D)"""


class Thick(Regime):
    """The full equation: the line absorbs, and its radiation stimulates emission."""

    name = "thick"
    linear = False

    def step(self, profile: Tensor, cell: Cells, continuum: Tensor) -> tuple[Tensor, Tensor]:
        y, d = cell.depth_km_s * profile, cell.dust_depth
        dust = cell.dust_K * d
        absorbed = continuum * torch.exp(-d) * torch.expm1(-y)
        emitted = (cell.line_K_km_s * profile + dust) * mean_escape(y + d) - dust * mean_escape(d)
        return torch.exp(-y), absorbed + emitted


class Selective(Regime):
    """Dust absorbs the line; the line absorbs the continuum but not itself."""

    name = "selective"

    def step(self, profile: Tensor, cell: Cells, continuum: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(profile), selective_amplitude(cell, continuum) * profile


class Thin(Regime):
    """Emission only."""

    name = "thin"
    dusty = False

    def step(self, profile: Tensor, cell: Cells, continuum: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(profile), cell.line_K_km_s * profile


REGIMES: dict[str, Regime] = {regime.name: regime for regime in (Thick(), Selective(), Thin())}


def mean_escape(t: Tensor) -> Tensor:
    """f(t) = (1 - e^-t)/t, smooth through t = 0 and correct for t < 0."""
    small = t.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(t), t)
    return torch.where(small, 1.0 - 0.5 * t, -torch.expm1(-safe) / safe)


def selective_amplitude(cell: Cells, continuum: Tensor) -> Tensor:
    """K km/s that a cell adds: its emission minus the continuum that its line absorbs."""
    escape, through = mean_escape(cell.dust_depth), torch.exp(-cell.dust_depth)
    seen = cell.dust_K * escape + (continuum - cell.dust_K) * through
    return cell.line_K_km_s * escape - cell.depth_km_s * seen


def continuum_behind(cells: Cells, background_K: Tensor) -> tuple[Tensor, Tensor]:
    """The continuum (R, …) behind each cell, and (…) at the observer, for cells (R, …)."""
    behind, reached = [], background_K.expand(cells.dust_depth.shape[1:])
    for d, dust_K in zip(cells.dust_depth.flip(0), cells.dust_K.flip(0), strict=True):
        behind.append(reached)
        reached = reached * torch.exp(-d) - dust_K * torch.expm1(-d)
    return torch.stack(behind[::-1]), reached


def transmission_in_front(dust_depth: Tensor) -> Tensor:
    """(R, …): transmission of the dust between each cell and the observer."""
    return torch.exp(dust_depth - dust_depth.cumsum(dim=0))


def march(
    cells: Cells, regime: Regime, sampling: Sampling, background_K: Tensor, dust_K: Callable[[int], Tensor]
) -> Tensor:
    """(ray, V): line minus continuum, with every cell evaluated at every sample.

    `background_K` and the `dust_K` of each cell broadcast with (ray, sample): the continuum may depend on frequency.
    """
    continuum, spectrum = background_K, torch.zeros((), dtype=cells.v_km_s.dtype)
    for k in range(len(cells.v_km_s) - 1, -1, -1):
        cell = replace(cells.at(k), dust_K=dust_K(k))
        profile = sampling.profile(cells.v_km_s[k], cells.width_km_s[k], cells.spread_km_s[k])
        transmission, added = regime.step(profile, cell, continuum)
        fade = torch.exp(-cell.dust_depth) if regime.dusty else 1.0
        spectrum = spectrum * transmission * fade + added
        continuum = continuum * torch.exp(-cell.dust_depth) - cell.dust_K * torch.expm1(-cell.dust_depth)
    return sampling.reduce(spectrum)
