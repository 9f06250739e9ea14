"""A whole test of a run, from folders to numbers: what `iris test` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import warn
from iris_cli.errors import DataError
from iris_cli.training.api import test_feed, test_reverter
from iris_cli.training.checkpoint import Checkpoint, load
from iris_cli.training.folders import open_data, open_litter, shards_folder
from iris_cli.training.report import Report
from iris_cli.training.run_folder import RunFolder
from shards.index import Index

#: Splits that a test prefers, because no step was taken on them.
HELD_OUT = ("test", "validation")


@dataclass(frozen=True)
class Trained:
    """A checkpoint, where it lies, and the configuration that it was trained with."""

    path: Path
    checkpoint: Checkpoint
    hyper: TrainConfig


def open_run(run: Path) -> Trained:
    """The best checkpoint of a run folder, or the checkpoint file itself. DataError when it is neither."""
    if run.is_file():
        path, checkpoint = run, load(run)
    elif run.is_dir():
        path, checkpoint = RunFolder(run).best()
    else:
        raise DataError(f"{run} does not exist", "name the folder of `iris train --out`, or a checkpoint in it")
    return Trained(path, checkpoint, from_dict(TrainConfig, checkpoint.config, str(path)))


def test_run(
    trained: Trained, hyper: TrainConfig, *, split: str | None = None, device: str = "auto", quiet: bool = False
) -> tuple[Report, dict[str, Any]]:
    """Test a checkpoint on `hyper.data`, with the noise, litter, batch and seed of `hyper`.

    The report, and the same with its circumstances as one JSON object.
    """
    split = split or ("" if hyper.observer else held_out(hyper.data))
    dataset, observer = open_data(hyper.data, hyper.observer, split or None, checksums=hyper.checksums)
    litter = open_litter(hyper)
    report = test_reverter(trained.checkpoint.make_reverter(), dataset, litter=litter, observer=observer, hyper=hyper,
                           mean_image=trained.checkpoint.mean_image, device=device, quiet=quiet)  # fmt: skip
    circumstances = {
        "split": split or "all",
        "checkpoint": str(trained.path),
        "epoch": trained.checkpoint.progress.epoch,
        "noise": to_dict(hyper.noise),
        "litter": hyper.litter or None,
        "data": list(hyper.data),
    }
    return report, {**report.to_dict(), **circumstances}


test_run.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Predictions:
    """A few galaxies as the network saw them: (1, L, V), (1, R', L), (1, R', L) each, in inner units."""

    observations: list[NDArray[np.float32]]
    true: list[NDArray[np.float32]]
    predicted: list[NDArray[np.float32]]
    sources: list[str]
    grid: Grid
    quantity: str


def sample_predictions(trained: Trained, hyper: TrainConfig, galaxies: int) -> Predictions:
    """The first pairs of so many different galaxies of the held-out split, with their noise and litter."""
    split = held_out(hyper.data)
    dataset, _ = open_data(hyper.data, split=split or None)
    litter = open_litter(hyper)
    feed, reverter = test_feed(dataset, hyper, litter), trained.checkpoint.make_reverter().eval()
    groups = feed.pairs.groups()
    shown = Predictions([], [], [], [], feed.pairs.grid, feed.pairs.quantity)
    for batch in feed.epoch():
        with torch.no_grad():
            predicted = reverter(batch.observation)
        for row, number in enumerate(batch.ids.tolist()):
            if groups[number] not in shown.sources and len(shown.sources) < galaxies:
                shown.observations.append(batch.observation[row].numpy())
                shown.true.append(batch.density[row].numpy())
                shown.predicted.append(predicted[row].numpy())
                shown.sources.append(groups[number])
        if len(shown.sources) == galaxies:
            break
    return shown


def held_out(folders: Sequence[str]) -> str:
    """The split to test on; "" with a warning when nothing was held out."""
    splits = [Index.open(shards_folder(folder)).splits for folder in folders]
    for name in HELD_OUT:
        if all(found.get(name) for found in splits):
            return name
    warn(f"{folders[0]} holds neither a test nor a validation split: testing on all pairs, perhaps those trained on")
    return ""
