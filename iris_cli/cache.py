"""The cache folder, for level tables and compiled kernels.

`$IRIS_CACHE_DIR`, else `$XDG_CACHE_HOME/iris`, else `~/.cache/iris`. It is used only if it belongs to the user and no
other user can write to it, because compiled code is loaded from there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def private_folder(kind: str) -> Path | None:
    """The folder of one kind of cache, created if necessary; None if no safe folder is available."""
    folder = _root() / kind
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_private(folder) and os.access(folder, os.W_OK) else None
    except OSError:
        return None


def _root() -> Path:
    if chosen := os.environ.get("IRIS_CACHE_DIR"):
        return Path(chosen)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "iris"
    return Path("~/.cache/iris").expanduser()


def _is_private(folder: Path) -> bool:
    status = folder.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
