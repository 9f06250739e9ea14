"""Observers: the matter of a galaxy in, spectral cubes and longitude-velocity images out.

`observe_arrays` is the synthetic observer for plain arrays; `make_observer` makes an observer for tensors of standard
data by its name. Start with `observer.py`, the interface; `synthetic.py` follows a tensor from level
populations (`populations`, `level_table`) through emission and absorption (`emission`, `line_profile`) and the transfer
along rays (`transfer`, `backends/`) to the beam.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iris_cli.observers.arrays import observe_arrays
    from iris_cli.observers.registry import make_observer

__all__ = ["make_observer", "observe_arrays"]
_MODULES = {"make_observer": "registry", "observe_arrays": "arrays"}


def __getattr__(name: str) -> Any:
    """Imports a function, and torch with it, on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
