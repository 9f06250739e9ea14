"""Folders named in a command -> data sets to train or test on."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset

from iris_cli.cache import safe_folder
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import surveys
from iris_cli.config.train import CHECKPOINTS, TrainConfig, is_run
from iris_cli.errors import DataError, UsageError
from iris_cli.observers.observer import Observer
from iris_cli.observers.registry import make_observer
from iris_cli.pairs.datasets import InfiniteDataset, PreObservedDataset
from iris_cli.standard.dataset import StandardDataset
from iris_cli.text import url_of
from shards.remote import mirror


def open_data(
    folders: Sequence[str], observer: str = "", split: str | None = None, *, checksums: bool = True
) -> tuple[Any, Observer | None]:
    """The data set of shard folders, or of standard data sets with the observer or the survey of that name.

    Several data sets are joined.
    """
    if not observer:
        return _joined([open_shards(folder, split, checksums=checksums) for folder in folders]), None
    if split:
        raise UsageError("a standard data set has no splits", "test on shards, or on all tensors")
    how = surveys()[observer].preobserve_config() if observer in surveys() else PreobserveConfig(observer=observer)
    standard = []
    for folder in folders:
        if (Path(folder) / "index.json").exists():
            raise UsageError(f"{folder} holds shards, which are observed already", "leave out --observer")
        standard.append(StandardDataset.open(folder))
    return _joined(standard), make_observer(standard[0].grid, how)


def open_shards(folder: str, split: str | None = None, *, checksums: bool = True) -> PreObservedDataset:
    dataset = PreObservedDataset(shards_folder(folder), split, checksums=checksums)
    dataset.name = url_of(folder) or dataset.name
    return dataset


def open_litter(hyper: TrainConfig) -> InfiniteDataset | None:
    """The litter of a configuration, if any. DataError when its folder is empty."""
    if not hyper.litter:
        return None
    if not (url_of(hyper.litter) or Path(hyper.litter).is_dir()):
        hint = "name its folder by --litter; without litter: `iris test --no-litter`, `iris plot pair --clean`"
        raise DataError(f"the litter {hyper.litter} is not there", hint)
    dataset: Any = None
    if is_standard(Path(hyper.litter)):
        if not hyper.observer:
            hint = f"observe it as the pairs were: iris preobserve {hyper.litter} LITTER --litter"
            raise UsageError(f"the litter {hyper.litter} is a standard data set, not shards", hint)
        dataset = StandardDataset.open(hyper.litter)
    else:
        dataset = open_shards(hyper.litter, checksums=hyper.checksums)
    if len(dataset) == 0:
        raise DataError(f"{hyper.litter} holds no litter to draw from", "write some: iris preobserve --litter")
    return InfiniteDataset(dataset, hyper.seed)


def shards_folder(folder: str) -> Path:
    """The path of a shard folder; of a URL, that of a local folder that fetches its files.

    DataError when there is no such folder, UsageError for a run, or a standard data set without an observer.
    """
    if url := url_of(folder):
        return mirror(url, safe_folder("shards"))
    path = Path(folder)
    if not path.is_dir():
        raise DataError(f"{path} is not a folder", "name the output of `iris preobserve`")
    if is_run(path) or path.name == CHECKPOINTS:
        run = path.parent if path.name == CHECKPOINTS else path
        raise UsageError(f"{path} is a run, not shards", f"`{shlex.join(['iris', 'train', '--resume', str(run)])}`")
    if is_standard(path):
        made = shlex.join(["iris", "preobserve", str(path), "SHARDS"])
        hint = f"run `{made}`; only iris train and iris test take it as it is, with --observer simple"
        raise UsageError(f"{path} is a standard data set, not shards", hint)
    return path


def is_standard(path: Path) -> bool:
    """Whether a folder is a data set of tensors, in the native or the paper-code format, and not of shards."""
    names = ("standard.json", "attributes.json")
    return any((path / name).exists() for name in names) and not (path / "index.json").exists()


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)
