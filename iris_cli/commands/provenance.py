"""How an output was made: command line, versions, configuration and time, kept with the output.

A folder keeps it in `commands.jsonl`, a line for each command that wrote there. This file is apart from the data, which
have the same bytes for the same inputs. Other files keep it as text in their headers.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import Any

from iris_cli import __version__
from iris_cli.config.toml import to_dict
from iris_cli.console import warn
from iris_cli.errors import EXIT_DONE, EXIT_REQUEUE
from iris_cli.ranks import is_rank_0
from iris_cli.signals import stop_on_signal

FILE = "commands.jsonl"


def command_line() -> str:
    """As a user would type it."""
    return shlex.join(["iris", *sys.argv[1:]])


def again(*options: str) -> str:
    """The command line with these options, as a hint: without --overwrite, which would discard what is finished."""
    dropped = {"--overwrite", "--resume", "--retry-failed"}
    return shlex.join(["iris", *(word for word in sys.argv[1:] if word not in dropped), *options])


def software() -> dict[str, str]:
    """Versions, from the metadata of the installed packages, so that none is imported."""
    # Imported here because it imports the e-mail parser, which help pages do not need.
    from importlib.metadata import PackageNotFoundError, version

    found = {"iris": __version__, "python": python_version()}
    for name in ("numpy", "torch"):
        with suppress(PackageNotFoundError):  # on the path, but not installed
            found[name] = version(name)
    return found


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Provenance:
    """A command that has run. `config` is the resolved configuration, empty for a command that has none."""

    config: dict[str, Any]
    exit_code: int = EXIT_DONE
    command: str = field(default_factory=command_line)
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    time: str = field(default_factory=now)
    software: dict[str, str] = field(default_factory=software)

    def lines(self, dated: bool = True) -> tuple[str, ...]:
        """As text, for the header of a file. Figures are undated, so that the same figure has the same bytes."""
        written = (f"written {self.time} in {self.folder}",) if dated else ()
        configuration = f"configuration: {json.dumps(self.config)}"
        return (f"command: {self.command}", *written, f"software: {self.versions}", configuration)

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Name and value, for the page of a report."""
        return ("command", self.command), ("written", f"{self.time} in {self.folder}"), ("software", self.versions)

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.software.items())


def record(folder: Path, config: Any = None, exit_code: int = EXIT_DONE) -> None:
    """Appends a line to `commands.jsonl` of the folder, from rank 0 only. Does nothing where the folder does not exist.

    A line is written at once, so that the lines of tasks that share a folder do not mix.
    """
    if not folder.is_dir() or not is_rank_0():
        return
    try:
        with (folder / FILE).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(asdict(made(config, exit_code)))}\n".encode())
    except OSError as error:  # the output is complete without it
        warn(f"{folder / FILE} cannot be written, so {folder} has no record of this command: {error.strerror}")


def made(config: Any = None, exit_code: int = EXIT_DONE) -> Provenance:
    """The provenance of what this command makes."""
    return Provenance({} if config is None else to_dict(config), exit_code)


def history(config: Any = None, dated: bool = True) -> tuple[str, ...]:
    """The same as text, for the header of a file."""
    return made(config).lines(dated)


@contextmanager
def resumable(out: Path, config: Any, kept: str) -> Iterator[None]:
    """Work that a signal may stop: it reports what is kept and how to resume, and the folder records the command."""
    try:
        with stop_on_signal(f"{kept}: {again('--resume')}"):
            yield
    except SystemExit:
        record(out, config, EXIT_REQUEUE)
        raise
