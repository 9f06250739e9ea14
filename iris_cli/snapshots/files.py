"""Which files make up a snapshot: one, or the numbered parts that a code wrote from many processes."""

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
    """Each snapshot once, however many of its parts are named; a folder stands for all snapshots in it.

    DataError when there is no such file, or when parts of a split snapshot are missing.
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
    if count <= 1 or not named:
        if count > 1:
            raise DataError(
                f"{path} is one of {count} files of a snapshot, but its name holds no number",
                "name them STEM.0.hdf5, STEM.1.hdf5, …",
            )
        return SnapshotFiles(path.stem, (path,))
    parts = [path.with_name(f"{named['stem']}.{k}{named['ending']}") for k in range(count)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise DataError(
            f"{path} is one of {count} files of a snapshot; missing: {', '.join(missing[:4])}"
            f"{' …' if len(missing) > 4 else ''}",
            "copy all of them into one folder",
        )
    return SnapshotFiles(named["stem"], tuple(parts))


def cells_in(file: h5py.File) -> int:
    """How many gas cells a file holds. DataError when its header promises another number."""
    coordinates = member(file, "PartType0/Coordinates")
    held = len(coordinates) if isinstance(coordinates, h5py.Dataset) and coordinates.shape else 0
    promised = number(member(file, "Header"), "NumPart_ThisFile")
    if promised and member(file, "PartType0") is None:
        raise DataError(f"{file.filename} has no group PartType0; its header promises {int(promised)} gas cells")
    if promised is not None and int(promised) != held:
        raise DataError(
            f"{file.filename} holds {held} gas cells (PartType0/Coordinates); its header promises {int(promised)}",
            "it was cut short or changed: copy it again",
        )
    return held


def cells_promised(file: h5py.File) -> int | None:
    """How many gas cells all files together hold, by the header of one of them."""
    header = member(file, "Header")
    total = number(header, "NumPart_Total")
    return None if total is None else int(total) + (int(number(header, "NumPart_Total_HighWord") or 0) << 32)
