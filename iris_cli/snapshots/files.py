"""The files of a snapshot: one, or the numbered parts that the processes of a simulation wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py

from iris_cli.errors import DataError
from iris_cli.snapshots.arrays import ArraySet, GasFile, is_fits
from iris_cli.snapshots.codes import COORDINATES
from iris_cli.snapshots.hdf5 import count, damage_of, member, opened, virtual_files

_ENDINGS = (".hdf5", ".h5", ".fits")
_PART = re.compile(r"(?P<stem>.+)\.(?P<number>\d+)(?P<ending>\.hdf5|\.h5)")


@dataclass(frozen=True)
class SnapshotFiles:
    """A snapshot's name and its files in order."""

    name: str
    parts: tuple[Path, ...]


def find_snapshots(paths: Sequence[Path], cutouts: bool = False) -> list[SnapshotFiles]:
    """The snapshots among files and folders, each once, even if several of its parts are named.

    With `cutouts`, each file is a snapshot, whatever its header reports of other files. Raises DataError for missing
    files and for split snapshots with missing parts.
    """
    found: dict[tuple[Path, ...], SnapshotFiles] = {}
    for file in (file for path in paths for file in _files(path)):
        snapshot = SnapshotFiles(file.stem, (file,)) if cutouts else _snapshot(file)
        found.setdefault(tuple(part.resolve() for part in snapshot.parts), snapshot)
    return list(found.values())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix in _ENDINGS and p.is_file())
        if not inside:
            raise DataError(f"{path} holds no snapshot (*{', *'.join(_ENDINGS)})")
        return inside
    first = path.with_name(f"{path.name}.0.hdf5")
    return [first] if not path.exists() and first.exists() else [path]


def _snapshot(path: Path) -> SnapshotFiles:
    if is_fits(path):
        return SnapshotFiles(path.stem, (path,))
    with opened(path) as file:
        files = count(member(file, "Header"), "NumFilesPerSnapshot") or 1
        shown = _files_shown(file)
    if shown:
        return _of_virtual(path, shown)
    named = _PART.fullmatch(path.name)
    if files <= 1:
        return SnapshotFiles(path.stem, (path,))
    alone = "if it is a cut-out with all its gas, --cutouts"
    if not named:
        what = f"{path} is one of {files} files of a snapshot, but its name holds no number"
        raise DataError(what, f"rename the files to STEM.0.hdf5, STEM.1.hdf5, …; {alone}")
    names = (path.with_name(f"{named['stem']}.{k}{named['ending']}") for k in range(files))
    missing = list(islice((part.name for part in names if not part.exists()), 5))
    if missing:
        what = f"{path} is one of {files} files of a snapshot; missing: {_some(missing)}"
        raise DataError(what, f"copy all of them into one folder; {alone}")
    parts = tuple(path.with_name(f"{named['stem']}.{k}{named['ending']}") for k in range(files))
    return SnapshotFiles(named["stem"], parts)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}"


def _files_shown(file: h5py.File) -> list[str]:
    """The parts of a snapshot that a virtual file of SWIFT shows as one."""
    gas = member(file, "PartType0")
    with damage_of(file.filename, COORDINATES):
        link = gas.get("Coordinates", getlink=True) if isinstance(gas, h5py.Group) else None
        coordinates = gas["Coordinates"] if isinstance(link, h5py.HardLink) else None
        return virtual_files(coordinates) if isinstance(coordinates, h5py.Dataset) else []


def _of_virtual(path: Path, shown: Sequence[str]) -> SnapshotFiles:
    """The parts beside a virtual file. Parts elsewhere are not followed: a file could name any other."""
    parts = tuple(path.with_name(name) for name in shown if Path(name).name == name.removeprefix("./"))
    missing = [name for name in shown if path.with_name(Path(name).name) not in parts]
    missing += [part.name for part in parts if not part.is_file()]
    if missing:
        what = f"{path} is a virtual file of {len(shown)} others; not beside it: {_some(missing)}"
        raise DataError(what, "copy them beside it, or name them instead of it")
    return SnapshotFiles(path.stem, parts)


def cells_in(file: GasFile, cutout: bool = False) -> int:
    """The number of gas cells in a file. Raises DataError when its header gives another number, unless `cutout`.

    A number of 0 in the header of a file with gas was not filled in.
    """
    if isinstance(file, ArraySet):
        return file.cells
    coordinates = member(file, COORDINATES)
    held = len(coordinates) if isinstance(coordinates, h5py.Dataset) and coordinates.shape else 0
    listed = None if cutout else count(member(file, "Header"), "NumPart_ThisFile")
    if listed and member(file, "PartType0") is None:
        raise DataError(f"{file.filename} has no group PartType0; its header lists {listed} gas cells")
    if listed and listed != held:
        what = f"{file.filename} holds {held} gas cells ({COORDINATES}); its header lists {listed}"
        raise DataError(what, "it was truncated or changed: copy it again, or --cutouts to take it as it is")
    return held


def cells_listed(file: GasFile) -> int | None:
    """The number of gas cells in all files of a snapshot, according to the header of one of them; None if not given.

    Cut-outs have 0.
    """
    header = None if isinstance(file, ArraySet) else member(file, "Header")
    total = count(header, "NumPart_Total")
    return total + ((count(header, "NumPart_Total_HighWord") or 0) << 32) if total is not None else None
