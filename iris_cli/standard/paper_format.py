"""Data sets written by the IRIS paper's code: `attributes.json`, `hyper.json`, numbered .npy files.

Three things differ from the native conventions and are converted here or by the caller: units are given as factors to
the SI, velocities are positive *towards* the observer, and tensors of the same galaxy are not marked (they are in runs
of `points_per_snapshot` views).
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.console import plural
from iris_cli.errors import DataError, UsageError
from iris_cli.files import read_array, read_json

ATTRIBUTES, HYPER = "attributes.json", "hyper.json"
FORMAT = "iris-paper"
#: Larger than any coordinate or unit.
_LARGEST = 1e100
#: Limits of the factor from units of the file to inner units, so that float32 holds the values in both.
_REASONABLE = (1e-30, 1e30)


@dataclass(frozen=True)
class PaperDataset:
    """The contents of `attributes.json` and `hyper.json`: one file per tensor, or (density, observation) per pair."""

    folder: Path
    files: tuple[tuple[str, ...], ...]
    grid: Grid
    units: units.UnitSystem
    views_per_source: int
    latitude: str
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def preobserved(self) -> bool:
        return len(self.files[0]) == 2

    def source(self, number: int) -> str:
        return f"{self.folder.resolve().name}-{number // self.views_per_source:06d}"

    @cached_property
    def identities(self) -> list[str]:
        """Of the galaxy of each entry: the content of its first view's first file, whatever the folder's name."""
        views = self.views_per_source
        firsts = [f"paper-{_sampled_digest(self.folder / first)}" for first, *_ in self.files[::views]]
        return [firsts[number // views] for number in range(len(self.files))]

    def pair(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(observation (1, L, V), density (1, R', L)) of a pre-observed folder: inner units, receding positive.

        The observations are brightness temperatures. Raises DataError for NaN and for negative densities.
        """
        density_file, observation_file = (self.folder / name for name in self.files[number])
        density = read_array(density_file, self.grid.density_shape)
        observation = read_array(observation_file, self.grid.observation_shape)
        if density.min() < 0:
            raise DataError(f"{density_file} goes down to {density.min():g}; a density cannot be negative")
        kelvin = units.convert("temperature", self.units, units.INNER)
        inner = units.convert("density", self.units, units.INNER)
        with np.errstate(over="ignore"):  # reported below, with the name of the file
            observation, density = axes.reverse_velocity(observation) * np.float32(kelvin), density * np.float32(inner)
        for path, image in ((density_file, density), (observation_file, observation)):
            if not np.isfinite(image).all():
                raise DataError(f"{path} holds {int((~np.isfinite(image)).sum())} values that are not finite")
        return observation, density


def _sampled_digest(path: Path) -> str:
    """Of the length of a file and of some pieces, evenly over it: its tensors are too large to be read for a name."""
    length, pieces, size = path.stat().st_size, 64, 4096
    digest = xxhash.xxh3_64(str(length).encode())
    with path.open("rb") as file:
        for start in sorted({k * max(0, length - size) // (pieces - 1) for k in range(pieces)}):
            file.seek(start)
            digest.update(file.read(size))
    return digest.hexdigest()


def open_paper_dataset(folder: Path, views_per_source: int | None = None) -> PaperDataset:
    """Reads and checks the two JSON files. Raises DataError for other folders, and when listed files are missing."""
    if not (folder / ATTRIBUTES).exists():
        what = f"{folder} is not a data set: it has neither standard.json nor {ATTRIBUTES}"
        raise DataError(what, "name the output of `iris mock` or `iris ingest`; shards hold no tensors")
    attributes, hyper = read_json(folder / ATTRIBUTES), _Hyper(folder / HYPER, read_json(folder / HYPER))
    files = _files(folder, attributes.get("index"), attributes.get("cardinality"))
    grid, system, views = _grid(hyper), _units(hyper), views_per_source or _views(hyper)
    origin = {"format": FORMAT, "hyper": hyper.values, "velocity": "was towards the observer, reversed on reading"}
    latitude = _latitude(hyper) if len(files[0]) == 2 else "mean"  # tensors still have their latitude
    return PaperDataset(folder, files, grid, system, views, latitude, origin)


@dataclass(frozen=True)
class _Hyper:
    """`hyper.json`, with errors that name the file."""

    path: Path
    values: dict[str, Any]

    def error(self, what: str, hint: str = "") -> DataError:
        return DataError(f"{self.path}: {what}", hint)

    def section(self, name: str) -> dict[str, Any]:
        if not isinstance(self.values.get(name), dict):
            raise DataError(f"{self.path} has no section {name}")
        return self.values[name]

    def number(self, section: str, key: str) -> Any:
        value = self.section(section).get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _LARGEST:
            raise self.error(f"{key} is {repr(value)[:40]}, not a number")
        return value


def _files(folder: Path, index: Any, cardinality: Any) -> tuple[tuple[str, ...], ...]:
    attributes = folder / ATTRIBUTES
    listed = [[entry] if isinstance(entry, str) else entry for entry in index] if isinstance(index, list) else []
    files = tuple(tuple(names) for names in listed if isinstance(names, list))
    if len(files) < len(listed) or not files or not all(isinstance(name, str) for names in files for name in names):
        raise DataError(f"{attributes}: index is not a list of file names, or of pairs of them")
    if cardinality != len(files):
        raise DataError(f"{attributes} announces {cardinality} entries and lists {len(files)}")
    if twice := [names for names, count in Counter(files).items() if count > 1]:
        names = " and ".join(twice[0])
        raise DataError(f"{attributes} names {names} more than once", "it would be in both training and test data")
    if len({len(names) for names in files}) != 1 or len(files[0]) not in (1, 2):
        raise DataError(f"{attributes} mixes tensors and pairs")
    for name in (name for names in files for name in names):
        if Path(name).name != name:
            raise DataError(f"{attributes} names {name!r}, which is not a file of this folder")
        if not (folder / name).is_file():
            raise DataError(f"{attributes} lists {plural(len(files), 'entry', 'entries')}, but {name} is missing")
    return files


def _views(hyper: _Hyper) -> int:
    """The number of successive tensors of one galaxy; 1 if not given."""
    views = hyper.section("writer_hyper").get("points_per_snapshot") if "writer_hyper" in hyper.values else None
    if views is not None and not (isinstance(views, int) and not isinstance(views, bool) and views >= 0):
        raise hyper.error(f"points_per_snapshot is {views!r}, not a number of views", "give --views-per-source")
    return views or 1


def _latitude(hyper: _Hyper) -> str:
    reduction = hyper.section("cube_hyper").get("reduction", "mean")
    if reduction not in ("mean", "max"):
        raise hyper.error(f"reduction is {reduction!r}; supported are mean and max")
    return str(reduction)


#: Fields of `Grid` -> keys of `coordinate_hyper`.
_GRID_KEYS = {
    "observer_distance_pc": "observer_radius",
    "r_crop_min": "r_crop_min_index",
    "r_crop_max": "r_crop_max_index",
    **{f"r_{end}_pc": f"r_{end}" for end in ("min", "max")},
    **{f"{axis}_{end}_deg": f"{axis}_{end}" for axis in ("lon", "lat") for end in ("min", "max")},
    **{f"{axis}_steps": f"{axis}_steps" for axis in ("r", "lon", "lat")},
}


def _grid(hyper: _Hyper) -> Grid:
    values = {name: hyper.number("coordinate_hyper", key) for name, key in _GRID_KEYS.items()}
    values["v_steps"] = hyper.number("cube_hyper", "v_steps")
    for name in ("r_steps", "r_crop_min", "r_crop_max", "lon_steps", "lat_steps", "v_steps"):
        if values[name] != int(values[name]):
            raise hyper.error(f"{_GRID_KEYS.get(name, name)} is {values[name]}, not a whole number")
        values[name] = int(values[name])
    # Positive towards the observer: v_min in the file is the fastest receding gas.
    v_min, v_max = (-hyper.number("cube_hyper", key) for key in ("v_max", "v_min"))
    try:
        return Grid(**values, v_min_km_s=v_min, v_max_km_s=v_max)
    except UsageError as error:
        raise hyper.error(error.message) from None


def _units(hyper: _Hyper) -> units.UnitSystem:
    """Raises DataError for factors that would make every value 0 or infinite."""
    names = ("length", "time", "mass", "temperature")
    factors = {f"{name}_per_SI": float(hyper.number("dataset_hyper", f"_{name}_iris_per_SI")) for name in names}
    system = units.UnitSystem(**factors)
    for quantity in ("velocity", "density", "temperature"):
        try:
            factor = units.convert(quantity, system, units.INNER)
        except (OverflowError, ZeroDivisionError):
            factor = float("inf")
        if not _REASONABLE[0] < factor < _REASONABLE[1]:
            what = f"a {quantity} of 1 in its units would be {factor:.3g} {units.QUANTITIES[quantity]}"
            raise hyper.error(what, "each factor must be the value of one SI unit in the files")
    return system
