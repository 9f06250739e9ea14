"""`iris observe STANDARD INDEX --out cube.fits`"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.preobserve import TENSORS_HELD
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.console import plural
from iris_cli.errors import UsageError

if TYPE_CHECKING:
    from iris_cli.dry_run import DryRun

#: A FITS header with its history, bytes.
HEADER = 4 * 2880


@options.grouped
def observe(
    standard: Annotated[Path, typer.Argument(help="Standard data set.")],
    index: Annotated[int, typer.Argument(min=0, help="Which of its tensors, from 0.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="FITS file to write.")],
    molecule: Annotated[
        list[str] | None,
        typer.Option(help="12co, 13co, c18o or a LAMDA file; again for further lines.  [default: 13co]"),
    ] = None,
    transition: Annotated[
        list[str] | None, typer.Option(help="One for each molecule, as `iris molecule` prints it.  [default: 2-1]")
    ] = None,
    tracer_per_CO: Annotated[
        list[float] | None,
        typer.Option("--tracer-per-co", help="n(molecule)/n(CO), one for each; built-in molecules know theirs."),
    ] = None,
    populations: Annotated[str | None, typer.Option(help="lte, non-lte or lvg.  [default: non-lte]")] = None,
    regime: Annotated[str | None, typer.Option(help="thick, selective or thin.  [default: thick]")] = None,
    beam_arcsec: Annotated[float | None, typer.Option(min=0.0, help="Beam FWHM.  [default: 30]")] = None,
    unit: Annotated[str, typer.Option(help="K, 'K (Planck)' or Jy/sr.")] = "K",
    backend: Annotated[str | None, typer.Option(help="auto, compiled, torch or reference.  [default: auto]")] = None,
    memory_GiB: Annotated[float | None, typer.Option("--memory", help="Working memory, GiB.  [default: 4]")] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Of the torch backend, and where auto looks: auto (a GPU if there is one), cpu or cuda."),
    ] = None,
    smooth_velocity: Annotated[
        bool, typer.Option(help="Smooth velocities over neighbouring cells before observing.")
    ] = True,
    moments: Annotated[bool, typer.Option("--moments", help="Also moments 0, 1 and 2, each its own file.")] = False,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    speech: options.Speech,
) -> None:
    """See one tensor as a radio telescope would. A FITS cube comes out: longitude, latitude, velocity."""
    settings = options.configured(
        SyntheticConfig,
        config,
        populations=populations,
        regime=regime,
        beam_fwhm_arcsec=beam_arcsec,
        backend=backend,
        memory_GiB=memory_GiB,
        device=device,
    )
    settings = replace(settings, lines=_lines(settings.lines, molecule, transition, tracer_per_CO))
    from iris_cli.console import emit
    from iris_cli.observers.device import resolve_backend
    from iris_cli.observers.observe import observe_to_fits  # wakes torch
    from iris_cli.signals import START_AGAIN, stop_on_signal

    settings = resolve_backend(settings)
    if dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(standard, index, out, settings, moments, overwrite), speech.as_json)
        return
    with stop_on_signal(START_AGAIN):
        written = observe_to_fits(
            standard,
            index,
            out,
            settings,
            unit=unit,
            smooth_velocity=smooth_velocity,
            moments=moments,
            overwrite=overwrite,
            quiet=speech.quiet,
            history=provenance.history(settings),
        )
    emit({"files": list(map(str, written))}) if speech.as_json else print(*written, sep="\n")


def _dry_run(folder: Path, index: int, out: Path, config: SyntheticConfig, moments: bool, overwrite: bool) -> DryRun:
    from iris_cli.dry_run import WITH_NUMBA, WITH_TORCH, DryRun, size_of
    from iris_cli.observers.observe import check_free, cube_paths, open_tensor, output_paths

    paths = cube_paths(out, config.lines)
    check_free(output_paths(paths, moments), overwrite)
    dataset = open_tensor(folder, index)
    grid, lines = dataset.grid, len(paths)
    voxels = (grid.lon_steps, grid.lat_steps, grid.v_steps)
    cube, tensor = 4 * math.prod(voxels), 4 * math.prod(grid.tensor_shape)
    compiled = config.backend == "compiled"
    working = 0 if compiled else int(config.memory_GiB * 2**30)
    return DryRun(
        computes=f"{plural(lines, 'line')} of tensor {index}, {' x '.join(map(str, voxels))} voxels each",
        reads={folder / dataset.entries[index].file: size_of([folder / dataset.entries[index].file])},
        writes=dict.fromkeys(paths, cube + HEADER + moments * (cube // grid.v_steps + HEADER) * 3),
        memory=(WITH_NUMBA if compiled else WITH_TORCH) + TENSORS_HELD * tensor + lines * 2 * cube + working,
    )


def _lines(
    lines: tuple[LineConfig, ...],
    molecules: list[str] | None,
    transitions: list[str] | None,
    abundances: list[float] | None,
) -> tuple[LineConfig, ...]:
    """Flags win over the file. UsageError when their numbers do not fit."""
    if molecules:
        lines = tuple(LineConfig(molecule=name) for name in molecules)
    for option, given in (("transition", transitions), ("tracer-per-co", abundances)):
        if given and len(given) != len(lines):
            raise UsageError(
                f"{plural(len(lines), 'molecule')}, but --{option} is given {plural(len(given), 'time')}",
                "once for each",
            )
    if transitions:
        lines = tuple(replace(line, transition=name) for line, name in zip(lines, transitions, strict=True))
    if abundances:
        lines = tuple(replace(line, tracer_per_CO=share) for line, share in zip(lines, abundances, strict=True))
    return lines
