"""The reference backend: float64, every cell at every Gauss-Legendre node, a continuum that depends on frequency."""

import math

import torch
from torch import Tensor

from iris_cli.observers.backends.backend import Backend, Spectra
from iris_cli.observers.emission import Cells, LineSetup, Matter, cells, rayleigh_jeans_K
from iris_cli.observers.line_profile import GaussLegendre, Sampling, WholeChannels
from iris_cli.observers.sampling import Accuracy, rays_per_bundle, samples_per_ray
from iris_cli.observers.transfer import Regime, Selective, Thick, Thin, continuum_behind, march
from iris_cli.units import LIGHT_SPEED_M_S

#: Gauss-Legendre nodes in a panel of a channel, and the number of nodes that replaces one midpoint sample.
_ORDER = 8
_NODES_PER_MIDPOINT = 1.5
_FEWEST_NODES = 24
#: Arrays of the size of a bundle's spectra that exist at one time in `march` (without gradients).
_ARRAYS_ALIVE = 16


class ReferenceBackend(Backend):
    """Differentiable."""

    name = "reference"
    regimes = (Thick, Selective, Thin)

    def _spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        matter = matter.to(torch.float64)
        these = cells(matter, setup, dr_m)
        sampling = _sampling(these, regime, edges_km_s.double(), accuracy)
        numbers = len(sampling.velocities_km_s()) * _ARRAYS_ALIVE
        bundle = rays_per_bundle(matter.v_km_s, numbers, accuracy.memory_GiB)
        parts = [
            _bundle(these.rays(which), matter.T_dust_K[:, which], setup, regime, sampling)
            for which in torch.arange(matter.v_km_s.shape[1]).split(bundle)
        ]
        return Spectra(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _sampling(these: Cells, regime: Regime, edges: Tensor, accuracy: Accuracy) -> Sampling:
    if regime.linear:
        return WholeChannels(edges)
    nodes = accuracy.subsamples or int(_NODES_PER_MIDPOINT * samples_per_ray(these, edges, accuracy).max())
    nodes = nodes if accuracy.subsamples else max(nodes, _FEWEST_NODES)
    panels = math.ceil(nodes / _ORDER)
    return GaussLegendre(edges, order=math.ceil(nodes / panels), panels=panels)


def _bundle(
    these: Cells, T_dust_K: Tensor, setup: LineSetup, regime: Regime, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Returns ((ray, V) line, (ray,) continuum)."""
    shift = 1.0 - sampling.velocities_km_s() * 1e3 / LIGHT_SPEED_M_S
    background = torch.as_tensor(setup.background_K, dtype=torch.float64)

    def seen(T_K: Tensor) -> Tensor:
        """A blackbody at the frequencies of the samples, in RJ kelvin at the rest frequency."""
        return shift**2 * rayleigh_jeans_K(T_K, setup.quantum_K * shift)

    line = march(these, regime, sampling, seen(background), lambda k: seen(T_dust_K[k][:, None]))
    return line, continuum_behind(these, rayleigh_jeans_K(background, setup.quantum_K))[1]
