"""What the fields of a configuration are: name, default, unit and comment, read from the source itself."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from dataclasses import dataclass
from typing import Any

import tomli_w

#: How a name ends, and the unit that this means; the longest ending wins.
UNITS = {
    "_pc": "pc",
    "_deg": "deg",
    "_rad": "rad",
    "_arcsec": "arcsec",
    "_km_s": "km/s",
    "_km_s_pc": "km/s per pc",
    "_km_s_deg": "km/s per deg",
    "_K": "K",
    "_cm3": "per cm^3",
    "_kg_m3": "kg/m^3",
    "_m2_kg": "m^2/kg",
    "_GiB": "GiB",
    "_GHz": "GHz",
    "_minutes": "min",
    "_epochs": "epochs",
    "_steps": "steps",
    "_fraction": "of 1",
    "_per_K": "per K",
    "_per_CO": "per CO",
}


@dataclass(frozen=True)
class Field:
    """`default` is a plain value (None: may be left out); `comment` is "" where the source says nothing."""

    name: str
    kind: str
    default: Any
    unit: str
    comment: str


def fields_of(cls: type) -> list[Field]:
    """A dataclass's fields in their order; those that are tables themselves are left to `tables_of`."""
    hints, comments = typing.get_type_hints(cls), _comments(cls)
    plain = (f for f in dataclasses.fields(cls) if not _table(hints[f.name]))
    return [Field(f.name, kind(hints[f.name]), _default(f), unit_of(f.name), comments.get(f.name, "")) for f in plain]


def tables_of(cls: type) -> dict[str, type]:
    """The fields that are dataclasses, or lists of them, and their classes."""
    hints = typing.get_type_hints(cls)
    found = {f.name: _table(hints[f.name]) for f in dataclasses.fields(cls)}
    return {name: inner for name, inner in found.items() if inner}


def many(cls: type, name: str) -> bool:
    """Whether a field of `tables_of` is a list of tables, `[[name]]` in a file, and not one."""
    return typing.get_origin(typing.get_type_hints(cls)[name]) is tuple


def _table(hint: Any) -> type | None:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((table for inner in typing.get_args(hint) if (table := _table(inner))), None)
    inner = (typing.get_args(hint) or (None,))[0] if typing.get_origin(hint) is tuple else hint
    return inner if dataclasses.is_dataclass(inner) and isinstance(inner, type) else None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def unit_of(name: str) -> str:
    endings = [ending for ending in UNITS if name.endswith(ending)]
    return UNITS[max(endings, key=len)] if endings else ""


def kind(hint: Any) -> str:
    """`float`, `[float, float]`, `list of str`; a value that may be left out is of its kind all the same."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return kind(next(inner for inner in typing.get_args(hint) if inner is not type(None)))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        return f"list of {kind(inner[0])}" if inner[-1] is Ellipsis else f"[{', '.join(map(kind, inner))}]"
    return getattr(hint, "__name__", str(hint))


def about(cls: type) -> str:
    """The class's docstring as one paragraph; "" for a dataclass that has none of its own."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return "" if text.startswith(f"{cls.__name__}(") else " ".join(text.split())


def _comments(cls: type) -> dict[str, str]:
    """Field -> the lines of comment right above it, or at the end of its line."""
    lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = _above(lines, node.lineno - 1) or _behind(lines[(node.end_lineno or 0) - 1])
    return found


def _above(lines: list[str], row: int) -> str:
    first = row
    while first and lines[first - 1].strip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("#:").strip() for line in lines[first:row])


def _behind(line: str) -> str:
    found = re.search(r"  #:? (.*)$", line)
    return found[1] if found else ""


def commented_toml(config: Any, path: str = "") -> str:
    """A configuration as TOML, each field under the comment that its class has for it."""
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
        return f"{name} = [{', '.join(tomli_w.dumps({'x': x})[4:].strip() for x in plain)}]"
    return tomli_w.dumps({name: plain}).strip()
