"""Data sets written by the IRIS paper's code: `attributes.json`, `hyper.json`, numbered .npy files.

Three things differ from the native conventions and are converted here or by the caller: units are given as factors to
the SI, velocities are positive *towards* the observer, and tensors of the same galaxy are not marked (they are in runs
of `points_per_snapshot` views).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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


def open_paper_dataset(folder: Path, views_per_source: int | None = None) -> PaperDataset:
    """Reads and checks the two JSON files. Raises DataError for other folders, and when listed files are missing."""
    if not (folder / ATTRIBUTES).exists():
        raise DataError(f"{folder} is not a data set: it has neither standard.json nor {ATTRIBUTES}")
    attributes, hyper = read_json(folder / ATTRIBUTES), read_json(folder / HYPER)
    files = _files(folder, attributes.get("index"))
    _check_files(folder, files, attributes.get("cardinality"))
    grid, system = _grid(folder, hyper), _units(folder, hyper)
    _check_units(folder, system)
    runs = views_per_source or _views(folder, hyper)
    origin = {"format": FORMAT, "hyper": hyper, "velocity": "was towards the observer, reversed on reading"}
    latitude = _latitude(folder, hyper) if len(files[0]) == 2 else "mean"  # tensors still have their latitude
    return PaperDataset(folder, files, grid, system, runs, latitude, origin)


def _files(folder: Path, index: Any) -> tuple[tuple[str, ...], ...]:
    listed = [[entry] if isinstance(entry, str) else entry for entry in index] if isinstance(index, list) else []
    made = tuple(tuple(names) for names in listed if isinstance(names, list))
    if len(made) < len(listed) or not made or not all(isinstance(name, str) for names in made for name in names):
        raise DataError(f"{folder / ATTRIBUTES}: index is not a list of file names, or of pairs of them")
    return made


def _views(folder: Path, hyper: dict[str, Any]) -> int:
    """The number of successive tensors of one galaxy; 1 if not given."""
    runs = _section(folder, hyper, "writer_hyper").get("points_per_snapshot") if "writer_hyper" in hyper else None
    if runs is not None and not (isinstance(runs, int) and not isinstance(runs, bool) and runs >= 0):
        raise DataError(
            f"{folder / HYPER}: points_per_snapshot is {runs!r}, not a number of views", "give --views-per-source"
        )
    return runs or 1


def _latitude(folder: Path, hyper: dict[str, Any]) -> str:
    how = _section(folder, hyper, "cube_hyper").get("reduction", "mean")
    if how not in ("mean", "max"):
        raise DataError(f"{folder / HYPER}: reduction is {how!r}; this program knows mean and max of latitude")
    return str(how)


def _check_files(folder: Path, files: tuple[tuple[str, ...], ...], cardinality: Any) -> None:
    if cardinality != len(files):
        raise DataError(f"{folder / ATTRIBUTES} announces {cardinality} entries and lists {len(files)}")
    if twice := [names for names, count in Counter(files).items() if count > 1]:
        raise DataError(
            f"{folder / ATTRIBUTES} names {' and '.join(twice[0])} more than once",
            "it would be in both training and test data: list it once",
        )
    if len({len(names) for names in files}) != 1 or len(files[0]) not in (1, 2):
        raise DataError(f"{folder / ATTRIBUTES} mixes tensors and pairs")
    for name in (name for names in files for name in names):
        if Path(name).name != name:
            raise DataError(f"{folder / ATTRIBUTES} names {name!r}, which is not a file of this folder")
        if not (folder / name).is_file():
            raise DataError(
                f"{folder / ATTRIBUTES} lists {plural(len(files), 'entry', 'entries')}, but {name} is missing"
            )


def _section(folder: Path, hyper: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(hyper.get(name), dict):
        raise DataError(f"{folder / HYPER} has no section {name}")
    return hyper[name]


def _number(folder: Path, section: dict[str, Any], key: str) -> Any:
    value = section.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _LARGEST:
        raise DataError(f"{folder / HYPER}: {key} is {repr(value)[:40]}, not a number")
    return value


def _grid(folder: Path, hyper: dict[str, Any]) -> Grid:
    place, cube = _section(folder, hyper, "coordinate_hyper"), _section(folder, hyper, "cube_hyper")
    names = {
        "observer_distance_pc": "observer_radius",
        "r_min_pc": "r_min",
        "r_max_pc": "r_max",
        "r_steps": "r_steps",
        "r_crop_min": "r_crop_min_index",
        "r_crop_max": "r_crop_max_index",
        "lon_min_deg": "lon_min",
        "lon_max_deg": "lon_max",
        "lon_steps": "lon_steps",
        "lat_min_deg": "lat_min",
        "lat_max_deg": "lat_max",
        "lat_steps": "lat_steps",
    }
    values = {name: _number(folder, place, key) for name, key in names.items()}
    values["v_steps"] = _number(folder, cube, "v_steps")
    for name in ("r_steps", "r_crop_min", "r_crop_max", "lon_steps", "lat_steps", "v_steps"):
        if values[name] != int(values[name]):
            raise DataError(f"{folder / HYPER}: {names.get(name, name)} is {values[name]}, not a whole number")
        values[name] = int(values[name])
    # Positive towards the observer: v_min in the file is the fastest receding gas.
    v_min, v_max = -_number(folder, cube, "v_max"), -_number(folder, cube, "v_min")
    try:
        return Grid(**values, v_min_km_s=v_min, v_max_km_s=v_max)
    except UsageError as error:
        raise DataError(f"{folder / HYPER}: {error.message}") from None


def _units(folder: Path, hyper: dict[str, Any]) -> units.UnitSystem:
    section = _section(folder, hyper, "dataset_hyper")
    names = ("length", "time", "mass", "temperature")
    factors = {f"{name}_per_SI": float(_number(folder, section, f"_{name}_iris_per_SI")) for name in names}
    for name, value in factors.items():
        if not value > 0:
            raise DataError(f"{folder / HYPER}: {name} = {value} is not a positive factor")
    return units.UnitSystem(**factors)


def _check_units(folder: Path, system: units.UnitSystem) -> None:
    """Raises DataError for factors that would make every value 0 or infinite."""
    for quantity in ("velocity", "density", "temperature"):
        try:
            factor = units.convert(quantity, system, units.INNER)
        except (OverflowError, ZeroDivisionError):
            factor = float("inf")
        if not _REASONABLE[0] < factor < _REASONABLE[1]:
            raise DataError(
                f"{folder / HYPER}: a {quantity} of 1 in its units would be {factor:.3g} {units.QUANTITIES[quantity]}",
                "each factor must be the value of one SI unit in the files",
            )
