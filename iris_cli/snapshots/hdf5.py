"""Safe reading of HDF5 files from others: links out of the file are not followed, errors are one line."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError, IrisError

_MOST_LINKS = 8
#: Bytes of numbers per stored byte beyond which no compression of HDF5 gets.
_MOST_COMPRESSED = 2000


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


def one_line(error: object) -> str:
    return " ".join(str(error).split())


@contextmanager
def damage_of(filename: str, what: str) -> Iterator[None]:
    """Turns what h5py raises on damaged structures, of whatever type, into a DataError. For blocks that only read."""
    try:
        yield
    except (IrisError, MemoryError):
        raise
    except Exception as error:
        hint = "copy the file again; if a compression filter is missing, use h5repack"
        raise DataError(f"{filename}: {what} cannot be read: {one_line(error)}", hint) from None


def member(file: h5py.File, path: str) -> Any:
    """The group or dataset at `path`, or None. Raises DataError when it is damaged, or outside the file.

    With an external link, external raw data, or a virtual dataset, a snapshot could read any file that the user may
    read.
    """
    with damage_of(file.filename, path):
        return _member(file, path)


def _member(file: h5py.File, path: str, links: int = 0) -> Any:
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
            return _member(file, "/".join([start, link.path, *parts[depth + 1 :]]), links + 1)
        if not isinstance(link, h5py.HardLink):
            where = getattr(link, "filename", "another place")
            what = f"{file.filename}: {name} is a link to {where}, which is not followed"
            raise DataError(what, "copy the data into the file (h5copy), or name that file itself")
        here = here[name]
    if isinstance(here, h5py.Dataset):
        others = sorted({name for name, *_ in here.external or ()} | set(virtual_files(here)))
        if others:
            some = f"{', '.join(others[:3])}{' …' if len(others) > 3 else ''}"
            what = f"{file.filename}: the data of {here.name} are in other files ({some}), which are not followed"
            raise DataError(what, "name the files that hold the data")
    return here


def virtual_files(dataset: h5py.Dataset) -> list[str]:
    """The other files whose data a virtual dataset shows, each once, in order."""
    names = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    return [name for name in dict.fromkeys(names) if name != "."]


def numbers(file: h5py.File, path: str) -> Any:
    """The dataset of real numbers at `path`, or None when there is none. Raises DataError if it was never written."""
    found = member(file, path)
    if found is None:
        return None
    with damage_of(file.filename, path):
        if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "fiu":
            raise DataError(f"{file.filename}: {path} holds no numbers")
        bytes_, stored = found.size * found.dtype.itemsize, found.id.get_storage_size()
        if bytes_ > _MOST_COMPRESSED * stored and not found.is_virtual:
            what = f"{file.filename}: {path} has shape {found.shape}, but only {stored} bytes of it are in the file"
            raise DataError(what, "it was not completely written: use another snapshot, or write it again")
    return found


def attribute(holder: Any, name: str) -> Any:
    """An attribute's value (bytes as text, an array of one value as that value), or None."""
    if holder is None:
        return None
    with damage_of(holder.file.filename, f"attribute {name} of {holder.name}"):
        value = holder.attrs.get(name)
        value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def numbers_of(holder: Any, name: str, hint: str = "") -> NDArray[np.float64] | None:
    """(N,): the numbers of an attribute, or None when it is missing. Raises DataError if they are not finite."""
    value = attribute(holder, name)
    if value is None:
        return None
    try:
        found = np.asarray(value).reshape(-1)
        found = found.astype(np.float64) if found.dtype.kind in "fiubUS" else np.zeros(0)
    except (ValueError, TypeError, OverflowError):
        found = np.zeros(0)
    if not found.size or not np.isfinite(found).all():
        shown = one_line(repr(value) if isinstance(value, str) else value)
        what = f"attribute {name} of {holder.name} is {shown[:60]}{'…' if len(shown) > 60 else ''}, not a number"
        raise DataError(f"{holder.file.filename}: {what}", hint)
    return found


def number(holder: Any, name: str, hint: str = "") -> float | None:
    """The first number of an attribute, or None when it is missing. Raises DataError when it is not a finite number."""
    found = numbers_of(holder, name, hint)
    return None if found is None else float(found[0])


def count(holder: Any, name: str) -> int | None:
    """The first number of an attribute as a count, or None when it is missing. Raises DataError when it is none."""
    hint = "if each file is a galaxy of its own, --cutouts ignores such numbers"
    value = number(holder, name, hint)
    if value is not None and not (0 <= value < 2**53 and value == int(value)):
        raise DataError(f"{holder.file.filename}: attribute {name} of {holder.name} is {value:g}, not a count", hint)
    return None if value is None else int(value)
