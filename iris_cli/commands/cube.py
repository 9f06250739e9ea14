"""`iris cube FITS… --out lv.npz`"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.train import with_flags
from iris_cli.config.cube import RegridConfig
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.console import plural
from iris_cli.files import check_output

if TYPE_CHECKING:
    from iris_cli.telescope.regrid import RegridPlan

#: Headers and the words in them.
HEADER_BYTES = 20_000


@dataclass(frozen=True)
class Reading:
    """How cubes are read: what a header leaves open or has wrong."""

    unit: Annotated[
        str | None, typer.Option(help="Of the values, where BUNIT is missing or wrong: K, mK, Jy/beam, …")
    ] = None
    rest_frequency_ghz: Annotated[
        float | None, typer.Option("--rest-frequency-ghz", help="Of the line, where RESTFRQ is missing or wrong.")
    ] = None
    beam_arcsec: Annotated[
        float | None, typer.Option("--beam-arcsec", help="FWHM, where BMAJ is missing or wrong.")
    ] = None
    velocity_convention: Annotated[
        str | None, typer.Option("--velocity-convention", help="radio, optical or relativistic, where CTYPE is wrong.")
    ] = None
    spectral_unit: Annotated[
        str | None,
        typer.Option("--spectral-unit", help="Of the spectral axis, where CUNIT is missing: km/s, m/s, Hz, …"),
    ] = None
    velocity_shift: Annotated[
        float | None, typer.Option("--velocity-shift", help="km/s, added to the cube's velocities to make them LSR.")
    ] = None
    efficiency: Annotated[
        float | None, typer.Option("--efficiency", help="Main-beam efficiency, to divide antenna temperatures by.")
    ] = None
    centre_lon: Annotated[
        float | None, typer.Option("--centre-lon", help="Galactic longitude of the model's centre, deg.  [default: 0]")
    ] = None
    centre_lat: Annotated[float | None, typer.Option("--centre-lat", help="Its latitude, deg.  [default: 0]")] = None
    hdu: Annotated[
        int | None, typer.Option("--hdu", min=0, help="Which HDU.  [default: the first with three axes]")
    ] = None
    min_coverage: Annotated[
        float | None,
        typer.Option("--min-coverage", help="Stop if the cubes fill a smaller share of the image.  [default: 0.1]"),
    ] = None
    memory: Annotated[float | None, typer.Option("--memory", help="Working memory, GiB.  [default: 2]")] = None

    def settings(self, file: Path | None) -> RegridConfig:
        """The file's, with what the options say over it."""
        values = with_flags(read_toml(file) if file else {}, self._changes())
        return from_dict(RegridConfig, values, str(file) if file else "command line")

    def _changes(self) -> dict[str, Any]:
        return {
            "cube.unit": self.unit,
            "cube.rest_frequency_GHz": self.rest_frequency_ghz,
            "cube.beam_arcsec": self.beam_arcsec,
            "cube.velocity_convention": self.velocity_convention,
            "cube.spectral_unit": self.spectral_unit,
            "cube.velocity_shift_km_s": self.velocity_shift,
            "cube.efficiency": self.efficiency,
            "cube.centre_lon_deg": self.centre_lon,
            "cube.centre_lat_deg": self.centre_lat,
            "cube.hdu": self.hdu,
            "cube.min_coverage": self.min_coverage,
            "cube.memory_GiB": self.memory,
        }


@options.grouped
def cube(
    cubes: Annotated[list[Path], typer.Argument(help="FITS cubes; where they overlap, the first one counts.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="l-v image to write: .npz or .fits")],
    preset: Annotated[str | None, typer.Option(help="Grid: paper, small or tiny.")] = None,
    run: Annotated[Path | None, typer.Option(help="Grid and latitude reduction of a training run.")] = None,
    shards: Annotated[Path | None, typer.Option(help="Grid and latitude reduction of a shard folder.")] = None,
    latitude: Annotated[str | None, typer.Option(help="mean or max.  [default: mean, or the run's]")] = None,
    reading: Reading,
    config: options.ConfigFile = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    speech: options.Speech,
) -> None:
    """Regrid telescope cubes to the longitude-velocity image that a model takes, in kelvin."""
    settings = reading.settings(config)
    from iris_cli.console import emit
    from iris_cli.signals import START_AGAIN, stop_on_signal
    from iris_cli.telescope import regrid as work  # imports astropy
    from iris_cli.telescope.lv_image import SUFFIXES

    with stop_on_signal(START_AGAIN):
        check_output(out, overwrite, SUFFIXES)
        grid, reduction = work.target_grid(settings, preset, run, shards, latitude)
        if dry_run:
            plan = work.plan_regrid(cubes, grid, reduction, settings.cube)
            size = 2 * 4 * math.prod(plan.image) + HEADER_BYTES  # the image and its coverage
            show_plan(plan, cubes, {out: size}, "an l-v image", speech.as_json)
            return
        lv = work.write_lv_image(
            cubes,
            out,
            grid,
            reduction,
            settings.cube,
            overwrite=overwrite,
            quiet=speech.quiet,
            history=provenance.history(settings),
        )
    made = lv.to_dict()
    if speech.as_json:
        emit({"file": str(out), **made})
    else:
        print(f"{made['sampled']:.1%} of the image filled, peak {made['peak_K']:.4g} K: {out}")


def show_plan(
    plan: RegridPlan, reads: Iterable[Path], writes: dict[Path, int], what: str, as_json: bool, **more: Any
) -> None:
    """Print the plan of a regridding as a dry run; the JSON also holds the cubes' headers, and `more`."""
    from iris_cli.console import emit
    from iris_cli.dry_run import WITH_TORCH, DryRun, show, size_of

    cubes = plan.cubes
    dry_run = DryRun(
        computes=f"{what} of {' x '.join(map(str, plan.image))} pixels"
        + (f" from {plural(len(cubes), 'cube')}, latitude by {plan.latitude}" if cubes else ""),
        reads={path: size_of([path] if path.is_file() else path.rglob("best.pt")) for path in reads},
        writes=writes,
        memory=WITH_TORCH + int(2**30 * plan.working_GiB),
        notes=tuple(note for cube in cubes for note in cube.notes),
    )
    emit({**dry_run.to_json(), **asdict(plan), **more}) if as_json else show(dry_run)
