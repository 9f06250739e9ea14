"""`iris preobserve STANDARD… OUT`"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iris_cli.commands import options, provenance
from iris_cli.commands.mock import MadeNow
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import preobserving_of
from iris_cli.console import plural
from iris_cli.dry_run import WITH_NUMBA, WITH_TORCH, DryRun, show, size_of
from iris_cli.errors import EXIT_DONE, EXIT_FAILURE, DataError

if TYPE_CHECKING:
    from iris_cli.pairs.preobserve import Input

#: Observing holds so many times a tensor in memory.
TENSORS_HELD = 5
#: Bytes of a sample in its tar beside its arrays: headers, padding and JSON; of a shard beside its samples: the end of
#: the tar, its record and its line in the index.
BESIDE_ARRAYS, BESIDE_SAMPLES = 5000, 15_000


@options.command
def preobserve(
    *,
    standard: Annotated[
        list[Path] | None,
        typer.Argument(help="Data sets: standard, of the paper's code, or pre-observed; - or @FILE for a list."),
    ] = None,
    out: Annotated[Path, typer.Argument(help="Shard folder to write.")],
    survey: options.Survey = None,
    settings: options.Settings[PreobserveConfig],
    made_now: MadeNow,
    workers: options.Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Observe only the inputs that failed.")] = False,
    dry_run: options.DryRun = False,
    output: options.LongOutput,
) -> None:
    """Observe standard data sets once, and write (observation, density) pairs as tar shards with an index.

    Examples:
        iris preobserve STANDARD SHARDS --test-fraction 0.1 --workers 2
        iris preobserve STANDARD SHARDS --survey mopra-hnco
        iris preobserve --mock default -n 4000 SHARDS --workers 2
        iris preobserve --mock default -n 32 LITTER --litter
    """
    config = settings.resolve(preobserving_of(survey))
    data = options.paths_of(standard or [])
    made_now.check(data)
    from iris_cli.pairs import preobserve as work  # imports torch

    config = work.with_backend(config, out, overwrite)
    inputs: list[Path | Input] = [*data]
    if made_now.mock:
        inputs = [work.Mock(made_now.maker(config.litter, survey), made_now.count, config)]
    if dry_run:
        show(_dry_run(inputs, out, config, workers, resume or overwrite or retry_failed), output.as_json)
        return
    how: dict[str, Any] = {"workers": workers, "resume": resume, "overwrite": overwrite, "quiet": output.quiet}
    with provenance.resumable(out, config, "finished shards are kept"):
        report = work.preobserve(inputs, out, config, retry_failed=retry_failed, **how)
    provenance.record(out, config, EXIT_FAILURE if report.failed else EXIT_DONE)
    made = work.describe_report(report, out)
    output.result(made, f"{plural(made['pairs'], 'pair')} in {plural(made['shards'], 'shard')}: {out}")
    if report.failed:
        share = f"{len(report.failed)} of {plural(report.samples + len(report.failed), 'input')}"
        hint = f"{out / 'failures.jsonl'} lists all; fix them, then: {provenance.again('--retry-failed')}"
        raise DataError(f"{share} failed; the first: {report.failed[0].reason}", hint)


def _dry_run(given: "list[Path | Input]", out: Path, config: PreobserveConfig, workers: int, continues: bool) -> DryRun:
    """Opens and compares the inputs as the run does, but reads no tensor."""
    from iris_cli.pairs import preobserve as work
    from shards.layout import record_name

    work.check_output(out)
    inputs = [work.opened(each, config) for each in given]
    work.check_inputs(inputs)
    plan, arrays = work.plan_set(inputs, config), work.set_schema(inputs, config)
    splits = ", ".join(f"{len(items)} {split}" for split, items in plan.splits.items())
    pairs = sum(map(len, plan.splits.values()))
    half = 2 if config.encoding == "float16-scaled" else 1
    pair_bytes = sum(array.nbytes // (half if array.dtype == "float32" else 1) for array in arrays)
    compiled = config.observer == "synthetic" and config.synthetic.backend == "compiled"
    working = 0 if config.observer != "synthetic" or compiled else int(config.synthetic.memory_GiB * 2**30)
    held = TENSORS_HELD * 4 * math.prod(inputs[0].grid.tensor_shape) + working
    processes = workers + (workers > 1)
    kept = sum((out / record_name(job.name)).exists() for job in plan.jobs)
    asks = "" if continues else ": the run would need --resume or --overwrite"
    note = f"{out} exists and has {kept} of {plural(len(plan.jobs), 'shard')}{asks}"
    return DryRun(
        computes=f"{plural(pairs, 'pair')} ({splits}) in {plural(len(plan.jobs), 'shard')}, {config.observer} observer",
        reads={each: size_of(each.glob("*.npy")) for each in given if isinstance(each, Path)},
        writes={out: pairs * (pair_bytes + BESIDE_ARRAYS) + len(plan.jobs) * BESIDE_SAMPLES},
        memory=processes * (WITH_NUMBA if compiled else WITH_TORCH) + workers * held,
        processes=processes,
        notes=(note,) if out.exists() else (),
    )
