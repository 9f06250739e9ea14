"""Published models of the orbit of gas around Sgr A*, drawn over a figure: near parts solid, far parts dashed."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from iris_cli.errors import DataError, UsageError, nearest
from iris_cli.plots.style import as_label
from iris_cli.standard.orbit import LIPMAN_2026, WALKER_2025, Orbit

#: Distance of Sgr A* in the fits of Walker et al. (2025) and Lipman et al. (2026).
FITTED_DISTANCE_PC = 8100.0
ELLIPSES = {"walker": WALKER_2025, "lipman": LIPMAN_2026}
FAR = (0, (3, 2))  # dashes
#: Neighbouring points farther apart than so many times the median distance are not joined by a line.
MAX_GAP = 10.0
#: Visible on dark and bright maps with any colour vision (Okabe & Ito 2008), outlined in black.
COLOURS = ("#FFFFFF", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00")


@dataclass(frozen=True)
class Track:
    """Points along an orbit; offsets from Sgr A* are known only for orbits that are given by a formula."""

    name: str
    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    v_km_s: NDArray[np.float64]
    near: NDArray[np.bool_]
    left_pc: NDArray[np.float64] | None = None
    away_pc: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Place:
    """The distance and the position of the centre of an ellipse; the position is 0 in a simulation."""

    distance_pc: float = FITTED_DISTANCE_PC
    lon_deg: float = 0.0
    lat_deg: float = 0.0


#: A simulated galaxy at the distance of the fits.
CENTRED = Place()
#: On the sky the published track of Walker et al. (2025) has its centre here (Sgr A* is at -0.056, -0.046).
ON_SKY = Place(FITTED_DISTANCE_PC, 0.05, -0.046)


def ellipse(orbit: Orbit, name: str, place: Place = CENTRED) -> Track:
    """A closed orbit as seen by the observer of view 0."""
    points = orbit.track()
    x, y, z, *velocity = np.concatenate([points, points[:1]]).T
    line = np.stack([x - place.distance_pc, y, z])
    r = np.linalg.norm(line, axis=0)
    return Track(
        name,
        lon_deg=np.rad2deg(np.arctan2(-y, place.distance_pc - x)) + place.lon_deg,
        lat_deg=np.rad2deg(np.arcsin(z / r)) + place.lat_deg,
        v_km_s=(np.stack(velocity) * line).sum(axis=0) / r,
        near=x > 0,
        left_pc=-y,
        away_pc=-x,
    )


def read_track(path: Path) -> Track:
    """Read rows of l [deg], b [deg], v [km/s] and near or far. DataError names the first invalid row."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{path} cannot be read as text", "orbits are rows of l, b, v and near or far") from None
    for number, words in enumerate((line.split("#")[0].split() for line in lines), start=1):
        if not words:
            continue
        try:
            rows.append((*map(float, words[:3]), {"near": True, "far": False}[words[3].lower()]))
        except (ValueError, KeyError, IndexError):
            message = f"{path}: row {number} is not l, b, v and near or far"
            raise DataError(message, "e.g. -0.51 -0.11 -91 near") from None
    if not rows:
        raise DataError(f"{path} holds no points")
    lon, lat, v, near = (np.array(column) for column in zip(*rows, strict=True))
    return Track(path.stem.removesuffix("_resampled_300"), lon, lat, v, near.astype(bool))


def tracks(names: Iterable[str], place: Place = CENTRED) -> list[Track]:
    """The tracks of ellipses by name, of files, and of all files in folders. UsageError for any other name."""
    return [track for name in names for track in _tracks(name, place)]


def _tracks(name: str, place: Place) -> Iterator[Track]:
    path = Path(name)
    if name in ELLIPSES:
        yield ellipse(ELLIPSES[name], name, place)
    elif path.is_dir():
        found = []
        for file in sorted(path.glob("*.txt")):
            with suppress(DataError):  # other tables
                found.append(read_track(file))
        if not found:
            raise DataError(f"{path} holds no orbit", "orbits are .txt files with rows of l, b, v and near or far")
        yield from found
    elif path.is_file():
        yield read_track(path)
    else:
        raise UsageError(f"no orbit '{name}'", f"{nearest(name, ELLIPSES)}, or a file or folder of l, b, v")


def over_lv(ax: Axes, orbits: Sequence[Track]) -> None:
    _draw(ax, [(orbit, orbit.lon_deg, orbit.v_km_s) for orbit in orbits])


def over_lb(ax: Axes, orbits: Sequence[Track]) -> None:
    _draw(ax, [(orbit, orbit.lon_deg, orbit.lat_deg) for orbit in orbits])


def over_from_north(ax: Axes, orbits: Sequence[Track]) -> None:
    """UsageError for an orbit whose distances are unknown."""
    placed = []
    for orbit in orbits:
        if orbit.left_pc is None or orbit.away_pc is None:
            hint = f"on a view from above draw {' or '.join(ELLIPSES)}"
            raise UsageError(f"the distances of the points of '{orbit.name}' are unknown", hint)
        placed.append((orbit, orbit.left_pc, orbit.away_pc))
    _draw(ax, placed)


def _parts(orbit: Track) -> Iterator[tuple[bool, list[int]]]:
    """Pieces of an orbit that are all near or all far, each with the first point of the next one.

    Files list one arm after the other: points with a large gap between them are in different pieces and not joined.
    """
    columns = np.stack([orbit.lon_deg, orbit.lat_deg, orbit.v_km_s])
    size = np.maximum(np.ptp(columns, axis=1, keepdims=True), 1e-12)
    steps = np.linalg.norm(np.diff(columns, axis=1) / size, axis=0)
    jumps = (steps > MAX_GAP * np.median(steps)) & (steps > MAX_GAP / len(orbit.near)) if len(steps) else steps > 0
    turns = np.diff(orbit.near)
    starts = [0, *(np.flatnonzero(jumps | turns) + 1).tolist(), len(orbit.near)]
    for first, end in pairwise(starts):
        joined = end < len(orbit.near) and not jumps[end - 1]
        yield bool(orbit.near[first]), list(range(first, end + joined))


def _draw(ax: Axes, lines: Sequence[tuple[Track, NDArray, NDArray]]) -> None:
    """Draw orbits with a legend, without changing the limits of the axes."""
    limits = ax.get_xlim(), ax.get_ylim()
    handles = []
    for (orbit, x, y), colour in zip(lines, COLOURS * len(lines), strict=False):
        outline = [Stroke(linewidth=3.0, foreground="black"), Normal()]
        for near, points in _parts(orbit):
            where, dashes = ("near", "-") if near else ("far", FAR)
            look: dict[str, Any] = {"linestyle": dashes, "color": colour, "path_effects": outline}
            ax.plot(x[points], y[points], gid=f"{orbit.name} {where}", **look)
        handles.append(Line2D([], [], color=colour, label=as_label(orbit.name), path_effects=outline))
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    if handles:
        for where, dashes in (("near", "-"), ("far", FAR)):
            handles.append(Line2D([], [], color="0.7", linestyle=dashes, label=where))
        ax.legend(handles=handles, loc="best", frameon=True, facecolor="black", framealpha=0.6, labelcolor="white")
