"""Clouds at (l, v): a catalogue or structures of an image in; a table of P(near), distance and share of the light out.

The packaged catalogue `cmz` is that of the 3-D CMZ project (Walker et al. 2025, Lipman et al. 2025, Lipman et al. 2026,
arXiv:2603.23327; github.com/CentralMolecularZone/3D_CMZ, CC0). Its line-of-sight offsets come from dust, absorption,
star counts and X-ray echoes, not from a model of the kinematics.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.grid import Grid
from iris_cli.errors import DataError, UsageError

PACKAGED = Path(__file__).parent / "data" / "cmz_clouds.csv"
CMZ, AUTO, NONE = "cmz", "auto", "none"
#: Velocity dispersion and radius of clouds for which none is given.
SIGMA_KM_S, RADIUS_PC = 8.0, 3.0
#: A structure is a peak that is higher than the saddle to a higher one by this share of the image's maximum.
LEAST_CONTRAST = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """Gas around (l, v); without a velocity, at all velocities. `los_pc` and its sigma are the literature's offset from
    Sgr A* along the line of sight, negative in front of it; NaN where there is none.
    """

    name: str
    lon_deg: float
    lat_deg: float = math.nan
    v_km_s: float = math.nan
    sigma_km_s: float = SIGMA_KM_S
    radius_deg: float = math.nan
    los_pc: float = math.nan
    los_sigma_pc: float = math.nan

    def weights(self, grid: Grid, centre_deg: tuple[float, float] = (0.0, 0.0)) -> Floats:
        """(L, V) the shares of the cloud in each pixel of an l-v image; they add up to less than 1 at its edges."""
        radius = self._radius_deg(grid)
        lon = grid.longitude.edges() + centre_deg[0]
        shares = np.diff(np.clip(lon, self.lon_deg - radius, self.lon_deg + radius)) / (2.0 * radius)
        if math.isnan(self.v_km_s):
            return np.outer(shares, np.full(grid.v_steps, 1.0 / grid.v_steps))
        from scipy.special import erf

        v = (grid.velocity.edges() - self.v_km_s) / (math.sqrt(2.0) * max(self.sigma_km_s, 1e-3))
        return np.outer(shares, 0.5 * np.diff(erf(v)))

    def footprint(self, weights: Floats, grid: Grid) -> Floats:
        """(L, V) the part of each pixel that is in the cloud, given its `weights`: 1 in the middle of a large cloud."""
        across = 2.0 * self._radius_deg(grid) / grid.longitude.step
        if math.isnan(self.v_km_s):
            return weights * across * grid.v_steps
        return np.minimum(weights * across * math.sqrt(2.0 * math.pi) * self.sigma_km_s / grid.velocity.step, 1.0)

    def _radius_deg(self, grid: Grid) -> float:
        return self.radius_deg if self.radius_deg > 0 else math.degrees(RADIUS_PC / grid.observer_distance_pc)


def clouds_of(source: str, image: NDArray, grid: Grid, centre_deg: tuple[float, float]) -> list[Cloud]:
    """`cmz`, `auto` for the structures of the image (L, V), or a file: .ecsv, .csv, or a DS9 region file .reg.

    A table has the columns name, l_deg and v_km_s, and may have id, b_deg, sigma_v_km_s, radius_pc, los_pc and
    los_sigma_pc. Regions are circles in Galactic coordinates, with a velocity in their text: `text={Brick v=38
    sigma=9}`. UsageError or DataError for anything else.
    """
    if source == AUTO:
        return structures(image, grid, centre_deg)
    path = PACKAGED if source == CMZ else Path(source)
    if path.suffix not in (".csv", ".ecsv", ".reg"):
        raise UsageError(f"no cloud catalogue '{source}'", f"{CMZ}, {AUTO}, {NONE}, or a .ecsv, .csv or .reg file")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        found = _regions(path) if path.suffix == ".reg" else _table(path, grid.observer_distance_pc)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is not a catalogue of clouds: {str(error).splitlines()[0]}") from None
    if not found:
        raise DataError(f"{path} holds no cloud")
    return found


def _table(path: Path, distance_pc: float) -> list[Cloud]:
    from astropy.table import Table

    table = Table.read(path, format="ascii.ecsv" if path.suffix == ".ecsv" else "ascii.csv")
    missing = [name for name in ("name", "l_deg", "v_km_s") if name not in table.colnames]
    if missing:
        raise ValueError(f"it has no column {missing[0]}; it has {', '.join(table.colnames)}")

    def value(row: Any, name: str, default: float = math.nan) -> float:
        found = row[name] if name in table.colnames else default
        return default if found is np.ma.masked or not math.isfinite(float(found)) else float(found)

    clouds = []
    for row in table:
        other = str(row["other_name"]) if "other_name" in table.colnames and row["other_name"] else ""
        name = f"{row['name']} ({other})" if other not in ("", "nan", "--") else str(row["name"])
        name = f"{row['id']} {name}" if "id" in table.colnames else name
        if not math.isfinite(lon := value(row, "l_deg")):
            raise ValueError(f"the cloud '{name}' has no longitude")
        radius = math.degrees(value(row, "radius_pc") / distance_pc)
        lon = (lon + 180.0) % 360.0 - 180.0
        motion = value(row, "v_km_s"), value(row, "sigma_v_km_s", SIGMA_KM_S)
        literature = value(row, "los_pc"), value(row, "los_sigma_pc")
        clouds.append(Cloud(name, lon, value(row, "b_deg"), *motion, radius, *literature))
    return clouds


_CIRCLE = re.compile(r"^\s*(?:galactic\s*;)?\s*circle\s*\(([^,]+),([^,]+),([^)]+)\)(.*)$", re.I)
_ARCSEC = {'"': 1.0 / 3600.0, "'": 1.0 / 60.0, "d": 1.0}


def _regions(path: Path) -> list[Cloud]:
    lines, clouds = path.read_text(encoding="utf-8").splitlines(), []
    if not re.search(r"^\s*galactic", "\n".join(lines), re.I | re.M):
        raise ValueError("its regions are not in Galactic coordinates")
    for number, line in enumerate(lines, start=1):
        if found := _CIRCLE.match(line):
            lon, lat, radius = (text.strip() for text in found.groups()[:3])
            unit = _ARCSEC.get(radius[-1])
            size = float(radius if unit is None else radius[:-1]) * (unit or 1.0)
            text = re.search(r"text=[{\"']([^}\"']*)", found[4])
            label = text[1] if text else f"region {number}"
            numbers = {key: float(number) for key, number in re.findall(r"\b(v|sigma)=([-+.\d]+)", label)}
            name = re.sub(r"\s*\b(v|sigma)=\S+", "", label).strip() or f"region {number}"
            lon_deg = (float(lon.rstrip("d")) + 180.0) % 360.0 - 180.0
            motion = numbers.get("v", math.nan), numbers.get("sigma", SIGMA_KM_S)
            clouds.append(Cloud(name, lon_deg, float(lat.rstrip("d")), *motion, size))
        elif re.match(r"^\s*(galactic\s*;)?\s*(ellipse|box|polygon|annulus|line|point)", line, re.I):
            raise ValueError(f"line {number} is not a circle")
    return clouds


# --- structures of an image -------------------------------------------------------------------------------------------


def structures(image: NDArray, grid: Grid, centre_deg: tuple[float, float] = (0.0, 0.0)) -> list[Cloud]:
    """The leaves of the dendrogram (Rosolowsky et al. 2008) of an l-v image (L, V), the brightest first.

    Pixels join the structure of a brighter neighbour; where two meet, the lower one ends if it is higher than the
    meeting point by LEAST_CONTRAST of the maximum, and else is part of the other.
    """
    flat = np.asarray(image, np.float64).ravel()
    least = LEAST_CONTRAST * flat.max(initial=0.0)
    owner, joined = np.full(len(flat), -1), dict[int, int]()
    members: dict[int, list[int]] = {}

    def root(peak: int) -> int:
        while peak in joined:
            peak = joined[peak]
        return peak

    leaves = []
    for pixel in np.argsort(-flat, kind="stable"):
        if flat[pixel] < least or least <= 0.0:
            break
        near = {root(owner[n]) for n in _neighbours(int(pixel), image.shape) if owner[n] >= 0}
        peaks = sorted(near, key=lambda peak: -flat[peak])
        if not peaks:
            owner[pixel], members[int(pixel)] = pixel, [int(pixel)]
            continue
        for lower in peaks[1:]:
            if flat[lower] - flat[pixel] >= least:
                leaves.append((lower, members.pop(lower, [])))
                highest = members.pop(peaks[0], [])
                if highest:
                    leaves.append((peaks[0], highest))
            elif peaks[0] in members:
                members[peaks[0]] += members.pop(lower, [])
            joined[lower] = peaks[0]
        owner[pixel] = peaks[0]
        if peaks[0] in members:
            members[peaks[0]].append(int(pixel))
    leaves += list(members.items())
    brightest_first = sorted(leaves, key=lambda leaf: -flat[leaf[0]])
    found = [_described(flat, pixels, grid, centre_deg) for _, pixels in brightest_first if pixels]
    return [Cloud(f"structure {k}", *place) for k, place in enumerate(found, start=1)]


def _neighbours(pixel: int, shape: tuple[int, ...]) -> list[int]:
    i, j = divmod(pixel, shape[1])
    around = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    return [x * shape[1] + y for x, y in around if 0 <= x < shape[0] and 0 <= y < shape[1]]


def _described(flat: Floats, pixels: Sequence[int], grid: Grid, centre_deg: tuple[float, float]) -> tuple[float, ...]:
    """Mean longitude and velocity of the pixels of a structure, and their spread."""
    i, j = np.divmod(np.asarray(pixels), grid.v_steps)
    weight = flat[pixels] / flat[pixels].sum()

    def moments(axis: Axis, at: NDArray) -> tuple[float, float]:
        x = axis.centres()[at]
        mean = float(weight @ x)
        return mean, math.sqrt(float(weight @ (x - mean) ** 2) + axis.step**2 / 12.0)

    (lon, width), (v, sigma) = moments(grid.longitude, i), moments(grid.velocity, j)
    return lon + centre_deg[0], math.nan, v, sigma, math.sqrt(3.0) * width
