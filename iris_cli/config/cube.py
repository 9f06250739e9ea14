"""How telescope cubes are read: what a header lacks or has wrong, and how much of the image they must fill."""

from dataclasses import dataclass

from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import LATITUDE_REDUCTIONS
from iris_cli.config.setting import Checked, panel, setting, table

CONVENTIONS = ("radio", "optical", "relativistic")
of_cubes = panel("How cubes are read")


@dataclass(frozen=True)
class CubeConfig(Checked, where="cube: "):
    """A value that is left out is read from the header of the cube."""

    unit: str | None = of_cubes(None, "Unit, where BUNIT is missing or wrong: K, mJy/beam, MJy/sr, ...", "--unit")
    rest_frequency_GHz: float | None = of_cubes(
        None, "Rest frequency of the line, where RESTFRQ is missing or wrong.", "--rest-frequency-ghz", above=0
    )
    beam_arcsec: float | None = of_cubes(None, "FWHM, where BMAJ is wrong or missing.", "--beam-arcsec", above=0)
    velocity_convention: str | None = of_cubes(
        None, "Velocity convention, where CTYPE is missing or wrong.", "--velocity-convention", choices=CONVENTIONS
    )
    spectral_unit: str | None = of_cubes(
        None, "Unit of the spectral axis, where CUNIT is missing or wrong: km/s, Hz, ...", "--spectral-unit"
    )
    velocity_shift_km_s: float | None = of_cubes(None, "Added, to bring velocities to the LSR.", "--velocity-shift")
    efficiency: float | None = of_cubes(
        None, "Main-beam efficiency to divide by.", "--efficiency", above=0, most=1, hint="give a fraction: 0.75"
    )
    blank: float | None = of_cubes(None, "Number of unmeasured voxels, as BLANK: before BSCALE and BZERO.", "--blank")
    max_kelvin: float | None = of_cubes(
        None,
        "Stop at values that are brighter, or as far below 0.",
        "--max-kelvin",
        above=0,
        most=1e30,
        unset="10000, and stop at repeated values far below all others",
    )
    centre_lon_deg: float = of_cubes(0.0, "Galactic longitude that becomes 0.", "--centre-lon")
    centre_lat_deg: float = of_cubes(0.0, "Galactic latitude that becomes 0.", "--centre-lat", least=-90, most=90)
    hdu: int | None = of_cubes(
        None, "Number of the HDU.", "--hdu", least=0, unset="the first with three axes longer than a pixel"
    )
    min_coverage: float = of_cubes(0.1, "Stop if less of the image is filled.", "--min-coverage", least=0, most=1)
    memory_GiB: float = of_cubes(2.0, "Working memory.", "--memory", above=0)


#: A pixel of an l-v image with a smaller share covered by the cubes counts as not observed.
LEAST_COVERAGE = 0.05


def at_galactic_centre(lon_deg: float, lat_deg: float) -> bool:
    """Whether a model that is centred on this position shows the Galactic Centre."""
    return abs((lon_deg + 180.0) % 360.0 - 180.0) < 2.0 and abs(lat_deg) < 1.0


@dataclass(frozen=True)
class RegridConfig(Checked):
    """What `iris cube` and `iris revert` read from a file: the cubes, and the image to make of them."""

    latitude: str = setting(
        "mean",
        "How a cube is reduced over latitude. A run or shards that give the grid give this, too.",
        "--latitude",
        choices=LATITUDE_REDUCTIONS,
    )
    grid: Grid | None = setting(None, "Grid of the image, for `iris cube`.")
    cube: CubeConfig = table(CubeConfig)
