"""JSON values as the fields of dataclasses, so that a file that was changed by hand fails where it is read."""

import dataclasses
import sys
import types
import typing
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_LARGEST = (1 << 63) - 1


def made(cls: type[T], values: Any) -> T:
    """A dataclass of JSON values. TypeError or KeyError for a missing or unknown key, or a value of another type."""
    hints: dict[str, Any] = _hints(cls)  # type: ignore[arg-type]
    values = typed(dict[str, Any], values)
    return cls(**{name: typed(hints[name], value) for name, value in values.items()})


def typed(hint: Any, value: Any) -> Any:
    """A JSON value of a type. TypeError for any other value; whole numbers are counts, others finite."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return value
    if kind in (typing.Union, types.UnionType):
        return None if value is None and type(None) in inner else typed(inner[0], value)
    if dataclasses.is_dataclass(kind):
        return made(kind, value)  # type: ignore[arg-type]
    if hint == list[str] and isinstance(value, list) and {*map(type, value)} == {str}:
        return value  # long columns
    if hint == list[int] and isinstance(value, list) and {*map(type, value)} == {int}:
        return [typed(int, low_or_high) for low_or_high in (min(value), max(value))] and value
    if kind in (list, tuple) and isinstance(value, list):
        return kind(typed(inner[0], item) for item in value)
    if kind is dict and isinstance(value, dict):
        return {name: typed(inner[1], item) for name, item in value.items()}
    if kind is int and type(value) is int and 0 <= value <= _LARGEST:
        return value
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    raise TypeError(f"{repr(value)[:40]} where {hint if inner else getattr(hint, '__name__', hint)} belongs")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)
