"""Mock data sets on disk: N galaxies from M viewing angles each; the same seed gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
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
from iris_cli.mock.foreground import draw_foreground
from iris_cli.mock.galaxy import draw_galaxy
from iris_cli.standard.dataset import Entry, write_index, write_tensor
from shards.pool import worker_pool


@dataclass(frozen=True)
class Galaxies:
    """Writes all views of a galaxy, evenly spaced in azimuth."""

    config: MockConfig
    grid: Grid
    seed: int
    views: int
    kind: str = "mock"

    def entries(self, number: int) -> list[Entry]:
        return [
            Entry(
                f"tensor_{number * self.views + k:06d}.npy",
                f"{self.kind}-{self.seed}-{number:06d}",
                360.0 * k / self.views,
                {"seed": self.seed},
            )
            for k in range(self.views)
        ]

    def write(self, folder: Path, number: int) -> list[Entry]:
        galaxy = draw_galaxy(self.config, self.seed, number)
        entries = self.entries(number)
        for entry in entries:
            assert entry.view_deg is not None
            entry.info["scale"] = round(galaxy.scale, 6)
            write_tensor(folder, entry.file, _finite(galaxy.tensor(self.grid, entry.view_deg), entry))
        return entries


@dataclass(frozen=True)
class Foregrounds:
    """Writes litter, with one view of each foreground."""

    config: ForegroundConfig
    grid: Grid
    seed: int

    def write(self, folder: Path, number: int) -> list[Entry]:
        foreground = draw_foreground(self.config, self.grid, self.seed, number)
        entry = Entry(f"tensor_{number:06d}.npy", f"foreground-{self.seed}-{number:06d}", None, {"seed": self.seed})
        write_tensor(folder, entry.file, _finite(foreground.tensor(self.grid), entry))
        return [entry]


def _finite(tensor: NDArray[np.float32], entry: Entry) -> NDArray[np.float32]:
    """Raises DataError when the values of a configuration exceed the range of float32 or of the formulas."""
    if not np.isfinite(tensor).all():
        raise DataError(f"{entry.source} holds values that are not finite", "its configuration has too large values")
    return tensor


#: The files of a data set by `iris mock` or `iris ingest`.
_OWN = ("standard.json", "commands.jsonl", "tensor_*.npy", "ingest.json", "records")


def check_replaceable(out: Path) -> None:
    """Raises DataError for a file, and for a folder with other files than a data set's: `--overwrite` keeps these."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} exists and is not a folder", "choose another name")
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if not any(path.match(name) for name in _OWN):
            raise DataError(
                f"{out} holds something else than a data set: {path.name}",
                "it is not overwritten: choose another folder",
            )


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
    origin: dict[str, Any] = {"maker": type(maker).__name__, "seed": maker.seed, "config": to_dict(maker.config)}
    with (
        atomic_folder(out, overwrite) as folder,
        worker_pool(partial(maker.write, folder), workers) as mapped,
        progress("mock galaxies", count, quiet=quiet) as bar,
    ):
        for made in mapped(range(count)):
            entries += made
            bar.advance()
        write_index(folder, maker.grid, tuple(entries), origin)
    return len(entries)
