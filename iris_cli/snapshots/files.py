"""The files of a snapshot: one, or the numbered parts that the processes of a simulation wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from iris_cli.errors import DataError
from iris_cli.snapshots.hdf5 import member, number, opened

_ENDINGS = (".hdf5", ".h5")
_PART = re.compile(r"(?P<stem>.+)\.(?P<number>\d+)(?P<ending>\.hdf5|\.h5)")


@dataclass(frozen=True)
class SnapshotFiles:
    """A snapshot's name and its files in order."""

    name: str
    parts: tuple[Path, ...]


def find_snapshots(paths: Sequence[Path]) -> list[SnapshotFiles]:
    """The snapshots among files and folders, each once, even if several of its parts are named.

    Raises DataError for missing files and for split snapshots with missing parts.
    """
    found: dict[tuple[Path, ...], SnapshotFiles] = {}
    for file in (file for path in paths for file in _files(path)):
        snapshot = _snapshot(file)
        found.setdefault(tuple(part.resolve() for part in snapshot.parts), snapshot)
    return list(found.values())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix in _ENDINGS and p.is_file())
        if not inside:
            raise DataError(f"{path} holds no snapshot (*.hdf5)")
        return inside
    first = path.with_name(f"{path.name}.0.hdf5")
    return [first] if not path.exists() and first.exists() else [path]


def _snapshot(path: Path) -> SnapshotFiles:
    with opened(path) as file:
        count = int(number(member(file, "Header"), "NumFilesPerSnapshot") or 1)
    named = _PART.fullmatch(path.name)
    if count <= 1:
        return SnapshotFiles(path.stem, (path,))
    if not named:
        what = f"{path} is one of {count} files of a snapshot, but its name holds no number"
        raise DataError(what, "rename the files to STEM.0.hdf5, STEM.1.hdf5, …")
    parts = [path.with_name(f"{named['stem']}.{k}{named['ending']}") for k in range(count)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        names = f"{', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}"
        what = f"{path} is one of {count} files of a snapshot; missing: {names}"
        raise DataError(what, "copy all of them into one folder")
    return SnapshotFiles(named["stem"], tuple(parts))


def cells_in(file: h5py.File) -> int:
    """The number of gas cells in a file. Raises DataError when its header gives another number."""
    coordinates = member(file, "PartType0/Coordinates")
    held = len(coordinates) if isinstance(coordinates, h5py.Dataset) and coordinates.shape else 0
    listed = number(member(file, "Header"), "NumPart_ThisFile")
    if listed and member(file, "PartType0") is None:
        raise DataError(f"{file.filename} has no group PartType0; its header lists {int(listed)} gas cells")
    if listed is not None and int(listed) != held:
        what = f"{file.filename} holds {held} gas cells (PartType0/Coordinates); its header lists {int(listed)}"
        raise DataError(what, "it was truncated or changed: copy it again")
    return held


def cells_listed(file: h5py.File) -> int | None:
    """The number of gas cells in all files of a snapshot, according to the header of one of them."""
    header = member(file, "Header")
    total = number(header, "NumPart_Total")
    return None if total is None else int(total) + (int(number(header, "NumPart_Total_HighWord") or 0) << 32)
