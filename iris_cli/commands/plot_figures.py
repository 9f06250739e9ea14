"""`iris plot`: an input, a look, a figure. Each function draws one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.commands import plot_inputs
from iris_cli.commands.plot_inputs import Which
from iris_cli.config.figure import FigureConfig
from iris_cli.config.train import Noise
from iris_cli.errors import DataError
from iris_cli.evaluation.figures import draw_predictions
from iris_cli.plots.axes_of_sky import stretch
from iris_cli.plots.losses import draw_losses
from iris_cli.plots.lv import draw_lv_figure
from iris_cli.plots.moments import draw_moments
from iris_cli.plots.orbits import Place, tracks
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.spectrum import draw_spectra
from iris_cli.plots.style import style_of
from iris_cli.plots.top_down import draw_top_down_figure
from iris_cli.telescope.density_map import load_caption
from iris_cli.training.test import open_stream, predictions_of
from iris_cli.training.test_split import split_to_test
from iris_cli.training.trained_run import open_members


def _norm(image: NDArray, look: FigureConfig) -> Normalize:
    return stretch(image, look.high, look.stretch, look.low)


def _titled(name: str, look: FigureConfig) -> str:
    """What stands above: the sample's name, unless the look has another."""
    return name if look.title is None else look.title


def lv(path: Path, which: Which, look: FigureConfig) -> Figure:
    found = plot_inputs.lv_image(path, which)
    return draw_lv_figure(
        found.image,
        found.lon,
        found.v,
        found.label,
        title=_titled(found.name, look),
        norm=_norm(found.image, look),
        orbits=tracks(look.orbits, found.place),
        colours=look.colours,
        style=style_of(look.style),
    )


def top_down(path: Path, which: Which, look: FigureConfig) -> Figure:
    density, grid, name, centre_deg = plot_inputs.top_down(path, which)
    caption = "" if path.is_dir() else load_caption(path)
    return draw_top_down_figure(
        density,
        grid,
        title=_titled(name, look),
        norm=_norm(density, look),
        orbits=tracks(look.orbits, Place(grid.observer_distance_pc)),
        colours=look.colours,
        style=style_of(look.style),
        centre_deg=centre_deg,
        caption=caption,
    )


def pair(path: Path, which: Which, look: FigureConfig, run: Path | None = None, clean: bool = False) -> Figure:
    """Observation and truth; with a run or an ensemble also what it draws, as a test sees the pair.

    The noise and the litter of its training are added, unless the pair is to be `clean`.
    """
    how: dict[str, Any] = {"style": style_of(look.style), "colours": look.colours, "stretched": look.stretch}
    if run is None:
        sample = plot_inputs.shard_sample(path, which)
        density = plot_inputs.density_of(sample, path)
        return draw_pairs(
            [sample.observation], [density], [], sample.grid, sample.quantity, [_titled(sample.key, look)], **how
        )
    members = open_members(run)
    hyper = replace(members[0].hyper, observer="")
    hyper = replace(hyper, noise=Noise(), litter="") if clean else hyper
    split = split_to_test([str(path)], which.split, [member.checkpoint for member in members])
    which = replace(which, split=split or None)
    item, key = plot_inputs.shard_item(path, which)
    shown = predictions_of(members, open_stream(hyper, [str(path)], which.split or ""), [item])
    if not shown.sources:
        raise DataError(f"sample '{key}' of {path} cannot be read", "check the folder: iris shards verify")
    return draw_predictions(shown, [_titled(key, look)], **how)


def moments(path: Path, which: Which, look: FigureConfig) -> Figure:
    found = plot_inputs.moments(path, which)
    return draw_moments(
        found.maps,
        found.lon,
        found.lat,
        found.label,
        title=_titled(found.name, look),
        norm=_norm(found.maps[0], look),
        orbits=tracks(look.orbits, found.place),
        colours=look.colours,
        style=style_of(look.style),
    )


def spectrum(path: Path, which: Which, places: Sequence[tuple[float, float | None]], look: FigureConfig) -> Figure:
    found = plot_inputs.spectra(path, which, places)
    return draw_spectra(
        found.spectra, found.v, found.label, title=_titled(found.name, look), style=style_of(look.style)
    )


def losses(runs: Sequence[Path], look: FigureConfig) -> Figure:
    return draw_losses(plot_inputs.histories(runs), title=look.title or "", style=style_of(look.style))
