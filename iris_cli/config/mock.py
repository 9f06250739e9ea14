"""What the embedded mock galaxies are made of: every draw is uniform between the two numbers of its range."""

from __future__ import annotations

import math
from dataclasses import dataclass

from iris_cli.errors import UsageError

Range = tuple[float, float]


#: Of the periodic lattice that a galaxy's turbulence lives on: lengths along x, y and z.
LATTICE_BOX_PC = (576.0, 576.0, 192.0)
#: What may have either sign; nothing else is below 0, and what gas is divided by or a logarithm is taken of, not 0.
_SIGNED = (
    "height_phase_rad",
    "v0_km_s",
    "drift_km_s",
    "lane_winding",
    "lane_inflow_km_s",
    "lane_imbalance",
    "v_km_s",
    "v_gradient_km_s_deg",
    "velocity_slope",
    "density_slope",
)
_MAY_VANISH = (
    "height_pc",
    "ring_n_H_cm3",
    "ring_contrast",
    "clouds",
    "lane_n_H_cm3",
    "disc_n_H_cm3",
    "sheets",
    "n_H_cm3",
    "turbulence_km_s",
    "turbulence_contrast",
)


def check_values(config: MockConfig | ForegroundConfig) -> None:
    """UsageError for a range that is none, and for a number that no gas has."""
    for name, value in vars(config).items():
        low, *_, high = value if isinstance(value, tuple) and len(value) > 1 else (value, value)
        if isinstance(value, tuple) and not (len(value) == 2 and -math.inf < low <= high < math.inf):
            raise UsageError(f"mock: {name} = {list(value)} is not a range [low, high]")
        if name not in _SIGNED and not (low > 0 or (name in _MAY_VANISH and low == 0)):
            least = "0 or more" if name in _MAY_VANISH else "above 0"
            raise UsageError(f"mock: {name} goes down to {low:g}; it must be {least}")
    if config.largest_eddy_pc < 2.0 * config.turbulence_cell_pc:
        raise UsageError(
            f"mock: largest_eddy_pc = {config.largest_eddy_pc:g} is less than two cells of "
            f"turbulence_cell_pc = {config.turbulence_cell_pc:g}"
        )


@dataclass(frozen=True)
class MockConfig:
    """Centred on the CMZ orbits of Walker et al. 2025 and Lipman et al. 2026 (arXiv:2603.23327).

    Densities are of hydrogen nuclei before turbulence; every length is multiplied by the galaxy's `scale` and every
    velocity with it, densities are not (the IRIS paper's scaling).
    """

    #: Multiplies every length and velocity.
    scale: Range = (0.9, 1.2)
    #: The orbit: x = a cos(phi), y = b sin(phi), z = z0 sin(alpha - 2 phi), v_phi = v0 b / R.
    semi_major_pc: Range = (75.0, 105.0)
    #: b / a.
    axis_ratio: Range = (0.4, 0.7)
    #: z0.
    height_pc: Range = (8.0, 16.0)
    #: alpha.
    height_phase_rad: Range = (0.0, 6.283185307179586)
    #: Speed where the orbit crosses its minor axis.
    v0_km_s: Range = (115.0, 145.0)
    ring_n_H_cm3: Range = (600.0, 1400.0)
    ring_width_pc: Range = (7.0, 12.0)
    ring_contrast: Range = (0.6, 1.0)
    #: Gas on the orbit and in the disc sinks slowly towards the centre: near gas recedes so fast, far gas approaches.
    drift_km_s: Range = (25.0, 50.0)
    #: Clouds on the orbit; the densest are like Sgr B2, the common ones like the Brick.
    clouds: tuple[int, int] = (4, 10)
    cloud_n_H_cm3: Range = (1e3, 6e3)
    cloud_radius_pc: Range = (6.0, 13.0)
    #: Inflow: two trailing lanes at the leading edges of the bar, from the tips of the orbit outwards.
    lane_n_H_cm3: Range = (400.0, 900.0)
    lane_winding: Range = (0.5, 1.1)
    lane_width_pc: Range = (9.0, 15.0)
    lane_length_pc: Range = (120.0, 220.0)
    lane_inflow_km_s: Range = (80.0, 140.0)
    lane_imbalance: Range = (-0.3, 0.3)
    #: The diffuse disc.
    disc_n_H_cm3: Range = (20.0, 60.0)
    disc_radius_pc: Range = (90.0, 150.0)
    disc_height_pc: Range = (18.0, 30.0)
    #: Turbulence: log-normal density, Gaussian velocity, power-law spectra.
    turbulence_km_s: Range = (5.0, 15.0)
    turbulence_contrast: Range = (0.4, 0.8)
    turbulence_cell_pc: float = 6.0
    #: Of the three-dimensional power spectra: 11/3 is Kolmogorov's.
    velocity_slope: float = 3.6666666666666665
    density_slope: float = 3.0
    largest_eddy_pc: float = 60.0

    def __post_init__(self) -> None:
        check_values(self)
        if max(map(abs, self.lane_imbalance)) > 1.0:
            raise UsageError(
                f"mock: lane_imbalance = {list(self.lane_imbalance)}; it must lie in -1 … 1",
                "a lane cannot hold less than nothing",
            )
        if self.turbulence_cell_pc > min(LATTICE_BOX_PC) / 2.0:
            raise UsageError(
                f"mock: turbulence_cell_pc = {self.turbulence_cell_pc:g}; its lattice is "
                f"{min(LATTICE_BOX_PC):g} pc high and needs two cells"
            )


@dataclass(frozen=True)
class ForegroundConfig:
    """Sheets of spiral-arm gas on the way to the Galactic Centre; densities and velocities of the inner disc's arms."""

    #: How many; lower and upper limit are both possible.
    sheets: tuple[int, int] = (2, 4)
    thickness_pc: Range = (30.0, 80.0)
    n_H_cm3: Range = (20.0, 80.0)
    v_km_s: Range = (-60.0, 40.0)
    v_gradient_km_s_deg: Range = (-8.0, 8.0)
    turbulence_km_s: Range = (2.0, 5.0)
    turbulence_contrast: Range = (0.8, 1.4)
    turbulence_cell_pc: float = 6.0
    velocity_slope: float = 3.6666666666666665
    density_slope: float = 2.7
    largest_eddy_pc: float = 150.0

    def __post_init__(self) -> None:
        check_values(self)
