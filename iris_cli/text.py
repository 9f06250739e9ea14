"""Text from outside, such as names of files, headers and titles: how it is shown, and how it is written.

A name of a file is bytes. Python has each byte that is not UTF-8 as half of a surrogate pair, which cannot be printed
or written to a text file. Control characters would act on the terminal.
"""

import codecs
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

#: Unicode categories of characters that are invisible or act on a terminal: controls, directions of writing, halves of
#: surrogate pairs, private and unassigned characters, separators of lines.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: The symbols of our own tables and messages where a terminal or file has ASCII only.
_IN_ASCII = {"…": "...", "×": "x", "±": "+-", "°": " deg", "²": "2", "³": "3", "−": "-", "–": "-", "→": "->", "▀": "#"}
#: Name of the error handler with which text is encoded for such a terminal.
PLAIN = "iris.plain"
_SURROGATE = re.compile("[\ud800-\udfff]")
#: `s3://bucket/shards`, also after Path has made one slash of two.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])")


def url_of(text: str) -> str:
    """The URL that a word of the command line is; "" of a path."""
    found = _URL.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found else ""


def printable(text: str, keep: str = "") -> str:
    r"""Text with hidden characters, and bytes that are not UTF-8, as escapes such as `\x1b`; those of `keep` remain."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    cut = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(c) or _escape(c) for c in cut), error.end


codecs.register_error(PLAIN, _plain)


def in_ascii(text: str) -> str:
    """Printable text in ASCII, as in a FITS header."""
    return printable(text).encode("ascii", PLAIN).decode()


def utf8(text: str) -> bytes:
    """UTF-8 in which a byte of a name that is not UTF-8 is an escape. For files that people read."""
    return _SURROGATE.sub(lambda found: _escape(found[0]), text).encode()


def to_json(value: Any) -> str:
    """A record, or dicts and lists of records, arrays and plain values; undefined numbers are null."""
    return json.dumps(_values(value), indent=2, allow_nan=False) + "\n"


def _values(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _values(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_values(inner) for inner in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _values(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
