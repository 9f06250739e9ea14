"""Telescope cubes -> the l-v image on a model's axes: every voxel shared out by its overlap with the model's.

Comes in: FITS cubes (`cube_file`), the grid and the latitude reduction of a model. Goes out: an `LvImage`. All three
axes conserve flux. A voxel that no cube fills counts as dark; how much of the image is filled is said. Where cubes
overlap, the first one that was named counts. Cubes are read in slabs of channels, so that their size does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.console import progress
from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.telescope.cube_file import CubeFile, open_cube
from iris_cli.telescope.overlap import disjoint, overlap_outside, quad_overlap

REDUCTIONS: dict[str, Callable[..., NDArray]] = {"mean": np.mean, "max": np.max}
#: Bytes that are alive at once for each voxel of a slab: as read, in kelvin, masked, its mask, and copies in C order.
BYTES_PER_VOXEL = 28
#: Pixels whose corners are brought to the sky together.
PIXELS_AT_ONCE = 200_000
#: Corners are drawn in by so much before it is asked whether a pixel lies in another cube: shared edges are no overlap.
INSIDE = 0.98


@dataclass(frozen=True)
class LvImage:
    """`image` (L, V) brightness temperature in K, `coverage` (L, V) the share of each pixel that the cubes fill.

    Ascending axes of `grid`; `latitude` says how the third axis was lost. `told` is where it came from.
    """

    image: NDArray[np.float32]
    coverage: NDArray[np.float32]
    grid: Grid
    latitude: str
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> float:
        """The share of the model's image that the cubes fill."""
        return float(self.coverage.mean())

    @property
    def centre_deg(self) -> tuple[float, float]:
        """The Galactic longitude and latitude of the model's (0, 0)."""
        options = self.told.get("options", {})
        return options.get("centre_lon_deg", 0.0), options.get("centre_lat_deg", 0.0)


def read_lv(
    paths: Sequence[Path | str],
    grid: Grid,
    latitude: str = "mean",
    config: CubeConfig | None = None,
    *,
    quiet: bool = True,
) -> LvImage:
    """Read, stitch and regrid. DataError when a header leaves out what is needed, or too little of the image is filled.

    `latitude`: "mean" over the grid's latitudes (dark where no cube looks), or "max".
    """
    config = config or CubeConfig()
    if latitude not in REDUCTIONS:
        raise UsageError(f"unknown latitude reduction '{latitude}'", nearest(latitude, REDUCTIONS))
    if not paths:
        raise UsageError("no cube was named", "name one or more FITS cubes")
    with ExitStack() as stack:
        cubes = [stack.enter_context(open_cube(Path(path), config)) for path in paths]
        check_memory(grid, config, cubes)
        brightness, filled = _accumulate(cubes, grid, config, quiet)
        made = _reduced(brightness, filled, grid, latitude, config, cubes)
    _check_coverage(made, config)
    return made


def _reduced(
    brightness: NDArray, filled: NDArray, grid: Grid, latitude: str, config: CubeConfig, cubes: list[CubeFile]
) -> LvImage:
    """(L B, V) sums over all cubes -> the image; ground that was covered twice is a mean."""
    shape = (grid.lon_steps, grid.lat_steps, grid.v_steps)
    np.divide(brightness, filled, out=brightness, where=filled > 1.0)
    image = REDUCTIONS[latitude](brightness.reshape(shape), axis=1)
    coverage = np.minimum(filled, 1.0, out=filled).reshape(shape).mean(axis=1)
    told = {
        "cubes": [cube.told for cube in cubes],
        "notes": [note for cube in cubes for note in cube.notes],
        "options": to_dict(config),
        "latitude": latitude,
        "sampled": float(coverage.mean()),
    }
    return LvImage(image.astype(np.float32), coverage.astype(np.float32), grid, latitude, told)


def _check_coverage(made: LvImage, config: CubeConfig) -> None:
    cubes, share = made.told["cubes"], made.sampled
    if share < max(config.min_coverage, 1e-9):
        g = made.grid
        where = (
            f"l {g.lon_min_deg + config.centre_lon_deg:g} … {g.lon_max_deg + config.centre_lon_deg:g}, "
            f"b {g.lat_min_deg + config.centre_lat_deg:g} … {g.lat_max_deg + config.centre_lat_deg:g} deg, "
            f"v {g.v_min_km_s:g} … {g.v_max_km_s:g} km/s"
        )
        raise DataError(
            f"{', '.join(_place(cube) for cube in cubes)} fill{'s' if len(cubes) == 1 else ''} {share:.2%} of the "
            f"model's image ({where}); at least {config.min_coverage:.0%} is asked for",
            "name further cubes, lower --min-coverage, or move the model's centre there: --centre-lon, --centre-lat",
        )


def _place(told: dict[str, Any]) -> str:
    low, high = told["velocity_range_km_s"]
    return "{} (about l {:.4g}, b {:.3g}, v {:.4g} … {:.4g})".format(told["file"], *told["centre_deg"], low, high)


# --- memory -----------------------------------------------------------------------------------------------------------


def sums_GiB(grid: Grid) -> float:
    """Of the two arrays (L, B, V) that collect brightness and coverage."""
    return 2 * 4 * grid.lon_steps * grid.lat_steps * grid.v_steps / 2**30


def check_memory(grid: Grid, config: CubeConfig, cubes: Sequence[CubeFile]) -> None:
    """DataError when not even one channel of each cube fits beside the sums."""
    plane_GiB = max(cube.shape[1] * cube.shape[2] for cube in cubes) * BYTES_PER_VOXEL / 2**30
    needed = sums_GiB(grid) + plane_GiB
    if needed > config.memory_GiB:
        raise DataError(
            f"the image needs {sums_GiB(grid):.3g} GiB and one channel {plane_GiB:.3g} GiB; "
            f"--memory allows {config.memory_GiB:g}",
            f"allow {1.1 * needed:.2g} or more",
        )


def slab_channels(cube: CubeFile, grid: Grid, config: CubeConfig, pixels: int) -> int:
    """How many channels are read at once."""
    free = (config.memory_GiB - sums_GiB(grid)) * 2**30
    return max(1, min(cube.shape[0], int(free / (BYTES_PER_VOXEL * max(pixels, 1)))))


# --- sharing out ------------------------------------------------------------------------------------------------------


def _accumulate(
    cubes: list[CubeFile], grid: Grid, config: CubeConfig, quiet: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(L B, V) brightness times filled share, and filled share, summed over the cubes."""
    shape = (grid.lon_steps * grid.lat_steps, grid.v_steps)
    brightness, filled = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    seen: list[_Found] = []
    for cube in cubes:
        sky = _Sky.of(cube, grid)
        parts = _unclaimed(cube, sky, cubes[: len(seen)], seen)
        found = _Found(np.zeros(cube.shape[1:], bool), np.zeros(cube.shape[0], bool))
        slabs = list(_slabs(cube, grid, config, sky))
        with progress(f"reading {cube.path.name}", len(slabs), quiet=quiet or not slabs) as bar:
            for channels in slabs:
                _add_slab(cube, grid, sky, channels, parts, brightness, filled, found)
                bar.advance()
        seen.append(found)
    return brightness, filled


@dataclass(frozen=True)
class _Sky:
    """The part of a cube's sky that the grid sees: rows and columns of pixels, and their (L B, pixels) shares."""

    rows: slice
    columns: slice
    shares: csr_array

    @property
    def pixels(self) -> int:
        return self.shares.shape[1]

    @classmethod
    def of(cls, cube: CubeFile, grid: Grid) -> _Sky:
        """A few rows at a time, and of these only what the grid sees is kept."""
        _, rows, columns = cube.shape
        step = max(1, PIXELS_AT_ONCE // columns)
        parts = []
        for first in range(0, rows, step):
            lon, lat = (_quads(a) for a in cube.corners(slice(first, min(first + step, rows))))
            lon = _in_one_piece(lon)
            part = quad_overlap(
                _in_cells(lon, grid.longitude), _in_cells(lat, grid.latitude), grid.lon_steps, grid.lat_steps
            ).tocoo()
            parts.append((part.data, part.row, first + part.col // columns, part.col % columns))
        share, cell, y, x = (np.concatenate([part[k] for part in parts]) for k in range(4))
        if len(share) == 0:
            return cls(slice(0, 1), slice(0, 1), csr_array((grid.lon_steps * grid.lat_steps, 1)))
        across = int(np.ptp(x)) + 1
        shape = (grid.lon_steps * grid.lat_steps, (int(np.ptp(y)) + 1) * across)
        shares = csr_array((share, (cell, (y - y.min()) * across + x - x.min())), shape=shape)
        return cls(slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1), shares)


def _quads(corner: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n + 1, m + 1) corners -> (n m, 4) going round each pixel."""
    return np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], axis=-1).reshape(-1, 4)


def _in_one_piece(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) longitudes of corners, those of a pixel across +-180 deg on one side: it must not span the whole sky."""
    first = lon[:, :1]
    return first + (lon - first + 180.0) % 360.0 - 180.0


def _in_cells(degrees: NDArray[np.float64], axis: Any) -> NDArray[np.float64]:
    return (degrees - axis.edges()[0]) / axis.step


def _slabs(cube: CubeFile, grid: Grid, config: CubeConfig, sky: _Sky) -> Iterator[slice]:
    """Runs of channels that the grid's velocities touch; none if the sky does not overlap."""
    edges = grid.velocity.edges()
    touched = np.flatnonzero((cube.v_high > edges[0]) & (cube.v_low < edges[-1]))
    if len(touched) == 0 or sky.shares.nnz == 0:
        return
    pixels = sky.pixels if cube.mapped else cube.shape[1] * cube.shape[2]
    step, end = slab_channels(cube, grid, config, pixels), int(touched[-1]) + 1
    for first in range(int(touched[0]), end, step):
        yield slice(first, min(first + step, end))


@dataclass(frozen=True)
class _Found:
    """Where a cube has values: (rows, columns) in any channel, and (channels,) in any pixel; others are nobody's."""

    pixels: NDArray[np.bool_]
    channels: NDArray[np.bool_]

    def velocities(self, cube: CubeFile) -> list[tuple[float, float]]:
        low, high = cube.v_low[self.channels].tolist(), cube.v_high[self.channels].tolist()
        return list(zip(low, high, strict=True))


@dataclass(frozen=True)
class _Part:
    """Pixels of a cube (0 or 1 each, or None for all), and the velocities that earlier cubes hold already there."""

    pixels: NDArray[np.float32] | None
    taken: list[tuple[float, float]]


def _unclaimed(cube: CubeFile, sky: _Sky, earlier: Sequence[CubeFile], seen: Sequence[_Found]) -> list[_Part]:
    """A voxel belongs to the first cube that holds it: which pixels lie wholly inside which earlier cubes."""
    owners = np.zeros(sky.pixels, np.int64)
    for k, (other, found) in enumerate(zip(earlier, seen, strict=True)):
        owners |= _inside(cube, sky, other, found.pixels).astype(np.int64) << k
    parts = []
    for code in np.unique(owners):
        taken = disjoint(
            [
                each
                for k, (other, found) in enumerate(zip(earlier, seen, strict=True))
                if code >> k & 1
                for each in found.velocities(other)
            ]
        )
        parts.append(_Part((owners == code).astype(np.float32) if earlier else None, taken))
    return parts


def _inside(cube: CubeFile, sky: _Sky, other: CubeFile, found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether centre and corners of each pixel lie in pixels that another cube has values for."""
    across = slice(sky.columns.start, sky.columns.stop + 1)
    corner_lon, corner_lat = (_quads(a[:, across]) for a in cube.corners(sky.rows))
    corner_lon = _in_one_piece(corner_lon)
    lon0, lat0 = corner_lon.mean(axis=1), corner_lat.mean(axis=1)
    inside = np.ones(sky.pixels, bool)
    for k in range(5):
        lon = lon0 if k == 4 else lon0 + INSIDE * (corner_lon[:, k] - lon0)
        lat = lat0 if k == 4 else lat0 + INSIDE * (corner_lat[:, k] - lat0)
        row, column = other.pixel_at(lon, lat)
        inside &= (row >= 0) & found[np.maximum(row, 0), np.maximum(column, 0)]
    return inside


def _add_slab(
    cube: CubeFile,
    grid: Grid,
    sky: _Sky,
    channels: slice,
    parts: list[_Part],
    brightness: NDArray[np.float32],
    filled: NDArray[np.float32],
    found: _Found,
) -> None:
    data = cube.slab(channels, sky.rows, sky.columns)
    valid = np.isfinite(data)
    np.copyto(data, 0.0, where=~valid)
    found.pixels[sky.rows, sky.columns] |= valid.any(axis=0)
    found.channels[channels] |= valid.any(axis=(1, 2))
    data, valid = data.reshape(len(data), -1), valid.reshape(len(valid), -1)
    same = valid.all(axis=0) == valid.any(axis=0)
    low, high, edges = cube.v_low[channels], cube.v_high[channels], grid.velocity.edges()
    for part in parts:
        shares = (overlap_outside(low, high, edges, part.taken) / grid.velocity.step).astype(np.float32)
        used = np.flatnonzero(shares.any(axis=0))
        if len(used) == 0:
            continue
        cells, shares = slice(used[0], used[-1] + 1), shares[:, used[0] : used[-1] + 1]
        mine = data if part.pixels is None else data * part.pixels
        brightness[:, cells] += (sky.shares @ np.ascontiguousarray(mine.T)) @ shares
        if same.all():  # a pixel has values in all channels or in none
            there = valid[0] if part.pixels is None else valid[0] * part.pixels
            filled[:, cells] += np.outer(sky.shares @ there, shares.sum(axis=0))
        else:
            there = valid if part.pixels is None else valid * part.pixels
            filled[:, cells] += (sky.shares @ np.ascontiguousarray(there.T, np.float32)) @ shares
