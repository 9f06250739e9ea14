"""How something was made: command line, versions, configuration, time; kept in what a command writes.

A folder keeps it in `commands.jsonl`, a line for each command that wrote there, beside the data: those have the same
bytes for the same inputs, and a command line does not. Files have it inside, as words.
"""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import Any

from iris_cli import __version__
from iris_cli.config.toml import to_dict
from iris_cli.console import warn
from iris_cli.errors import EXIT_DONE
from iris_cli.ranks import is_rank_0

FILE = "commands.jsonl"


def command_line() -> str:
    """As one would type it."""
    return shlex.join(["iris", *sys.argv[1:]])


def software() -> dict[str, str]:
    """Versions, asked of the packages' own notes: nothing is woken for it."""
    return {"iris": __version__, "python": python_version(), **_installed("numpy", "torch")}


def _installed(*packages: str) -> dict[str, str]:
    # Wakes the reader of e-mails, which help pages need not.
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # it may lie on the path and be installed nowhere
            continue
    return found


def told(config: Any = None, exit_code: int = EXIT_DONE) -> dict[str, Any]:
    """`config` is the resolved configuration, None for a command that has none."""
    return {
        "command": command_line(),
        "folder": str(Path.cwd()),
        "time": now(),
        "exit_code": exit_code,
        "software": software(),
        "config": {} if config is None else to_dict(config),
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record(folder: Path, config: Any = None, exit_code: int = EXIT_DONE) -> None:
    """A line in the folder's `commands.jsonl`; of many ranks, the first one's. Nothing where no folder was made.

    A line is written at once, so that tasks that share a folder do not mix theirs.
    """
    if not folder.is_dir() or not is_rank_0():
        return
    try:
        with (folder / FILE).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(told(config, exit_code))}\n".encode())
    except OSError as error:  # what was made is whole without it
        warn(f"{folder / FILE} cannot be written, so {folder} does not say how it was made: {error.strerror}")


def history(config: Any = None, dated: bool = True) -> tuple[str, ...]:
    """The same in words, for a file's header. Figures go undated: the same figure has the same bytes."""
    versions = ", ".join(f"{name} {number}" for name, number in software().items())
    values = {} if config is None else to_dict(config)
    written = (f"written {now()} in {Path.cwd()}",) if dated else ()
    return (f"command: {command_line()}", *written, f"software: {versions}", f"configuration: {json.dumps(values)}")
