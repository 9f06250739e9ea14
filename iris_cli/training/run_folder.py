"""A run folder. All files are complete at any moment.

config.toml              the resolved configuration
metrics.jsonl            a line per logged step and per epoch
checkpoints/step-*.pt    the newest few; best.pt is the one with the lowest validation loss
samples/                 the same for a later stage, if there is one: the sampler
training_inputs.npz      statistics of the training's inputs, for the comparison with other inputs
test.json                numbers of the latest test
tensorboard/             event files, with `log = "tensorboard"`
"""

import json
import os
import shlex
import shutil
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.config.toml import to_toml
from iris_cli.config.train import BEST, CHECKPOINTS, CONFIG, LATER_STAGES, METRICS, TEST, TrainConfig, numbered_members
from iris_cli.console import warn
from iris_cli.errors import DataError, UsageError, naming
from iris_cli.files import atomic_file
from iris_cli.metrics_log import is_number, parsed_line, text_lines
from iris_cli.training.checkpoint import Checkpoint, Progress, load, save
from iris_cli.training.tensorboard import event_files
from shards.layout import leftovers

#: Statistics of the training's inputs.
TRAINING_INPUTS = "training_inputs.npz"
#: Keys of a configuration that `iris train` has written; one written by hand rarely has all of them.
RESOLVED = {"data", "epochs", "network", "seed", "optimizer", "schedule", "noise"}


def member_folders(run: Path) -> list[Path]:
    """The run folders of an ensemble; a single run, or a checkpoint file, is returned itself."""
    return numbered_members(run) or [run]


def check_room_for_members(run: Path, members: int) -> None:
    """UsageError when the folder holds a single run or a larger ensemble, whose members a test would include."""
    found = len(numbered_members(run))
    if not found and (run / CHECKPOINTS).is_dir():
        raise UsageError(f"{run} holds a single run, not an ensemble", "choose another folder")
    if found > members:
        hint = f"--members {found}, or another folder"
        raise UsageError(f"{run} holds {found} members, more than the {members} to train", hint)


def _is_before(line: str, progress: Progress) -> bool:
    """Whether a line of metrics is complete, and of a step or an epoch that is done."""
    found = parsed_line(line)
    if found is None or found["step"] > progress.step:
        return False
    return found["kind"] != "epoch" or (is_number(found["epoch"]) and found["epoch"] < progress.epoch)


@dataclass(frozen=True)
class RunFolder:
    """The folder `path`; the newest `keep` checkpoints are kept, and the best."""

    path: Path
    keep: int = 3

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Create the folder. UsageError when it holds a run that is neither to be resumed nor overwritten."""
        if resume and overwrite:
            raise UsageError("a run is either resumed or replaced", "--resume or --overwrite")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} exists and is not a folder", "choose another")
        used = self.path.is_dir() and any(not path.name.endswith(".part") for path in self.path.iterdir())
        if used and (resume or overwrite) and (members := numbered_members(self.path)):
            raise UsageError(f"{self.path} holds an ensemble of {len(members)}", "choose another folder, or --members")
        if used and overwrite:
            self._clear()
        elif used and not resume:
            again = shlex.join(["iris", "train", "--resume", str(self.path)])
            hint = f"resume it: `{again}`; or add --overwrite to replace it, or choose another folder"
            raise UsageError(f"run folder {self.path} exists", hint)
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"run folder {self.path} cannot be created: {error.strerror}", "choose another") from None
        for part in (*leftovers(self.path), *self.checkpoints.glob(".*.part")):
            part.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove the files of a run, and no others. DataError when they were not written by a run."""
        config, metrics = self.path / CONFIG, self.path / METRICS
        keys: set[str] = set()
        with suppress(OSError, ValueError):
            keys = set(tomllib.loads(config.read_text(encoding="utf-8")))
        if (config.exists() or metrics.exists()) and not keys >= RESOLVED:
            what = f"{self.path} does not hold a run: its {CONFIG} was not written by `iris train`"
            raise DataError(what, "choose another folder")
        named = [self.path / name for name in (CONFIG, METRICS, TRAINING_INPUTS, TEST)]
        for path in (*named, self.checkpoints / BEST, *self._steps(), *event_files(self.path)):
            path.unlink(missing_ok=True)
        for later in (self.path / name for name in LATER_STAGES):
            if later.is_dir():
                RunFolder(later)._clear()

    @property
    def training_inputs(self) -> Path:
        return self.path / TRAINING_INPUTS

    def begin(self, hyper: TrainConfig, progress: Progress) -> None:
        """Write the configuration, and drop metrics after `progress` and a truncated last line."""
        with atomic_file(self.path / CONFIG) as file:
            file.write(to_toml(hyper).encode())
        metrics = self.path / METRICS
        lines = text_lines(metrics) if metrics.exists() else []
        kept = [line + "\n" for line in lines if _is_before(line, progress)]
        if lines:
            with atomic_file(metrics) as file:
                file.write("".join(kept).encode())

    def log(self, **line: Any) -> None:
        """Append a line to metrics.jsonl: completely, or not at all."""
        path, rest = self.path / METRICS, f"{json.dumps(line)}\n".encode()
        with naming(path), path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(before)
                raise

    def save(self, checkpoint: Checkpoint, *, best: bool = False) -> None:
        """Write a checkpoint; delete those before the newest `keep`, and those of later steps, which were abandoned."""
        path = self._path(checkpoint)
        save(checkpoint, path)
        if best:
            self._mark_best(path)
        elif not (self.checkpoints / BEST).exists():
            self._drop_test()
        steps = self._steps()
        here = steps.index(path)
        for old in (*steps[:here], *steps[here + self.keep :]):
            old.unlink(missing_ok=True)

    def keep_best_of(self, checkpoint: Checkpoint) -> None:
        """Before a run is resumed from `checkpoint`: make best.pt the best checkpoint up to that one.

        It may be another if the run is resumed from an older checkpoint, or in another folder. If the best checkpoint
        no longer exists, best.pt becomes `checkpoint` itself.
        """
        if checkpoint.progress.best_epoch is None:
            return
        wanted = checkpoint.progress.best_epoch + 1, 0, checkpoint.progress.best_loss
        for path in (self.checkpoints / BEST, *self._steps()):
            with suppress(DataError):
                found = load(path).progress
                if (found.epoch, found.position, found.best_loss) == wanted:
                    if path.name != BEST:
                        self._mark_best(path)
                    return
        save(checkpoint, self.checkpoints / BEST)
        self._drop_test()

    def _path(self, checkpoint: Checkpoint) -> Path:
        return self.checkpoints / f"step-{checkpoint.progress.step:09d}.pt"

    def _mark_best(self, path: Path) -> None:
        """A hard link as best.pt; a copy where the file system has no links."""
        temporary = self.checkpoints / f".{BEST}.{os.getpid()}.part"
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(self.checkpoints / BEST)
        self._drop_test()

    def _drop_test(self) -> None:
        """Remove the numbers of a test of another checkpoint, also of a run or an ensemble that this one is part of."""
        (self.path / TEST).unlink(missing_ok=True)
        if self.path.name in LATER_STAGES:
            RunFolder(self.path.parent)._drop_test()
        elif self.path in numbered_members(self.path.parent):
            (self.path.parent / TEST).unlink(missing_ok=True)

    def _steps(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*.pt"), reverse=True)

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, if any; a warning for each incomplete one."""
        for path in self._steps():
            try:
                return load(path)
            except DataError as error:
                warn(f"ignoring a checkpoint: {error.message}")
        return None

    def newest(self) -> Checkpoint:
        """The newest complete checkpoint. DataError when there is none."""
        newest = self.latest()
        if newest is None:
            raise DataError(f"{self.path} holds no checkpoint", "give the folder of a finished `iris train --out`")
        return newest

    def best(self) -> tuple[Path, Checkpoint]:
        """The checkpoint with the lowest validation loss, or the newest. DataError when there is none."""
        if (self.checkpoints / BEST).exists():
            return self.checkpoints / BEST, load(self.checkpoints / BEST)
        newest = self.newest()
        return self._path(newest), newest
