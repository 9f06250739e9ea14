"""`iris cube FITS… --out lv.npz`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import options
from iris_cli.commands.train import with_flags
from iris_cli.config.cube import RegridConfig
from iris_cli.config.toml import from_dict, read_toml

Unit = Annotated[str | None, typer.Option(help="Of the values, where BUNIT is missing or wrong: K, mK, Jy/beam, …")]
RestFrequency = Annotated[
    float | None, typer.Option("--rest-frequency-ghz", help="Of the line, where RESTFRQ is missing or wrong.")
]
Beam = Annotated[float | None, typer.Option("--beam-arcsec", help="FWHM, where BMAJ is missing or wrong.")]
Convention = Annotated[
    str | None, typer.Option("--velocity-convention", help="radio, optical or relativistic, where CTYPE is wrong.")
]
SpectralUnit = Annotated[
    str | None, typer.Option("--spectral-unit", help="Of the spectral axis, where CUNIT is missing: km/s, m/s, Hz, …")
]
Shift = Annotated[
    float | None, typer.Option("--velocity-shift", help="km/s, added to the cube's velocities to make them LSR.")
]
Efficiency = Annotated[
    float | None, typer.Option("--efficiency", help="Main-beam efficiency, to divide antenna temperatures by.")
]
CentreLon = Annotated[
    float | None, typer.Option("--centre-lon", help="Galactic longitude of the model's centre, deg.  [default: 0]")
]
CentreLat = Annotated[float | None, typer.Option("--centre-lat", help="Its latitude, deg.  [default: 0]")]
Hdu = Annotated[int | None, typer.Option("--hdu", min=0, help="Which HDU.  [default: the first with three axes]")]
MinCoverage = Annotated[
    float | None,
    typer.Option("--min-coverage", help="Stop if the cubes fill a smaller share of the image.  [default: 0.1]"),
]
Memory = Annotated[float | None, typer.Option("--memory", help="Working memory, GiB.  [default: 2]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be read and written, and do nothing.")]


def cube(
    cubes: Annotated[list[Path], typer.Argument(help="FITS cubes; where they overlap, the first one counts.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="l-v image to write: .npz or .fits")],
    preset: Annotated[str | None, typer.Option(help="Grid: paper, small or tiny.")] = None,
    run: Annotated[Path | None, typer.Option(help="Grid and latitude reduction of a training run.")] = None,
    shards: Annotated[Path | None, typer.Option(help="Grid and latitude reduction of a shard folder.")] = None,
    latitude: Annotated[str | None, typer.Option(help="mean or max.  [default: mean, or the run's]")] = None,
    unit: Unit = None,
    rest_frequency_ghz: RestFrequency = None,
    beam_arcsec: Beam = None,
    velocity_convention: Convention = None,
    spectral_unit: SpectralUnit = None,
    velocity_shift: Shift = None,
    efficiency: Efficiency = None,
    centre_lon: CentreLon = None,
    centre_lat: CentreLat = None,
    hdu: Hdu = None,
    min_coverage: MinCoverage = None,
    memory: Memory = None,
    config: options.ConfigFile = None,
    overwrite: options.Overwrite = False,
    dry_run: DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Regrid telescope cubes to the longitude-velocity image that a model takes, in kelvin."""
    flags = cube_flags(unit, rest_frequency_ghz, beam_arcsec, velocity_convention, spectral_unit, velocity_shift,
                       efficiency, centre_lon, centre_lat, hdu, min_coverage, memory)  # fmt: skip
    values = with_flags(read_toml(config) if config else {}, flags)
    settings = from_dict(RegridConfig, values, str(config) if config else "command line")
    from iris_cli import cube as work  # wakes astropy
    from iris_cli.console import emit

    told = work.regrid_cubes(cubes, out, settings, preset=preset, run=run, shards=shards, latitude=latitude,
                             overwrite=overwrite, dry_run=dry_run, quiet=quiet)  # fmt: skip
    if as_json or dry_run:
        emit(told)
    else:
        print(f"{told['sampled']:.1%} of the image filled, peak {told['peak_K']:.4g} K: {out}")


def cube_flags(
    unit: str | None, rest_frequency_ghz: float | None, beam_arcsec: float | None, velocity_convention: str | None,
    spectral_unit: str | None, velocity_shift: float | None, efficiency: float | None, centre_lon: float | None,
    centre_lat: float | None, hdu: int | None, min_coverage: float | None, memory: float | None,
) -> dict[str, Any]:  # fmt: skip
    """The flags that say how cubes are read, as keys of a configuration."""
    return {
        "cube.unit": unit,
        "cube.rest_frequency_GHz": rest_frequency_ghz,
        "cube.beam_arcsec": beam_arcsec,
        "cube.velocity_convention": velocity_convention,
        "cube.spectral_unit": spectral_unit,
        "cube.velocity_shift_km_s": velocity_shift,
        "cube.efficiency": efficiency,
        "cube.centre_lon_deg": centre_lon,
        "cube.centre_lat_deg": centre_lat,
        "cube.hdu": hdu,
        "cube.min_coverage": min_coverage,
        "cube.memory_GiB": memory,
    }
