"""`iris doctor`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iris_cli.commands import options
from iris_cli.errors import EXIT_FAILURE


@options.grouped
def doctor(
    *,
    shards: Annotated[Path | None, typer.Argument(help="A shard folder to read from, as a test.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where output will be written.")] = Path(),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to read.")] = 5.0,
    speech: options.Speech,
) -> None:
    """Look for what is wrong with this machine. Libraries, cores, memory, disk, left-over variables; exit code 1."""
    from iris_cli import doctor as work
    from iris_cli.console import emit

    findings = work.examine(out, shards, seconds)
    if speech.as_json:
        emit(work.to_json(findings))
    else:
        for finding in findings:
            _print(f"{finding.state:<6}{finding.topic:<11}", finding.what)
            if finding.advice:
                _print(f"{'':<17}-> ", finding.advice)
    if not work.well(findings):
        raise typer.Exit(EXIT_FAILURE)


def _print(label: str, text: str) -> None:
    """In columns, and not wider than the terminal; a path or a command is never broken."""
    import shutil
    import textwrap

    width = max(60, shutil.get_terminal_size((80, 24)).columns)
    for line in textwrap.wrap(
        label + text, width, subsequent_indent=" " * len(label), break_long_words=False, break_on_hyphens=False
    ):
        print(line)
