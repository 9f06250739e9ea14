"""Reading and atomic writing of the files of a data set, without pickles."""

import hashlib
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError, UsageError, naming
from iris_cli.text import in_ascii, utf8
from shards import layout
from shards.owner import owned


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError when the file is missing, truncated or of another kind."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}", "it is truncated, or not part of a data set") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__}, not a JSON object")
    return value


def read_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float array of this shape, as float32. Raises DataError for another array or a damaged file."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist, though its index names it") from None
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise DataError(f"{path} is not a whole .npy file: {str(error).splitlines()[0]}", "write it again") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise DataError(f"{path} holds {getattr(array, 'dtype', type(array))}, not floating-point numbers")
    if array.shape != shape:
        raise DataError(f"{path} has shape {array.shape}; by the data set's grid it should be {shape}")
    return array.astype(np.float32, copy=False)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the block succeeds, and is removed when it fails.

    It is written under a temporary name in the same folder, synced to disk and renamed. OSErrors carry the name `path`.
    """
    with naming(path), layout.atomic_file(path) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8; a byte of a name that is not UTF-8 becomes an escape."""
    with atomic_file(path) as file:
        file.write(utf8(text))


def fits_cards(text: str) -> list[str]:
    """Text for the HISTORY or COMMENT cards of a FITS header, one line per card; joined by spaces they are the text.

    A card holds 72 ASCII characters: others are written as escapes, and longer words are broken.
    """
    return textwrap.wrap(in_ascii(text), 72, break_on_hyphens=False)


def add_history(header: Any, paragraphs: Iterable[str]) -> None:
    """HISTORY cards of a FITS header, each paragraph on as many as it needs."""
    for line in (line for paragraph in paragraphs for line in fits_cards(paragraph)):
        header.add_history(line)


def check_output(path: Path, overwrite: bool, suffixes: Sequence[str] = ()) -> None:
    """Check the name of an output file before anything is computed.

    UsageError for a suffix that is none of `suffixes`, for a folder, and for an existing file without `overwrite`;
    DataError when the parent folder does not exist.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{path} ends in none of {', '.join(suffixes)}", "its ending selects the file format")
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path.absolute().parent} is not a folder", "make it first")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already", "--overwrite replaces it")
    for left in layout.leftovers(path.absolute().parent):  # of killed commands
        with suppress(OSError):
            left.unlink()


def check_folder(path: Path, overwrite: bool) -> None:
    """DataError when an output folder exists and is not empty, or is a file, unless `overwrite` is set."""
    if path.exists() and not overwrite and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} exists", "choose another folder, or --overwrite it")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_card(value: Any) -> str:
    """JSON for a card of a FITS header, which holds printable ASCII."""
    return json.dumps(value).replace("\x7f", "\\u007f")


@contextmanager
def atomic_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill that becomes `path` when the block succeeds, and is removed when it fails.

    Raises DataError when `path` exists, unless `overwrite` is set; then the old folder is removed at the end. Raises
    ShardError when another process writes it. Files of killed processes for the same folder are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with owned(path, beside=True), _atomic_folder(path, overwrite) as partial:
        yield partial


@contextmanager
def _atomic_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    replaced = path.with_name(f"{path.name}.old")
    _recover(path, replaced)
    check_folder(path, overwrite)
    partial, old = layout.temporary_name(path), layout.temporary_name(replaced)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.replace(old)
        partial.replace(path)
    except OSError as error:  # is of the folder under its own name
        error.filename = str(error.filename or path).replace(str(partial), str(path))
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _recover(path: Path, replaced: Path) -> None:
    """Restores the old folder if a process was killed just after moving it away; removes temporary folders."""
    for old in layout.leftover_folders(replaced):
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(path)
    for left in layout.leftover_folders(path):
        shutil.rmtree(left, ignore_errors=True)
