"""A whole training run, from folders to numbers: what `iris train` calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iris_cli.config.train import TrainConfig
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.api import train_reverter
from iris_cli.training.folders import open_data, open_litter
from iris_cli.training.pairs import image_size, pairs_of
from iris_cli.training.run_folder import RunFolder


def train_run(hyper: TrainConfig, out: Path, **how: Any) -> dict[str, Any]:
    """Train on `hyper.data` into the run folder `out`; `how` goes to train_reverter. What came of it, on every rank."""
    dataset, observer = open_data(hyper.data, hyper.observer)
    litter = open_litter(hyper)
    pairs = pairs_of(dataset, observer)
    reverter = Reverter(image_size(pairs), pairs.quantity, seed=hyper.seed)
    train_reverter(reverter, dataset, litter=litter, observer=observer, hyper=hyper,
                   checkpoint_directory=out.parent, checkpoint_name=out.name, **how)  # fmt: skip
    return summary(RunFolder(out))


def summary(folder: RunFolder) -> dict[str, Any]:
    """What a run has come to. DataError when it holds no checkpoint."""
    progress = folder.newest().progress
    return {
        "run": str(folder.path),
        "epochs": progress.epoch,
        "steps": progress.step,
        "best_epoch": None if progress.best_epoch is None else progress.best_epoch + 1,
        "best_validation_loss": progress.best_loss,
    }
