"""`iris observe STANDARD INDEX --out cube.fits`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.config.preobserve import OBSERVER_NAMES, PreobserveConfig
from iris_cli.config.survey import survey as find_survey
from iris_cli.console import plural
from iris_cli.errors import UsageError, choose


@options.command
def observe(
    standard: Annotated[Path, typer.Argument(help="Standard data set.")],
    index: Annotated[int, typer.Argument(min=0, help="Number of the tensor, from 0.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="FITS file to write.")],
    observer: Annotated[str | None, options.option(PreobserveConfig, "observer")] = None,
    molecule: Annotated[list[str] | None, options.option(LineConfig, "molecule")] = None,
    transition: Annotated[list[str] | None, options.option(LineConfig, "transition")] = None,
    tracer_per_CO: Annotated[list[float] | None, options.option(LineConfig, "tracer_per_CO")] = None,
    unit: Annotated[
        str | None, typer.Option(metavar="[K|'K (Planck)'|Jy/sr]", help="Unit of a line's cube.  [default: K]")
    ] = None,
    smooth_velocity: Annotated[bool, typer.Option(help="Smooth velocities over neighbouring cells.")] = True,
    moments: Annotated[bool, typer.Option("--moments", help="Also write moments 0, 1 and 2, a file each.")] = False,
    overwrite: options.Overwrite = False,
    survey: options.Survey = None,
    settings: options.Settings[SyntheticConfig],
    output: options.Output,
) -> None:
    """Observe one tensor as a radio telescope would: a FITS cube of longitude, latitude and velocity.

    Examples:
        iris observe STANDARD 0 --out cube.fits --moments
        iris observe STANDARD 0 --molecule 13co --molecule c18o --out lines.fits
        iris observe STANDARD 0 --survey mopra-hnco --out hnco.fits
        iris observe STANDARD 0 --observer simple --out gas.fits
    """
    config = settings.resolve(find_survey(survey).observing() if survey else None)
    config = replace(config, lines=_lines(config.lines, molecule, transition, tracer_per_CO))
    simple = choose("observer", observer or "synthetic", {name: name for name in OBSERVER_NAMES}) == "simple"
    if simple and any((unit, molecule, transition, tracer_per_CO, survey, settings.file, settings.flags)):
        hint = "leave out --config, --survey and the options of lines, unit, telescope and computing"
        raise UsageError("the simple observer has no lines: its cube is the gas column per velocity", hint)
    from iris_cli.observers.device import resolve_backend
    from iris_cli.observers.observe import observe_to_fits  # imports torch
    from iris_cli.signals import START_AGAIN, stop_on_signal

    made_with = None if simple else resolve_backend(config)
    with stop_on_signal(START_AGAIN):
        written = observe_to_fits(
            standard,
            index,
            out,
            made_with,
            unit=unit or "K",
            smooth_velocity=smooth_velocity,
            moments=moments,
            overwrite=overwrite,
            quiet=output.quiet,
            history=provenance.history(made_with),
        )
    output.result({"files": list(map(str, written))}, *written)


def _lines(lines: tuple[LineConfig, ...], molecules: Any, transitions: Any, abundances: Any) -> tuple[LineConfig, ...]:
    """The lines of the file, changed by flags. UsageError when the numbers of flags differ."""
    if molecules:
        lines = tuple(LineConfig(molecule=name) for name in molecules)
    for key, given in {"transition": transitions, "tracer_per_CO": abundances}.items():
        if given and len(given) != len(lines):
            option = f"--{key.lower().replace('_', '-')}"
            message = f"{plural(len(lines), 'molecule')}, but {option} is given {plural(len(given), 'time')}"
            raise UsageError(message, f"give {option} once for each molecule")
        if given:
            lines = tuple(replace(line, **{key: value}) for line, value in zip(lines, given, strict=True))
    return lines
