"""The profile of a line in velocity, and its sampling: at points inside the channels, or as exact channel means.

The profile is Gaussian, e^(-((v - v0)/b)^2) / (b sqrt(pi)) per km/s. In a cell whose velocity covers a range D it is
the mean of such Gaussians: a plateau with Gaussian edges. A range below half the width b is replaced by a larger width
of the same variance, b^2 + D^2/6, with an error of less than 3e-4 of the peak.

Channel means of a smooth spectrum from midpoints: the mean of the samples plus the Euler-Maclaurin correction from the
differences across the channel's two edges. The corrections of neighbouring channels cancel, so the flux of the line is
that of the midpoints, which for a Gaussian sampled finer than its width is accurate to 1e-4 and better.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Below this ratio of velocity range to Doppler width a range is treated as width.
NARROW = 0.5
#: Samples of a whole spectrum; interstellar lines are never so cold and narrow that they need more.
MOST_SAMPLES = 1 << 20
#: Samples beyond either end of the velocity range that the edge corrections use.
GUARD = 2
_SQRT_PI = float(np.sqrt(np.pi))


def effective_width_km_s(width: Tensor, spread: Tensor) -> Tensor:
    narrow = spread < NARROW * width
    return torch.sqrt(width**2 + torch.where(narrow, spread**2 / 6.0, torch.zeros_like(spread)))


def profile_at(v: Tensor, centre: Tensor, width: Tensor, spread: Tensor) -> Tensor:
    """The profile per km/s at velocities `v`; all arguments broadcast against each other."""
    b = effective_width_km_s(width, spread)
    x = (v - centre) / b
    wide = spread >= NARROW * width
    gauss = torch.exp(-(x**2)) / (b * _SQRT_PI)
    if not bool(wide.any()):
        return gauss
    half = 0.5 * torch.where(wide, spread, torch.ones_like(spread)) / b
    bridge = (torch.erf(x + half) - torch.erf(x - half)) / (4.0 * half * b)
    return torch.where(wide, bridge, gauss)


def share_below(v: Tensor, centre: Tensor, width: Tensor, spread: Tensor) -> Tensor:
    """The part of the line at velocities below `v`: the profile's integral, from -1/2 to 1/2."""
    b = effective_width_km_s(width, spread)
    x = (v - centre) / b
    wide = spread >= NARROW * width
    step = 0.5 * torch.erf(x)
    if not bool(wide.any()):
        return step
    half = 0.5 * torch.where(wide, spread, torch.ones_like(spread)) / b
    ramp = (_erf_integral(x + half) - _erf_integral(x - half)) / (4.0 * half)
    return torch.where(wide, ramp, step)


def _erf_integral(x: Tensor) -> Tensor:
    return x * torch.erf(x) + torch.exp(-(x**2)) / _SQRT_PI


@dataclass(frozen=True, eq=False)
class Sampling(ABC):
    """Samples of a ray's spectrum in the channels between `edges` (V+1,)."""

    edges: Tensor

    @abstractmethod
    def velocities_km_s(self) -> Tensor:
        """(sample,)"""

    @abstractmethod
    def reduce(self, spectrum: Tensor) -> Tensor:
        """(…, sample) -> (…, channel)"""

    def profile(self, centre: Tensor, width: Tensor, spread: Tensor) -> Tensor:
        return profile_at(self.velocities_km_s(), centre[..., None], width[..., None], spread[..., None])


@dataclass(frozen=True, eq=False)
class GaussLegendre(Sampling):
    """`panels` in each channel between `edges` (V+1,), with `order` nodes each: the reference."""

    order: int
    panels: int = 1

    def _nodes(self) -> tuple[Tensor, Tensor]:
        nodes, weights = np.polynomial.legendre.leggauss(self.order)
        return torch.as_tensor(nodes).to(self.edges), torch.as_tensor(0.5 * weights).to(self.edges)

    def velocities_km_s(self) -> Tensor:
        width = self.edges.diff()[:, None] / self.panels
        left = self.edges[:-1, None] + width * torch.arange(self.panels).to(width)
        return (left[..., None] + 0.5 * width[..., None] * (1.0 + self._nodes()[0])).reshape(-1)

    def reduce(self, spectrum: Tensor) -> Tensor:
        return (spectrum.unflatten(-1, (-1, self.panels, self.order)) @ self._nodes()[1]).mean(dim=-1)


@dataclass(frozen=True, eq=False)
class Midpoints(Sampling):
    """`count` evenly spaced samples in each channel, and GUARD more beyond either end."""

    count: int

    @property
    def step_km_s(self) -> float:
        return float(self.edges[-1] - self.edges[0]) / ((len(self.edges) - 1) * self.count)

    @property
    def total(self) -> int:
        return (len(self.edges) - 1) * self.count + 2 * GUARD

    def velocities_km_s(self) -> Tensor:
        k = torch.arange(self.total, dtype=self.edges.dtype, device=self.edges.device)
        return self.edges[0] + (k - GUARD + 0.5) * self.step_km_s

    def reduce(self, spectrum: Tensor) -> Tensor:
        inner = spectrum[..., GUARD:-GUARD].unflatten(-1, (-1, self.count)).sum(dim=-1)
        correction = edge_correction(spectrum, self.count)
        return (inner + correction[..., 1:] - correction[..., :-1]) / self.count


def edge_correction(spectrum: Tensor, count: int) -> Tensor:
    """(…, V+1) Euler-Maclaurin terms at the channels' edges: f'/24 - 7 f'''/5760 in central differences."""
    at = [spectrum[..., k : spectrum.shape[-1] - 3 + k : count] for k in range(4)]
    first, third = at[2] - at[1], at[3] - 3.0 * at[2] + 3.0 * at[1] - at[0]
    return first / 24.0 - third * (17.0 / 5760.0)


@dataclass(frozen=True, eq=False)
class WholeChannels(Sampling):
    """Exact channel means, for spectra that are sums of profiles."""

    def velocities_km_s(self) -> Tensor:
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def profile(self, centre: Tensor, width: Tensor, spread: Tensor) -> Tensor:
        below = share_below(self.edges, centre[..., None], width[..., None], spread[..., None])
        return below.diff(dim=-1) / self.edges.diff()

    def reduce(self, spectrum: Tensor) -> Tensor:
        return spectrum
