"""Regridding a cube that is larger than its memory limit: seconds, memory, flux; compared with `reproject_exact`.

python -m tests.benchmarks.cubes FOLDER [--channels 900]
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from astropy import units as u
from astropy.wcs import WCS

from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import Grid, grid_preset
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

ROWS, COLUMNS, PIXEL_DEG = 400, 900, 0.0025
CLOUD = sky.Cloud(lon_deg=0.2, size_deg=0.05)


def write_cube(path: Path, channels: int) -> None:
    """Write a cloud on RA/Dec pixels, one channel at a time."""
    h = sky.header("RA---TAN", pixel_deg=PIXEL_DEG, shape=(channels, ROWS, COLUMNS))
    place = WCS(h).celestial.pixel_to_world(*np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))).galactic
    lon, lat, v = place.l.wrap_at(180 * u.deg).deg, place.b.deg, sky.velocities(h)
    with path.open("wb") as file:
        file.write(h.tostring().encode())
        for k in range(channels):
            file.write(CLOUD.at(lon, lat, v[k : k + 1])[0].astype(">f4").tobytes())
        file.write(b"\0" * (-4 * channels * ROWS * COLUMNS % 2880))


def anonymous_GiB() -> float:
    """Memory of this process without mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 2**20
    return float("nan")


@dataclass
class Cost:
    """Seconds, and the highest memory above that at the start."""

    seconds: float = 0.0
    GiB: float = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    cost, start, base, done = Cost(), time.monotonic(), anonymous_GiB(), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            cost.GiB = max(cost.GiB, anonymous_GiB() - base)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - start
        done.set()
        thread.join()


def time_iris(path: Path, grid: Grid, memory_GiB: float) -> None:
    with measured() as cost:
        made = regrid([path], grid, config=CubeConfig(memory_GiB=memory_GiB, min_coverage=0.0))
    ratio = sky.flux(made.image, grid) / CLOUD.flux
    print(f"{grid.lon_steps} pixels: {cost.seconds:.1f} s, {cost.GiB:.2f} of {memory_GiB} GiB, flux {ratio:.6f}")


def time_reproject(path: Path, grid: Grid, channels: int) -> None:
    from astropy.io import fits
    from reproject import reproject_exact

    target = WCS(naxis=2)
    target.wcs.ctype, target.wcs.crval = ["GLON-CAR", "GLAT-CAR"], [0.0, 0.0]
    target.wcs.cdelt = [grid.longitude.step, grid.latitude.step]
    target.wcs.crpix = [1 - grid.lon_min_deg / grid.longitude.step, 1 - grid.lat_min_deg / grid.latitude.step]
    with fits.open(path) as file, measured() as cost:
        some = (file[0].data[:2].astype(float), WCS(file[0].header).celestial)
        reproject_exact(some, target, shape_out=(2, grid.lat_steps, grid.lon_steps))
    print(f"reproject_exact: {cost.seconds / 2:.2f} s per channel, {cost.seconds / 2 * channels:.0f} s for all")


def main(folder: Path, channels: int = 900) -> None:
    path = folder / "benchmark.fits"
    write_cube(path, channels)
    print(f"{path.stat().st_size / 1e9:.2f} GB, {channels} x {ROWS} x {COLUMNS}")
    try:
        time_iris(path, grid_preset("small"), 0.3)
        time_iris(path, grid_preset("paper"), 1.0)
        time_reproject(path, grid_preset("small"), channels)
    finally:
        path.unlink()


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
