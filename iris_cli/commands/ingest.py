"""`iris ingest SNAPSHOT… OUT`"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.grid import grid_preset
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.toml import to_dict
from iris_cli.console import emit, plural, say
from iris_cli.dry_run import DryRun, exists, show, size_of
from iris_cli.errors import EXIT_DONE, EXIT_FAILURE, DataError, UsageError

if TYPE_CHECKING:
    from iris_cli.snapshots.galaxy import GalaxyFacts


@options.command
def ingest(
    snapshots: Annotated[
        list[Path], typer.Argument(help="Snapshots (any part) or sets of arrays, HDF5 or FITS, or folders of them.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the standard data set to write.")],
    *,
    preset: Annotated[str | None, options.preset("Size of the grid.  [default: small]")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Gas at 6000 to 7500 pc instead: litter.")] = False,
    settings: options.Settings[IngestConfig],
    memory: Annotated[float, typer.Option(help="Memory of all workers together, GiB.")] = 8.0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of a worker; 0: cores divided by workers.")] = 0,
    workers: options.Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Make a standard data set of snapshots of simulations (AREPO, GADGET, …), seen from many directions.

    Examples:
        iris ingest snap_101.hdf5 STANDARD --views 64
        iris ingest snapshots/ STANDARD --preset paper --workers 4 --resume
        iris ingest snap_101.hdf5 LITTER_STANDARD --foreground --scale 0.9:1.2
    """
    grid = to_dict(grid_preset(preset or "small", foreground)) if preset or foreground else None
    config = settings.resolve(grid=grid)
    if not memory > 0:
        raise UsageError(f"--memory {memory:g}; it must be above 0")
    from iris_cli.snapshots import ingest as work  # imports scipy and h5py

    if dry_run:
        show(_dry_run(snapshots, out, config, memory, workers, continues=resume or overwrite), output.as_json)
        return
    how: dict[str, Any] = {"workers": workers, "resume": resume, "overwrite": overwrite, "quiet": output.quiet}
    with provenance.resumable(out, config, "finished tensors are kept"):
        report = work.ingest(snapshots, out, config, memory_GiB=memory, threads=threads, **how)
    tensors = report.made + report.kept
    if report.failed and not tensors:
        raise DataError(f"nothing was made: {report.failed[0]}")
    provenance.record(out, config, EXIT_FAILURE if report.failed else EXIT_DONE)
    if output.as_json:
        galaxies = {source: to_dict(facts) for source, facts in report.galaxies.items()}
        counts = {"made": report.made, "complete": report.complete, "failed": report.failed}
        emit({"folder": str(out), "tensors": tensors, **counts, "galaxies": galaxies})
    else:
        for source, facts in report.galaxies.items():
            cells = plural(facts.cells, "cell")
            say(f"{source}: {cells}, {rotation(facts)}, {facts.h2_mass_M_sun:.3g} M_sun of H2")
        say(f"{plural(tensors, 'tensor')}{'' if report.complete else ' (other processes make the rest)'}: {out}")
    if report.failed:
        message = f"{len(report.failed)} of the galaxies failed; the first: {report.failed[0]}"
        raise DataError(message, f"fix that, then: {provenance.again('--resume')}")


def _dry_run(
    paths: list[Path], out: Path, config: IngestConfig, memory_GiB: float, workers: int, continues: bool
) -> DryRun:
    """Opens the snapshots and reads their headers, with the errors of the run itself."""
    from iris_cli.snapshots.files import find_snapshots
    from iris_cli.snapshots.reader import Snapshot

    snapshots = [Snapshot.open(files, config) for files in find_snapshots(paths, config.cutouts)]
    cells, shape = sum(snapshot.cells for snapshot in snapshots), config.grid.tensor_shape
    return DryRun(
        computes=f"{plural(len(snapshots), 'snapshot')} with {plural(cells, 'cell')} x "
        f"{plural(config.views, 'view')}, tensors of {' x '.join(map(str, shape))}",
        reads={part: size_of([part]) for snapshot in snapshots for part in snapshot.files.parts},
        writes={out: len(snapshots) * config.views * (4 * math.prod(shape) + 128)},
        memory=int(memory_GiB * 2**30),
        processes=workers,
        notes=() if continues else exists(out, "--resume or --overwrite"),
    )


def rotation(facts: "GalaxyFacts") -> str:
    """The snapshot's own sense of rotation."""
    if facts.spin_order == 0.0:
        return "does not rotate"
    sense = "clockwise" if facts.spin_axis[2] < 0 else "anticlockwise"
    kept = facts.turn == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return f"rotates {sense} seen from +z{'' if kept else ', reoriented'}"
