"""Writes docs/cli.md from the commands themselves: `python docs/write_cli.py`. A test compares the two."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iris_cli.app import program
from iris_cli.commands.help import COMMON, by_panel, parts, usage, word

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Written by `python docs/write_cli.py` from the commands' own help; do not edit.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failure, 2 usage, 3 data failed verification,
75 saved and stopped (requeue me), 130 interrupted.

The common options of the commands:

- `--config FILE.toml`: a [configuration](configuration.md); flags override it, and an unknown key is an error with the
  nearest known one.
- `--dry-run`, where work is long: print what would be read, computed and written, with the memory and the disk space
  that it needs.
- `--json`: print the result as JSON on stdout.
- `--quiet`, `-q`: no progress on stderr.
- `--verbose`, `-v`: more messages, and the traceback of an error.
- `--log-every`: seconds between log lines; 10 by default.

The output of a command records how it was made, with the command line, the versions, the configuration and the time: a
folder in its `commands.jsonl`, a line for each command that wrote there; FITS files in HISTORY cards; `.npz` files in
an array `history`; figures, also those of a report and of the demo, in their description, without the time.

`iris --version --verbose` prints the versions of Python and the libraries, the device, cores and memory, in one block
for the report of a bug.

If a result cannot be written, because standard output is closed or its disk is full, the exit code is 1.
"""


def render() -> str:
    return "\n".join([HEAD, *_commands("iris", program())])


def _commands(path: str, command: Any) -> Iterator[str]:
    """A section for each command, depth first, in the order of their registration."""
    if not hasattr(command, "commands"):
        yield from _section(path, command)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", inner)


def _section(path: str, command: Any) -> Iterator[str]:
    about, examples = parts(command.help)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    yield f"## `{path}`\n\n{_plain(about)}\n"
    yield f"```\n{' '.join([path, *usage(arguments), '[options]'])}\n```\n"
    yield "".join(f"    {line}\n" for line in examples)
    for p in arguments:
        yield f"- `{word(p)}`: {_plain(p.help)}"
    for panel, inner in by_panel(p for p in command.params if p not in arguments and p.name != "help").items():
        if panel == COMMON:
            yield f"\n{COMMON}: {', '.join(f'`{p.opts[0]}`' for p in inner)}.\n"
        else:
            yield f"\n{panel}:\n"
            yield from (f"- {_names(p)}: {_plain(p.help)}{_default(p)}" for p in inner)


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    metavar = f" `{option.metavar}`" if option.metavar else ""
    return (f"{names} / `{option.secondary_opts[0]}`" if option.secondary_opts else names) + metavar


def _default(option: Any) -> str:
    shown = option.default not in (None, "") and not option.is_flag and not callable(option.default)
    return f" [default: {option.default}]" if shown else ""


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
