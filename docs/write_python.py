"""Write docs/python.md from the code's signatures: `python docs/write_python.py`. A test compares the two."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("python.md")
HEAD = """# From Python

Written by `python docs/write_python.py` from the code; do not edit. What stands here is what other programs may rely
on; shapes, units, errors and sources stand in the docstrings (`help(name)`), directions and axes in
[conventions](conventions.md), the keys of configurations in [configuration](configuration.md).
"""

#: Module -> the names that others may use; without any, what its `__all__` says.
PUBLIC: dict[str, tuple[str, ...]] = {
    "iris_cli.training": (),
    "iris_cli.observers": (),
    "iris_cli.telescope.revert": ("revert", "Reversion"),
    "iris_cli.snapshots.ingest": ("ingest", "IngestReport"),
    "shards.index": ("Index",),
    "shards.reader": ("Reader",),
    "shards.stream": ("Draws", "ReadAhead", "Batch", "BadSamples"),
    "shards.writer": ("write_set", "ArraySchema", "Sample", "SetPlan", "SetReport", "ShardJob"),
    "shards.verify": ("verify", "repair", "VerifyReport", "Fault"),
}
WIDTH = 100


def render() -> str:
    return "\n".join([HEAD, *(line for name, public in PUBLIC.items() for line in _module(name, public))])


def _module(name: str, public: tuple[str, ...]) -> Iterator[str]:
    module = import_module(name)
    yield f"## `{name}`\n"
    yield f"{_first(module)}\n"
    for each in public or sorted(module.__all__):
        yield from _section(each, getattr(module, each))


def _section(name: str, what: Any) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"```python\n{_signature(name, what)}\n```\n"
    yield f"{_first(what)}\n"
    if inspect.isclass(what):
        members = [line for member, value in vars(what).items() for line in _member(member, value)]
        yield from [*members, ""] if members else []


def _member(name: str, value: Any) -> Iterator[str]:
    """A public method, class method or property that says what it is for."""
    function = getattr(value, "__func__", getattr(value, "fget", value))
    if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
        return
    words = name if isinstance(value, property) else _signature(name, function, WIDTH * WIDTH)
    yield f"- `.{words}`: {_first(function)}"


def _signature(name: str, what: Any, width: int = WIDTH) -> str:
    """On one line if it fits, else a line for each argument."""
    signature = inspect.signature(what)
    words = list(_arguments(signature))
    returns = "" if inspect.isclass(what) else f" -> {_annotation(signature.return_annotation)}"
    line = f"{name}({', '.join(words)}){returns}"
    return line if len(line) <= width else "\n    ".join([f"{name}(", *(f"{w}," for w in words)]) + f"\n){returns}"


def _arguments(signature: inspect.Signature) -> Iterator[str]:
    starred = False
    for name, argument in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        if argument.kind is argument.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield f"{name}{_typed(argument)}{_default(argument)}"


def _typed(argument: inspect.Parameter) -> str:
    return "" if argument.annotation is argument.empty else f": {_annotation(argument.annotation)}"


def _annotation(annotation: Any) -> str:
    """As it is written in the code."""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _default(argument: inspect.Parameter) -> str:
    if argument.default is argument.empty:
        return ""
    made = re.sub(r"<.*>|\w+\(.*\)", "…", repr(argument.default))  # objects: an ellipsis will do
    return f" = {made}"


def _first(what: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(what) or "").split("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
