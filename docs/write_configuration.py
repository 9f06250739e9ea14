"""Writes docs/configuration.md from the dataclasses: `python docs/write_configuration.py`. A test compares the two."""

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

A command takes these defaults, then the values of its `--config FILE.toml`, then its flags. An unknown key is an error
that names the nearest one, and so is a value of another type. A table is a `[section]` of the file.

    iris config show                       # list of configurations and presets
    iris config show train > train.toml    # all defaults, with comments: a file to start from
    iris config show RUN                   # configuration of a run, shard folder or standard data set
    iris config validate train.toml        # check keys, types, values and names
"""


def render() -> str:
    names = [module.name for module in pkgutil.iter_modules(iris_cli.config.__path__)]
    modules = [importlib.import_module(f"iris_cli.config.{name}") for name in names]
    return "\n".join([HEAD, *_commands(), *(line for module in modules for line in _module(module))])


def _commands() -> Iterator[str]:
    yield "| `--config` of | class | subject |\n|---|---|---|"
    for config in CONFIGS.values():
        yield f"| `{config.command}` | [{config.cls.__name__}](#{config.cls.__name__.lower()}) | {config.about} |"
    yield f"\nPresets of the [Grid](#grid): {', '.join(f'`{name}`' for name in PRESETS)}.\n"


def _module(module: Any) -> Iterator[str]:
    """A section for each configuration of a module, in the order of the source."""
    for cls in vars(module).values():
        own = isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
        if own and module.__name__ not in NOT_CONFIGURATIONS:
            yield from _section(cls)


#: They describe configurations.
NOT_CONFIGURATIONS = ("iris_cli.config.catalogue", "iris_cli.config.describe", "iris_cli.config.setting")


def _section(cls: type) -> Iterator[str]:
    yield f"## {cls.__name__}\n"
    if about(cls):
        yield f"{about(cls)}\n"
    yield "| key | default | unit | flag | |\n|---|---|---|---|---|"
    yield from map(_row, fields_of(cls))
    for name, inner in tables_of(cls).items():
        head, what = ("[[{}]]", "any number of tables") if many(cls, name) else ("[{}]", "a table")
        yield f"| `{head.format(name)}` | | | | {what}: [{inner.__name__}](#{inner.__name__.lower()}) |"
    yield ""


def _row(field: Field) -> str:
    flag = f"`{field.setting.flags[0].partition('/')[0]}`" if field.setting.flags else ""
    comment = field.comment.replace("|", chr(92) + "|")
    return f"| `{field.name}` | {_default(field)} | {field.unit} | {flag} | {comment} |"


def _default(field: Field) -> str:
    if field.default is None:
        return f"left out ({field.kind})"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`".replace("'", '"')


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
