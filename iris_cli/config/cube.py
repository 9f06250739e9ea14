"""How a telescope's cube is read: what its header leaves open, and how much of the model's image it must fill."""

from __future__ import annotations

from dataclasses import dataclass, field

from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import LATITUDE_REDUCTIONS
from iris_cli.errors import UsageError, nearest

CONVENTIONS = ("radio", "optical", "relativistic")


@dataclass(frozen=True)
class CubeConfig:
    """None means: the header must say so itself, where the number is needed at all."""

    #: Of the values: K, mK, Jy/beam, Jy/sr, MJy/sr.
    unit: str | None = None
    rest_frequency_GHz: float | None = None
    #: FWHM of a round beam.
    beam_arcsec: float | None = None
    #: radio, optical or relativistic, where the header's CTYPE is wrong.
    velocity_convention: str | None = None
    #: Of the spectral axis, where CUNIT is missing: km/s, m/s, Hz, GHz …
    spectral_unit: str | None = None
    #: Added to the cube's velocities, to bring them to the LSR.
    velocity_shift_km_s: float | None = None
    #: Antenna to main beam: the cube's temperatures are divided by it.
    efficiency: float | None = None
    #: The Galactic position that becomes the model's (0, 0).
    centre_lon_deg: float = 0.0
    centre_lat_deg: float = 0.0
    #: Which HDU of the file; the first that holds an image if left out.
    hdu: int | None = None
    #: A smaller share of the model's image than this, filled by the cubes, is an error.
    min_coverage: float = 0.1
    memory_GiB: float = 2.0

    def __post_init__(self) -> None:
        for name in ("rest_frequency_GHz", "beam_arcsec", "efficiency"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"cube: {name} = {value}; it must be above 0")
        if self.efficiency is not None and self.efficiency > 1:
            raise UsageError(f"cube: efficiency = {self.efficiency}; it must not be above 1", "give a fraction: 0.75")
        if self.velocity_convention is not None and self.velocity_convention not in CONVENTIONS:
            raise UsageError(
                f"cube: unknown velocity_convention '{self.velocity_convention}'",
                nearest(self.velocity_convention, CONVENTIONS),
            )
        if self.hdu is not None and self.hdu < 0:
            raise UsageError(f"cube: hdu = {self.hdu}; it must not be negative")
        if not 0 <= self.min_coverage <= 1:
            raise UsageError(f"cube: min_coverage = {self.min_coverage}; it must lie in 0 … 1")
        if not self.memory_GiB > 0:
            raise UsageError(f"cube: memory_GiB = {self.memory_GiB}; it must be above 0")
        if abs(self.centre_lat_deg) > 90:
            raise UsageError(f"cube: centre_lat_deg = {self.centre_lat_deg}; it must lie in -90 … 90")


def at_galactic_centre(lon_deg: float, lat_deg: float) -> bool:
    """Whether a model's centre, moved to this position, still shows the Galactic Centre."""
    return abs((lon_deg + 180.0) % 360.0 - 180.0) < 2.0 and abs(lat_deg) < 1.0


@dataclass(frozen=True)
class RegridConfig:
    """What `iris cube` reads from a file: cubes, and the image to make of them."""

    #: How cubes lose their latitude: "mean" or "max". A run or shards that the grid is taken from say it themselves.
    latitude: str = "mean"
    grid: Grid | None = None
    cube: CubeConfig = field(default_factory=CubeConfig)

    def __post_init__(self) -> None:
        if self.latitude not in LATITUDE_REDUCTIONS:
            raise UsageError(
                f"unknown latitude reduction '{self.latitude}'", nearest(self.latitude, LATITUDE_REDUCTIONS)
            )
