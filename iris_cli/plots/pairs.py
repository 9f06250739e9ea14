"""Observation, truth and prediction side by side, a row for each galaxy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli import units
from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import draw_lv, draw_top_down, stretch

TITLES = ("observation", "true", "predicted")


def draw_pairs(
    observations: Sequence[NDArray], true: Sequence[NDArray], predicted: Sequence[NDArray], grid: Grid, quantity: str,
    names: Sequence[str],
) -> Figure:  # fmt: skip
    """Observations (L, V), densities (R', L) in inner units. Truth and prediction of a galaxy share one colour scale."""
    rows = len(observations)
    figure = Figure(figsize=(12.5, 3.7 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 3, squeeze=False)
    for row, (observation, truth, guess, name) in enumerate(zip(observations, true, predicted, names, strict=True)):
        norm = stretch(truth, float(np.max([truth.max(), guess.max()])))
        seen = draw_lv(panels[row, 0], observation, grid)
        figure.colorbar(seen, ax=panels[row, 0], label=_label(quantity))
        for column, image in ((1, truth), (2, guess)):
            drawn = draw_top_down(panels[row, column], image, grid, norm)
        figure.colorbar(drawn, ax=panels[row, 1:], label=_label("density"))
        panels[row, 0].set_title(f"{TITLES[0]} of {name}" if name else TITLES[0], fontsize="medium")
        for column in (1, 2):
            panels[row, column].set_title(TITLES[column], fontsize="medium")
    return figure


def _label(quantity: str) -> str:
    names = {"density": "mean H$_2$ density", "v_density": "gas column per velocity",
             "temperature": "brightness temperature", "intensity": "intensity"}  # fmt: skip
    written = {"solMass / pc3": r"M$_\odot$ pc$^{-3}$", "solMass s / (pc2 km)": r"M$_\odot$ pc$^{-2}$ (km/s)$^{-1}$"}
    unit = units.QUANTITIES[quantity]
    return f"{names[quantity]} [{written.get(unit, unit)}]"


def save(figure: Figure, path: Path, metadata: dict[str, str] | None = None) -> None:
    """PNG, PDF or SVG by its name; whole or not at all."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial, dpi=130, metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
