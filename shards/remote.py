"""Shard folders on object storage or a web server: a local folder that fetches a file when it is first needed.

    folder = mirror("s3://bucket/shards", Path("cache"))
    reader = Reader(Index.open(folder))

`fsspec` reads the URL, with whatever package it has for it (s3fs for s3://, gcsfs for gs://, aiohttp for https://).
Whole files are kept: a shard is read many times. What is read is compared with its checksums like any shard.
"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from shards import layout
from shards.errors import ShardError

#: In the local folder: where its files come from.
ORIGIN = ".origin.json"
_locks: dict[Path, threading.Lock] = {}


def mirror(url: str, cache: Path) -> Path:
    """The local folder of a remote one; its index is read anew, so that a set that was written again is another folder.

    ShardError when the index cannot be read.
    """
    url = url.rstrip("/")
    index = _read(f"{url}/{layout.INDEX}")
    folder = cache / f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode() + index).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in ((ORIGIN, json.dumps({"url": url}).encode()), (layout.INDEX, index)):
        if not (folder / name).exists():
            with layout.atomic_file(folder / name) as file:
                file.write(data)
    return folder


def fetch(path: Path) -> None:
    """Fetch a file of a mirror that is not there yet, and no other file. ShardError when it cannot be read."""
    if path.exists():
        return
    try:
        url = json.loads((path.parent / ORIGIN).read_bytes())["url"]
    except FileNotFoundError:
        return
    with _locks.setdefault(path, threading.Lock()):
        if not path.exists():
            data = _read(f"{url}/{path.name}")
            with layout.atomic_file(path) as file:
                file.write(data)


def _read(url: str) -> bytes:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise ShardError(f"{url} needs fsspec", "pip install 'iris-reversion[remote]', or copy the folder") from None
    try:
        filesystem, path = fsspec.url_to_fs(url)
        data: Any = filesystem.cat_file(path)
        return bytes(data)
    except FileNotFoundError:
        raise ShardError(f"{url} does not exist", "name a folder of `iris preobserve`") from None
    except ImportError as error:
        raise ShardError(f"{url} cannot be read: {error}", "install that package, or copy the folder") from None
    except Exception as error:  # each package has its own errors of networks and accounts
        text = " ".join(str(error).split()) or type(error).__name__
        raise ShardError(f"{url} cannot be read: {text}", "are address, network and account right?") from None
