"""`iris preobserve STANDARD… OUT`"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.console import plural
from iris_cli.errors import EXIT_DONE, EXIT_FAILURE, EXIT_REQUEUE, DataError

if TYPE_CHECKING:
    from iris_cli.dry_run import DryRun

#: Observing holds so many times a tensor in memory.
TENSORS_HELD = 5
#: Headers, padding and the json of a sample in its tar, bytes; the end of a tar, its record and its line in the index.
BESIDE_ARRAYS, BESIDE_SAMPLES = 5000, 15_000


@dataclass(frozen=True)
class Observing:
    """How inputs are observed, divided and stored; None where the configuration decides."""

    observer: Annotated[
        str | None,
        typer.Option(help="synthetic (a line) or simple (columns).  [default: synthetic]"),
    ] = None
    latitude: Annotated[str | None, typer.Option(help="How latitude is reduced: mean or max.  [default: mean]")] = None
    smooth_velocity: Annotated[
        bool | None, typer.Option(help="Smooth velocities over neighbouring cells before observing.")
    ] = None
    litter: Annotated[bool | None, typer.Option("--litter", help="Write observations only, to be added to others.")] = (
        None
    )
    turn_over: Annotated[bool | None, typer.Option("--turn-over", help="l -> -l, b -> -b: reverses the rotation.")] = (
        None
    )
    validation_fraction: Annotated[
        float | None, typer.Option(help="Share of galaxies for validation.  [default: 0.2]")
    ] = None
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of galaxies kept for `iris test`.  [default: 0]")
    ] = None
    split_seed: Annotated[int | None, typer.Option(help="Which galaxies go where.  [default: 0]")] = None
    samples_per_shard: Annotated[int | None, typer.Option(min=1, help="Pairs in a tar file.  [default: 256]")] = None
    encoding: Annotated[str | None, typer.Option(help="How arrays are stored.  [default: float32]")] = None
    backend: Annotated[
        str | None, typer.Option(help="Of the synthetic observer: auto, compiled, torch or reference.  [default: auto]")
    ] = None
    device: Annotated[
        str | None,
        typer.Option(help="Of the torch backend, and where auto looks: auto (a GPU if there is one), cpu or cuda."),
    ] = None
    views_per_source: Annotated[
        int | None, typer.Option(min=1, help="The field's folders: how many tensors in a row show one galaxy.")
    ] = None

    def settings(self, config: Path | None) -> PreobserveConfig:
        flags = {name: value for name, value in vars(self).items() if value is not None}
        chosen = {name: flags.pop(name) for name in ("backend", "device") if name in flags}
        settings = options.configured(PreobserveConfig, config, **flags)
        return replace(settings, synthetic=replace(settings.synthetic, **chosen))


def resolved(given: Mapping[str, Any]) -> PreobserveConfig:
    """The configuration that the command's options come to; they are what typer has read."""
    return options.taken(Observing, given).settings(given["config"])


@options.grouped
def preobserve(
    standard: Annotated[
        list[Path],
        typer.Argument(help="Standard data sets, ours or the field's, or pre-observed; - or @FILE: a list."),
    ],
    out: Annotated[Path, typer.Argument(help="Shard folder to write.")],
    *,
    how: Observing,
    workers: options.Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Take up just the inputs that failed.")] = False,
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    speech: options.LongSpeech,
) -> None:
    """Observe standard data sets, once. What comes out are tar shards of (observation, density) pairs and an index."""
    settings = how.settings(config)
    from iris_cli.console import emit
    from iris_cli.pairs import preobserve as work  # wakes torch
    from iris_cli.signals import stop_on_signal

    standard = options.listed(standard)
    settings = work.with_backend(settings, out, overwrite)
    if dry_run:
        from iris_cli.dry_run import show

        show(_dry_run(standard, out, settings, workers, go_on=resume or overwrite or retry_failed), speech.as_json)
        return
    try:
        with stop_on_signal("finished shards are kept: go on with --resume"):
            report = work.preobserve(
                standard,
                out,
                settings,
                workers=workers,
                resume=resume,
                overwrite=overwrite,
                retry_failed=retry_failed,
                quiet=speech.quiet,
            )
    except SystemExit:
        provenance.record(out, settings, EXIT_REQUEUE)
        raise
    provenance.record(out, settings, EXIT_FAILURE if report.failed else EXIT_DONE)
    told = work.describe_report(report, out)
    if speech.as_json:
        emit(told)
    else:
        print(f"{plural(told['pairs'], 'pair')} in {plural(told['shards'], 'shard')}: {out}")
    if report.failed:
        raise DataError(
            f"{len(report.failed)} of {plural(report.samples + len(report.failed), 'input')} failed; the first: "
            f"{report.failed[0].reason}",
            f"{out / 'failures.jsonl'} lists all; mend them, then `--retry-failed`",
        )


def _dry_run(folders: list[Path], out: Path, config: PreobserveConfig, workers: int, go_on: bool) -> DryRun:
    """Inputs are opened and compared as in earnest; no tensor is read."""
    from iris_cli.dry_run import WITH_NUMBA, WITH_TORCH, DryRun, size_of
    from iris_cli.pairs import preobserve as work
    from shards.layout import record_name

    work.check_output(out)
    inputs = [work.open_input(folder, config) for folder in folders]
    work.check_alike(inputs)
    plan, arrays = work.plan_set(inputs, config), work.set_schema(inputs, config)
    splits = ", ".join(f"{len(items)} {split}" for split, items in plan.splits.items())
    pairs = sum(map(len, plan.splits.values()))
    a_pair = sum(math.prod(array.shape) for array in arrays) * (2 if config.encoding == "float16-scaled" else 4)
    compiled = config.observer == "synthetic" and config.synthetic.backend == "compiled"
    working = 0 if config.observer != "synthetic" or compiled else int(config.synthetic.memory_GiB * 2**30)
    held = TENSORS_HELD * 4 * math.prod(inputs[0].grid.tensor_shape) + working
    processes = workers + (workers > 1)
    kept = sum((out / record_name(job.name)).exists() for job in plan.jobs)
    return DryRun(
        computes=f"{plural(pairs, 'pair')} ({splits}) in {plural(len(plan.jobs), 'shard')}, {config.observer} observer",
        reads={chosen.folder: size_of(chosen.folder.glob("*.npy")) for chosen in inputs},
        writes={out: pairs * (a_pair + BESIDE_ARRAYS) + len(plan.jobs) * BESIDE_SAMPLES},
        memory=processes * (WITH_NUMBA if compiled else WITH_TORCH) + workers * held,
        processes=processes,
        notes=(_there(out, kept, len(plan.jobs), go_on),) if out.exists() else (),
    )


def _there(out: Path, kept: int, shards: int, go_on: bool) -> str:
    ask = "" if go_on else ": the run itself would ask for --resume or --overwrite"
    return f"{out} exists and has {kept} of {plural(shards, 'shard')}{ask}"
