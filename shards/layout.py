"""The files of a shard folder: their names, JSON that carries its own checksum, and atomic writing.

index.json          the finished set: counts, checksums, arrays, statistics, attributes
plan.json           what the set will hold, written before the first shard
train-000007.tar    members <key>.<array>.<encoding's suffix> and <key>.json, sample after sample
train-000007.json   the finished shard's record: offset and checksum of every member
failures.jsonl      inputs that could not be made into a sample, if any
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from shards.errors import ShardError, VersionError
from shards.owner import process_start

FORMAT = "iris-shards"
#: To be raised when a reader of the old version could misunderstand a new folder.
FORMAT_VERSION = 3
DEFAULT_SAMPLES_PER_SHARD = 256

INDEX, PLAN, FAILURES = "index.json", "plan.json", "failures.jsonl"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+=,@~-]*")
_USUAL_SPLITS = ("train", "validation", "test")
_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_SHARD = re.compile(r"[a-z][a-z0-9_]*-\d{6,}\.(tar|json)")
#: Python's halves of surrogate pairs, with which it has bytes of names that are not UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEMPORARY = re.compile(r"(?s)\.(?P<name>.+)\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.part")
#: A ustar header holds names of up to 100 bytes, suffix included.
LONGEST_KEY = 64
#: Bytes of a name in its temporary name. A file system allows 255; host, pid and punctuation take at most 85.
_ROOM = 160
STALE_AFTER_S = 24 * 3600.0


def check_split(split: str) -> str:
    """ShardError when the split's name cannot be part of a file name."""
    if not _SPLIT.fullmatch(split):
        raise ShardError(f"split name '{split}' is not usable in a file name", "use lower-case letters, digits and _")
    return split


def split_order(split: str) -> tuple[int, str]:
    """Sorts splits: train, validation, test, then others by name."""
    return (_USUAL_SPLITS.index(split) if split in _USUAL_SPLITS else len(_USUAL_SPLITS), split)


def record_name(tar_name: str) -> str:
    """`train-000007.json` beside `train-000007.tar`."""
    return f"{tar_name.removesuffix('.tar')}.json"


def check_key(key: str) -> str:
    """A key becomes the first part of a member's name; WebDataset splits that at the first dot. ShardError if unfit."""
    if len(key) > LONGEST_KEY:
        raise ShardError(f"key '{key}' has {len(key)} characters; a tar header has room for {LONGEST_KEY}")
    if not _KEY.fullmatch(key):
        why = "contains a dot, where WebDataset would split it" if "." in key else "contains unusable characters"
        raise ShardError(f"key '{key}' {why}", f"use '{safe_key(key)}'")
    return key


def safe_key(text: str) -> str:
    """A key made of any text: other characters become '-'. Two texts may give one key, for which writers check."""
    return re.sub(r"[^A-Za-z0-9_+=,@~-]+", "-", text).strip("-_+=,@~")[:LONGEST_KEY] or "sample"


def is_shard_file(name: str) -> bool:
    """Whether a file's name is one that this library writes, so that an overwrite may remove it."""
    return name in (INDEX, PLAN, FAILURES) or bool(_SHARD.fullmatch(name) or _TEMPORARY.fullmatch(name))


def checksum(data: bytes | bytearray | memoryview) -> str:
    """xxh3 of a file, 128 bits, hexadecimal."""
    return xxhash.xxh3_128_hexdigest(data)


def member_checksum(*parts: bytes | bytearray | memoryview) -> str:
    """xxh3 of a member's content, 64 bits, hexadecimal; the parts as if joined."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


# --- JSON that carries its own checksum -------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """The text of a JSON value; equal values have equal texts. ValueError on NaN or infinity.

    It is UTF-8, except that a byte of a name that is not is an escape.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty(value: dict[str, Any]) -> str:
    """One line per top-level entry: readable at the top, compact below."""
    lines = (f"{json.dumps(key)}: {canonical(value[key])}" for key in sorted(value))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def checksummed_json(kind: str, body: dict[str, Any]) -> bytes:
    """A file's bytes: format, kind ("index", "plan" or "shard"), body, and the checksum of all these."""
    whole = {"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, **body}
    return pretty({**whole, "self_checksum": checksum(pretty(whole).encode())}).encode()


def read_checksummed_json(path: Path, kind: str, hint: str) -> dict[str, Any]:
    """The body of such a file, with its format and kind.

    ShardError with `hint` if it is absent, damaged, edited by hand or of another kind; of another version, too.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ShardError(f"{path} does not exist", hint) from None
    except (IsADirectoryError, NotADirectoryError):
        raise ShardError(f"{path} is not a file", hint) from None
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise ShardError(f"{path} is damaged: it is not valid JSON ({len(data)} bytes)", hint) from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ShardError(f"{path} is not a file of this format", hint)
    version = body.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        what = f"{path} is of format version {version}; this program reads up to {FORMAT_VERSION}"
        raise VersionError(what, "install a newer release")
    if version < FORMAT_VERSION:
        what = f"{path} is of format version {version}, which this program no longer reads"
        raise VersionError(what, "write the set again")
    body.pop("self_checksum", None)
    try:
        unchanged = checksummed_json("", body) == data
    except ValueError:  # NaN or infinity, which this library never writes
        unchanged = False
    if not unchanged:
        raise ShardError(f"{path} is damaged or was changed by hand: its checksum does not match", hint)
    if body.get("kind") != kind:
        raise ShardError(f"{path} is of kind {body.get('kind')!r}, not '{kind}'", hint)
    return body


# --- atomic writing ---------------------------------------------------------------------------------------------------


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64] or "host"


def temporary_name(path: Path) -> Path:
    """A name beside `path` with host and pid: no other process uses it, and `leftovers` recognizes it."""
    return path.with_name(f".{_shortened(path.name)}.{_host()}.{os.getpid()}.part")


def _shortened(name: str) -> str:
    """A name for which a temporary name still has room; a long one is cut, and its checksum takes the rest's place."""
    data = os.fsencode(name)
    if len(data) <= _ROOM:
        return name
    digest = xxhash.xxh3_64_hexdigest(data)
    return os.fsdecode(data[: _ROOM - len(digest) - 1]) + f"~{digest}"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write under a temporary name (host, pid) in the same folder, fsync, rename. On an error nothing is left."""
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)  # left by a killed process that had the same pid
    try:
        with open(temporary, "wb", opener=_exclusive) as file:  # astropy writes to no file of mode "x"
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path) if error.filename in (None, str(temporary)) else error.filename
        temporary.unlink(missing_ok=True)
        raise


def _exclusive(path: str, flags: int) -> int:
    """Create a file; FileExistsError if there is one, so that no link of another user is followed."""
    return os.open(path, flags | os.O_EXCL, 0o666)


def write_atomic(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system supports it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot sync a folder; the rename itself is still atomic
    finally:
        os.close(handle)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files whose writer is gone: its process on this host has ended, or they are a day old on another."""
    return [path for path in _abandoned_in(folder) if not path.is_dir()]


def leftover_folders(path: Path) -> list[Path]:
    """Temporary folders of a writer of `path` that is gone."""
    mine = re.compile(rf"\.{re.escape(_shortened(path.name))}\.[A-Za-z0-9-]+\.\d+\.part")
    return [left for left in _abandoned_in(path.parent) if left.is_dir() and mine.fullmatch(left.name)]


def _abandoned_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if (found := _TEMPORARY.fullmatch(path.name)) and _abandoned(path, found)]


def _abandoned(path: Path, found: re.Match[str]) -> bool:
    if found["host"] == _host():
        return process_start(int(found["pid"])) is None
    try:
        return time.time() - path.lstat().st_mtime > STALE_AFTER_S
    except FileNotFoundError:
        return False
