"""Write docs/configuration.md from the dataclasses: `python docs/write_configuration.py`. A test compares the two."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import iris_cli.config
from iris_cli.config.catalogue import CONFIGS, PRESETS
from iris_cli.config.describe import Field, about, fields_of, many, tables_of

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """# Configuration

Written by `python docs/write_configuration.py` from the dataclasses in `iris_cli/config/`; do not edit.

A command takes its defaults from here, then what its `--config FILE.toml` says, then its flags. A key that does not
exist is an error that names the nearest; so is a value of another type. A table is a `[section]` of the file.

    iris config show                       # what there is
    iris config show train > train.toml    # all defaults, with comments: a file to start from
    iris config show RUN                   # how a run was trained, a shard folder or a standard data set made
    iris config validate train.toml        # is it sound, and which command is it for?
"""


def render() -> str:
    modules = [
        importlib.import_module(f"iris_cli.config.{m.name}") for m in pkgutil.iter_modules(iris_cli.config.__path__)
    ]
    return "\n".join([HEAD, *_commands(), *(line for module in modules for line in _module(module))])


def _commands() -> Iterator[str]:
    yield "| `--config` of | is a | about |\n|---|---|---|"
    for config in CONFIGS.values():
        yield f"| `{config.command}` | [{config.cls.__name__}](#{config.cls.__name__.lower()}) | {config.about} |"
    yield f"\nPresets of the [Grid](#grid): {', '.join(f'`{name}`' for name in PRESETS)}.\n"


def _module(module: Any) -> Iterator[str]:
    """A section for each configuration of a module, in the order of the source."""
    for cls in vars(module).values():
        ours = isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
        if ours and module.__name__ not in NOT_CONFIGURATIONS:
            yield from _section(cls)


#: They describe configurations, and are none.
NOT_CONFIGURATIONS = ("iris_cli.config.catalogue", "iris_cli.config.describe")


def _section(cls: type) -> Iterator[str]:
    yield f"## {cls.__name__}\n"
    if about(cls):
        yield f"{about(cls)}\n"
    yield "| field | default | unit | |\n|---|---|---|---|"
    yield from map(_row, fields_of(cls))
    for name, inner in tables_of(cls).items():
        head, what = ("[[{}]]", "any number of tables") if many(cls, name) else ("[{}]", "a table")
        yield f"| `{head.format(name)}` | | | {what}: [{inner.__name__}](#{inner.__name__.lower()}) |"
    yield ""


def _row(field: Field) -> str:
    return f"| `{field.name}` | {_default(field)} | {field.unit} | {field.comment.replace('|', chr(92) + '|')} |"


def _default(field: Field) -> str:
    if field.default is None:
        return f"left out ({field.kind})"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`".replace("'", '"')


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
