"""Values of files as the fields of dataclasses, so that a file that was changed by hand fails where it is read."""

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
    """A value of a type, or JSON for it. TypeError for any other value; whole numbers are counts, others finite."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return value
    if kind in (typing.Union, types.UnionType):
        return None if value is None and type(None) in inner else typed(inner[0], value)
    if dataclasses.is_dataclass(kind) and not isinstance(value, kind):  # type: ignore[arg-type]
        return made(kind, value)  # type: ignore[arg-type]
    if hint == list[str] and isinstance(value, list) and {*map(type, value)} == {str}:
        return value  # long columns
    if hint == list[int] and isinstance(value, list) and {*map(type, value)} == {int}:
        return [typed(int, low_or_high) for low_or_high in (min(value), max(value))] and value
    if kind in (list, tuple) and isinstance(value, (list, kind)):
        if kind is list or inner[-1] is ...:
            return kind(typed(inner[0], item) for item in value)
        return tuple(typed(one, item) for one, item in zip(inner, value, strict=True))
    if kind is dict and isinstance(value, dict):
        return {name: typed(inner[1], item) for name, item in value.items()}
    if kind is int and type(value) is int and 0 <= value <= _LARGEST:
        return value
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind not in (int, float) and isinstance(value, kind):
        return value
    raise TypeError(f"{repr(value)[:40]} where {hint if inner else getattr(hint, '__name__', hint)} belongs")


_hints = cache(typing.get_type_hints)
