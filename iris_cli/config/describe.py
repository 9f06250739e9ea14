"""The fields of a configuration as a reader sees them: name, type, default, unit and help."""

import dataclasses
import inspect
import textwrap
import typing
from dataclasses import dataclass
from typing import Any

from iris_cli.config.setting import Setting, default_of, setting_of, unit_of
from iris_cli.config.toml import dumps, plain_type


@dataclass(frozen=True)
class Field:
    """`default` is a plain value; None: the field may be left out."""

    name: str
    kind: str
    default: Any
    unit: str
    setting: Setting

    @property
    def comment(self) -> str:
        """The help, the possible values, and what applies when the field is left out."""
        values = self.setting.choices or self.setting.known
        listed = f"{', '.join(f'{chr(34)}{value}{chr(34)}' for value in values)}." if values else ""
        unset = f"Left out: {self.setting.unset}." if self.setting.unset else ""
        return " ".join(filter(None, (self.setting.help, listed, unset)))


def fields_of(cls: type) -> list[Field]:
    """The fields of a dataclass in their order, without those that are tables themselves (see `tables_of`)."""
    hints = typing.get_type_hints(cls)
    plain = (f for f in dataclasses.fields(cls) if not _table(hints[f.name]))
    return [Field(f.name, kind(hints[f.name]), default_of(f), unit_of(f.name), setting_of(f)) for f in plain]


def tables_of(cls: type) -> dict[str, type]:
    """The fields that are dataclasses, or tuples of them, and their classes."""
    hints = typing.get_type_hints(cls)
    found = {f.name: _table(hints[f.name]) for f in dataclasses.fields(cls)}
    return {name: inner for name, inner in found.items() if inner}


def many(cls: type, name: str) -> bool:
    """Whether a field of `tables_of` is a list of tables (`[[name]]` in a file) rather than one table."""
    return typing.get_origin(typing.get_type_hints(cls)[name]) is tuple


def _table(hint: Any) -> type | None:
    hint = plain_type(hint)
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return inner if dataclasses.is_dataclass(inner) and isinstance(inner, type) else None


def kind(hint: Any) -> str:
    """`float`, `[float, float]`, `list of str`; that of `float | None` is `float`."""
    hint = plain_type(hint)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        return f"list of {kind(inner[0])}" if inner[-1] is Ellipsis else f"[{', '.join(map(kind, inner))}]"
    return getattr(hint, "__name__", str(hint))


def about(cls: type) -> str:
    """The class's docstring as one paragraph; "" for a dataclass that has none of its own."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return "" if text.startswith(f"{cls.__name__}(") else " ".join(text.split())


def commented_toml(config: Any, path: str = "") -> str:
    """A configuration as TOML, with the help of each field above it."""
    written = [f"[{path}]"] if path else []
    for field in fields_of(type(config)):
        value = getattr(config, field.name)
        written += textwrap.wrap(field.comment, 98, initial_indent="# ", subsequent_indent="# ")
        written.append(f"# {field.name} = …  (left out)" if value is None else _line(field.name, value))
    parts = ["\n".join(written)]
    for name in tables_of(type(config)):
        inner = getattr(config, name)
        where = f"{path}.{name}" if path else name
        if inner is None:
            parts.append(f"# [{where}]  (left out)")
        elif isinstance(inner, tuple):
            parts += [commented_toml(one, where).replace(f"[{where}]", f"[[{where}]]", 1) for one in inner]
        else:
            parts.append(commented_toml(inner, where))
    return "\n\n".join(part for part in parts if part)


def _line(name: str, value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, list):
        return f"{name} = [{', '.join(dumps({'x': x})[4:].strip() for x in plain)}]"
    return dumps({name: plain}).strip()
