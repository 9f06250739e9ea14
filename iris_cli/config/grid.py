"""The observer's grid: positions of the cells of a physical tensor, and the channels of an observation."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iris_cli.axes import Axis
from iris_cli.config.setting import Checked, Range, setting
from iris_cli.errors import UsageError, choose

if TYPE_CHECKING:  # as in `iris_cli.axes`
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid(Checked, where="grid: "):
    """Limits are cell centres (see `iris_cli.axes`). Defaults: the IRIS paper's, arXiv:2607.01338."""

    observer_distance_pc: float = setting(8277.0, "Distance from the observer to the Galactic Centre.", above=0)
    r_min_pc: float = setting(8052.0, "Distance of the nearest cells from the observer.", above=0)
    r_max_pc: float = setting(8502.0, "Distance of the farthest cells from the observer.")
    r_steps: int = setting(512, "Number of cells in distance.", least=2)
    r_crop_min: int = setting(0, "First distance step of the density image.")
    r_crop_max: int = setting(512, "Distance step after the last one of the density image.")
    lon_min_deg: float = setting(-1.5)
    lon_max_deg: float = setting(1.5)
    lon_steps: int = setting(512, "Number of cells in longitude.", least=2)
    lat_min_deg: float = setting(-0.375, least=-90)
    lat_max_deg: float = setting(0.375, most=90)
    lat_steps: int = setting(128, "Number of cells in latitude.", least=2)
    v_min_km_s: float = setting(-200.0)
    v_max_km_s: float = setting(200.0)
    v_steps: int = setting(512, "Number of velocity channels of the cube.", least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for axis, unit in (("r", "pc"), ("lon", "deg"), ("lat", "deg"), ("v", "km_s")):
            low, high = f"{axis}_min_{unit}", f"{axis}_max_{unit}"
            if not getattr(self, low) < getattr(self, high):
                raise UsageError(f"grid: {low} = {getattr(self, low)} is not below {high} = {getattr(self, high)}")
        if not 0 <= self.r_crop_min < self.r_crop_max <= self.r_steps:
            crop = f"[{self.r_crop_min}, {self.r_crop_max})"
            raise UsageError(f"grid: the crop {crop} does not fit into {self.r_steps} distance steps")
        if self.lon_max_deg - self.lon_min_deg > 360.0:
            raise UsageError(f"grid: longitudes {self.lon_min_deg} … {self.lon_max_deg} cover more than 360 deg")

    @property
    def distance(self) -> Axis:
        return Axis("distance", "pc", self.r_min_pc, self.r_max_pc, self.r_steps)

    @property
    def longitude(self) -> Axis:
        return Axis("longitude", "deg", self.lon_min_deg, self.lon_max_deg, self.lon_steps)

    @property
    def latitude(self) -> Axis:
        return Axis("latitude", "deg", self.lat_min_deg, self.lat_max_deg, self.lat_steps)

    @property
    def velocity(self) -> Axis:
        return Axis("velocity", "km / s", self.v_min_km_s, self.v_max_km_s, self.v_steps)

    @property
    def tensor_shape(self) -> tuple[int, int, int, int]:
        """(6, R, L, B)"""
        return (6, self.r_steps, self.lon_steps, self.lat_steps)

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(1, L, V)"""
        return (1, self.lon_steps, self.v_steps)

    @property
    def density_shape(self) -> tuple[int, int, int]:
        """(1, R', L)"""
        return (1, self.r_crop_max - self.r_crop_min, self.lon_steps)

    def latitude_weights(self) -> "NDArray[np.float64]":
        """(3, B) (b/b0)^k/B: the sums of T over latitude with them are the means of T, T b/b0 and T (b/b0)^2.

        b0 is the farthest edge from the Galactic plane, so that |b/b0| is at most 1.
        """
        import numpy as np

        b = self.latitude.centres() / np.abs(self.latitude.edges()).max()
        return np.stack([b**k for k in range(3)]) / self.lat_steps

    def turned_over(self) -> "Grid":
        """The same cells after l -> -l and b -> -b."""
        return replace(
            self,
            lon_min_deg=0.0 - self.lon_max_deg,
            lon_max_deg=0.0 - self.lon_min_deg,
            lat_min_deg=0.0 - self.lat_max_deg,
            lat_max_deg=0.0 - self.lat_min_deg,
        )

    def scaled(self, r: int, lon: int, lat: int, v: int) -> "Grid":
        """The same sky with other numbers of cells."""
        return replace(self, r_steps=r, lon_steps=lon, lat_steps=lat, v_steps=v, r_crop_min=0, r_crop_max=r)


@dataclass(frozen=True)
class Coverage(Checked, where="coverage: "):
    """The part of the sky that was observed, from edge to edge; images are dark elsewhere. Left out: everything."""

    lon_deg: Range | None = setting(None, "Galactic longitudes.", interval=True)
    lat_deg: Range | None = setting(None, "Galactic latitudes.", interval=True)
    v_km_s: Range | None = setting(None, "Velocities.", interval=True)

    @property
    def is_everything(self) -> bool:
        return not (self.lon_deg or self.lat_deg or self.v_km_s)


#: Name -> grid; the tensor is (6, R, L, B), the cube has V channels.
GRID_PRESETS: dict[str, Grid] = {
    "paper": Grid(),
    "small": Grid().scaled(128, 128, 32, 128),
    "tiny": Grid().scaled(64, 64, 16, 64),
    # From near the observer to beyond the centre; the density image is still that of the centre.
    "full-cone": Grid(r_min_pc=1302.0, r_max_pc=15702.0, r_steps=16384, r_crop_min=7680, r_crop_max=8192),
}

#: The same sky in front of the Galactic Centre (the paper's litter): 6000 to 7500 pc.
FOREGROUND_PRESETS: dict[str, Grid] = {
    name: replace(GRID_PRESETS[name], r_min_pc=6000.0, r_max_pc=7500.0, r_steps=steps, r_crop_max=steps)
    for name, steps in (("paper", 2048), ("small", 256), ("tiny", 64))
}


def grid_preset(name: str, foreground: bool = False) -> Grid:
    return choose("grid preset", name, FOREGROUND_PRESETS if foreground else GRID_PRESETS)
