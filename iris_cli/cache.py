"""The cache folder, for level tables and compiled kernels.

`$IRIS_CACHE_DIR`, else `$XDG_CACHE_HOME/iris`, else `~/.cache/iris`. It is used only if it belongs to the user and no
other user can write to it, because compiled code is loaded from there.
"""

import os
import stat
from functools import cache
from pathlib import Path


def private_folder(kind: str) -> Path | None:
    """The folder of one kind of cache, created if necessary; None if no safe folder is available."""
    xdg = os.environ.get("XDG_CACHE_HOME")
    try:
        root = os.environ.get("IRIS_CACHE_DIR") or (f"{xdg}/iris" if xdg else Path("~/.cache/iris").expanduser())
        folder = Path(root, kind)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # or a user without a home folder
        return None
    private = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if private and os.access(folder, os.W_OK) else None


def safe_folder(kind: str) -> Path:
    """The same; where no folder is safe, one of this process, which is removed at its end."""
    return private_folder(kind) or _of_this_process(kind)


@cache
def _of_this_process(kind: str) -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=f"iris-{kind}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
