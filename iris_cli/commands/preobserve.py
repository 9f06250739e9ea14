"""`iris preobserve STANDARD… OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import DataError


def preobserve(
    standard: Annotated[
        list[Path], typer.Argument(help="Standard data sets, ours or the field's; or pre-observed ones.")
    ],
    out: Annotated[Path, typer.Argument(help="Shard folder to write.")],
    observer: Annotated[
        str | None,
        typer.Option(help="synthetic (a line) or simple (columns).  [default: synthetic]"),
    ] = None,
    latitude: Annotated[str | None, typer.Option(help="How latitude is reduced: mean or max.  [default: mean]")] = None,
    in_blur: Annotated[
        bool | None, typer.Option(help="Smooth velocities over neighbouring cells before observing.")
    ] = None,
    litter: Annotated[
        bool | None, typer.Option("--litter", help="Write observations only, to be added to others.")
    ] = None,
    turn_over: Annotated[
        bool | None, typer.Option("--turn-over", help="l -> -l, b -> -b: reverses the rotation.")
    ] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Share of galaxies for validation.  [default: 0.2]")
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of galaxies kept for `iris test`.  [default: 0]")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="Which galaxies go where.  [default: 0]")] = None,
    samples_per_shard: Annotated[int | None, typer.Option(min=1, help="Pairs in a tar file.  [default: 256]")] = None,
    encoding: Annotated[str | None, typer.Option(help="How arrays are stored.  [default: float32]")] = None,
    views_per_source: Annotated[
        int | None, typer.Option(min=1, help="The field's folders: how many tensors in a row show one galaxy.")
    ] = None,
    workers: options.Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Take up just the inputs that failed.")] = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Observe standard data sets, once: tar shards of (observation, density) pairs with an index."""
    settings = options.configured(
        PreobserveConfig, config, observer=observer, latitude=latitude, in_blur=in_blur, litter=litter,
        turn_over=turn_over, validation_fraction=validation_fraction, test_fraction=test_fraction,
        split_seed=split_seed, samples_per_shard=samples_per_shard, encoding=encoding,
        views_per_source=views_per_source,
    )  # fmt: skip
    from iris_cli import preobserve as work  # wakes torch
    from iris_cli.console import emit

    report = work.preobserve(standard, out, settings, workers=workers, resume=resume, overwrite=overwrite,
                             retry_failed=retry_failed, quiet=quiet)  # fmt: skip
    told = work.describe_report(report, out)
    if as_json:
        emit(told)
    else:
        print(f"{told['pairs']} pairs in {told['shards']} shards: {out}")
    if report.failed:
        raise DataError(
            f"{len(report.failed)} of {report.samples + len(report.failed)} inputs failed; the first: "
            f"{report.failed[0].reason}",
            f"{out / 'failures.jsonl'} lists all; mend them, then `--retry-failed`",
        )
