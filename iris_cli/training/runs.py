"""A whole training run, or an ensemble of them, from folders to numbers: what `iris train` calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from iris_cli.config.train import TrainConfig
from iris_cli.console import log
from iris_cli.distributed import world
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.sources import image_size, pairs_of
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.run_folder import MEMBER, RunFolder, check_room_for_members
from iris_cli.training.train import train_reverter


def train_run(hyper: TrainConfig, out: Path, **how: Any) -> dict[str, Any]:
    """Train on `hyper.data` into the run folder `out`; `how` goes to train_reverter. What came of it, on every rank."""
    dataset, observer = open_data(hyper.data, hyper.observer, checksums=hyper.checksums)
    litter = open_litter(hyper)
    pairs = pairs_of(dataset, observer)
    reverter = Reverter(image_size(pairs), pairs.quantity, seed=hyper.seed, network=hyper.network)
    train_reverter(
        reverter,
        dataset,
        litter=litter,
        observer=observer,
        hyper=hyper,
        checkpoint_directory=out.parent,
        checkpoint_name=out.name,
        **how,
    )
    return summary(RunFolder(out))


def train_members(hyper: TrainConfig, out: Path, members: int, *, device: str = "auto", **how: Any) -> dict[str, Any]:
    """An ensemble: so many runs that differ in their seed alone, one after the other, each in a folder in `out`.

    Member k has the seed `hyper.seed` + k - 1, so that member 1 is the run that `train_run` would make.
    """
    told = []
    with world(device) as here:  # the ranks meet once, not once a member
        here.on_rank_0(lambda: check_room_for_members(out, members))
        for k in range(1, members + 1):
            if not how.get("quiet"):
                log(f"member {k} of {members}")
            member = replace(hyper, seed=hyper.seed + k - 1)
            how_here = {"device": device, "auto_startup": False, "auto_cleanup": False}
            told.append(train_run(member, out / MEMBER.format(k), **how, **how_here))
    return {"run": str(out), "members": told}


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
