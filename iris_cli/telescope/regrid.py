"""Telescope cubes -> the l-v image on the grid of a network: what `iris cube` does.

In: FITS cubes (`cube_file`), the grid and the latitude reduction of a network. Out: an `LvImage`. Each voxel is divided
among the cells of the grid that it overlaps, so that flux is conserved along all three axes. Voxels that no cube fills
count as dark; the coverage is recorded. Where cubes overlap, the first one in the list counts. Cubes are read in slabs
of channels, so their size is not limited by memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from iris_cli.axes import Axis
from iris_cli.config.cube import CubeConfig, RegridConfig
from iris_cli.config.grid import Coverage, Grid, grid_preset
from iris_cli.console import log, progress, warn
from iris_cli.errors import DataError, UsageError, choose
from iris_cli.files import check_output, file_sha256
from iris_cli.observers.coverage import shares
from iris_cli.telescope.cube_file import CubeFile, CubeInput, open_cube
from iris_cli.telescope.lv_image import SUFFIXES, LvImage, save_lv
from iris_cli.telescope.overlap import Floats, disjoint, overlap_outside, quad_overlap

#: Name -> (brightness (L, B, V), grid) -> images (channel, L, V).
REDUCTIONS: dict[str, Callable[[NDArray, Grid], NDArray]] = {
    "mean": lambda brightness, grid: brightness.mean(axis=1)[None],
    "max": lambda brightness, grid: brightness.max(axis=1)[None],
    "moments": lambda brightness, grid: np.einsum("lbv,kb->klv", brightness, grid.latitude_weights()),
}
#: Below this share of the image that the cubes fill, a warning says that the rest is dark.
NEARLY_ALL = 0.95
#: Memory of a voxel of a slab: as read, in kelvin, masked, its mask, and copies in C order.
BYTES_PER_VOXEL = 28
#: Pixels whose corners are converted to Galactic coordinates in one call.
PIXELS_AT_ONCE = 200_000
#: Corners are moved towards the centre of a pixel by this factor before another cube is searched for them, so that
#: pixels with common edges do not overlap.
INSIDE = 0.98


def write_lv_image(
    paths: Sequence[Path],
    out: Path,
    grid: Grid,
    latitude: str,
    config: CubeConfig,
    *,
    overwrite: bool = False,
    quiet: bool = False,
    history: Sequence[str] = (),
) -> LvImage:
    """Write the l-v image of the cubes to `out` (.npz or .fits), with the SHA-256 of each cube.

    `history` says how the file was made and is written into it. UsageError for an output name that is not free,
    DataError as in `regrid`.
    """
    check_output(out, overwrite, SUFFIXES)
    lv = regrid(paths, grid, latitude, config, quiet=quiet)
    cubes = [replace(cube, sha256=file_sha256(path)) for cube, path in zip(lv.cubes, paths, strict=True)]
    lv = replace(lv, cubes=tuple(cubes))
    report_coverage(lv)
    save_lv(lv, out, history)
    return lv


@dataclass(frozen=True)
class RegridPlan:
    """What a regridding would read, from the headers alone; no cubes for an l-v image that is regridded already."""

    #: Pixels along longitude and velocity.
    image: tuple[int, ...]
    latitude: str
    cubes: tuple[CubeInput, ...] = ()
    cube_sizes_GiB: tuple[float, ...] = ()
    #: Of the two arrays that collect brightness and coverage.
    sums_GiB: float = 0.0
    memory_GiB: float = 0.0

    @property
    def working_GiB(self) -> float:
        """The memory that the work needs at most."""
        return self.sums_GiB + min(self.memory_GiB, max(self.cube_sizes_GiB, default=0.0))


def plan_regrid(paths: Sequence[Path], grid: Grid, latitude: str, config: CubeConfig) -> RegridPlan:
    """UsageError and DataError as in `regrid`, as far as headers show."""
    _check_arguments(paths, latitude)
    cubes = []
    for path in paths:
        with open_cube(path, config) as cube:
            check_memory(grid, config, [cube])
            cubes.append(cube.info)
    sizes = tuple(round(path.stat().st_size / 2**30, 4) for path in paths)
    image = tuple(grid.observation_shape[1:])
    return RegridPlan(image, latitude, tuple(cubes), sizes, round(sums_GiB(grid), 4), config.memory_GiB)


def target_grid(
    config: RegridConfig, preset: str | None, run: Path | None, shards: Path | None, latitude: str | None
) -> tuple[Grid, str]:
    """The grid of one of `preset`, `run`, `shards` and `config.grid`, and the latitude reduction.

    The reduction is that of the run or the shards, else that of `config`; `latitude` overrides both. UsageError when no
    grid or more than one is given.
    """
    given = [x for x in (preset, run, shards, config.grid) if x is not None]
    if len(given) != 1:
        hint = "give one of --preset, --run, --shards, or a [grid] table in --config"
        raise UsageError(f"{'more than one' if given else 'no'} grid was given", hint)
    if run is not None:
        from iris_cli.training.trained_run import open_members

        data = open_members(run)[0].checkpoint.data  # of an ensemble, its first member
        return data.grid, latitude or data.latitude
    if shards is not None:
        from iris_cli.pairs.open_data import open_shards

        dataset = open_shards(str(shards))
        return dataset.grid, latitude or dataset.latitude
    return config.grid or grid_preset(str(preset)), latitude or config.latitude


def report_coverage(lv: LvImage, trained: Coverage | None = None) -> None:
    """Log the assumptions behind an image, and a warning if the cubes fill too little of it.

    `trained` is the coverage of a network's training images: the cubes should fill as much, and not more.
    """
    for note in (note for cube in lv.cubes for note in cube.notes):
        log(f"note: {note}")
    expected = float(np.prod([share.mean() for share in shares(trained or Coverage(), lv.grid)]))
    if lv.sampled < NEARLY_ALL * expected:
        known = f", the training images {100 * expected:.1f} %" if expected < 1.0 else ""
        rest = "the unobserved rest is dark, which the network takes for empty"
        warn(f"the cubes fill {100 * lv.sampled:.1f} % of the model's image{known}; {rest}")
    elif lv.sampled * NEARLY_ALL > expected:
        what = (
            f"the cubes fill {100 * lv.sampled:.1f} % of the model's image, the training images {100 * expected:.1f} %"
        )
        warn(f"{what}: the network has never seen gas in the difference; cut the cubes to the coverage of the survey")


# --- cubes -> l-v image -----------------------------------------------------------------------------------------------


def regrid(
    paths: Sequence[Path | str],
    grid: Grid,
    latitude: str = "mean",
    config: CubeConfig | None = None,
    *,
    quiet: bool = True,
) -> LvImage:
    """Read, stitch and regrid cubes.

    `latitude`: "mean" over the grid's latitudes (dark where no cube observed), "max", or "moments". DataError when a
    header leaves out what is needed, or the cubes fill too little of the image.
    """
    config = config or CubeConfig()
    _check_arguments(paths, latitude)
    with ExitStack() as stack:
        cubes = [stack.enter_context(open_cube(Path(path), config)) for path in paths]
        check_memory(grid, config, cubes)
        brightness, filled = _accumulate(cubes, grid, config, quiet)
    shape = (grid.lon_steps, grid.lat_steps, grid.v_steps)
    np.divide(brightness, filled, out=brightness, where=filled > 1.0)  # cells that were covered twice hold a mean
    images = REDUCTIONS[latitude](brightness.reshape(shape), grid).astype(np.float32)
    if not np.isfinite(images).all():
        hint = "lower --max-kelvin, which lets such values pass"
        raise DataError("the brightness of the image is beyond 3e38 K", hint)
    coverage = np.minimum(filled, 1.0, out=filled).reshape(shape).mean(axis=1).astype(np.float32)
    lv = LvImage(images[0], coverage, grid, latitude, tuple(cube.info for cube in cubes), config, images[1:])
    _check_coverage(lv)
    return lv


def _check_arguments(paths: Sequence[Path | str], latitude: str) -> None:
    choose("latitude reduction", latitude, REDUCTIONS)
    if not paths:
        raise UsageError("no cube was named", "name one or more FITS cubes")


def _check_coverage(lv: LvImage) -> None:
    share, asked, g, (lon0, lat0) = lv.sampled, lv.options.min_coverage, lv.grid, lv.centre_deg
    if share < max(asked, 1e-9):
        about = "{} (about l {:.4g}, b {:.3g}, v {:.4g} … {:.4g})"
        cubes = [about.format(cube.file, *cube.centre_deg, *cube.velocity_range_km_s) for cube in lv.cubes]
        lon, lat = (g.lon_min_deg + lon0, g.lon_max_deg + lon0), (g.lat_min_deg + lat0, g.lat_max_deg + lat0)
        field = "l {:g} … {:g}, b {:g} … {:g} deg, v {:g} … {:g} km/s".format(*lon, *lat, g.v_min_km_s, g.v_max_km_s)
        raise DataError(
            f"{', '.join(cubes)} fill{'s' if len(cubes) == 1 else ''} {100 * share:.2f} % of the model's image "
            f"({field}); the minimum is {100 * asked:.0f} %",
            "name further cubes, lower --min-coverage, or move the model's centre there: --centre-lon, --centre-lat",
        )


def sums_GiB(grid: Grid) -> float:
    """Of the two arrays (L, B, V) that collect brightness and coverage."""
    return 2 * 4 * grid.lon_steps * grid.lat_steps * grid.v_steps / 2**30


def check_memory(grid: Grid, config: CubeConfig, cubes: Sequence[CubeFile]) -> None:
    """DataError when the memory does not hold the sums and one channel of each cube."""
    plane_GiB = max(cube.shape[1] * cube.shape[2] for cube in cubes) * BYTES_PER_VOXEL / 2**30
    needed = sums_GiB(grid) + plane_GiB
    if needed > config.memory_GiB:
        both = f"the image needs {sums_GiB(grid):.3g} GiB and one channel {plane_GiB:.3g} GiB"
        raise DataError(f"{both}; --memory allows {config.memory_GiB:g}", f"allow {1.1 * needed:.2g} or more")


# --- accumulation -----------------------------------------------------------------------------------------------------


#: (L B, V) brightness times filled share, and filled share, summed over the cubes.
_Sums = tuple[NDArray[np.float32], NDArray[np.float32]]


def _accumulate(cubes: list[CubeFile], grid: Grid, config: CubeConfig, quiet: bool) -> _Sums:
    shape = (grid.lon_steps * grid.lat_steps, grid.v_steps)
    sums = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    earlier: list[_Valid] = []
    for cube in cubes:
        sky = _Sky.of(cube, grid)
        parts = _parts(cube, sky, earlier)
        valid = _Valid(cube, np.zeros(cube.shape[1:], bool), np.zeros(cube.shape[0], bool))
        slabs = list(_slabs(cube, grid, config, sky))
        with progress(f"reading {cube.path.name}", len(slabs), quiet=quiet or not slabs) as bar:
            for channels in slabs:
                _add_slab(grid, sky, channels, parts, sums, valid)
                bar.advance()
        earlier.append(valid)
    return sums


@dataclass(frozen=True)
class _Sky:
    """The pixels of a cube inside the grid: their rows and columns, and their overlap (L B, pixels) with its cells."""

    rows: slice
    columns: slice
    shares: csr_array

    @property
    def pixels(self) -> int:
        return self.shares.shape[1]

    @classmethod
    def of(cls, cube: CubeFile, grid: Grid) -> "_Sky":
        """Works on a few rows at a time and keeps only pixels inside the grid."""
        _, rows, columns = cube.shape
        step = max(1, PIXELS_AT_ONCE // columns)
        parts = []
        for first in range(0, rows, step):
            lon, lat = _quads(*cube.corners(slice(first, min(first + step, rows))))
            x, y = _in_cells(lon, grid.longitude), _in_cells(lat, grid.latitude)
            part = quad_overlap(x, y, grid.lon_steps, grid.lat_steps).tocoo()
            parts.append((part.data, part.row, first + part.col // columns, part.col % columns))
        share, cell, y, x = (np.concatenate([part[k] for part in parts]) for k in range(4))
        if len(share) == 0:
            return cls(slice(0, 1), slice(0, 1), csr_array((grid.lon_steps * grid.lat_steps, 1)))
        across = int(np.ptp(x)) + 1
        shape = (grid.lon_steps * grid.lat_steps, (int(np.ptp(y)) + 1) * across)
        shares = csr_array((share, (cell, (y - y.min()) * across + x - x.min())), shape=shape)
        return cls(slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1), shares)


def _quads(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """(n + 1, m + 1) corners -> (n m, 4) in order around each pixel, without a jump of 360 deg at l = +-180 deg."""
    lon, lat = (np.stack([a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]], axis=-1).reshape(-1, 4) for a in (lon, lat))
    first = lon[:, :1]
    return first + (lon - first + 180.0) % 360.0 - 180.0, lat


def _in_cells(degrees: Floats, axis: Axis) -> Floats:
    return (degrees - axis.edges()[0]) / axis.step


def _slabs(cube: CubeFile, grid: Grid, config: CubeConfig, sky: _Sky) -> Iterator[slice]:
    """Slabs of the channels inside the grid's velocities; none if no pixel is inside the grid."""
    edges = grid.velocity.edges()
    touched = np.flatnonzero((cube.v_high > edges[0]) & (cube.v_low < edges[-1]))
    if len(touched) == 0 or sky.shares.nnz == 0:
        return
    pixels = sky.pixels if cube.mapped else cube.shape[1] * cube.shape[2]
    free = (config.memory_GiB - sums_GiB(grid)) * 2**30
    step, end = max(1, int(free / (BYTES_PER_VOXEL * pixels))), int(touched[-1]) + 1
    for first in range(int(touched[0]), end, step):
        yield slice(first, min(first + step, end))


@dataclass(frozen=True)
class _Valid:
    """Where a cube has finite values: (rows, columns) in any channel, and (channels,) in any pixel."""

    cube: CubeFile
    pixels: NDArray[np.bool_]
    channels: NDArray[np.bool_]

    def velocities(self) -> list[tuple[float, float]]:
        low, high = (v[self.channels].tolist() for v in (self.cube.v_low, self.cube.v_high))
        return list(zip(low, high, strict=True))


#: Pixels of a cube (0 or 1 each, or None for all), and the velocities that earlier cubes cover there.
_Part = tuple[NDArray[np.float32] | None, list[tuple[float, float]]]


def _parts(cube: CubeFile, sky: _Sky, earlier: Sequence[_Valid]) -> list[_Part]:
    """The pixels of a cube, grouped by the earlier cubes that contain them: the first cube of a voxel counts."""
    owners = np.zeros(sky.pixels, np.int64)
    for k, other in enumerate(earlier):
        owners |= _inside(cube, sky, other).astype(np.int64) << k
    parts = []
    for code in np.unique(owners):
        taken = [v for k, other in enumerate(earlier) if code >> k & 1 for v in other.velocities()]
        parts.append(((owners == code).astype(np.float32) if earlier else None, disjoint(taken)))
    return parts


def _inside(cube: CubeFile, sky: _Sky, other: _Valid) -> NDArray[np.bool_]:
    """Whether centre and corners of each pixel lie in pixels of another cube that have values."""
    across = slice(sky.columns.start, sky.columns.stop + 1)
    corner_lon, corner_lat = _quads(*(a[:, across] for a in cube.corners(sky.rows)))
    lon0, lat0 = corner_lon.mean(axis=1), corner_lat.mean(axis=1)
    inside = np.ones(sky.pixels, bool)
    for k in range(5):
        lon = lon0 if k == 4 else lon0 + INSIDE * (corner_lon[:, k] - lon0)
        lat = lat0 if k == 4 else lat0 + INSIDE * (corner_lat[:, k] - lat0)
        row, column = other.cube.pixel_at(lon, lat)
        inside &= (row >= 0) & other.pixels[np.maximum(row, 0), np.maximum(column, 0)]
    return inside


def _add_slab(grid: Grid, sky: _Sky, channels: slice, parts: list[_Part], sums: _Sums, valid: _Valid) -> None:
    """Add the overlap of some channels to the sums, and record in `valid` where they have values."""
    cube, (brightness, filled) = valid.cube, sums
    data = cube.slab(channels, sky.rows, sky.columns)
    finite = np.isfinite(data)
    np.copyto(data, 0.0, where=~finite)
    valid.pixels[sky.rows, sky.columns] |= finite.any(axis=0)
    valid.channels[channels] |= finite.any(axis=(1, 2))
    data, finite = data.reshape(len(data), -1), finite.reshape(len(finite), -1)
    all_or_none = bool((finite.all(axis=0) == finite.any(axis=0)).all())  # each pixel: in all channels or in none
    low, high, edges = cube.v_low[channels], cube.v_high[channels], grid.velocity.edges()
    for pixels, taken in parts:
        shares = (overlap_outside(low, high, edges, taken) / grid.velocity.step).astype(np.float32)
        used = np.flatnonzero(shares.any(axis=0))
        if len(used) == 0:
            continue
        cells, shares = slice(used[0], used[-1] + 1), shares[:, used[0] : used[-1] + 1]
        mine, there = data, finite[0] if all_or_none else finite
        if pixels is not None:
            mine, there = mine * pixels, there * pixels
        brightness[:, cells] += (sky.shares @ np.ascontiguousarray(mine.T)) @ shares
        if all_or_none:
            filled[:, cells] += np.outer(sky.shares @ there, shares.sum(axis=0))
        else:
            filled[:, cells] += (sky.shares @ np.ascontiguousarray(there.T, np.float32)) @ shares
