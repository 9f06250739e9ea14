"""Train a reverter: from Python (`train_reverter`), and from folders on disk (`train_run`, `train_members`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import Noise, TrainConfig
from iris_cli.console import log, plural, warn
from iris_cli.distributed import unwrap, world
from iris_cli.errors import DataError, UsageError
from iris_cli.evaluation.loss import physical_loss
from iris_cli.observers.observer import Observer
from iris_cli.pairs.batch import Feed
from iris_cli.pairs.datasets import InfiniteDataset
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.sources import Pairs, divide, image_size, litter_of, pairs_of
from iris_cli.reverter.reverter import Reverter
from iris_cli.signals import catch_signals
from iris_cli.training.checkpoint import Checkpoint, DataDescription, load
from iris_cli.training.ema import EMA
from iris_cli.training.loop import Trainer
from iris_cli.training.optimizer import learning_rate, make_optimizer
from iris_cli.training.precision import Precision, compile_in_place
from iris_cli.training.run_folder import MEMBER, RunFolder, check_room_for_members
from iris_cli.training.tensorboard import Board, check_installed
from shards.stream import BadSamples


def train_reverter(
    reverter: Reverter,
    dataset: Any,
    noise: Noise | None = None,
    litter: InfiniteDataset | None = None,
    observer: Observer | None = None,
    hyper: TrainConfig | None = None,
    checkpoint_directory: str | Path | None = None,
    checkpoint_name: str | None = None,
    auto_startup: bool = True,
    auto_cleanup: bool = True,
    *,
    resume: str = "none",
    overwrite: bool = False,
    force: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> tuple[nn.Module, int]:
    """Train `reverter` on pairs (observation, density); (the module on the CPU in eval mode, this process's rank).

    `dataset` is a PreObservedDataset, a StandardDataset (with an `observer`) or a ConcatDataset of such. `noise` and
    `litter` are added to the observations; without a `noise`, that of `hyper` is. Under torchrun or srun all ranks call
    this alike; with `auto_startup` and `auto_cleanup` it makes and ends the process group itself. With
    `checkpoint_directory` and `checkpoint_name`, the run is kept in the folder of that name: `resume` = "auto" goes on
    with its newest checkpoint ("none" begins anew, anything else names a checkpoint file), `overwrite` replaces it,
    `force` goes on although the configuration differs.

    ValueError when a StandardDataset comes without an observer, when the data or the litter are of an unknown kind, or
    when only one of `checkpoint_directory` and `checkpoint_name` is given. UsageError for a name in `hyper` that
    nothing answers to, and for a run folder that exists. DataError when data, litter, reverter and checkpoint do not
    fit together, and for a loss that is not finite; ShardError at a sample that cannot be read, unless it may be
    skipped.
    Stopped when one of `hyper.stop_signals`, or Ctrl-C, came and all is saved.
    """
    if (checkpoint_directory is None) != (checkpoint_name is None):
        raise ValueError("give both checkpoint_directory and checkpoint_name, or neither")
    hyper = hyper or TrainConfig()
    check_installed(hyper.log)
    learning_rate(0.0, hyper)  # whether there is such a schedule
    pairs = pairs_of(dataset, observer)
    drawn = litter_of(litter, observer, pairs)
    check_fits(reverter, pairs)
    image_noise = image_noise_of(noise or hyper.noise, pairs)
    train, validation = divide(pairs, hyper)
    folder = (
        RunFolder(Path(checkpoint_directory) / checkpoint_name, hyper.keep_checkpoints)
        if checkpoint_directory is not None and checkpoint_name is not None
        else None
    )
    # signals are heard until the world is left: torchrun sends one to ranks that still have to say they lost another
    with (
        catch_signals(hyper.stop_signals) as flag,
        world(device, auto_startup, auto_cleanup) as here,
        threads_for(reverter.image_size),
    ):
        feed = Feed(
            "train",
            pairs,
            train,
            hyper.seed,
            hyper.batch_size,
            here.rank,
            here.size,
            shuffle=True,
            noise=image_noise,
            litter=drawn,
            litter_seed=litter.seed if litter else 0,
            pinned=here.device.type == "cuda",
            **reading_options(hyper),
        )
        reverter.on(here.device)
        mean_weights = EMA(reverter, hyper.ema_decay) if hyper.ema_decay > 0 else None
        if hyper.compile:
            compile_in_place(reverter, here.device)
        module = here.parallel(reverter)
        trainer = Trainer(
            hyper=hyper,
            world=here,
            module=module,
            loss=physical_loss(hyper).to(here.device),
            optimizer=make_optimizer(module.parameters(), hyper.optimizer),
            arithmetic=Precision(hyper.precision, here.device, compiled=hyper.compile),
            train=feed,
            validation=replace(feed, stream="validation", numbers=validation, shuffle=False, **reading_options(hyper)),
            stop_flag=flag,
            data=DataDescription.of(pairs, drawn, image_noise),
            mean_weights=mean_weights,
            folder=folder,
            quiet=quiet,
        )
        here.on_rank_0(lambda: check_sizes(hyper, pairs.name, len(train), len(validation), here.size))
        if folder:
            _open_run(trainer, folder, resume, overwrite, force)
        trainer.run()
        return unwrap(module).cpu().eval(), here.rank


#: Images of so many pixels across or fewer are computed by one thread.
SINGLE_THREADED_SIZE = 64


@contextmanager
def threads_for(image_size: int) -> Iterator[None]:
    """The CPU threads that pay for an image of this size.

    A small image's layers are too short to share: a second thread gains a sixth on an idle machine, and on a busy one
    the two wait for each other so long that a step takes up to ten times as long.
    """
    before = torch.get_num_threads()
    if image_size <= SINGLE_THREADED_SIZE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- checks before the first step -------------------------------------------------------------------------------------


def check_fits(reverter: Reverter, pairs: Pairs) -> None:
    """DataError when the network is for another image, or for another quantity."""
    size = image_size(pairs)
    if reverter.image_size != size:
        raise DataError(
            f"the reverter takes images of {reverter.image_size} x {reverter.image_size} pixels; {pairs.name} has "
            f"{size} x {size}",
            "test it on the grid that it was trained on",
        )
    if reverter.quantity != pairs.quantity:
        raise DataError(
            f"the reverter reads a {reverter.quantity}; the observations of {pairs.name} are of {pairs.quantity}",
            "observe with the observer that it was trained on",
        )


def check_sizes(hyper: TrainConfig, name: str, train: int, validation: int, ranks: int) -> None:
    """UsageError when there are more ranks than samples; a warning when a step will be smaller than asked for."""
    if ranks > train:
        raise UsageError(f"{ranks} ranks are more than the {plural(train, 'training sample')}", "start fewer ranks")
    asked = hyper.batch_size * ranks * hyper.batches_per_update
    if asked > train:
        warn(f"a step takes {asked} samples, more than the {train} there are to train on: every epoch is one step")
    if validation == 0 and hyper.patience_epochs:
        raise UsageError("patience needs validation samples, and there are none", "leave some, or drop --patience")
    if validation == 0:
        warn(f"{name} leaves nothing to validate with: the last checkpoint will count as the best")


def reading_options(hyper: TrainConfig) -> dict[str, Any]:
    """How a feed reads, with a count of bad samples of its own."""
    most = hyper.max_bad if hyper.on_bad_sample == "skip" else 0
    return {
        "threads": hyper.read_threads,
        "ahead": hyper.read_ahead_batches,
        "bad": BadSamples(most),
        "bad_litter": BadSamples(most),
    }


def image_noise_of(noise: Noise, pairs: Pairs) -> ImageNoise | None:
    return None if noise.is_zero else ImageNoise.of(noise, pairs.quantity, pairs.grid, pairs.latitude)


# --- the run's folder -------------------------------------------------------------------------------------------------


def _open_run(trainer: Trainer, folder: RunFolder, resume: str, overwrite: bool, force: bool) -> None:
    """Rank 0 prepares the folder, all ranks take up the same checkpoint if there is one to go on with.

    What is refused is refused before anything is written.
    """
    checkpoint = _to_resume(folder, resume)
    if checkpoint:
        trainer.world.on_rank_0(lambda: _check_same(checkpoint, trainer, force))
    trainer.world.on_rank_0(lambda: folder.prepare(resume=resume != "none", overwrite=overwrite))
    if checkpoint:
        trainer.world.on_rank_0(lambda: folder.keep_best_of(checkpoint))
        trainer.go_on(checkpoint)
    trainer.world.on_rank_0(lambda: folder.begin(trainer.hyper, trainer.progress.step))
    if trainer.hyper.log == "tensorboard" and trainer.world.is_main:
        trainer.board = Board(folder.path, trainer.progress.step)


def _to_resume(folder: RunFolder, resume: str) -> Checkpoint | None:
    if resume == "none":
        return None
    return folder.latest() if resume == "auto" else load(Path(resume))


#: Of a configuration: what may change when a run goes on. Paths may, because the data's fingerprint is compared.
_FREE = (
    "epochs",
    "batch_size",
    "batches_per_update",
    "data",
    "litter",
    "observer",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "patience_epochs",
    "on_nan",
    "on_bad_sample",
    "max_bad",
    "log",
    "checksums",
    "read_threads",
    "read_ahead_batches",
    "stop_signals",
)


def _check_same(checkpoint: Checkpoint, trainer: Trainer, force: bool) -> None:
    """DataError that says what differs between the checkpoint and this run, unless forced."""
    network: Any = unwrap(trainer.module)
    if checkpoint.reverter != {**checkpoint.reverter, **network.table()}:
        raise DataError(
            f"the checkpoint of step {checkpoint.progress.step} holds another network: {checkpoint.reverter} then, "
            f"{network.table()} now",
            "train it in a folder of its own",
        )
    now, then = to_dict(trainer.hyper), to_dict(from_dict(TrainConfig, checkpoint.config, "the checkpoint"))
    differ = [
        f"{k}: {then.get(k)} then, {now.get(k)} now"
        for k in {**then, **now}
        if k not in _FREE and then.get(k) != now.get(k)
    ]
    if checkpoint.data.fingerprint != trainer.data.fingerprint:
        differ.append("the data set is another")
    if checkpoint.data.litter != trainer.data.litter:
        differ.append("the litter is another")
    if differ and not force:
        raise DataError(
            f"the checkpoint of step {checkpoint.progress.step} is of another run: {'; '.join(differ)}",
            "give the same options, or --force",
        )


# --- whole runs, from folders on disk ---------------------------------------------------------------------------------


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
