"""`--help` as plain text: options and commands in groups, examples at the end.

typer's own groups need rich, which doubles the time that a help page takes and leaves an option's help a quarter of an
80-column line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

#: Group of the options that nearly all commands have.
COMMON = "Common options"
#: The heading in a docstring from which on lines are examples.
EXAMPLES = "Examples:"


def parts(text: str | None) -> tuple[str, list[str]]:
    """(description, lines of examples) of a command's help."""
    about, _, examples = (text or "").partition(EXAMPLES)
    return about.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


class Command(TyperCommand):
    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        whole, self.help = self.help, parts(self.help)[0]
        super().format_help_text(ctx, formatter)
        self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        _write_groups(formatter, ((_heading(param), record) for param, record in shown if record))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if examples := parts(self.help)[1]:
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(TyperGroup):
    """A group of commands, or the program itself, whose options are flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """A flag that was not given is False: for None, typer would import pydantic."""
        params: list[Any] = super().get_params(ctx)
        for flag in params:
            flag.default = False if flag.default is None else flag.default
        return params

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        _write_groups(formatter, ((_heading(param), record) for param, record in shown if record))
        commands: list[Any] = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        width = max(len(command.name) for command in commands)
        records = [
            (command.rich_help_panel or "Commands", (f"{command.name:<{width}}", command.get_short_help_str(limit=100)))
            for command in commands
        ]
        _write_groups(formatter, records)


def _heading(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return COMMON if param.name == "help" else param.rich_help_panel or "Options"


def _write_groups(formatter: Any, records: Iterable[tuple[str, tuple[str, str]]]) -> None:
    """A section for each heading, in the order of their first appearance, but common options last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for heading, record in records:
        groups.setdefault(heading, []).append(record)
    for heading in sorted(groups, key=lambda name: name == COMMON):
        with formatter.section(heading):
            formatter.write_dl(groups[heading])
