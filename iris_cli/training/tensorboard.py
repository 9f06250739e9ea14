"""The metrics of a run as TensorBoard event files; the package is an optional dependency."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from iris_cli.errors import UsageError

FOLDER = "tensorboard"


def check_installed(log: str) -> None:
    """UsageError when TensorBoard is requested and not installed."""
    if log == "tensorboard" and find_spec("tensorboard") is None:
        raise UsageError("--log tensorboard needs the package tensorboard", "pip install 'iris-reversion[tensorboard]'")


def event_files(run: Path) -> list[Path]:
    return sorted((run / FOLDER).glob("events.out.tfevents.*"))


class Board:
    """Writes scalars named step/loss, epoch/skill and so on, over optimizer steps."""

    def __init__(self, run: Path, step: int) -> None:
        """`step` is the last one of a resumed run: later events are dropped."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / FOLDER), purge_step=step + 1 if step else None)

    def log(self, step: int, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name not in ("kind", "epoch", "position") and value is not None:
                self._writer.add_scalar(f"{line['kind']}/{name}", value, step)
        self._writer.flush()
