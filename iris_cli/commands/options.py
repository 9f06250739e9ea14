"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from iris_cli.config.toml import from_dict, read_toml

T = TypeVar("T")

Seed = Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands in the output folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep what an earlier run finished and go on.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration (TOML); flags win over it.")]


def configured(cls: type[T], file: Path | None, **flags: object) -> T:
    """A configuration from its defaults, a TOML file, and the flags that were given (not None), in rising order."""
    values = read_toml(file) if file else {}
    values.update({name: value for name, value in flags.items() if value is not None})
    return from_dict(cls, values, str(file) if file else "command line")
