"""Standard data sets: folders of physical tensors (6, R, L, B), native or paper-code format, read in inner units."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.console import plural
from iris_cli.errors import DataError, UsageError
from iris_cli.files import atomic_file, read_array, read_json, write_text
from iris_cli.standard.paper_format import PaperDataset, open_paper_dataset
from iris_cli.text import to_json

INDEX = "standard.json"
FORMAT = "iris-standard"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One tensor: its file, the galaxy that it shows, the viewing angle, and further information.

    `source` names the galaxy for people. `identity` is equal for all views and augmented copies of a galaxy, in any
    data set, and differs between galaxies; without it, `source` takes its place.
    """

    file: str
    source: str
    view_deg: float | None = None
    info: dict[str, Any] = field(default_factory=dict)
    identity: str | None = None


@dataclass(frozen=True)
class StandardDataset:
    """A sequence of tensors. `open` reads only the index; `dataset[k]` reads tensor k."""

    folder: Path
    grid: Grid
    entries: tuple[Entry, ...]
    turned_over: bool = False
    origin: dict[str, Any] = field(default_factory=dict)
    #: The data set of the paper code that this one is: with units of its own, and velocities towards the observer.
    paper: PaperDataset | None = None

    @classmethod
    def open(cls, folder: Path | str, views_per_source: int | None = None) -> "StandardDataset":
        """Opens a folder in native (standard.json) or paper-code format (attributes.json); DataError for others."""
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder", "name the folder of a standard data set, e.g. of `iris mock`")
        native = (folder / INDEX).exists()
        made = cls._open_native(folder) if native else cls._open_paper_code(folder, views_per_source)
        if not made.entries:
            raise DataError(f"{folder} holds no tensors")
        for entry in made.entries:
            if not (folder / entry.file).is_file():
                raise DataError(f"{folder} lists {plural(len(made.entries), 'tensor')}, but {entry.file} is missing")
        return made

    @classmethod
    def _open_native(cls, folder: Path) -> "StandardDataset":
        index = read_json(folder / INDEX)
        if index.get("format") != FORMAT or index.get("version") != VERSION:
            what = f"{index.get('format')} version {index.get('version')}"
            raise DataError(f"{folder / INDEX} is of format {what}; this program reads {FORMAT} {VERSION}")
        try:
            grid = from_dict(Grid, index["grid"], "grid")
            entries = tuple(from_dict(Entry, tensor, "tensors") for tensor in index["tensors"])
            origin = {"format": FORMAT, **index["origin"]}
        except (KeyError, TypeError, UsageError) as error:
            what = error.message if isinstance(error, UsageError) else f"an entry is missing or wrong: {error}"
            raise DataError(f"{folder / INDEX}: {what}", "make the data set again, or fix its index") from None
        for entry in entries:
            if Path(entry.file).is_absolute() or ".." in Path(entry.file).parts:
                raise DataError(f"{folder / INDEX} names {entry.file!r}, which is not a file of this folder")
        return cls(folder, grid, entries, origin=origin)

    @classmethod
    def _open_paper_code(cls, folder: Path, views_per_source: int | None) -> "StandardDataset":
        made = open_paper_dataset(folder, views_per_source)
        if made.preobserved:
            what = f"{folder} holds pairs that are already observed, not tensors"
            raise DataError(what, "import it: iris preobserve")
        entries = tuple(Entry(name, made.source(i)) for i, (name,) in enumerate(made.files))
        return cls(folder, made.grid, entries, origin=made.origin, paper=made)

    def turn_over(self) -> "StandardDataset":
        """The same galaxies turned by 180 degrees about the line of sight, which reverses their sense of rotation."""
        return replace(self, turned_over=not self.turned_over, grid=self.grid.turned_over())

    @property
    def sources(self) -> list[str]:
        return [entry.source for entry in self.entries]

    @cached_property
    def identities(self) -> list[str]:
        """The identity of the galaxy of each tensor; of a paper-code data set by the content of its first view."""
        if self.paper:
            return self.paper.identities
        return [entry.identity or entry.source for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """(6, R, L, B) float32 in inner units, receding positive. Raises DataError for impossible numbers."""
        path = self.folder / self.entries[number].file
        return self.in_inner_units(read_array(path, self.grid.tensor_shape), path)

    def in_inner_units(self, tensor: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
        """The tensor of a file of this data set, changed in place. Raises DataError for impossible numbers."""
        check_tensor(tensor, path)
        tensor = axes.turn_over(tensor).copy() if self.turned_over else tensor
        system = self.paper.units if self.paper else units.SI
        for channel, quantity in enumerate(axes.CHANNEL_QUANTITIES):
            factor = units.convert(quantity, system, units.INNER) if quantity else 1.0
            if factor != 1.0:  # saves a pass over memory for most channels of native data sets
                highest = max(float(tensor[channel].max()), -float(tensor[channel].min())) if factor > 1.0 else 0.0
                if np.isfinite(highest) and highest * factor > float(np.finfo(np.float32).max):
                    what = f"{axes.CHANNELS[channel]} reaches {highest:g}, or {highest * factor:g} in inner units"
                    raise DataError(f"{path}: {what}, which float32 cannot hold", "is its unit right?")
                tensor[channel] *= factor
        if self.paper:
            np.negative(tensor[axes.V_LOS], out=tensor[axes.V_LOS])
        return tensor


def check_tensor(tensor: NDArray[np.float32], path: Path) -> None:
    """Raises DataError for NaN, negative or infinite densities, negative temperatures, x_H2 above 0.5."""
    for channel, name in enumerate(axes.CHANNELS):
        field_ = tensor[channel]
        low, high = float(field_.min()), float(field_.max())
        if np.isnan(low):
            raise DataError(f"{path}: {name} holds {int(np.isnan(field_).sum())} NaN")
        if channel != axes.V_LOS and low < 0:
            raise DataError(f"{path}: {name} goes down to {low:g}; it cannot be negative")
        if channel != axes.T_GAS and not np.isfinite([low, high]).all():
            raise DataError(f"{path}: {name} is infinite somewhere; only T_gas may be (too hot for the tracer)")
    if (high := float(tensor[axes.X_H2].max())) > 0.501:
        what = f"{path}: x_H2 reaches {high:g}; n(H2)/n_H cannot exceed 0.5"
        raise DataError(what, "is it a mass fraction or n(H2)/(n_H/2)?")


def sense_of_rotation(tensor: NDArray[np.float32], grid: Grid) -> float:
    """Mass-weighted correlation of longitude and velocity, -1 to 1: positive turns clockwise, like the Milky Way."""
    rho, v, lon = tensor[axes.RHO].astype(np.float64), tensor[axes.V_LOS], grid.longitude.centres()
    scale = np.sqrt((rho.sum(axis=(0, 2)) * lon**2).sum() * (rho * v.astype(np.float64) ** 2).sum())
    return float(((rho * v).sum(axis=(0, 2)) * lon).sum() / scale) if scale > 0 else 0.0


def write_slabs(path: Path, shape: tuple[int, ...], slabs: Iterable[tuple[slice, NDArray[np.float32]]]) -> None:
    """Writes a tensor (6, R, L, B) by slabs of its distance rows, which need not fit into memory together.

    Slabs are in inner units, are changed in place, and become SI units on disk. Raises DataError for impossible numbers
    and leaves no file then.
    """
    steps, row = shape[1], 4 * shape[2] * shape[3]
    with atomic_file(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for rows, slab in slabs:
            to_SI(slab)
            check_tensor(slab, path)
            for channel, values in enumerate(slab):
                file.seek(start + row * (channel * steps + rows.start))
                file.write(np.ascontiguousarray(values, "<f4").data)  # numpy's own writer ignores a full disk


def to_SI(tensor: NDArray[np.float32]) -> None:
    """Converts a tensor, or a slab of one, from inner units in place; numbers that are too large become infinite."""
    for channel, quantity in enumerate(axes.CHANNEL_QUANTITIES):
        with np.errstate(over="ignore"):
            tensor[channel] *= np.float32(units.convert(quantity, units.INNER, units.SI) if quantity else 1.0)


def write_index(folder: Path, grid: Grid, entries: tuple[Entry, ...], origin: dict[str, Any]) -> None:
    """Writes the index. This is the last step: a folder without an index is not a data set."""
    names = dict(zip(axes.CHANNELS, ("m / s", "kg / m3", "K", "1", "1", "K"), strict=True))
    index = {
        "format": FORMAT,
        "version": VERSION,
        "axes": list(axes.TENSOR_AXES),
        "units": names,
        "grid": to_dict(grid),
        "origin": origin,
        "tensors": [to_dict(entry) for entry in entries],
    }
    write_text(folder / INDEX, to_json(index))
