"""What ranks tell the launcher that started them, and each other: notes in a folder of its own, which it names."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from hashlib import sha256
from pathlib import Path

from iris_cli.errors import IrisError

#: The variables that name the folder and the launcher's process. Without a launcher of ours no notes are made.
FOLDER, LAUNCHER = "IRIS_LAUNCH_FOLDER", "IRIS_LAUNCHER"
#: Training has begun; after a signal, all is saved.
BEGUN, STOPPED = "begun", "stopped"


def note(what: str) -> None:
    if folder := os.environ.get(FOLDER):
        Path(folder, what).touch()


def told_already(message: str) -> bool:
    """Whether another rank of this launcher has said the same: what all ranks meet is told by the first."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return False
    try:
        Path(folder, sha256(message.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError:  # the launcher has gone: better twice than never
        return False
    return False


def end_with_launcher() -> None:
    """For a rank: be sent SIGTERM when the launcher ends, which else could be killed and leave ranks at work.

    They would go on writing into a folder that the next start takes up. On Linux, where a process can ask for it.
    IrisError when the launcher has ended already.
    """
    if LAUNCHER not in os.environ or sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(os.environ[LAUNCHER]):
        raise IrisError("the process that started this rank has ended", "start again")
