"""Is the Galactic Centre an ordinary mock galaxy? `python -m tests.benchmarks.sky --help`.

Prints a table: the 5, 50 and 95 % quantiles of quantities of mock galaxies beside the range that is observed, the
percentile of the middle of that range among the mocks, and "inside" or "OUTSIDE". A quantity of every galaxy like ours
(a "range") is inside when the median mock has it; a quantity that belongs to our galaxy alone (a "value") is inside
when between 10 and 90 % of the mocks lie below it. Results and sources: docs/benchmarks/sky.md.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from iris_cli import units
from iris_cli.axes import RHO, T_DUST, T_GAS, X_H2
from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import Grid, grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.mock.draw import draw_galaxy
from iris_cli.mock.galaxy import LEAST_N_H_CM3, Envelope, MockGalaxy
from iris_cli.mock.turbulence import CALM
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3
from iris_cli.telescope.regrid import regrid

#: 1 M_sun km/s per pc in M_sun per year.
MSUN_YR = 1.022_71e-6
#: H2 molecules per cm^2 in 1 M_sun of molecular gas (H2 + He) per pc^2.
N_H2_PER_MSUN_PC2 = 0.5e6 / DENSITY_PER_N_H_CM3 * units.M_PER_PC * 1e2 / 1e6
#: The longitudes of the Mopra HNCO survey.
COVERED_DEG = (-0.58, 1.09)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A quantity, what is observed, and whether this is a "range" of galaxies or a "value" of ours."""

    low: float
    high: float
    kind: str
    source: str


SKY = {
    "inward drift inside 110 pc, km/s": Row(-5, 5, "range", "Feng+ 2026, Tress+ 2020: below a few"),
    "inflow in both lanes, Msun/yr": Row(1.0, 4.2, "range", "Sormani & Barnes 2019"),
    "speed along the lanes, km/s": Row(100, 270, "range", "Sormani & Barnes 2019"),
    "molecular gas, 1e7 Msun": Row(3, 7, "range", "Battersby+ 2025"),
    "molecular gas above N(H2) = 1e23, 1e7 Msun": Row(1.7, 2.3, "value", "Battersby+ 2025"),
    "share above n_H = 1e4": Row(0.15, 0.4, "value", "most of the dense clouds, Busch+ 2022"),
    "sigma of ln(density) in clouds": Row(0.7, 1.3, "range", "Federrath+ 2016"),
    "peak N(H2) in 4.5 pc, 1e23": Row(18, 22, "value", "Battersby+ 2025, Sgr B2"),
    "share at l > 0": Row(0.70, 0.75, "value", "Battersby+ 2025"),
    "share at l > 0.9 deg": Row(0.08, 0.2, "value", "1.3-degree complex"),
    "rms height, pc": Row(10, 25, "range", "Molinari+ 2011"),
    "T_gas by mass, K": Row(40, 120, "range", "Ginsburg+ 2016, Krieger+ 2017"),
    "T_dust by mass, K": Row(17, 28, "range", "Molinari+ 2011"),
}

#: Of fluxes in K km/s, means over the box. That of 12CO is 3.9e22 per cm^2, the mean of the molecular gas, over an
#: X(CO) of 2.4e19 to 6.3e19; the other two are this by the ratios. The second ratio is 12CO/C18O over the first, the
#: third that of single clouds.
FLUXES = {
    "12CO (2-1), K km/s": Row(600, 1600, "range", "X(CO): Dahmen+ 1998, Kohno & Sofue 2024"),
    "13CO (2-1), K km/s": Row(60, 160, "range", "Sawada+ 2001: a tenth of it"),
    "C18O (2-1), K km/s": Row(9, 23, "range", "Dahmen+ 1998: a 70th of it"),
}
RATIOS = {
    "12CO/13CO (2-1)": Row(7, 13, "range", "Sawada+ 2001: 10"),
    "13CO/C18O (2-1)": Row(6, 12, "range", "Dahmen+ 1998: 60 to 80 over the above"),
    "13CO (2-1)/(1-0)": Row(0.5, 1.5, "range", "Rodriguez-Fernandez+ 2006, table 1"),
}


def main(
    galaxies: int = 100,
    observed: Annotated[int, typer.Option(help="so many of them in 13CO(2-1), and in HNCO if given")] = 0,
    preset: str = "small",
    seed: int = 0,
    cube: Annotated[Path | None, typer.Option(help="of the sky, for the rows of the l-v image")] = None,
    molecule: Annotated[str, typer.Option(help="LAMDA file of its molecule")] = "",
    transition: str = "4-3",
    tracer_per_co: float = 2e-5,
    turbulence: Annotated[float, typer.Option(help="km/s inside cells, for lines but 13CO alone")] = 0.0,
) -> None:
    grid = grid_preset(preset)
    numbers: dict[str, list[float]] = {}
    seconds = np.zeros(2)
    for number in range(galaxies):
        begin = time.perf_counter()
        galaxy = draw_galaxy(MockConfig(), seed, number)
        drawn = time.perf_counter()
        tensor = galaxy.tensor(grid, 0.0)
        seconds += drawn - begin, time.perf_counter() - drawn
        for name, value in {**of_galaxy(galaxy), **of_tensor(tensor, grid)}.items():
            numbers.setdefault(name, []).append(value)
    print(f"{galaxies} galaxies, {preset}, seed {seed}; ", end="")
    print("ms to draw and to fill: {:.0f}, {:.0f}".format(*1e3 * seconds / galaxies))
    show({name: (numbers[name], row) for name, row in SKY.items()})
    if observed:
        line = (LineConfig(molecule, transition, tracer_per_co),) if molecule else ()
        show(observed_rows(grid, observed, seed, line, turbulence, cube))


def show(rows: dict[str, tuple[list[float], Row]]) -> None:
    print(f"{'quantity':<46}{'5 %':>8}{'50 %':>8}{'95 %':>8}{'observed':>16}{'below it':>10}")
    for name, (values, row) in rows.items():
        made = np.asarray(values)
        below = 100.0 * float(np.mean(made < 0.5 * (row.low + row.high)))
        inside = row.low <= np.median(made) <= row.high if row.kind == "range" else 10.0 <= below <= 90.0
        result = f"{'inside' if inside else 'OUTSIDE'}: {row.source}" if np.isfinite(row.low) else "no cube"
        quantiles = "".join(f"{q:8.3g}" for q in np.quantile(made, [0.05, 0.5, 0.95]))
        observed = f"{row.low:.3g} … {row.high:.3g}"
        print(f"{name:<46}{quantiles}{observed:>16}{below:>8.0f} %  {result}")


# --- the gas ----------------------------------------------------------------------------------------------------------


def of_galaxy(galaxy: MockGalaxy, step_pc: float = 6.0) -> dict[str, float]:
    """What the tensor does not hold: flows in the plane, on a lattice of `step_pc` about the centre of the orbits."""
    side, height = np.arange(-222.0, 223.0, step_pc), np.arange(-60.0, 61.0, step_pc)
    x, y, z = np.meshgrid(side, side, height, indexing="ij")
    n_H, (v_x, v_y, _) = replace(galaxy, lanes=()).gas(x, y, z)
    radius = np.maximum(np.hypot(x, y), 1.0)
    inwards = -(v_x * x + v_y * y) / radius
    inner = np.where(radius < 110.0, n_H, 0.0)
    shell = (radius > 150.0) & (radius < 180.0)
    flux, lane_mass, lane_speed = 0.0, 0.0, 0.0
    for lane in galaxy.lanes:
        n, (v_x, v_y, _) = MockGalaxy(1.0, (), Envelope(0.0, 1.0, 1.0, 0.0), (lane,)).gas(x, y, z)
        n -= LEAST_N_H_CM3
        flux += float((n * -(v_x * x + v_y * y) / radius)[shell].sum())
        lane_mass, lane_speed = lane_mass + n[shell].sum(), lane_speed + (n * np.hypot(v_x, v_y))[shell].sum()
    to_msun_yr = DENSITY_PER_N_H_CM3 * step_pc**3 / 30.0 * MSUN_YR * galaxy.scale**3
    coarse = grid_preset("tiny")
    stirred, smooth = (each.tensor(coarse, 0.0)[RHO] for each in (galaxy, replace(galaxy, turbulence=CALM)))
    dense = smooth > 1500.0 * DENSITY_PER_N_H_CM3
    return {
        "inward drift inside 110 pc, km/s": float((inner * inwards).sum() / inner.sum()) * galaxy.scale,
        "inflow in both lanes, Msun/yr": flux * to_msun_yr,
        "speed along the lanes, km/s": float(lane_speed / max(lane_mass, 1e-30)) * galaxy.scale,
        "sigma of ln(density) in clouds": float(np.log(stirred[dense] / smooth[dense]).std())
        if dense.any()
        else np.nan,
    }


def of_tensor(tensor: NDArray, grid: Grid) -> dict[str, float]:
    r, lon, lat = (axis.centres() for axis in (grid.distance, grid.longitude, grid.latitude))
    across = np.deg2rad(grid.longitude.step) * np.deg2rad(grid.latitude.step)
    volume = r[:, None, None] ** 2 * across * grid.distance.step
    molecular = 2.0 * tensor[X_H2].astype(float) * tensor[RHO]  # H2 and its helium
    mass, total = molecular * volume, float((molecular * volume).sum())
    on_sky = mass.sum(axis=0)
    area = grid.observer_distance_pc**2 * across
    pixel_pc = np.sqrt(area)
    column = on_sky / area * N_H2_PER_MSUN_PC2
    beam = gaussian_filter(column, np.sqrt(max(4.5**2 - pixel_pc**2, 0.0)) / 2.355 / pixel_pc)
    by_lon = on_sky.sum(axis=1) / total
    height = np.tan(np.deg2rad(lat)) * grid.observer_distance_pc
    by_lat = on_sky.sum(axis=0) / total
    mean_height = by_lat @ height
    return {
        "molecular gas, 1e7 Msun": total / 1e7,
        "molecular gas above N(H2) = 1e23, 1e7 Msun": float(on_sky[column > 1e23].sum()) / 1e7,
        "share above n_H = 1e4": float(mass[tensor[RHO] > 1e4 * DENSITY_PER_N_H_CM3].sum()) / total,
        "peak N(H2) in 4.5 pc, 1e23": float(beam.max()) / 1e23,
        "share at l > 0": float(by_lon[lon > 0].sum()),
        "share at l > 0.9 deg": float(by_lon[lon > 0.9].sum()),
        "rms height, pc": float(np.sqrt(by_lat @ (height - mean_height) ** 2)),
        "T_gas by mass, K": float((mass * tensor[T_GAS]).sum()) / total,
        "T_dust by mass, K": float((mass * tensor[T_DUST]).sum()) / total,
    }


# --- the l-v image ----------------------------------------------------------------------------------------------------


def of_image(image: NDArray, grid: Grid) -> dict[str, float]:
    """Statistics of an l-v image (L, V) at the longitudes COVERED_DEG."""
    lon, v = grid.longitude.centres(), grid.velocity.centres()
    seen = np.asarray(image, float)[(lon > COVERED_DEG[0]) & (lon < COVERED_DEG[1])]
    lon = lon[(lon > COVERED_DEG[0]) & (lon < COVERED_DEG[1])]
    seen = np.maximum(seen, 0.0)
    total = seen.sum()
    by_lon = np.maximum(seen.sum(axis=1), 1e-30)
    centre = seen @ v / by_lon
    widths = np.sqrt((seen * (v - centre[:, None]) ** 2).sum(axis=1) / by_lon)
    return {
        "slope of the velocity spectrum": velocity_slope(seen, grid),
        "flux at l > 0.57 deg": float(by_lon[lon > 0.57].sum() / total),
        "flux at l > 0": float(by_lon[lon > 0].sum() / total),
        "rms width at a longitude, km/s": float(np.average(widths, weights=by_lon)),
        "area of half the flux, %": area_of(seen, 0.5),
        "correlation of l and v": float(correlation(seen, lon, v)),
    }


def velocity_slope(image: Floats, grid: Grid, longest_km_s: float = 100.0, shortest_km_s: float = 16.0) -> float:
    """d ln P / d ln k of the power spectrum along velocity, mean over longitudes."""
    power = (np.abs(np.fft.rfft(image * np.hanning(image.shape[1]), axis=1)) ** 2).mean(axis=0)
    k = np.fft.rfftfreq(image.shape[1], grid.velocity.step)
    band = (k >= 1.0 / longest_km_s) & (k <= 1.0 / shortest_km_s)
    return float(np.polyfit(np.log(k[band]), np.log(power[band]), 1)[0])


def area_of(image: Floats, share: float) -> float:
    """The smallest part of an image that holds a share of its sum, in percent."""
    sums = np.cumsum(np.sort(image, axis=None)[::-1])
    return 100.0 * float(np.searchsorted(sums, share * sums[-1])) / image.size


def correlation(image: Floats, lon: Floats, v: Floats) -> float:
    weights = image / image.sum()
    l_off, v_off = lon - weights.sum(axis=1) @ lon, v - weights.sum(axis=0) @ v
    spread = np.sqrt((weights.sum(axis=1) @ l_off**2) * (weights.sum(axis=0) @ v_off**2))
    return float(l_off @ weights @ v_off / spread)


def observed_rows(
    grid: Grid, count: int, seed: int, line: tuple[LineConfig, ...], turbulence: float, cube: Path | None
) -> dict[str, tuple[list[float], Row]]:
    """The statistics of mock images beside those of the cube."""
    observers = {"thin": SimpleObserver(grid), "13CO(2-1)": SyntheticObserver(grid)}
    four = (LineConfig("12co", "2-1"), LineConfig(), LineConfig("c18o", "2-1"), LineConfig("13co", "1-0"))
    isotopes = SyntheticObserver(grid, config=SyntheticConfig(lines=four, turbulence_km_s=turbulence))
    if line:
        turbulent = SyntheticConfig(lines=line, turbulence_km_s=turbulence)
        observers["cube's line"] = SyntheticObserver(grid, config=turbulent)
    sky = {}
    if cube:
        real = regrid([cube], grid, "mean", CubeConfig(), quiet=True)
        sky = of_image(real.image, grid)
    rows: dict[str, tuple[list[float], Row]] = {}
    isotopologues = {**FLUXES, **RATIOS}
    made: dict[str, list[float]] = {name: [] for name in isotopologues}
    for number in range(count):
        tensor = torch.from_numpy(draw_galaxy(MockConfig(), seed, number).tensor(grid, 0.0))
        for name, observer in observers.items():
            for key, value in of_image(observer.observe(tensor)[0].numpy(), grid).items():
                row = Row(sky.get(key, np.nan), sky.get(key, np.nan), "value", "the cube")
                rows.setdefault(f"{name}: {key}", ([], row))[0].append(value)
        co, co13, c18o, co13_low = (isotopes.observe(tensor).mean(dim=1).sum(dim=1) * grid.velocity.step).tolist()
        values = (co, co13, c18o, co / co13, co13 / c18o, co13 / co13_low)
        for name, value in zip(isotopologues, values, strict=True):
            made[name].append(value)
    return {**rows, **{name: (made[name], row) for name, row in isotopologues.items()}}


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
