"""Surveys of molecular lines as presets: the packaged table `surveys.toml`, and the configurations made from it."""

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.setting import Range
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.errors import UsageError, choose

#: Line width inside cells that are coarser than clumps of gas; docs/benchmarks/sky.md has its measurement.
TURBULENCE_KM_S = 7.0
#: Dust opacity per kg of gas at 13CO(2-1), the paper's, and its power law in frequency.
DUST_M2_KG, DUST_GHz, DUST_BETA = 1e-3, 220.398684, 1.75
#: Distance over which the abundance within a galaxy is correlated: that of cloud complexes.
CORRELATION_PC = 20.0


@dataclass(frozen=True)
class Survey:
    """A row of the table; `noise_K` is the rms of a channel of `channel_km_s` in a beam. See surveys.toml."""

    about: str
    molecule: str
    transition: str
    frequency_GHz: float
    lon_deg: Range
    lat_deg: Range
    v_km_s: Range
    channel_km_s: float
    beam_arcsec: float
    noise_K: float
    reference: str
    populations: str = "lvg"
    excitation_K: float = 0.0
    galaxy_dex: float = 0.1
    cloud_dex: float = 0.0
    note: str = ""

    @property
    def at_centre(self) -> bool:
        """Whether it shows the Galactic Centre."""
        return self.lon_deg[0] < 0.0 < self.lon_deg[1]

    @property
    def coverage(self) -> Coverage:
        """Everything, of a survey elsewhere: it lends its line, beam and noise to the Galactic Centre."""
        return Coverage(self.lon_deg, self.lat_deg, self.v_km_s) if self.at_centre else Coverage()

    def grid(self, grid: Grid) -> Grid:
        """The part of a grid that the survey covers, with as many cells."""
        limits: dict[str, float] = {}
        for axis, unit, steps, seen in (
            ("lon", "deg", grid.lon_steps, self.coverage.lon_deg),
            ("lat", "deg", grid.lat_steps, self.coverage.lat_deg),
            ("v", "km_s", grid.v_steps, self.coverage.v_km_s),
        ):
            low, high = getattr(grid, f"{axis}_min_{unit}"), getattr(grid, f"{axis}_max_{unit}")
            half = 0.5 * (high - low) / (steps - 1)
            low, high = max(low - half, seen[0] if seen else -math.inf), min(high + half, seen[1] if seen else math.inf)
            half = 0.5 * (high - low) / steps
            limits |= {f"{axis}_min_{unit}": round(low + half, 9), f"{axis}_max_{unit}": round(high - half, 9)}
        return replace(grid, **limits)  # type: ignore[arg-type]

    def voxel_noise_K(self, grid: Grid) -> float:
        """Rms noise of a voxel of a grid: lower where the voxel is larger than the beam or a channel."""
        beam_deg2 = math.pi / (4.0 * math.log(2.0)) * (self.beam_arcsec / 3600.0) ** 2
        beams = grid.longitude.step * grid.latitude.step / beam_deg2
        channels = grid.velocity.step / self.channel_km_s
        return self.noise_K / math.sqrt(max(beams, 1.0) * max(channels, 1.0))

    def observing(self) -> dict[str, Any]:
        """Values of a SyntheticConfig."""
        dust = DUST_M2_KG * (self.frequency_GHz / DUST_GHz) ** DUST_BETA
        line = {"molecule": self.molecule, "transition": self.transition, "dust_opacity_m2_kg": float(f"{dust:.2g}")}
        values = {"lines": [line], "beam_fwhm_arcsec": self.beam_arcsec, "turbulence_km_s": TURBULENCE_KM_S}
        values |= {"populations": self.populations, "excitation_K": self.excitation_K}
        return values

    def preobserving(self) -> dict[str, Any]:
        """Values of a PreobserveConfig."""
        tracer = {"galaxy_dex": self.galaxy_dex, "cloud_dex": self.cloud_dex, "correlation_pc": CORRELATION_PC}
        seen = {name: list(limits) for name, limits in vars(self.coverage).items() if limits}
        return {"synthetic": self.observing(), "tracer": tracer, **({"coverage": seen} if seen else {})}

    def preobserve_config(self) -> PreobserveConfig:
        return from_dict(PreobserveConfig, self.preobserving(), "surveys.toml")


@cache
def surveys() -> dict[str, Survey]:
    """Name -> survey, in the order of the table."""
    rows = read_toml(Path(__file__).with_name("surveys.toml"))
    return {name: from_dict(Survey, row, f"surveys.toml: {name}") for name, row in rows.items()}


def survey(name: str) -> Survey:
    """UsageError, with similar names, when there is none of that name."""
    return choose("survey", name, surveys())


def preobserving_of(name: str | None) -> dict[str, Any]:
    """Values of a PreobserveConfig for a survey; none without one."""
    return survey(name).preobserving() if name else {}


def survey_grid(name: str, grid: Grid) -> Grid:
    """The part of a grid that a survey covers. UsageError when it is elsewhere."""
    chosen = survey(name)
    if not chosen.at_centre:
        covered = "{:g} to {:g} degrees, not the Galactic Centre".format(*chosen.lon_deg)
        raise UsageError(f"{name} covers longitudes {covered}", "leave out --survey: any grid can be observed with it")
    return chosen.grid(grid)
