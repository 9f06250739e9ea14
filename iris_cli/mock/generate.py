"""Mock data sets on disk: N galaxies from M viewing angles each; the same seed gives the same bytes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.toml import to_dict
from iris_cli.console import progress
from iris_cli.errors import DataError
from iris_cli.files import atomic_folder
from iris_cli.mock.draw import draw_galaxy
from iris_cli.mock.foreground import draw_foreground
from iris_cli.mock.galaxy import MockGalaxy
from iris_cli.standard.dataset import Entry, to_SI, write_index, write_slabs
from shards.pool import worker_pool

Slabs = Iterable[tuple[slice, NDArray[np.float32]]]


@dataclass(frozen=True)
class Galaxies:
    """Makes all views of a galaxy, evenly spaced in the azimuths that its orientation allows."""

    config: MockConfig
    grid: Grid
    seed: int
    views: int

    def name(self, number: int) -> str:
        return f"mock-{self.seed}-{number:06d}"

    def write(self, folder: Path, number: int) -> list[Entry]:
        galaxy = draw_galaxy(self.config, self.seed, number)
        views = [self._view(galaxy, number, view) for view in range(self.views)]
        return [_write(folder, self.grid, entry, slabs) for entry, slabs in views]

    def tensor(self, number: int, view: int) -> tuple[Entry, NDArray[np.float32]]:
        """A tensor of `write`, with the numbers that it has on disk."""
        return _in_memory(self.grid, *self._view(draw_galaxy(self.config, self.seed, number), number, view))

    def _view(self, galaxy: MockGalaxy, number: int, view: int) -> tuple[Entry, Slabs]:
        info = {"seed": self.seed, "scale": round(galaxy.scale, 6)}
        file, view_deg = f"tensor_{number * self.views + view:06d}.npy", galaxy.views_deg(self.views)[view]
        return Entry(file, self.name(number), view_deg, info), galaxy.slabs(self.grid, view_deg)


@dataclass(frozen=True)
class Foregrounds:
    """Makes litter, with one view of each foreground."""

    config: ForegroundConfig
    grid: Grid
    seed: int
    views: int = field(default=1, init=False)

    def name(self, number: int) -> str:
        return f"foreground-{self.seed}-{number:06d}"

    def write(self, folder: Path, number: int) -> list[Entry]:
        return [_write(folder, self.grid, *self._view(number))]

    def tensor(self, number: int, view: int = 0) -> tuple[Entry, NDArray[np.float32]]:
        """As of galaxies."""
        return _in_memory(self.grid, *self._view(number))

    def _view(self, number: int) -> tuple[Entry, Slabs]:
        foreground = draw_foreground(self.config, self.grid, self.seed, number)
        entry = Entry(f"tensor_{number:06d}.npy", self.name(number), None, {"seed": self.seed})
        return entry, [(slice(0, self.grid.r_steps), foreground.tensor(self.grid))]


def _write(folder: Path, grid: Grid, entry: Entry, slabs: Slabs) -> Entry:
    write_slabs(folder / entry.file, grid.tensor_shape, _finite(entry, slabs))
    return entry


def _in_memory(grid: Grid, entry: Entry, slabs: Slabs) -> tuple[Entry, NDArray[np.float32]]:
    tensor = np.empty(grid.tensor_shape, np.float32)
    for rows, slab in _finite(entry, slabs):
        tensor[:, rows] = slab
    to_SI(tensor)
    return entry, tensor


def _finite(entry: Entry, slabs: Slabs) -> Slabs:
    """Raises DataError when the values of a configuration exceed the range of float32 or of the formulas."""
    for rows, slab in slabs:
        if not np.isfinite(slab).all():
            what = f"{entry.source} holds values that are not finite"
            raise DataError(what, "its configuration has too large values")
        yield rows, slab


def origin(maker: Galaxies | Foregrounds) -> dict[str, Any]:
    """What a data set says of how it was made."""
    return {"maker": type(maker).__name__, "seed": maker.seed, "config": to_dict(maker.config)}


#: The files of a data set by `iris mock` or `iris ingest`.
_OWN = ("standard.json", "commands.jsonl", "tensor_*.npy", "ingest.json", "records")


def check_replaceable(out: Path) -> None:
    """Raises DataError for a file, and for a folder with other files than a data set's: `--overwrite` keeps these."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} exists and is not a folder", "choose another name")
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if not any(path.match(name) for name in (*_OWN, ".*.part")):
            what = f"{out} holds something else than a data set: {path.name}"
            raise DataError(what, "it is not overwritten: choose another folder")


def write_mock(
    maker: Galaxies | Foregrounds,
    out: Path,
    count: int,
    *,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Writes `count` galaxies into the folder `out`, which is created when all are done. Returns the number of tensors.

    Raises DataError when `out` exists, unless `overwrite` is set and it is a data set.
    """
    check_replaceable(out)
    entries: list[Entry] = []
    with (
        atomic_folder(out, overwrite) as folder,
        worker_pool(partial(maker.write, folder), workers) as mapped,
        progress("mock galaxies", count, quiet=quiet) as bar,
    ):
        for made in mapped(range(count)):
            entries += made
            bar.advance()
        write_index(folder, maker.grid, tuple(entries), origin(maker))
    return len(entries)
