"""What mock galaxies and foregrounds are made of: every draw is uniform within its interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from iris_cli.config.setting import Range, check, interval, setting
from iris_cli.errors import UsageError

#: Of the periodic lattice of a galaxy's turbulence: lengths along x, y and z.
LATTICE_BOX_PC = (576.0, 576.0, 192.0)

#: A quantity that gas is divided by, or whose logarithm is taken; one that may vanish; `interval` itself: either sign.
positive, not_negative = partial(interval, above=0), partial(interval, least=0)


@dataclass(frozen=True)
class MockConfig:
    """Centred on the CMZ orbits of Walker et al. 2025 and Lipman et al. 2026 (arXiv:2603.23327).

    Densities are of hydrogen nuclei before turbulence. Every length and every velocity is multiplied by the galaxy's
    `scale`, densities are not (the IRIS paper's scaling).
    """

    scale: Range = positive(0.9, 1.2, "Factor of every length and velocity.")
    semi_major_pc: Range = positive(
        75.0, 105.0, "a of the orbit: x = a cos(phi), y = b sin(phi), z = z0 sin(alpha - 2 phi), v_phi = v0 b / R."
    )
    axis_ratio: Range = positive(0.4, 0.7, "b / a of the orbit.")
    height_pc: Range = not_negative(8.0, 16.0, "z0 of the orbit.")
    height_phase_rad: Range = interval(0.0, 6.283185307179586, "alpha of the orbit.")
    v0_km_s: Range = interval(115.0, 145.0, "Speed where the orbit crosses its minor axis.")
    ring_n_H_cm3: Range = not_negative(600.0, 1400.0, "Density of the gas on the orbit.")
    ring_width_pc: Range = positive(7.0, 12.0)
    ring_contrast: Range = not_negative(0.6, 1.0)
    drift_km_s: Range = interval(25.0, 50.0, "Speed of orbit and disc inwards: near gas recedes, far gas approaches.")
    clouds: tuple[int, int] = not_negative(
        4, 10, "Number of clouds on the orbit; the densest are like Sgr B2, the common ones like the Brick."
    )
    cloud_n_H_cm3: Range = positive(1e3, 6e3)
    cloud_radius_pc: Range = positive(6.0, 13.0)
    lane_n_H_cm3: Range = not_negative(
        400.0, 900.0, "Density of the inflow: two trailing lanes at the bar's leading edges, from the orbit's tips."
    )
    lane_winding: Range = interval(0.5, 1.1)
    lane_width_pc: Range = positive(9.0, 15.0)
    lane_length_pc: Range = positive(120.0, 220.0)
    lane_inflow_km_s: Range = interval(80.0, 140.0)
    lane_imbalance: Range = interval(
        -0.3, 0.3, "The lanes have 1 + this and 1 - this times their mean.", least=-1, most=1
    )
    disc_n_H_cm3: Range = not_negative(20.0, 60.0, "Density of the diffuse disc.")
    disc_radius_pc: Range = positive(90.0, 150.0)
    disc_height_pc: Range = positive(18.0, 30.0)
    turbulence_km_s: Range = not_negative(5.0, 15.0, "Turbulence: log-normal density, Gaussian velocity, power laws.")
    turbulence_contrast: Range = not_negative(0.4, 0.8)
    turbulence_cell_pc: float = setting(6.0, above=0)
    velocity_slope: float = setting(3.6666666666666665, "Of the 3D power spectrum; 11/3 is Kolmogorov's.")
    density_slope: float = setting(3.0)
    largest_eddy_pc: float = setting(60.0, above=0)

    def __post_init__(self) -> None:
        _check(self)
        cell, height = self.turbulence_cell_pc, min(LATTICE_BOX_PC)
        if cell > height / 2.0:
            raise UsageError(f"mock: turbulence_cell_pc = {cell:g}; two cells must fit into {height:g} pc")


@dataclass(frozen=True)
class ForegroundConfig:
    """Sheets of spiral-arm gas in front of the Galactic Centre, as dense and fast as the arms of the inner disc."""

    sheets: tuple[int, int] = not_negative(2, 4, "Number of sheets, both limits included.")
    thickness_pc: Range = positive(30.0, 80.0)
    n_H_cm3: Range = not_negative(20.0, 80.0)
    v_km_s: Range = interval(-60.0, 40.0)
    v_gradient_km_s_deg: Range = interval(-8.0, 8.0)
    turbulence_km_s: Range = not_negative(2.0, 5.0)
    turbulence_contrast: Range = not_negative(0.8, 1.4)
    turbulence_cell_pc: float = setting(6.0, above=0)
    velocity_slope: float = setting(3.6666666666666665)
    density_slope: float = setting(2.7)
    largest_eddy_pc: float = setting(150.0, above=0)

    def __post_init__(self) -> None:
        _check(self)


def _check(config: MockConfig | ForegroundConfig) -> None:
    check(config, "mock: ")
    eddy, cell = config.largest_eddy_pc, config.turbulence_cell_pc
    if eddy < 2.0 * cell:
        raise UsageError(f"mock: largest_eddy_pc = {eddy:g} is less than two cells of turbulence_cell_pc = {cell:g}")
