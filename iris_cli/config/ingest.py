"""What `iris ingest` does with a snapshot: grid, views, perturbations, and values that the file lacks."""

import math
from dataclasses import dataclass

from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.setting import Checked, Range, interval, panel, read_words, setting, table
from iris_cli.errors import UsageError

SPINS = ("auto", "clockwise", "anticlockwise", "align")
FORMULAS = ("none", "cmz")
of_views, of_gas, of_units = panel("Views and perturbations"), panel("Gas"), panel("Units of the snapshot")
views_interval = panel("Views and perturbations", interval)
FROM_FILE = "from the snapshot"
#: Limits of h = H0 / (100 km/s/Mpc) and of the cosmic scale factor: beyond them a number means something else.
MIN_HUBBLE_PARAM, MAX_HUBBLE_PARAM = 0.1, 2.0
MIN_SCALE_FACTOR, MAX_SCALE_FACTOR = 1e-3, 1e3


@dataclass(frozen=True)
class IngestConfig(Checked, where="ingest: "):
    """Intervals are [low, high] of a uniform draw, per snapshot; jitters are drawn per view. See docs/ingest.md."""

    views: int = of_views(64, "Number of directions from which each galaxy is observed.", "--views", least=1)
    seed: int = setting(0, "Seed; the same seed gives the same bytes.", "--seed", least=0)
    first_view_deg: Range = views_interval(0.0, 0.0, "Azimuth of the first view.", "--first-view-deg")
    scale: Range = views_interval(1.0, 1.0, "Factor of lengths and velocities; densities stay.", "--scale", above=0)
    density: Range = views_interval(1.0, 1.0, "Factor of densities.", "--density", above=0)
    skew: Range = views_interval(1.0, 1.0, "Stretch in the plane, at constant area.", "--skew", above=0)
    jitter_distance_pc: Range = views_interval(0.0, 0.0, "Added to the distance of the centre.", "--jitter-distance-pc")
    jitter_longitude_deg: Range = views_interval(0.0, 0.0, "Longitude of the centre.", "--jitter-longitude-deg")
    spin: str = of_views(
        "auto", "Rotation seen from +z; auto measures it, align also turns the axis to z.", "--spin", choices=SPINS
    )
    centre: str = of_views(
        "auto", "Centre of the galaxy: auto, box, origin, mass, or x,y,z in the snapshot's unit of length.", "--centre"
    )
    bulk_velocity: str = of_views(
        "none", "Velocity that is subtracted from all cells: none, auto, or vx,vy,vz in km/s.", "--bulk-velocity"
    )
    columns: tuple[str, ...] = of_gas(
        ("H2", "H+", "CO"), "Species in ChemicalAbundances.", "--columns", metavar="NAME,NAME...", read=read_words
    )
    h2_factor: float = of_gas(1.0, "Factor of the H2 column: 0.5 if it is 2 n(H2)/n_H.", "--h2-factor", above=0)
    x_H2: float | None = of_gas(None, "n(H2)/n_H.", "--x-h2", least=0, most=0.5, unset=FROM_FILE)
    x_H_plus: float | None = of_gas(None, "n(H+)/n_H.", "--x-h-plus", least=0, most=1.2, unset=FROM_FILE)
    x_CO: float | None = of_gas(None, "n(CO)/n_H, e.g. 1.4e-4.", "--x-co", least=0, most=1e-2, unset=FROM_FILE)
    temperature_K: float | None = of_gas(None, "Gas temperature.", "--temperature", above=0, most=1e9, unset=FROM_FILE)
    dust_temperature_K: float | None = of_gas(
        None, "Temperature of all dust, e.g. 20.", "--dust-temperature", least=0, most=1e4, unset=FROM_FILE
    )
    zero_velocity: bool = of_gas(False, "Set all velocities to zero.", "--zero-velocity")
    formulas: str = of_gas("none", "Formulas for fields that the snapshot lacks.", "--formulas", choices=FORMULAS)
    cutouts: bool = of_gas(False, "Each file is a whole galaxy, whatever its header lists of other files.", "--cutouts")
    drop_bad_cells: bool = of_gas(False, "Leave out cells with NaN or without density.", "--drop-bad-cells")
    unit_length_cm: float | None = of_units(None, "Unit of length.", "--unit-length-cm", above=0, unset=FROM_FILE)
    unit_mass_g: float | None = of_units(None, "Unit of mass.", "--unit-mass-g", above=0, unset=FROM_FILE)
    unit_velocity_cm_s: float | None = of_units(
        None, "Unit of velocity.", "--unit-velocity-cm-s", above=0, unset=FROM_FILE
    )
    hubble_param: float | None = of_units(
        None,
        "Hubble parameter h, H0 / (100 km/s/Mpc).",
        "--hubble-param",
        least=MIN_HUBBLE_PARAM,
        most=MAX_HUBBLE_PARAM,
        unset=FROM_FILE,
    )
    cosmic_scale_factor: float | None = of_units(
        None,
        "Cosmic scale factor a.",
        "--cosmic-scale-factor",
        least=MIN_SCALE_FACTOR,
        most=MAX_SCALE_FACTOR,
        unset=FROM_FILE,
    )
    grid: Grid = table(lambda: GRID_PRESETS["small"])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centre not in ("auto", "box", "origin", "mass"):
            vector(self.centre, "centre", "auto, box, origin, mass")
        if self.bulk_velocity not in ("none", "auto"):
            vector(self.bulk_velocity, "bulk_velocity", "none, auto")


def vector(text: str, name: str, words: str) -> tuple[float, float, float]:
    """`1.5,0,-2` as three numbers. UsageError with the other allowed words."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"ingest: {name} = '{text}' is neither x,y,z nor one of {words}") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise UsageError(f"ingest: {name} = '{text}' holds numbers that are not finite")
    return x, y, z
