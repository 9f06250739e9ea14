"""Write docs/cli.md from the commands themselves: `python docs/write_cli.py`. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from iris_cli.app import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Written by `python docs/write_cli.py` from the commands' own help; do not edit.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failure, 2 usage, 3 data failed verification,
75 saved and stopped (requeue me), 130 interrupted.

Nearly every command has the same five options, and a test has the list of those that lack one, with the reason:
`--config FILE.toml` ([configuration](configuration.md); flags win over it, and a key that does not exist is an error
that names the nearest), `--dry-run` (what would be read, computed and written, with the memory and the disk that it
needs), `--json` (the result for machines), `--quiet` (no progress) and `--verbose`.

What a command writes says how it was made, with the command line, the versions, the configuration and the time: a
folder in its `commands.jsonl`, a line for each command that wrote there; FITS files in HISTORY cards; `.npz` files in
an array `history`; figures, those of a report and of the demo too, in their description, without the time.

A result that cannot be written, because standard output is closed or its disk is full, is a failure with exit code 1.
"""


def render() -> str:
    root = get_command(app)
    return "\n".join([HEAD, *_commands("iris", root)])


def _commands(path: str, command: Any) -> Iterator[str]:
    """A section for each command, depth first, in the order of their registration."""
    if not hasattr(command, "commands"):
        yield from _section(path, command)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", inner)


def _section(path: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = "".join(f" {_word(argument)}" for argument in arguments)
    yield f"## `{path}`\n"
    yield f"{_plain(command.help)}\n"
    yield f"```\n{path}{words} [options]\n```\n"
    for p in arguments:
        yield f"- `{_word(p)}`: {_plain(p.help)}"
    for p in options:
        yield f"- {_names(p)}: {_plain(p.help)}{_default(p)}"
    yield ""


def _word(argument: Any) -> str:
    return argument.name.upper() + ("…" if argument.nargs == -1 else "")


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    return f"{names} / `{option.secondary_opts[0]}`" if option.secondary_opts else names


def _default(option: Any) -> str:
    shown = option.default is not None and not option.is_flag and not callable(option.default)
    return f" Default: `{option.default}`." if shown else ""


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
