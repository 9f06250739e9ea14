"""What `iris ingest` does with a snapshot: the grid, the views, the perturbations, and what the file does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.errors import UsageError, nearest

Range = tuple[float, float]

SPINS = ("auto", "clockwise", "anticlockwise", "align")
FORMULAS = ("none", "cmz")


@dataclass(frozen=True)
class IngestConfig:
    """Ranges are [low, high] of a uniform draw. Draws are per snapshot, jitters per view. See docs/ingest.md.

    `centre` is auto, box, origin, mass, or x,y,z in the snapshot's own unit of length; `bulk_velocity` none, auto, or
    vx,vy,vz in km/s. What stands at None is taken from the file.
    """

    #: From how many sides each galaxy is seen.
    views: int = 64
    seed: int = 0
    #: Azimuth of the first view.
    first_view_deg: Range = (0.0, 0.0)
    #: Lengths and velocities times this; densities stay.
    scale: Range = (1.0, 1.0)
    #: Densities times this.
    density: Range = (1.0, 1.0)
    #: Stretch in the plane, at constant area.
    skew: Range = (1.0, 1.0)
    #: The centre is so much farther.
    jitter_distance_pc: Range = (0.0, 0.0)
    #: The centre's longitude.
    jitter_longitude_deg: Range = (0.0, 0.0)
    #: How the gas turns, seen from +z: "clockwise", "anticlockwise", "auto" (measured), or "align" (axis to z).
    spin: str = "auto"
    centre: str = "auto"
    bulk_velocity: str = "none"
    #: Those of ChemicalAbundances, in their order.
    columns: tuple[str, ...] = ("H2", "H+", "CO")
    #: Times the file's H2 column: 0.5 if that is 2 n(H2)/n_H.
    h2_factor: float = 1.0
    #: Of all gas, instead of the file's; so the four below it.
    x_H2: float | None = None
    x_H_plus: float | None = None
    x_CO: float | None = None
    temperature_K: float | None = None
    dust_temperature_K: float | None = None
    #: Gas at rest.
    zero_velocity: bool = False
    #: For fields that the file lacks: "none" or "cmz".
    formulas: str = "none"
    #: Leave out cells with NaN or without density.
    drop_bad_cells: bool = False
    #: The snapshot's units, where it lacks them or has them wrong.
    unit_length_cm: float | None = None
    unit_mass_g: float | None = None
    unit_velocity_cm_s: float | None = None
    hubble_param: float | None = None
    cosmic_scale_factor: float | None = None
    grid: Grid = field(default_factory=lambda: GRID_PRESETS["small"])

    def __post_init__(self) -> None:
        self._check_ranges()
        if self.views < 1 or self.seed < 0:
            raise UsageError(
                f"ingest: views = {self.views} and seed = {self.seed}; at least 1 view, a seed of 0 or more"
            )
        for name, known in (("spin", SPINS), ("formulas", FORMULAS)):
            if (chosen := getattr(self, name)) not in known:
                raise UsageError(f"ingest: unknown {name} '{chosen}'", nearest(chosen, known))
        if self.centre not in ("auto", "box", "origin", "mass"):
            vector(self.centre, "centre", "auto, box, origin, mass")
        if self.bulk_velocity not in ("none", "auto"):
            vector(self.bulk_velocity, "bulk_velocity", "none, auto")
        self._check_numbers()

    def _check_ranges(self) -> None:
        for name in ("first_view_deg", "scale", "density", "skew", "jitter_distance_pc", "jitter_longitude_deg"):
            value = getattr(self, name)
            if len(value) != 2 or not -float("inf") < value[0] <= value[1] < float("inf"):
                raise UsageError(f"ingest: {name} = {list(value)} is not a range", "write LOW:HIGH or one number")
            if name in ("scale", "density", "skew") and value[0] <= 0:
                raise UsageError(f"ingest: {name} goes down to {value[0]:g}; it is a factor and must be above 0")

    def _check_numbers(self) -> None:
        for name, most in (
            ("x_H2", 0.5),
            ("x_H_plus", 1.2),
            ("x_CO", 1e-2),
            ("temperature_K", 1e9),
            ("dust_temperature_K", 1e4),
        ):
            if (value := getattr(self, name)) is not None and not 0 <= value <= most:
                raise UsageError(f"ingest: {name} = {value:g}; it lies between 0 and {most:g}")
        if self.temperature_K == 0:
            raise UsageError("ingest: temperature_K = 0; gas has one above 0")
        for name in (
            "unit_length_cm",
            "unit_mass_g",
            "unit_velocity_cm_s",
            "hubble_param",
            "cosmic_scale_factor",
            "h2_factor",
        ):
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise UsageError(f"ingest: {name} = {value:g}; it must be above 0")


def vector(text: str, name: str, words: str) -> tuple[float, float, float]:
    """`1.5,0,-2` as three numbers. UsageError naming what else there is."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"ingest: {name} = '{text}' is neither x,y,z nor one of {words}") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise UsageError(f"ingest: {name} = '{text}' holds numbers that are not finite")
    return x, y, z
