"""Frozen dataclasses from TOML and back. An unknown key is an error with the nearest known one."""

import dataclasses
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from iris_cli.errors import UsageError, nearest

T = TypeVar("T")

#: TOML's whole numbers have 64 bits.
_LARGEST_INT = (1 << 63) - 1


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict, ready for TOML or JSON; fields that are None are left out, and code is named."""
    items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    return {name: _plain(value) for name, value in items if value is not None}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, type):  # of a program itself, or of IRIS: only by name
        alone = value.__module__ == "__main__" or value.__module__.startswith("iris_cli.")
        return value.__name__ if alone else f"{value.__module__}:{value.__qualname__}"
    if callable(value):  # in place of a table
        return {"name": f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"}
    return value


#: TOML has no bytes that are not UTF-8, which a name of a file may hold. They are written as a NUL, which no name can
#: hold, and two digits.
_BYTE, _ESCAPED_BYTE = re.compile("[\udc80-\udcff]"), re.compile("\0([89a-f][0-9a-f])")


def dumps(values: Mapping[str, Any]) -> str:
    """TOML of plain values."""
    return _BYTE.sub(lambda found: f"\\u0000{ord(found[0]) - 0xDC00:02x}", tomli_w.dumps(values))


def to_toml(config: Any) -> str:
    return dumps(to_dict(config))


def from_dict(cls: type[T], values: dict[str, Any], where: str = "configuration") -> T:
    """A `cls` of these values. UsageError for an unknown key or a wrong type, with `where` and the nearest key."""
    if not isinstance(values, dict):
        raise UsageError(f"{where} must be a table, not {values!r}")
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}'", nearest(str(key), known))
    made = {key: _typed(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    return cls(**made)


def plain_type(hint: Any) -> Any:
    """`float` of `float | None`: the first type of a union."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Union, types.UnionType) else hint


def _typed(hint: Any, value: Any, where: str) -> Any:
    hint = plain_type(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            a_table = isinstance(value, dict) and dataclasses.is_dataclass(typing.get_args(hint)[0])
            hint_text = f"write [[{where.rpartition(' ')[2]}]]" if a_table else ""  # for a table [name]
            raise UsageError(f"{where} must be a list, not {value!r}", hint_text)
        return tuple(_typed(typing.get_args(hint)[0], v, where) for v in value)
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table, not {value!r}")
        return dict(value)
    return _number(hint, value, where)


def _number(hint: Any, value: Any, where: str) -> Any:
    """A plain value. TOML allows nan and inf, and Python arbitrarily large integers; a configuration allows neither."""
    fits = isinstance(value, hint) or (hint is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where} must be of type {hint.__name__}, not {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise UsageError(f"{where} is too large: integers must be below 2^63")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} = {value}; it must be finite")
    if isinstance(value, str):
        return _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), value)
    return float(value) if hint is float else value


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file, with or without a byte order mark. UsageError when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read: {error.strerror}", "name a TOML file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # also Python's ValueError for numbers of more than 4300 digits
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`values` updated with those of `over`, table by table."""
    inner = {
        key: merged(values[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(values.get(key), dict)
    }
    return {**values, **over, **inner}
