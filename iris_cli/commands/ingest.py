"""`iris ingest SNAPSHOT… OUT`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.grid import GRID_PRESETS, grid_preset
from iris_cli.config.ingest import FORMULAS, SPINS, IngestConfig
from iris_cli.config.toml import to_dict
from iris_cli.console import plural
from iris_cli.errors import EXIT_DONE, EXIT_FAILURE, EXIT_REQUEUE, DataError, UsageError

if TYPE_CHECKING:
    from iris_cli.dry_run import DryRun
    from iris_cli.snapshots.galaxy import GalaxyFacts

Text = str | None
Number = float | None


@options.grouped
def ingest(
    snapshots: Annotated[
        list[Path], typer.Argument(help="Snapshots (HDF5); of one in parts any part; or folders of snapshots.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the standard data set to write.")],
    *,
    views: Annotated[int | None, typer.Option(min=1, help="From how many sides each is seen.  [default: 64]")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same bytes.  [default: 0]")] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Size of the grid: {', '.join(GRID_PRESETS)}.  [default: small]")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="The gas at 6000 to 7500 pc instead of the centre: litter.")
    ] = False,
    scale: Annotated[
        Text, typer.Option(help="LOW:HIGH or a number: lengths and velocities times this; densities stay.")
    ] = None,
    density: Annotated[Text, typer.Option(help="LOW:HIGH or a number: densities times this.")] = None,
    skew: Annotated[Text, typer.Option(help="LOW:HIGH or a number: stretch in the plane, at constant area.")] = None,
    jitter_distance_pc: Annotated[Text, typer.Option(help="LOW:HIGH: the centre is so much farther, per view.")] = None,
    jitter_longitude_deg: Annotated[Text, typer.Option(help="LOW:HIGH: the centre's longitude, per view.")] = None,
    first_view_deg: Annotated[Text, typer.Option(help="LOW:HIGH or a number: azimuth of the first view.")] = None,
    spin: Annotated[
        str | None, typer.Option(help=f"How gas turns, seen from +z: {', '.join(SPINS)}.  [default: auto]")
    ] = None,
    centre: Annotated[
        str | None, typer.Option(help="auto, box, origin, mass, or x,y,z in the snapshot's unit.  [default: auto]")
    ] = None,
    bulk_velocity: Annotated[
        str | None, typer.Option(help="Taken from all velocities: none, auto, or x,y,z in km/s.  [default: none]")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of ChemicalAbundances in order.  [default: H2,H+,CO]")
    ] = None,
    h2_factor: Annotated[
        Number, typer.Option(help="Times the file's H2 column, e.g. 0.5 for 2 n(H2)/n_H.  [default: 1]")
    ] = None,
    x_h2: Annotated[Number, typer.Option(help="n(H2)/n_H of all gas, instead of the file's.")] = None,
    x_h_plus: Annotated[Number, typer.Option(help="n(H+)/n_H of all gas.")] = None,
    x_co: Annotated[Number, typer.Option(help="n(CO)/n_H of all gas, e.g. 1.4e-4.")] = None,
    temperature: Annotated[Number, typer.Option(help="Gas temperature in K.")] = None,
    dust_temperature: Annotated[Number, typer.Option(help="Dust temperature in K, e.g. 20.")] = None,
    zero_velocity: Annotated[bool | None, typer.Option("--zero-velocity", help="Gas at rest.")] = None,
    formulas: Annotated[
        str | None, typer.Option(help=f"For fields that the file lacks: {', '.join(FORMULAS)}.  [default: none]")
    ] = None,
    drop_bad_cells: Annotated[
        bool | None, typer.Option("--drop-bad-cells", help="Leave out cells with NaN or without density.")
    ] = None,
    unit_length_cm: Annotated[Number, typer.Option(help="The snapshot's unit of length.")] = None,
    unit_mass_g: Annotated[Number, typer.Option(help="The snapshot's unit of mass.")] = None,
    unit_velocity_cm_s: Annotated[Number, typer.Option(help="The snapshot's unit of velocity.")] = None,
    hubble_param: Annotated[Number, typer.Option(help="h, if not what the snapshot says.")] = None,
    cosmic_scale_factor: Annotated[Number, typer.Option(help="a, if not what the snapshot says.")] = None,
    memory: Annotated[float, typer.Option(help="GiB for all workers together.")] = 8.0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each worker; 0: the cores, shared out.")] = 0,
    workers: options.Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Look at snapshots of simulations (AREPO, GADGET, …) from many sides: a standard data set."""
    grid = to_dict(grid_preset(preset or "small", foreground)) if preset or foreground else None
    settings = options.configured(
        IngestConfig,
        config,
        views=views,
        seed=seed,
        grid=grid,
        spin=spin,
        centre=centre,
        formulas=formulas,
        scale=drawn("scale", scale),
        density=drawn("density", density),
        skew=drawn("skew", skew),
        jitter_distance_pc=drawn("jitter-distance-pc", jitter_distance_pc),
        jitter_longitude_deg=drawn("jitter-longitude-deg", jitter_longitude_deg),
        first_view_deg=drawn("first-view-deg", first_view_deg),
        bulk_velocity=bulk_velocity,
        columns=None if columns is None else [name.strip() for name in columns.split(",")],
        h2_factor=h2_factor,
        x_H2=x_h2,
        x_H_plus=x_h_plus,
        x_CO=x_co,
        temperature_K=temperature,
        dust_temperature_K=dust_temperature,
        zero_velocity=zero_velocity,
        drop_bad_cells=drop_bad_cells,
        unit_length_cm=unit_length_cm,
        unit_mass_g=unit_mass_g,
        unit_velocity_cm_s=unit_velocity_cm_s,
        hubble_param=hubble_param,
        cosmic_scale_factor=cosmic_scale_factor,
    )
    if not memory > 0:
        raise UsageError(f"--memory {memory:g}: there must be some")
    from iris_cli.console import emit
    from iris_cli.signals import stop_on_signal
    from iris_cli.snapshots import ingest as work  # wakes scipy and h5py

    if dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(snapshots, out, settings, memory, workers, go_on=resume or overwrite), speech.as_json)
        return
    try:
        with stop_on_signal("finished tensors are kept: go on with --resume"):
            report = work.ingest(
                snapshots,
                out,
                settings,
                memory_GiB=memory,
                threads=threads,
                workers=workers,
                resume=resume,
                overwrite=overwrite,
                quiet=speech.quiet,
            )
    except SystemExit:
        provenance.record(out, settings, EXIT_REQUEUE)
        raise
    tensors = report.made + report.kept
    if report.failed and not tensors:
        raise DataError(f"nothing was made: {report.failed[0]}")
    provenance.record(out, settings, EXIT_FAILURE if report.failed else EXIT_DONE)
    if speech.as_json:
        emit(
            {
                "folder": str(out),
                "tensors": tensors,
                "made": report.made,
                "complete": report.complete,
                "failed": report.failed,
                "galaxies": {source: to_dict(facts) for source, facts in report.galaxies.items()},
            }
        )
    else:
        for source, facts in report.galaxies.items():
            cells = plural(facts.cells, "cell")
            print(f"{source}: {cells}, {how_it_turns(facts)}, {facts.h2_mass_M_sun:.3g} M_sun of H2")
        print(f"{plural(tensors, 'tensor')}{'' if report.complete else ' (other processes make the rest)'}: {out}")
    if report.failed:
        raise DataError(
            f"{len(report.failed)} of the galaxies failed; the first: {report.failed[0]}", "mend that, then --resume"
        )


def _dry_run(
    paths: list[Path], out: Path, config: IngestConfig, memory_GiB: float, workers: int, go_on: bool
) -> DryRun:
    """Snapshots are opened and their headers read, with the errors of the run itself."""
    from iris_cli.dry_run import DryRun, size_of
    from iris_cli.snapshots.files import find_snapshots
    from iris_cli.snapshots.reader import Snapshot

    snapshots = [Snapshot.open(files, config) for files in find_snapshots(paths)]
    cells, shape = sum(snapshot.cells for snapshot in snapshots), config.grid.tensor_shape
    return DryRun(
        computes=f"{plural(len(snapshots), 'snapshot')} with {plural(cells, 'cell')} x "
        f"{plural(config.views, 'view')}, tensors of {' x '.join(map(str, shape))}",
        reads={part: size_of([part]) for snapshot in snapshots for part in snapshot.files.parts},
        writes={out: len(snapshots) * config.views * (4 * math.prod(shape) + 128)},
        memory=int(memory_GiB * 2**30),
        processes=workers,
        notes=() if go_on or not out.exists() else (f"{out} exists: the run would need --resume or --overwrite",),
    )


def drawn(name: str, text: str | None) -> list[float] | None:
    """`0.25:1` as [0.25, 1], `0.5` as [0.5, 0.5]. UsageError for anything else."""
    if text is None:
        return None
    try:
        low, _, high = text.partition(":")
        return [float(low), float(high or low)]
    except ValueError:
        raise UsageError(f"--{name} {text}: neither a number nor LOW:HIGH") from None


def how_it_turns(facts: GalaxyFacts) -> str:
    """The snapshot's own sense of rotation, in words."""
    if facts.spin_order == 0.0:
        return "does not turn"
    own = "clockwise" if facts.spin_axis[2] < 0 else "anticlockwise"
    left = facts.turn == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return f"turns {own} seen from +z{'' if left else ', turned'}"
