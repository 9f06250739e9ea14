"""Three ways to the same spectra. Each takes the matter along some rays and gives the line less the continuum, in RJ
kelvin.

`reference` evaluates every cell on every sample in float64; `torch` only where a line is, on any device; `compiled`
does so on all cores of the machine. The first two are differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from iris_cli.observers.emission import LineSetup, Matter
from iris_cli.observers.transfer import Regime


@dataclass(frozen=True)
class Spectra:
    """`line_K` (ray, V): channel means of line minus continuum; `continuum_K` (ray,). RJ kelvin at the rest
    frequency.
    """

    line_K: Tensor
    continuum_K: Tensor


@dataclass(frozen=True)
class Accuracy:
    """`subsamples` per channel, 0: as many as the lines need. `step_per_width`: sample spacing over the narrowest b."""

    subsamples: int = 0
    step_per_width: float = 0.7
    memory_GiB: float = 4.0
    threads: int = 0
    #: Of the torch backend: auto, cpu or cuda; nothing: where the matter is.
    device: str = ""


class Backend(Protocol):
    def spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        """Matter (R, ray) and channel edges (V+1,)."""
        ...


def backend(name: str) -> Backend:
    """UsageError for a name that is none of BACKENDS."""
    from iris_cli.errors import UsageError, nearest

    if name not in BACKENDS:
        raise UsageError(f"unknown backend '{name}'", nearest(name, BACKENDS))
    from importlib import import_module

    return import_module(f"iris_cli.observers.backends.{BACKENDS[name]}").Backend()


#: Each name's module; `auto` is one of them, chosen by `device.choose_backend`.
BACKENDS = {"reference": "reference", "torch": "torch_windows", "compiled": "compiled"}
