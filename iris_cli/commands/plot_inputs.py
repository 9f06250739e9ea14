"""What a figure is drawn from, whichever of our folders or files it lies in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.axes import RHO, V_LOS, X_H2, Axis
from iris_cli.config.grid import Grid
from iris_cli.config.train import METRICS
from iris_cli.errors import DataError, UsageError
from iris_cli.observers import fits_cube
from iris_cli.observers.top_down import top_down_density
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.open_data import shards_folder
from iris_cli.plots.axes_of_sky import label
from iris_cli.plots.losses import History
from iris_cli.plots.orbits import CENTRED, ON_SKY, Place
from iris_cli.standard.dataset import INDEX, StandardDataset
from iris_cli.standard.paper_format import ATTRIBUTES
from iris_cli.telescope.density_map import load_map
from iris_cli.telescope.fits_image import SkyImage, axis, read_fits, transposed
from iris_cli.telescope.lv_image import load_lv
from iris_cli.training.run_folder import member_folders
from iris_cli.units import H2_MASS_SHARE

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Which:
    """A sample of a folder: by key, or by number in a split (shards) or in the data set (tensors)."""

    number: int = 0
    split: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class LV:
    """An image (L, V) on its axes, and what it shows."""

    image: Floats
    lon: Axis
    v: Axis
    label: str
    name: str
    #: Where the centre of an ellipse is seen.
    place: Place = CENTRED


@dataclass(frozen=True)
class Moments:
    """Maps (B, L) of moments 0, 1 and 2; `label` names moment 0."""

    maps: dict[int, Floats]
    lon: Axis
    lat: Axis
    label: str
    name: str
    #: Where the centre of an ellipse is seen.
    place: Place = CENTRED


def is_standard(path: Path) -> bool:
    """Whether a folder is a data set of tensors: ours, or the field's."""
    return (path / INDEX).exists() or ((path / ATTRIBUTES).exists() and not (path / "index.json").exists())


# --- shards -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardSample:
    """One pair in inner units: (L, V) of each line, and (R', L) unless it is litter."""

    observation: Floats
    density: Floats | None
    grid: Grid
    quantity: str
    key: str


def shard_sample(folder: Path, which: Which) -> ShardSample:
    """UsageError when there is no such sample."""
    dataset = PreObservedDataset(shards_folder(str(folder)), which.split)
    item = _item(dataset, which)
    found = dataset[item]
    observation, density = (found, None) if isinstance(found, torch.Tensor) else (found[0], found[1][0].numpy())
    return ShardSample(observation[0].numpy(), density, dataset.grid, dataset.quantity, dataset.key(item))


def shard_item(folder: Path, which: Which) -> tuple[int, str]:
    """A sample's number within its split, and its key. UsageError when there is no such sample."""
    dataset = PreObservedDataset(shards_folder(str(folder)), which.split)
    item = _item(dataset, which)
    return item, dataset.key(item)


def density_of(sample: ShardSample, folder: Path) -> Floats:
    """DataError when there is none."""
    if sample.density is None:
        raise DataError(f"{folder} is litter: it holds no densities")
    return sample.density


def _item(dataset: PreObservedDataset, which: Which) -> int:
    """A sample's number within the split."""
    if which.key is not None:
        table = dataset.index.samples(which.split)
        found = np.flatnonzero(np.isin(dataset.numbers, table.number[table.key == which.key]))
        if not len(found):
            raise UsageError(f"{dataset.folder} has no sample '{which.key}'", f"the first is '{dataset.key(0)}'")
        return int(found[0])
    if which.number >= len(dataset):
        raise UsageError(f"{dataset.folder} has no sample {which.number}", f"there are {len(dataset)}, from 0")
    return which.number


def tensor(folder: Path, which: Which) -> tuple[NDArray[np.float32], Grid, str]:
    """A tensor of a standard data set, its grid and its source. UsageError when there is none of that number."""
    if which.key is not None or which.split is not None:
        raise UsageError("tensors of a standard data set have neither keys nor splits", "choose by --number")
    dataset = StandardDataset.open(folder)
    if which.number >= len(dataset):
        raise UsageError(f"{folder} has no tensor {which.number}", f"there are {len(dataset)}, from 0")
    return dataset[which.number], dataset.grid, dataset.entries[which.number].source


# --- l-v images -------------------------------------------------------------------------------------------------------


def lv_image(path: Path, which: Which) -> LV:
    """The observation of a shard; the l-v image of a FITS file or of `iris cube`, or a cube's mean over latitude."""
    if path.is_dir():
        sample = shard_sample(path, which)
        grid = sample.grid
        return LV(sample.observation, grid.longitude, grid.velocity, label(sample.quantity), sample.key)
    if path.suffix == ".npz":
        return _of_npz(path)
    image = read_fits(path)
    lv = _mean_over_latitude(image) if "latitude" in image.names else transposed(image, "longitude", "velocity")
    lon, v = axis(image, "longitude"), axis(image, "velocity")
    return LV(lv, lon, v, brightness(image.unit), image.name, _place_of(image))


def _of_npz(path: Path) -> LV:
    made = load_lv(path)
    assert made is not None  # so it is for FITS files only
    lon = made.grid.longitude
    on_sky = Axis(lon.name, lon.unit, lon.first + made.centre_deg[0], lon.last + made.centre_deg[0], lon.steps)
    return LV(made.image, on_sky, made.grid.velocity, brightness("K"), path.name, ON_SKY)


def _place_of(image: SkyImage) -> Place:
    return CENTRED if image.simulated else ON_SKY


def brightness(unit: str) -> str:
    return f"{'brightness temperature' if unit.startswith('K') else 'brightness'} [{unit or '?'}]"


def _mean_over_latitude(image: SkyImage) -> Floats:
    """(L, V); pixels that were not observed do not count, and an empty column is NaN."""
    return _mean(transposed(image, "longitude", "velocity", "latitude"), axis=-1)


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean over nothing, which is NaN as it should be
        return np.nanmean(values, axis=axis, dtype=np.float64)


# --- views from above -------------------------------------------------------------------------------------------------


def top_down(path: Path, which: Which) -> tuple[Floats, Grid, str, tuple[float, float] | None]:
    """(R', L) mean H2 density in inner units, its grid and a name; of a shard, of a tensor or of a reverted map.

    Of a map also where on the sky the model looked; None of a simulation.
    """
    if not path.is_dir():
        density, seen = load_map(path)
        return density, seen.grid, path.name, seen.centre_deg
    if is_standard(path):
        fields, grid, source = tensor(path, which)
        return top_down_density(torch.from_numpy(fields), grid)[0].numpy(), grid, source, None
    sample = shard_sample(path, which)
    return density_of(sample, path), sample.grid, sample.key, None


# --- moments ----------------------------------------------------------------------------------------------------------


def moments(path: Path, which: Which) -> Moments:
    """Of a FITS cube, weighted by brightness; of a tensor, by H2 mass along each line of sight."""
    return _mass_moments(path, which) if path.is_dir() else _cube_moments(path)


def _cube_moments(path: Path) -> Moments:
    image = read_fits(path)
    cube = np.nan_to_num(transposed(image, "velocity", "latitude", "longitude"))
    v = axis(image, "velocity")
    found = fits_cube.moments(cube, v.centres(), v.step)
    name = f"integrated intensity\n[{image.unit or '?'} km/s]"
    lon, lat = axis(image, "longitude"), axis(image, "latitude")
    return Moments(dict(found), lon, lat, name, image.name, _place_of(image))


def _mass_moments(path: Path, which: Which) -> Moments:
    """Column density of H2, and the mean and the dispersion of its velocity; NaN where there is no H2."""
    fields, grid, source = tensor(path, which)
    rho = fields[RHO].astype(np.float64) * fields[X_H2] * H2_MASS_SHARE
    v = fields[V_LOS].astype(np.float64)
    total = rho.sum(axis=0)
    lit = total > 1e-4 * total.max(initial=0.0)
    share = rho / np.where(lit, total, np.nan)
    mean = (share * v).sum(axis=0)
    spread = np.sqrt((share * (v - mean) ** 2).sum(axis=0))
    maps = {0: (total * grid.distance.step).T, 1: mean.T, 2: spread.T}
    return Moments(maps, grid.longitude, grid.latitude, "H$_2$ column\n[M$_\\odot$ pc$^{-2}$]", source)


# --- spectra ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectra:
    """Name -> (V,) on one axis."""

    spectra: dict[str, Floats]
    v: Axis
    label: str
    name: str


def spectra(path: Path, which: Which, places: Sequence[tuple[float, float | None]]) -> Spectra:
    """At each (longitude, latitude) the spectrum of the pixel there; without places, the mean over the whole field.

    Without a latitude, the mean over all. UsageError for a place outside the field.
    """
    seen = _field(path, which)
    found = {_written(*place): _at(seen, *place) for place in places} or {"mean": _mean(seen.cube, (0, 1))}
    return Spectra(found, seen.v, seen.label, seen.name)


@dataclass(frozen=True)
class _Field:
    """(L, B, V); of an l-v image, a single latitude that nobody knows."""

    cube: Floats
    lon: Axis
    lat: Axis | None
    v: Axis
    label: str
    name: str


def _field(path: Path, which: Which) -> _Field:
    image = None if path.is_dir() or path.suffix == ".npz" else read_fits(path)
    if image is None or "latitude" not in image.names:
        lv = lv_image(path, which)
        return _Field(lv.image[:, None, :], lv.lon, None, lv.v, lv.label, lv.name)
    lon, lat, v = (axis(image, name) for name in ("longitude", "latitude", "velocity"))
    cube = transposed(image, "longitude", "latitude", "velocity")
    return _Field(cube, lon, lat, v, brightness(image.unit), image.name)


def _written(lon: float, lat: float | None) -> str:
    return f"l = {lon:g}°" + ("" if lat is None else f", b = {lat:g}°")


def _at(seen: _Field, lon: float, lat: float | None) -> Floats:
    column = seen.cube[_pixel(seen.lon, lon)]
    if lat is None:
        return _mean(column, 0)
    if seen.lat is None:
        raise UsageError("an l-v image has no latitudes", "leave out --lat")
    return column[_pixel(seen.lat, lat)]


def _pixel(axis: Axis, value: float) -> int:
    edges = axis.edges()
    if axis.name == "longitude":  # 359.5 is -0.5
        value += 360.0 * round((0.5 * (edges[0] + edges[-1]) - value) / 360.0)
    if not edges[0] <= value <= edges[-1]:
        raise UsageError(f"{axis.name} {value:g} lies outside {edges[0]:.4g} … {edges[-1]:.4g} deg")
    return min(int((value - edges[0]) / axis.step), axis.steps - 1)


# --- trainings --------------------------------------------------------------------------------------------------------


def histories(runs: Sequence[Path]) -> dict[str, History]:
    """Of run folders, and of the members of ensembles. DataError when one has no metrics."""
    folders = [member for run in runs for member in member_folders(run)]
    names = [str(folder) if len({f.name for f in folders}) < len(folders) else folder.name for folder in folders]
    return {name: _history(folder) for name, folder in zip(names, folders, strict=True)}


def _history(folder: Path) -> History:
    path = folder / METRICS
    if not path.is_file():
        raise DataError(f"{folder} holds no {METRICS}", "name the folder of `iris train --out`")
    lines = [found for text in path.read_text(encoding="utf-8").splitlines() if (found := _json(text))]
    steps = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step" and line["loss"] is not None]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not steps:
        raise DataError(f"{path} holds no step yet")
    validation = [(line["step"], line["loss"]) for line in epochs if line.get("loss") is not None]
    named = {"loss_zero": "predicting nothing", "loss_mean_image": "the mean image"}
    trivial = {name: epochs[-1][key] for key, name in named.items() if epochs and epochs[-1].get(key) is not None}
    return History(steps, validation, trivial)


def _json(text: str) -> dict | None:
    """A line of metrics; None for the last one of a run that is being written."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and {"step", "kind"} <= found.keys() else None
