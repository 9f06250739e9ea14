"""What `iris view` shows of a shard folder, a run, a cube, an l-v image or a map."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.commands.complete import NETWORKS
from iris_cli.commands.options import Sample
from iris_cli.commands.plot_data import lv_image, moved
from iris_cli.config.grid import Grid
from iris_cli.config.train import is_run
from iris_cli.console import log, progress
from iris_cli.distributed import World
from iris_cli.errors import DataError, UsageError
from iris_cli.evaluation.evaluate import evaluate
from iris_cli.evaluation.loss import physical_loss
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.open_data import shards_folder
from iris_cli.plots.view import MOST_VALUES, Layer, Panel, View, fitting
from iris_cli.standard.top_down_plane import cropped_distance
from iris_cli.telescope.density_map import is_map, load_caption, load_map
from iris_cli.telescope.fits_file import open_fits
from iris_cli.telescope.fits_image import axis, read_fits, transposed
from iris_cli.telescope.lv_image import from_fits_axes
from iris_cli.training.test import inputs_of
from iris_cli.training.trained_run import ensemble_for, open_members

DENSITY_UNIT = "M☉ pc⁻³"
UNITS = {"temperature": "K", "v_density": "M☉ pc⁻² (km/s)⁻¹", "intensity": "M☉ pc⁻² (km/s)²"}


def view_of(path: Path, most: int, split: str | None, samples: int) -> View:
    """UsageError or DataError, with a hint, for what cannot be shown."""
    if not path.exists():
        raise DataError(f"{path} does not exist", "name a shard folder, a run, a cube or a map")
    if path.suffix in NETWORKS or is_run(path):
        return _of_run(path, most, split, samples)
    if path.is_dir():
        return _of_shards(path, most, split)
    if split is not None:
        raise UsageError(f"{path} has no splits", "leave out --split")
    if path.suffix.lower() != ".npz" and is_map(path):
        return _of_map(path, most)
    if path.suffix.lower() != ".npz" and len(read_fits(path).axes) == 3:
        return _of_cube(path)
    found = lv_image(path, Sample())
    unit = found.label.partition("[")[2].rstrip("]") or "?"
    layer = Layer("observation", unit, found.image.T, ("longitude", "velocity"), "observation")
    return View(found.name, [Panel(layer, "longitude", "velocity")], {"longitude": found.across, "velocity": found.up})


def _sky(grid: Grid) -> dict[str, Axis]:
    return {"longitude": grid.longitude, "velocity": grid.velocity, "distance": cropped_distance(grid)}


def _lv(title: str, values: NDArray, unit: str, dims: tuple[str, ...], group: str = "observation") -> Panel:
    layer = Layer(title, unit, values, (*dims, "longitude", "velocity"), group)
    return Panel(layer, "longitude", "velocity")


def _above(title: str, values: NDArray, dims: tuple[str, ...] = ()) -> Panel:
    """Maps of one view have one colour scale."""
    return Panel(Layer(title, DENSITY_UNIT, values, (*dims, "distance", "longitude"), "map"), "longitude", "distance")


def _of_shards(path: Path, most: int, split: str | None) -> View:
    dataset = PreObservedDataset(shards_folder(str(path)), split)
    if not len(dataset):
        raise UsageError(f"{path} has no pairs" + (f" in the split '{split}'" if split else ""), "iris shards info")
    shown = range(min(most, len(dataset)))
    items = [dataset[k] for k in shown]
    pairs = [item if isinstance(item, tuple) else (item, None) for item in items]
    images = np.stack([observation.numpy() for observation, _ in pairs])
    unit = UNITS[dataset.quantity]
    several = images.shape[1] > 1
    titles = [f"observation, channel {k + 1}" if several else "observation" for k in range(images.shape[1])]
    panels = [_lv(title, images[:, k], unit, ("pair",), title) for k, title in enumerate(titles)]
    if not dataset.litter:
        panels.append(_above("true H2 density", np.stack([d[0].numpy() for _, d in pairs if d is not None]), ("pair",)))
    return _pairs(path, panels, dataset.grid, [dataset.key(k) for k in shown], len(dataset))


def _pairs(path: Path, panels: list[Panel], grid: Grid, keys: list[str], of: int, samples: int = 0) -> View:
    names = {"pair": keys} | ({"sample": [""] * samples} if samples else {})
    if of > len(keys):
        log(f"{len(keys)} of {of} pairs: --most shows more")
    caption = (
        f"{len(keys)} of {of} pairs. Density is the mean of H2 over latitude, seen from Galactic north, the Sun below."
    )
    return View(str(path), panels, _sky(grid), names, caption)


def _of_run(path: Path, most: int, split: str | None, samples: int) -> View:
    members = open_members(path)
    hyper = replace(members[0].hyper, overlap="refuse")
    stream = inputs_of(hyper, split, members=members).normal
    ensemble = ensemble_for(members, stream.pairs, samples=samples)
    images, true, maps, keys = [], [], [], []
    count = min(most, stream.count)
    with progress("predicting", count) as bar:
        for item in range(count):
            one = replace(stream, batch=1)
            with closing(evaluate(ensemble, physical_loss(members[0].hyper), one, World(), position=item)) as found:
                evaluated = next(found, None)
            bar.advance()
            if evaluated is None or evaluated.batch.positions[0] != item:
                continue  # it could not be read
            images.append(evaluated.batch.observation[0, 0].numpy())
            true.append(evaluated.batch.density[0, 0].numpy())
            maps.append(evaluated.maps.members[:, 0, 0].float().numpy())
            keys.append(stream.pairs.key(int(stream.numbers[item])))
    if not keys:
        raise DataError(f"no pair of {stream.pairs.name} can be read", "check them: iris shards verify")
    drawn = np.stack(maps)
    panels = [
        _lv("observation", np.stack(images), UNITS[ensemble.quantity], ("pair",)),
        _above("true H2 density", np.stack(true), ("pair",)),
        _above("predicted, mean", drawn.mean(axis=1), ("pair",)),
    ]
    several = drawn.shape[1] if drawn.shape[1] > 1 else 0
    if several:
        panels.append(_above("standard deviation", drawn.std(axis=1, ddof=1), ("pair",)))
        panels.append(_above("sample", drawn, ("pair", "sample")))
    return _pairs(path, panels, stream.pairs.grid, keys, stream.count, several)


def _of_cube(path: Path) -> View:
    """A map of each channel, and the l-v image of each latitude; a click in one moves the other."""
    image = read_fits(path)
    names = "velocity", "latitude", "longitude"
    axes = [axis(image, name) for name in names]
    values, kept = fitting(transposed(image, *names), axes, MOST_VALUES)
    sizes = " x ".join(str(one.steps) for one in kept)
    caption = f"{sizes} values (velocity, latitude, longitude). A click in one image moves the slider of the other."
    if [one.steps for one in kept] != [one.steps for one in axes]:
        log(f"averaged to {sizes} values, so that the page stays below {3 * MOST_VALUES / 1e6:.0f} MB")
        caption += " Neighbouring pixels of the file are averaged."
    layer = Layer("map of a channel", image.unit or "?", values, names, "cube")
    panels = [Panel(layer, "longitude", "latitude"), Panel(layer, "longitude", "velocity", "l-v image of a latitude")]
    return View(image.name, panels, dict(zip(names, kept, strict=True)), caption=caption)


def _of_map(path: Path, most: int) -> View:
    density, lv = load_map(path)
    seen = lv.observed_longitudes
    lon = moved(lv.grid.longitude, lv.centre_deg[0])
    panels = [_above("mean H2 density", np.where(seen, density, np.nan))]
    names, factor = {}, 1.0
    with open_fits(path, False, []) as hdus:
        found = {hdu.name: np.asarray(hdu.data, np.float32) for hdu in hdus if hdu.data is not None}
        factor = float(density.max() / max(found["PRIMARY"].max(), 1e-300))
    for name, title in (("SPREAD", "standard deviation"), ("STD", "standard deviation"), ("SAMPLES", "sample")):
        if name in found:
            planes = found[name].reshape(-1, *found[name].shape[-2:])[:most]
            images = np.stack([from_fits_axes(plane).T for plane in planes]) * factor
            images = np.where(seen, images, np.nan)
            panels.append(_above(title, images, ("sample",)) if name == "SAMPLES" else _above(title, images[0]))
            if name == "SAMPLES":
                names["sample"] = [""] * len(images)
    panels.append(_lv("observed", np.where(lv.coverage > 0, lv.image, np.nan), "K", ()))
    for name, title in (("P_NEAR", "P(near)"), ("P_PRIOR", "P(near) of the training set")):
        if name in found:
            image = from_fits_axes(found[name])
            layer = Layer(title, "probability", image, ("longitude", "velocity"), title, fraction=True)
            panels.append(Panel(layer, "longitude", "velocity"))
    return View(path.name, panels, _sky(lv.grid) | {"longitude": lon}, names, load_caption(path))
