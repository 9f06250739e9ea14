"""The interface of a backend and the registry of backends: matter along rays -> spectra, line minus continuum.

All backends compute the same numbers. `reference` evaluates every cell at every sample in float64; `torch` evaluates
a cell only at the samples that its line reaches, on any device; `compiled` does the same on all CPU cores. The first
two are differentiable.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from torch import Tensor

from iris_cli.errors import UsageError, choose, nearest
from iris_cli.observers.emission import LineSetup, Matter
from iris_cli.observers.sampling import Accuracy
from iris_cli.observers.transfer import REGIMES, Regime


@dataclass(frozen=True)
class Spectra:
    """Channel means of line minus continuum (ray, V), and continuum (ray,): RJ temperatures at the rest frequency."""

    line_K: Tensor
    continuum_K: Tensor


class Backend(ABC):
    """One way to compute spectra. `regimes` lists the classes of the regimes that it computes."""

    name: ClassVar[str]
    regimes: ClassVar[tuple[type, ...]]
    differentiable: ClassVar[bool] = True

    def spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        """Spectra of matter (R, ray) in the channels between `edges_km_s` (V+1,).

        Raises UsageError for a regime that this backend does not compute, and for gas that records gradients if it
        computes none.
        """
        if not self.differentiable and matter.records_gradients:
            what = f"the backend '{self.name}' computes no gradients, and a field of the gas records them"
            raise UsageError(what, "use backend auto or torch, or call it within torch.no_grad()")
        if type(regime) not in self.regimes:
            known = [name for name, other in REGIMES.items() if type(other) in self.regimes]
            what = f"the backend '{self.name}' does not compute the regime '{regime.name}'"
            raise UsageError(what, nearest(regime.name, known))
        return self._spectra(matter, setup, regime, dr_m, edges_km_s, accuracy)

    @abstractmethod
    def _spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra: ...


#: Name -> module and class, imported when asked for: numba takes a second. `device.choose_backend` resolves "auto".
BACKENDS = {
    "reference": ("reference", "ReferenceBackend"),
    "torch": ("torch_windows", "TorchBackend"),
    "compiled": ("compiled", "CompiledBackend"),
}


def backend(name: str) -> Backend:
    """The backend called `name`. Raises UsageError when there is none in BACKENDS."""
    module, class_name = choose("backend", name, BACKENDS)
    return getattr(import_module(f"iris_cli.observers.backends.{module}"), class_name)()
