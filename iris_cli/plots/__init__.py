"""Figures, a kind in each file: images, spectra, pairs, losses, reverted maps, and those of a report.

In: arrays with the grid or the axes that they are on. Out: matplotlib figures, which `style.save` writes as PNG, PDF or
SVG; or, for programs and notebooks, the axes of a single panel (`on_axes.py`). Start with `axes_of_sky.py`, which has
the directions of axes, labels and colour scales of all figures. Nothing here reads files of data or runs networks.
"""

from typing import Any

__all__ = ["plot_lv", "plot_map", "plot_p_near"]


def __getattr__(name: str) -> Any:
    """Imports matplotlib on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'iris_cli.plots' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("iris_cli.plots.on_axes"), name)
