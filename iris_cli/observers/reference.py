"""The reference backend: every cell on every sample, Gauss-Legendre nodes in each channel, the continuum at every
frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.errors import IrisError
from iris_cli.observers.backends import Accuracy, Spectra
from iris_cli.observers.emission import LineSetup, Matter, cells, rayleigh_jeans_K
from iris_cli.observers.line_profile import GaussLegendre, Midpoints, Sampling, WholeChannels
from iris_cli.observers.transfer import Regime, continuum_behind, march
from iris_cli.units import LIGHT_SPEED_M_S

_DEFAULT_ORDER = 24
#: Arrays of the size of a bundle's spectra that live at one time in `march` (without gradients).
_ARRAYS_ALIVE = 16


@dataclass(frozen=True)
class Backend:
    """`dtype` and `even` make of it the plain dense form that the benchmarks compare with."""

    dtype: torch.dtype = torch.float64
    even: bool = False

    def spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        matter = Matter(*(f.to(self.dtype) for f in matter.__dict__.values()))
        sampling = self._sampling(edges_km_s.to(self.dtype), regime, accuracy.subsamples or _DEFAULT_ORDER)
        samples = len(sampling.velocities_km_s())
        bundle = rays_per_bundle(matter.v_km_s, samples * _ARRAYS_ALIVE, self.dtype.itemsize, accuracy.memory_GiB)
        parts = [
            self._bundle(
                Matter(*(f[:, s : s + bundle] for f in matter.__dict__.values())), setup, regime, dr_m, sampling
            )
            for s in range(0, matter.v_km_s.shape[1], bundle)
        ]
        return Spectra(torch.cat([p.line_K for p in parts]), torch.cat([p.continuum_K for p in parts]))

    def _sampling(self, edges: Tensor, regime: Regime, count: int) -> Sampling:
        if regime.linear:
            return WholeChannels(edges)
        return Midpoints(edges, count) if self.even else GaussLegendre(edges, count)

    def _bundle(self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, sampling: Sampling) -> Spectra:
        these = cells(matter, setup, dr_m)
        background = torch.as_tensor(setup.background_K, dtype=self.dtype)
        _, reached = continuum_behind(these, rayleigh_jeans_K(background, setup.quantum_K))
        if self.even:
            dust = lambda k: these.dust_K[k][:, None]  # noqa: E731
            line, _ = march(these, regime, sampling, rayleigh_jeans_K(background, setup.quantum_K), dust)
            return Spectra(line, reached)
        shift = 1.0 - sampling.velocities_km_s() * 1e3 / LIGHT_SPEED_M_S

        def seen(T_K: Tensor) -> Tensor:
            """A blackbody at the samples' frequencies, in RJ kelvin at the rest frequency."""
            return shift**2 * rayleigh_jeans_K(T_K, setup.quantum_K * shift)

        line, _ = march(these, regime, sampling, seen(background), lambda k: seen(matter.T_dust_K[k][:, None]))
        return Spectra(line, reached)


def rays_per_bundle(field: Tensor, numbers_per_ray: int, bytes_each: int, memory_GiB: float) -> int:
    """As many rays as fit into the memory; IrisError, with the number, when not even one does."""
    per_ray = numbers_per_ray * bytes_each
    fit = int(memory_GiB * 2**30 // per_ray)
    if fit < 1:
        raise IrisError(
            f"one ray of {field.shape[0]} cells needs {per_ray / 2**30:.3g} GiB, but {memory_GiB:.3g} GiB are allowed",
            "raise the memory, or take fewer channels or subsamples",
        )
    return min(fit, field.shape[1])
