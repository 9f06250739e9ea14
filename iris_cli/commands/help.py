"""`--help` as plain text: options and commands in groups, examples at the end.

typer's own groups need rich, which adds half to the time that a help page takes and leaves an option's help a quarter
of an 80-column line.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from iris_cli.plugins import GROUPS, OWN, installed

#: Group of the options that nearly all commands have.
COMMON = "Common options"
#: The heading in a docstring from which on lines are examples.
EXAMPLES = "Examples:"


def parts(text: str | None) -> tuple[str, list[str]]:
    """(description, lines of examples) of a command's help."""
    about, _, examples = (text or "").partition(EXAMPLES)
    return about.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


class Command(TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return ["[OPTIONS]", *usage(arguments)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        whole, self.help = self.help, parts(self.help)[0]
        super().format_help_text(ctx, formatter)
        self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_params(self.get_params(ctx), ctx, formatter)

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
        _write_params(self.get_params(ctx), ctx, formatter)
        commands: list[Any] = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        width = max(len(command.name) for command in commands)
        panels: dict[str, list[tuple[str, str]]] = {}
        for command in commands:
            record = (f"{command.name:<{width}}", command.get_short_help_str(limit=120))
            panels.setdefault(command.rich_help_panel or "Commands", []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def word(argument: Any) -> str:
    """An argument as usage and documentation name it: OUT, DATA..."""
    return argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else "")


def usage(arguments: Iterable[Any]) -> list[str]:
    return [word(each) if each.required else f"[{word(each)}]" for each in arguments]


def by_panel(params: Iterable[Any]) -> dict[str, list[Any]]:
    """Heading -> parameters, in the order of their first appearance, but common options last."""
    panels: dict[str, list[Any]] = {}
    for param in params:
        argument = param.param_type_name == "argument"
        panel = "Arguments" if argument else COMMON if param.name == "help" else param.rich_help_panel or "Options"
        panels.setdefault(panel, []).append(param)
    return dict(sorted(panels.items(), key=lambda item: item[0] == COMMON))


def _record(param: Any, ctx: Any) -> Any:
    """(names, help) of an option. Only a help page looks for the networks and losses of installed packages."""
    record = param.get_help_record(ctx)
    if param.name in GROUPS and (names := installed(param.name)):
        known = param.metavar.strip("[]").split("|")
        return (record[0].replace(OWN, "|".join([*(name for name in names if name not in known), OWN])), record[1])
    return record


def _write_params(params: Iterable[Any], ctx: Any, formatter: Any) -> None:
    for panel, inner in by_panel(params).items():
        if panel == "Arguments":
            records = [(word(param), param.help or "") for param in inner]
        else:
            records = [record for param in inner if (record := _record(param, ctx))]
        with formatter.section(panel):
            formatter.write_dl(records)
