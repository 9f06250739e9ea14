"""What mock galaxies and foregrounds are made of: every draw is uniform within its interval."""

from dataclasses import dataclass
from functools import partial

from iris_cli.config.grid import Grid
from iris_cli.config.setting import Checked, Range, interval, setting
from iris_cli.errors import UsageError

#: Of the periodic lattice of a galaxy's turbulence: lengths along x, y and z.
LATTICE_BOX_PC = (384.0, 384.0, 128.0)

#: Orientations: that of the Milky Way within its uncertainty, or one from all around.
VIEWS = ("milky-way", "any")

of_tensors = setting(None, "Grid of the tensors, in place of --preset.")

#: A quantity that gas is divided by, or whose logarithm is taken; one that may vanish; `interval` itself: either sign.
positive, not_negative = partial(interval, above=0), partial(interval, least=0)
whole_turn = partial(interval, least=-360, most=360)


class _Turbulent(Checked):
    """Gas with turbulence on a lattice."""

    turbulence_cell_pc: float
    largest_eddy_pc: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.largest_eddy_pc < 2.0 * self.turbulence_cell_pc:
            cells = f"two cells of turbulence_cell_pc = {self.turbulence_cell_pc:g}"
            raise UsageError(f"mock: largest_eddy_pc = {self.largest_eddy_pc:g} is less than {cells}")


@dataclass(frozen=True)
class MockConfig(_Turbulent, where="mock: "):
    """Ranges in which our Central Molecular Zone is an ordinary draw; docs/mock.md has their sources.

    Masses are of gas with its helium, before turbulence; they and the inflow are those of the whole galaxy, after its
    `scale`. A mass, an inflow or a number of zero leaves an ingredient out.
    """

    view: str = setting(
        "milky-way", "Orientation: the Milky Way's within its uncertainty, or one from all around.", choices=VIEWS
    )
    bar_angle_deg: Range = whole_turn(
        20.0, 35.0, "Angle of the bar from the line of sight; its near end is at positive longitude."
    )
    tilt_deg: Range = whole_turn(
        -40.0, -5.0, "Angle of the orbits' major axis from the plane of the sky, at l > 0 towards the far side."
    )
    tilt_scatter_deg: float = setting(8.0, "Scatter of the tilts of a galaxy's orbits.", least=0)
    centre_offset_pc: Range = not_negative(0.0, 20.0, "Distance of the orbits' centre from Sgr A* in the plane.")
    centre_height_pc: Range = interval(-12.0, 2.0, "Height of the orbits' centre.")
    scale: Range = positive(0.95, 1.05, "Factor of every length and velocity.")

    streams: tuple[int, int] = not_negative(2, 3, "Number of closed streams of gas on nested x2 orbits.")
    open_streams: tuple[int, int] = not_negative(0, 1, "Number of open streams.")
    stream_mass_Msun: Range = not_negative(6e6, 2e7, "Of all streams together, without clouds.")
    semi_major_pc: Range = positive(
        72.0, 146.0, "a of an orbit: x = a cos(phi), y = b sin(phi), z = z0 sin(alpha - 2 phi), v_phi = v0 b / R."
    )
    axis_ratio: Range = positive(0.4, 0.7, "b / a of an orbit.")
    height_pc: Range = not_negative(6.0, 18.0, "z0 of an orbit.")
    height_phase_rad: Range = interval(0.0, 6.283185307179586, "alpha of an orbit.")
    v0_km_s: Range = interval(115.0, 145.0, "Speed where an orbit crosses its minor axis.")
    drift_km_s: Range = interval(0.0, 3.0, "Speed of orbits and envelope inwards.")
    stream_width_pc: Range = positive(5.0, 12.0)
    stream_contrast: Range = not_negative(0.5, 1.0, "Standard deviation of ln(density) along a stream.")
    open_length_turns: Range = positive(0.7, 1.5, "Turns of an open stream about the centre.", most=10)
    open_precession_deg: Range = not_negative(10.0, 25.0, "Advance of its apocentre in a half turn.", most=90)

    lopsidedness: Range = interval(
        0.0, 1.7, "ln(density) of streams and envelope is this towards positive longitude and minus this opposite."
    )

    clouds: tuple[int, int] = not_negative(50, 110, "Number of clouds.")
    cloud_mass_Msun: Range = positive(2e4, 2e6, "The number of clouds by mass is a power law.")
    cloud_mass_slope: float = setting(1.7, "dN/dM ~ M^-slope.", least=0, most=5)
    cloud_n_H_cm3: Range = positive(7e3, 2e5, "Density in the middle of a cloud, log-uniform.")
    cloud_km_s: Range = not_negative(
        8.0, 15.0, "Velocity dispersion of a cloud with a radius of 3 pc; it grows with the square root of the radius."
    )
    cloud_scatter_km_s: Range = not_negative(
        5.0, 20.0, "Standard deviation of a cloud's velocity about that of its stream, in each direction."
    )
    cloud_off_streams: Range = not_negative(0.05, 0.3, "Share of the clouds that are in the envelope.", most=1)
    cloud_in_complexes: Range = not_negative(0.1, 0.6, "Share of the clouds that are in complexes.", most=1)

    complex_mass_Msun: Range = not_negative(
        2e6, 2e7, "Gas between the clouds of both complexes beyond the orbits, like the 1.3-degree complex."
    )
    complex_imbalance: Range = interval(
        0.0, 1.0, "That at positive longitude has 1 + this, the other 1 - this times their mean.", least=-1, most=1
    )
    complex_distance_pc: Range = positive(85.0, 215.0)
    complex_azimuth_deg: Range = whole_turn(-40.0, 20.0, "From positive longitude towards the far side.")
    complex_radius_pc: Range = positive(15.0, 30.0)
    complex_v_km_s: Range = interval(20.0, 150.0, "Speed away from the observer at positive longitude.")
    complex_km_s: Range = not_negative(20.0, 40.0, "Velocity dispersion in a complex: gas collides there.")

    lane_inflow_Msun_yr: Range = not_negative(1.0, 4.2, "Gas that flows inwards along the two lanes of the bar.")
    lane_km_s: Range = positive(100.0, 270.0, "Speed of this gas.")
    lane_width_pc: Range = positive(8.0, 15.0)
    lane_imbalance: Range = interval(
        -0.4, 0.4, "The lanes carry 1 + this (at positive longitude) and 1 - this times their mean.", least=-1, most=1
    )

    envelope_mass_Msun: Range = not_negative(1.0e7, 2.4e7, "Diffuse gas between and around the streams.")
    envelope_radius_pc: Range = positive(80.0, 150.0)
    envelope_height_pc: Range = positive(15.0, 30.0)

    turbulence_km_s: Range = not_negative(8.0, 15.0, "Turbulence: log-normal density, Gaussian velocity, power laws.")
    turbulence_contrast: Range = not_negative(0.6, 1.2, "Standard deviation of ln(density).")
    turbulence_cell_pc: float = setting(4.0, above=0)
    velocity_slope: float = setting(3.6666666666666665, "Of the 3D power spectrum; 11/3 is Kolmogorov's.")
    density_slope: float = setting(2.7)
    largest_eddy_pc: float = setting(40.0, above=0)
    gas_temperature_scatter: Range = not_negative(0.15, 0.4, "Standard deviation of ln(T_gas) at one density.")
    dust_temperature_scatter: Range = not_negative(0.05, 0.15, "Standard deviation of ln(T_dust) at one density.")
    grid: Grid | None = of_tensors

    def __post_init__(self) -> None:
        super().__post_init__()
        cell, height = self.turbulence_cell_pc, min(LATTICE_BOX_PC)
        if cell > height / 2.0:
            raise UsageError(f"mock: turbulence_cell_pc = {cell:g}; two cells must fit into {height:g} pc")
        if self.streams[0] + self.open_streams[0] < 1 < 2 * self.stream_mass_Msun[1]:
            hint = "stream_mass_Msun = [0.0, 0.0] leaves streams out"
            what = "mock: streams and open_streams may both be 0, which leaves stream_mass_Msun no place"
            raise UsageError(what, hint)


@dataclass(frozen=True)
class ForegroundConfig(_Turbulent, where="mock: "):
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
    grid: Grid | None = of_tensors
