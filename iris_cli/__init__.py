"""IRIS: turn an edge-on observation of the Galaxy's centre into the view from above.

The program is one sentence, and each of its nouns is a file or a package of that name:

    standard dataset -> observer -> pair -> shard -> stream -> batch -> reverter -> loss -> checkpoint -> report

From Python, `load_run`, `read_cube` and `make_observer` are here; docs/api lists everything that is public.
"""

from typing import Any

__version__ = "0.1.0"

#: Function -> its module, which is imported on first use: `import iris_cli` alone imports neither numpy nor torch.
_PUBLIC = {
    "load_run": "iris_cli.telescope.loaded_run",
    "make_observer": "iris_cli.observers.registry",
    "read_cube": "iris_cli.telescope.loaded_run",
}
__all__ = ["load_run", "make_observer", "read_cube"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'iris_cli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
