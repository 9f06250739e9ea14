"""The data of a figure, read from a shard folder, a standard data set, a FITS file, an .npz or a run folder."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.axes import RHO, V_LOS, X_H2, Axis
from iris_cli.commands.options import Sample
from iris_cli.config.grid import Grid
from iris_cli.config.train import METRICS
from iris_cli.errors import DataError, UsageError
from iris_cli.metrics_log import read_lines
from iris_cli.observers import fits_cube
from iris_cli.observers.top_down import top_down_density
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.open_data import is_standard, shards_folder
from iris_cli.plots.axes_of_sky import Picture, label
from iris_cli.plots.losses import History
from iris_cli.plots.orbits import CENTRED, ON_SKY
from iris_cli.plots.style import as_label
from iris_cli.standard.dataset import StandardDataset
from iris_cli.standard.top_down_plane import cropped_distance
from iris_cli.telescope.density_map import is_map, load_caption, load_map
from iris_cli.telescope.fits_image import SkyImage, axis, read_fits, transposed
from iris_cli.telescope.lv_image import LvImage, load_lv
from iris_cli.training.run_folder import member_folders
from iris_cli.units import H2_MASS_SHARE, QUANTITIES

Floats = NDArray[np.floating]

#: BUNIT of the moment 0 of a cube by the simple observer.
COLUMN_UNIT = "solMass pc-2"
#: BUNIT of cubes and moments of the simple observer -> label.
GAS_LABELS = {QUANTITIES["v_density"]: label("v_density"), COLUMN_UNIT: "gas column\n[M$_\\odot$ pc$^{-2}$]"}


# --- shards -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardSample:
    """One pair in inner units: (L, V) of each line, and (R', L) unless it is litter."""

    observation: Floats
    density: Floats | None
    grid: Grid
    quantity: str
    key: str


def shard_sample(folder: Path, selection: Sample) -> ShardSample:
    """UsageError when there is no such sample."""
    dataset = PreObservedDataset(shards_folder(str(folder)), selection.split)
    item = _item(dataset, selection)
    found = dataset[item]
    observation, density = (found, None) if isinstance(found, torch.Tensor) else (found[0], found[1][0].numpy())
    return ShardSample(observation[0].numpy(), density, dataset.grid, dataset.quantity, dataset.key(item))


def shard_item(folder: Path, selection: Sample) -> tuple[int, str]:
    """A sample's number within its split, and its key. UsageError when there is no such sample."""
    dataset = PreObservedDataset(shards_folder(str(folder)), selection.split)
    item = _item(dataset, selection)
    return item, dataset.key(item)


def density_of(sample: ShardSample, folder: Path) -> Floats:
    """DataError when there is none."""
    if sample.density is None:
        raise DataError(f"{folder} is litter, which has no densities")
    return sample.density


def _item(dataset: PreObservedDataset, selection: Sample) -> int:
    """A sample's number within the split."""
    if selection.key is not None:
        keys = dataset.index.keys(selection.split)
        if selection.key not in keys:
            raise UsageError(f"{dataset.folder} has no sample '{selection.key}'", f"the first is '{dataset.key(0)}'")
        return keys.index(selection.key)
    if selection.number >= len(dataset):
        raise UsageError(f"{dataset.folder} has no sample {selection.number}", f"there are {len(dataset)}, from 0")
    return selection.number


def tensor(folder: Path, selection: Sample) -> tuple[NDArray[np.float32], Grid, str]:
    """A tensor of a standard data set, its grid and its source. UsageError when there is none of that number."""
    if selection.key is not None or selection.split is not None:
        raise UsageError("tensors of a standard data set have neither keys nor splits", "choose by --number")
    dataset = StandardDataset.open(folder)
    if selection.number >= len(dataset):
        raise UsageError(f"{folder} has no tensor {selection.number}", f"there are {len(dataset)}, from 0")
    return dataset[selection.number], dataset.grid, dataset.entries[selection.number].source


# --- l-v images -------------------------------------------------------------------------------------------------------


def lv_image(path: Path, selection: Sample) -> Picture:
    """The observation of a shard; the l-v image of a FITS file or of `iris cube`, or a cube's mean over latitude."""
    if path.is_dir():
        found = shard_sample(path, selection)
        grid = found.grid
        return Picture(found.observation.T, grid.longitude, grid.velocity, label(found.quantity), found.key)
    if path.suffix.lower() == ".npz":
        made = load_lv(path)
        assert made is not None  # None is for FITS files only
        return _of_cubes(path, made)
    return _lv_of(path, read_fits(path))


def _lv_of(path: Path, image: SkyImage) -> Picture:
    if "latitude" in image.names:
        return _picture_of(image, _mean(transposed(image, "velocity", "longitude", "latitude"), axis=-1), "velocity")
    if made := load_lv(path):
        return _of_cubes(path, made)
    return _picture_of(image, transposed(image, "velocity", "longitude"), "velocity")


def _of_cubes(path: Path, made: LvImage) -> Picture:
    """NaN where no cube observed."""
    seen = np.where(made.coverage > 0.0, made.image, np.float32(np.nan))
    lon = moved(made.grid.longitude, made.centre_deg[0])
    return Picture(seen.T, lon, made.grid.velocity, brightness("K"), path.name, ON_SKY)


def moved(axis: Axis, by: float) -> Axis:
    return replace(axis, first=axis.first + by, last=axis.last + by)


def _picture_of(image: SkyImage, values: Floats, up: str, label: str = "") -> Picture:
    """Values (up, longitude) on the axes of a FITS file."""
    place = CENTRED if image.simulated else ON_SKY
    return Picture(
        values, axis(image, "longitude"), axis(image, up), label or brightness(image.unit), image.name, place
    )


def brightness(unit: str) -> str:
    """The label of a colour bar for values of this BUNIT."""
    kind = "brightness temperature" if unit.startswith("K") else "brightness"
    return GAS_LABELS.get(unit, f"{kind} [{as_label(unit) or '?'}]")


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Over the pixels that were observed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean over no pixel is NaN
        return np.nanmean(values, axis=axis, dtype=np.float64)


# --- views from above -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TopDown:
    """Mean H2 density (R', L) in inner units, NaN where nothing was observed; its grid and a name."""

    density: Floats
    grid: Grid
    name: str
    #: Position on the sky of the centre of a map (deg); None for a simulation.
    centre_deg: tuple[float, float] | None = None
    caption: str = ""


def top_down(path: Path, selection: Sample) -> TopDown:
    """Of a shard, a tensor or a reverted map."""
    if not path.is_dir():
        density, seen = load_map(path)
        density = np.where(seen.observed_longitudes, density, np.float32(np.nan))
        return TopDown(density, seen.grid, path.name, seen.centre_deg, load_caption(path))
    if is_standard(path):
        fields, grid, source = tensor(path, selection)
        return TopDown(top_down_density(torch.from_numpy(fields), grid)[0].numpy(), grid, source)
    sample = shard_sample(path, selection)
    return TopDown(density_of(sample, path), sample.grid, sample.key)


# --- two images -------------------------------------------------------------------------------------------------------


def pictures(one: Path, other: Path, number: int) -> tuple[Picture, Picture]:
    """Two images to compare, with the names of their files, or the whole paths of files with one name."""
    names = (one.name, other.name) if one.name != other.name else (str(one), str(other))
    first, second = (_picture(path, Sample(number)) for path in (one, other))
    return replace(first, name=names[0]), replace(second, name=names[1])


def _picture(path: Path, selection: Sample) -> Picture:
    """A map of `iris revert`, a tensor seen from above, an image of longitude and latitude, else an l-v image."""
    in_fits = not path.is_dir() and path.suffix.lower() != ".npz"
    if is_standard(path) or (in_fits and is_map(path)):
        seen = top_down(path, selection)
        lon = moved(seen.grid.longitude, seen.centre_deg[0] if seen.centre_deg else 0.0)
        return Picture(seen.density, lon, cropped_distance(seen.grid), label("density"), seen.name)
    image = read_fits(path) if in_fits else None
    if image and "velocity" not in image.names:
        return _picture_of(image, transposed(image, "latitude", "longitude"), "latitude")
    return _lv_of(path, image) if image else lv_image(path, selection)


# --- moments ----------------------------------------------------------------------------------------------------------


#: Moment 0, and moments 1 and 2 (B, L) on its axes.
Moments = tuple[Picture, Floats, Floats]


def moments(
    path: Path, selection: Sample, clip_sigma: float = 0.0, velocities: tuple[float, float] | None = None
) -> Moments:
    """Of a FITS cube, weighted by brightness; of a tensor, by H2 mass along each line of sight.

    Of a cube, only values above `clip_sigma` times the noise and channels with centres within `velocities` (km/s).
    UsageError when there is no such channel.
    """
    if not path.is_dir():
        return _cube_moments(path, clip_sigma, velocities)
    if clip_sigma or velocities:
        raise UsageError(f"{path} is not a FITS cube", "leave out --clip-sigma and --velocity-range")
    return _mass_moments(path, selection)


def sky_map(path: Path, selection: Sample, velocities: tuple[float, float] | None = None) -> Picture:
    """Only moment 0 of a cube or a tensor; of an image of longitude and latitude (a continuum map), the image.

    UsageError for velocities where there are none.
    """
    if path.is_dir() or "velocity" in (image := read_fits(path)).names:
        return moments(path, selection, velocities=velocities)[0]
    if velocities:
        raise UsageError(f"{path} has no axis of velocity", "leave out --velocity-range")
    return _picture_of(image, transposed(image, "latitude", "longitude"), "latitude")


def _cube_moments(path: Path, clip_sigma: float, velocities: tuple[float, float] | None) -> Moments:
    image = read_fits(path)
    cube, v = transposed(image, "velocity", "latitude", "longitude"), axis(image, "velocity")
    cube = fits_cube.clipped(cube, clip_sigma) if clip_sigma else cube
    low, high = velocities or (-np.inf, np.inf)
    kept = (v.centres() >= low) & (v.centres() <= high)
    if not kept.any():
        ends = f"{v.first:.5g} … {v.last:.5g}"
        raise UsageError(f"{path} has no channel within {low:g} … {high:g} km/s", f"it has {ends} km/s")
    found = fits_cube.moments(cube[kept], v.centres()[kept], v.step)
    name = f"integrated intensity\n[{as_label(image.unit) or '?'} km/s]"
    name = GAS_LABELS[COLUMN_UNIT] if image.unit == QUANTITIES["v_density"] else name
    return _picture_of(image, found[0], "latitude", name), found[1], found[2]


def _mass_moments(path: Path, selection: Sample) -> Moments:
    """Column density of H2, and the mean and the dispersion of its velocity; NaN where there is no H2."""
    fields, grid, source = tensor(path, selection)
    rho = fields[RHO].astype(np.float64) * fields[X_H2] * H2_MASS_SHARE
    v = fields[V_LOS].astype(np.float64)
    total = rho.sum(axis=0)
    filled = total > 1e-4 * total.max(initial=0.0)
    share = rho / np.where(filled, total, np.nan)
    mean = (share * v).sum(axis=0)
    spread = np.sqrt((share * (v - mean) ** 2).sum(axis=0))
    column, label = (total * grid.distance.step).T, "H$_2$ column\n[M$_\\odot$ pc$^{-2}$]"
    return Picture(column, grid.longitude, grid.latitude, label, source), mean.T, spread.T


# --- spectra ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cube:
    """Values (L, B, V); of an l-v image, a single latitude of unknown position."""

    values: Floats
    lon: Axis
    lat: Axis | None
    v: Axis
    label: str
    name: str


def cube(path: Path, selection: Sample) -> Cube:
    """Of a FITS cube, an l-v image or a shard."""
    image = None if path.is_dir() or path.suffix.lower() == ".npz" else read_fits(path)
    if image is None or "latitude" not in image.names:
        lv = lv_image(path, selection)
        return Cube(lv.image.T[:, None, :], lv.across, None, lv.up, lv.label, lv.name)
    lon, lat, v = (axis(image, name) for name in ("longitude", "latitude", "velocity"))
    values = transposed(image, "longitude", "latitude", "velocity")
    return Cube(values, lon, lat, v, brightness(image.unit), image.name)


def spectra(data: Cube, places: Sequence[tuple[float, float | None]]) -> dict[str, Floats]:
    """The spectrum (V,) of the pixel at each (longitude, latitude); without places, the mean over all pixels.

    Without a latitude, the mean over all latitudes. UsageError for a place outside the data.
    """
    found = {f"l = {lon:g}°" + ("" if lat is None else f", b = {lat:g}°"): _at(data, lon, lat) for lon, lat in places}
    return found or {"mean": _mean(data.values, (0, 1))}


def _at(data: Cube, lon: float, lat: float | None) -> Floats:
    column = data.values[_pixel(data.lon, lon)]
    if lat is None:
        return _mean(column, 0)
    if data.lat is None:
        raise UsageError("an l-v image has no latitudes", "remove --lat")
    return column[_pixel(data.lat, lat)]


def _pixel(axis: Axis, value: float) -> int:
    edges, place = axis.edges(), value
    if axis.name == "longitude":  # 359.5 is -0.5
        place += 360.0 * round((0.5 * (edges[0] + edges[-1]) - value) / 360.0)
    if not edges[0] <= place <= edges[-1]:
        raise UsageError(f"{axis.name} {value:g} is outside {edges[0]:.4g} … {edges[-1]:.4g} deg")
    return min(int((place - edges[0]) / axis.step), axis.steps - 1)


# --- trainings --------------------------------------------------------------------------------------------------------


def histories(runs: Sequence[Path]) -> dict[str, History]:
    """The losses of run folders, and of the members of ensembles. DataError when one has no metrics."""
    folders = [member for run in runs for member in member_folders(run)]
    names = [str(folder) if len({f.name for f in folders}) < len(folders) else folder.name for folder in folders]
    return {as_label(name): _history(folder) for name, folder in zip(names, folders, strict=True)}


def _history(folder: Path) -> History:
    path = folder / METRICS
    if not path.is_file():
        raise DataError(f"{folder} holds no {METRICS}", "name the folder of `iris train --out`")
    lines = read_lines(path)
    steps = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step" and line["loss"] is not None]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not steps:
        raise DataError(f"{path} holds no step yet")
    validation = [(line["step"], line["loss"]) for line in epochs if line.get("loss") is not None]
    named = {"loss_zero": "predicting nothing", "loss_mean_image": "the mean image"}
    trivial = {name: epochs[-1][key] for key, name in named.items() if epochs and epochs[-1].get(key) is not None}
    rates = [(line["step"], rate) for line in lines if line["kind"] == "step" and (rate := line.get("learning_rate"))]
    return History(steps, validation, trivial, rates)
