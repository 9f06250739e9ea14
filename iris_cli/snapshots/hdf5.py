"""Safe reading of HDF5 files from others: links out of the file are not followed, errors are one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from iris_cli.errors import DataError

_MOST_LINKS = 8


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading. Raises DataError when it is missing, truncated, of another format, or damaged."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_file():
        raise DataError(f"{path} is not a file", "name a snapshot (.hdf5) or the folder of one that is split")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except PermissionError:
        raise
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises any of them on a damaged file
        text = one_line(error)
        cause = "truncated" if "truncated" in text else "not HDF5" if "signature" in text else "not readable"
        raise DataError(f"{path} is {cause}: {text}", "copy it again, or name another file") from None


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def member(file: h5py.File, path: str, links: int = 0) -> Any:
    """The group or dataset at `path`, or None. Raises DataError when it is outside the file.

    With an external link, external raw data, or a virtual dataset, a snapshot could read any file that the user may
    read.
    """
    here: Any = file
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for depth, name in enumerate(parts):
        if not isinstance(here, h5py.Group) or name not in here.keys():  # noqa: SIM118 (`in` would follow links)
            return None
        link: Any = None
        with suppress(TypeError):  # a kind of link that h5py does not know
            link = here.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            start = "" if link.path.startswith("/") else here.name
            if links >= _MOST_LINKS:
                raise DataError(f"{file.filename}: {path} is a chain of more than {_MOST_LINKS} links")
            return member(file, "/".join([start, link.path, *parts[depth + 1 :]]), links + 1)
        if not isinstance(link, h5py.HardLink):
            where = getattr(link, "filename", "another place")
            what = f"{file.filename}: {name} is a link to {where}, which is not followed"
            raise DataError(what, "copy the data into the file (h5copy), or name that file itself")
        here = here[name]
    if isinstance(here, h5py.Dataset):
        sources = {source.file_name for source in here.virtual_sources()} if here.is_virtual else set()
        if here.external or sources - {"."}:
            what = f"{file.filename}: the data of {here.name} are in other files, which are not followed"
            raise DataError(what, "name the files that hold the data")
    return here


def numbers(file: h5py.File, path: str) -> Any:
    """The dataset of real numbers at `path`, or None when there is none."""
    found = member(file, path)
    if found is not None and (not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu"):
        raise DataError(f"{file.filename}: {path} holds no numbers")
    return found


def attribute(holder: Any, name: str) -> Any:
    """An attribute's value (bytes as text), or None."""
    if holder is None or name not in holder.attrs:
        return None
    value = holder.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def number(holder: Any, name: str) -> float | None:
    """The first number of an attribute, or None when it is missing. Raises DataError when it is not a number."""
    value = attribute(holder, name)
    if value is None:
        return None
    try:
        return float(np.asarray(value).reshape(-1)[0])
    except (ValueError, TypeError, IndexError):
        what = f"{holder.file.filename}: attribute {name} of {holder.name} is {value!r}, not a number"
        raise DataError(what) from None
