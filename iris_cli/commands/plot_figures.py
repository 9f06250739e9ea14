"""The figures of `iris plot`: each function reads the data of one kind of figure and draws it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.commands import plot_data
from iris_cli.commands.options import Sample
from iris_cli.config.figure import FigureConfig
from iris_cli.config.train import Noise
from iris_cli.console import warn
from iris_cli.errors import DataError
from iris_cli.evaluation.figures import draw_predictions
from iris_cli.pairs.divide import seen_by_any, split_to_test
from iris_cli.plots.axes_of_sky import Appearance, stretch
from iris_cli.plots.compare import check_same_grid, draw_comparison
from iris_cli.plots.images import draw_lb_figure, draw_lv_figure, draw_moments, draw_top_down_figure
from iris_cli.plots.losses import draw_losses
from iris_cli.plots.orbits import CENTRED, Place, tracks
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.spectrum import draw_spectra
from iris_cli.plots.style import as_label, style_of
from iris_cli.training.test import open_stream, predictions_of
from iris_cli.training.trained_run import open_members

#: (longitude, latitude) in deg; None: the mean over all latitudes.
Places = Sequence[tuple[float, float | None]]


def _appearance(name: str, image: NDArray, place: Place, look: FigureConfig) -> Appearance:
    """`name` is the text above the figure, unless the look has another."""
    norm = stretch(image, look.high, look.stretch, look.low)
    return Appearance(_titled(name, look), norm, tracks(look.orbits, place), look.colours, style_of(look.style))


def _titled(name: str, look: FigureConfig) -> str:
    return as_label(name) if look.title is None else look.title


def lv(path: Path, selection: Sample, look: FigureConfig) -> Figure:
    found = plot_data.lv_image(path, selection)
    return draw_lv_figure(found, _appearance(found.name, found.image, found.place, look))


def top_down(path: Path, selection: Sample, look: FigureConfig) -> Figure:
    found = plot_data.top_down(path, selection)
    appearance = _appearance(found.name, found.density, Place(found.grid.observer_distance_pc), look)
    return draw_top_down_figure(found.density, found.grid, appearance, found.centre_deg, found.caption)


def pair(path: Path, selection: Sample, look: FigureConfig, run: Path | None = None, clean: bool = False) -> Figure:
    """Observation and truth; with a run or an ensemble also its prediction.

    The noise and the litter of the training are added, as in a test, unless `clean`.
    """
    how: dict[str, Any] = {"style": style_of(look.style), "colours": look.colours, "stretched": look.stretch}
    if run is None:
        sample = plot_data.shard_sample(path, selection)
        density = plot_data.density_of(sample, path)
        return draw_pairs(
            [sample.observation], {"true": [density]}, sample.grid, sample.quantity, [_titled(sample.key, look)], **how
        )
    members = open_members(run)
    config = replace(members[0].hyper, observer="")
    config = replace(config, noise=Noise(), litter="") if clean else config
    split = split_to_test([str(path)], selection.split)
    selection = replace(selection, split=split or None)
    item, key = plot_data.shard_item(path, selection)
    seen = seen_by_any([member.checkpoint.seen for member in members])
    stream = open_stream(config, [str(path)], selection.split or "", seen)
    if seen is None or stream.pairs.marks.of(np.array([item])).among(seen.trained).any():
        warn(f"the network {'may have been' if seen is None else 'was'} trained on the galaxy of {key}")
    shown = predictions_of(members, stream, [item])
    if not shown.sources:
        raise DataError(f"sample '{key}' of {path} cannot be read", "check the folder with `iris shards verify`")
    return draw_predictions(shown, [_titled(key, look)], **how)


def moments(
    path: Path,
    selection: Sample,
    look: FigureConfig,
    clip_sigma: float = 0.0,
    velocities: tuple[float, float] | None = None,
) -> Figure:
    total, mean, dispersion = plot_data.moments(path, selection, clip_sigma, velocities)
    return draw_moments(total, mean, dispersion, _appearance(total.name, total.image, total.place, look))


def lb(path: Path, selection: Sample, look: FigureConfig, velocities: tuple[float, float] | None = None) -> Figure:
    found = plot_data.sky_map(path, selection, velocities)
    return draw_lb_figure(found, _appearance(found.name, found.image, found.place, look))


def compare(one: Path, other: Path, number: int, look: FigureConfig) -> Figure:
    first, second = plot_data.pictures(one, other, number)
    check_same_grid(first, second)
    appearance = _appearance("", np.stack([first.image, second.image]), CENTRED, look)
    return draw_comparison(first, second, appearance)


def spectrum(path: Path, selection: Sample, places: Places, look: FigureConfig) -> Figure:
    data = plot_data.cube(path, selection)
    spectra, title = plot_data.spectra(data, places), _titled(data.name, look)
    return draw_spectra(spectra, data.v, data.label, title=title, style=style_of(look.style))


def losses(runs: Sequence[Path], look: FigureConfig) -> Figure:
    return draw_losses(plot_data.histories(runs), title=look.title or "", style=style_of(look.style))
