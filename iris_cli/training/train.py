"""Train a reverter: from Python (`train_reverter`), and from folders on disk (`train_run`, `train_members`)."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from iris_cli.config.preobserve import LATITUDE_CHANNELS
from iris_cli.config.toml import to_dict
from iris_cli.config.train import DISTANCES, LATER_STAGES, MEMBER, MEMBERS, Noise, TrainConfig, read_path
from iris_cli.console import log, plural, warn
from iris_cli.distributed import World, unwrap, world
from iris_cli.errors import DataError, UsageError, choose
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.loss import physical_loss
from iris_cli.files import write_text
from iris_cli.observers.observer import Observer
from iris_cli.pairs.datasets import InfiniteDataset, Pairs, image_size, litter_of, pairs_of
from iris_cli.pairs.divide import litter_parts, set_aside
from iris_cli.pairs.fresh import FreshPairs, training_set, workers_of
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.overlap import NONE, TRAIN, VALIDATION, Seen, digests
from iris_cli.pairs.stream import PairStream
from iris_cli.reverter.networks import reads_several
from iris_cli.reverter.reverter import Reverter
from iris_cli.signals import catch_signals
from iris_cli.text import to_json
from iris_cli.training.checkpoint import Checkpoint, DataDescription, load
from iris_cli.training.ema import EMA
from iris_cli.training.loop import Trainer
from iris_cli.training.optimizer import SCHEDULES, optimizer_and_scheduler
from iris_cli.training.precision import Precision, compile_in_place
from iris_cli.training.run_folder import RunFolder, check_room_for_members
from iris_cli.training.stages import later_stages
from iris_cli.training.step import Learner
from iris_cli.training.task import DensityTask, Task
from iris_cli.training.tensorboard import Board, check_installed
from iris_cli.training.training_data import TrainingData
from shards.order import Numbers
from shards.owner import owned
from shards.stream import BadSamples

#: Images of at most this many pixels across are computed by one thread.
SINGLE_THREADED_SIZE = 64


def train_reverter(
    reverter: Reverter,
    dataset: Any,
    noise: Noise | None = None,
    litter: InfiniteDataset | None = None,
    observer: Observer | str | None = None,
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
    """Train `reverter` on pairs (observation, density).

    Parameters
    ----------
    dataset
        A PreObservedDataset, a StandardDataset (with an `observer`), or a ConcatDataset of such.
    observer
        Of `iris_cli.observers.make_observer`, or its name: "simple" or "synthetic".
    hyper
        `optimizer` may be a function of the reverter's parameters that returns (optimizer, scheduler): the scheduler is
        stepped after each epoch, or is None. `physical_loss` may be a class derived from PhysicalLoss.
    noise, litter
        Are added to the observations. Without `noise`, that of `hyper` is.
    checkpoint_directory, checkpoint_name
        With both, the run is kept in the folder of that name.
    auto_startup, auto_cleanup
        Create and destroy the process group; one that the caller has created is used and kept. Under torchrun or srun
        all ranks call this function alike, also several times. `reverter` may be wrapped in DistributedDataParallel.
    resume
        "auto" resumes from the newest checkpoint, "none" starts from scratch, else the path of a checkpoint file.
    overwrite
        Replace an existing run.
    force
        Resume although configuration or data differ.

    Returns
    -------
    The module on the CPU in eval mode, with averaged weights where `hyper` has an EMA, and the rank of this process.

    Raises
    ------
    ValueError
        For a StandardDataset without an observer, data or litter of an unknown kind, or only one of
        `checkpoint_directory` and `checkpoint_name`.
    UsageError
        For an unknown name in `hyper`, and for a run folder that exists.
    DataError
        When data, litter, reverter and checkpoint do not fit together, and for a loss that is not finite.
    ShardError
        For a sample that cannot be read, unless it may be skipped.
    Stopped
        After Ctrl-C or one of `hyper.stop_signals`, when everything is saved.
    """
    if (checkpoint_directory is None) != (checkpoint_name is None):
        raise ValueError("give both checkpoint_directory and checkpoint_name, or neither")
    hyper = hyper or TrainConfig()
    check_installed(hyper.log)
    choose("schedule", hyper.schedule.name, SCHEDULES)
    reverter = cast(Reverter, unwrap(reverter))
    hyper = replace(hyper, network=reverter.network)
    pairs = pairs_of(dataset, observer)
    litter_pairs = litter_of(litter, observer, pairs)
    check_fits(reverter, pairs)
    image_noise = image_noise_of(noise or hyper.noise, pairs)
    training, train, validation = training_set(pairs, hyper)
    seen, unseen = set_aside(training, train, hyper)
    looked_at = TrainingData.of(training, train)
    hyper = looked_at.normalized(hyper)
    stages = list(later_stages(hyper))
    if stages and checkpoint_directory is None:
        raise ValueError(f"the stage '{stages[0].name}' needs a run folder: give checkpoint_directory")
    if hyper.density_normalization == "auto":
        reverter.set_density_scale(hyper.density_normalization_kg_m3)
    pieces = litter_parts(litter_pairs, hyper) if litter_pairs else {}
    folder = None
    if checkpoint_directory is not None and checkpoint_name is not None:
        folder = RunFolder(Path(checkpoint_directory) / checkpoint_name, hyper.keep_checkpoints)
    # signals are caught until the world is left: torchrun sends one to ranks that have yet to report a lost rank
    catching, threads = catch_signals(hyper.stop_signals), threads_for(reverter.image_size)
    with catching as flag, world(device, auto_startup, auto_cleanup, flag.check) as here, threads, ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))  # each step seeds torch
        share = {"rank": here.rank, "world": here.size, "pinned": here.device.type == "cuda"}
        added = {"noise": image_noise, "litter": litter_pairs, "litter_seed": litter.seed if litter else 0}
        data = DataDescription.of(pairs, litter_pairs, image_noise)
        met = seen_of(pairs, train[:0] if training.fresh else train, validation, litter_pairs, pieces)

        def trainer_of(
            training: Pairs, network: Any, task: Task, hyper: TrainConfig, numbers: Numbers, name: str = ""
        ) -> Trainer:
            own_folder = RunFolder(folder.path / name, folder.keep) if folder else None
            here.on_rank_0(lambda: check_sizes(hyper, pairs.name, len(numbers), len(validation), here.size, name))
            of_train, of_validation = (
                {"litter_numbers": pieces.get(part), "further": task.further, **share, **added}
                for part in (TRAIN, VALIDATION)
            )
            train_on = stream_of(
                "train", training, numbers, hyper, shuffle=True, hide=hyper.hide_longitudes, **of_train
            )
            validating = stream_of("validation", pairs, validation, hyper, **of_validation)
            made_from = data
            if isinstance(training, FreshPairs):
                makers = workers_of(hyper, os.environ)
                train_on = replace(train_on, threads=makers + 1, bad=BadSamples())
                stack.enter_context(training.workers(makers))
                made_from = replace(data, fingerprint=f"{training.fingerprint}:{pairs.fingerprint}")
            learner = learner_of(network, task, hyper, here, train_on, met)
            return Trainer(learner, validating, flag, made_from, own_folder, quiet=quiet, name=name)

        task = DensityTask(physical_loss(hyper).to(here.device))
        trainer = trainer_of(training, reverter, task, hyper, seen)
        here.on_rank_0(lambda: looked_at.report(hyper.density_normalization_kg_m3))
        if len(seen) < len(train):
            parts = f"{len(seen)} train the first network, {len(unseen)} the sampler"
            here.on_rank_0(lambda: log(f"of {plural(len(train), 'training pair')}, {parts}"))
        if folder:
            own = owned(folder.path, while_waiting=flag.check)
            here.on_rank_0(lambda: trainer.own(stack.enter_context(own)))
            _open_run(trainer, folder, resume, overwrite, force)
        trainer.run()
        for stage in stages if folder else ():
            first = cast(RunFolder, folder).best()[1]
            built = stage.build(hyper, first.make_reverter().on(here.device), first.digest, pairs)
            galaxies = training.others(stage.name) if isinstance(training, FreshPairs) else training
            numbers = unseen if stage.unseen else train
            later = trainer_of(galaxies, *built, stage.hyper(hyper), numbers, stage.name)
            later.held = trainer.held
            _open_stage(later, first.digest, resume != "none", force)
            if later.progress.step == 0:
                stage.prepare(built[0], later.learner.train)
            later.run()
        if here.is_main:  # the other ranks are done: none waits in a collective, which has a timeout
            trainer.save_training_inputs()
        module = unwrap(trainer.learner.module)
        if trainer.learner.ema:
            module.load_state_dict(trainer.learner.ema.module.state_dict())
        return module.cpu().eval(), here.rank


def learner_of(network: Any, task: Task, hyper: TrainConfig, here: World, train: PairStream, seen: Seen) -> Learner:
    """A network on the device of this rank, with its optimizer, and with EMA, compiled and wrapped where configured."""
    network = network.on(here.device)
    ema = EMA(network, hyper.ema_decay) if hyper.ema_decay > 0 else None  # before it is compiled and wrapped
    if hyper.compile:
        compile_in_place(network, here.device)
    module = here.parallel(network)
    optimizer, scheduler = optimizer_and_scheduler(module.parameters(), hyper)
    precision = Precision(hyper.precision, here.device, compiled=hyper.compile)
    return Learner(hyper, here, module, task, optimizer, precision, train, ema, scheduler, seen)


@contextmanager
def threads_for(image_size: int) -> Iterator[None]:
    """The number of CPU threads that is fastest for images of this size.

    The layers of a small image are too short to share: a second thread gains a sixth on an idle machine, and on a busy
    one the two wait for each other so long that a step takes up to ten times as long.
    """
    before = torch.get_num_threads()
    if image_size <= SINGLE_THREADED_SIZE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def new_reverter(pairs: Pairs, hyper: TrainConfig) -> Reverter:
    """A network that is yet to be trained on these pairs. UsageError when no such network exists for them."""
    channels = pairs.channels if reads_several(hyper.network) else 1
    return Reverter(image_size(pairs), pairs.quantity, seed=hyper.seed, network=hyper.network, channels=channels)


def check_fits(network: Reverter | Ensemble, pairs: Pairs) -> None:
    """DataError when the network is for another image size, another quantity, or other lines."""
    size = image_size(pairs)
    if (n := network.image_size) != size:
        what = f"the reverter takes images of {n} x {n} pixels; {pairs.name} has {size} x {size}"
        raise DataError(what, "test it on the grid that it was trained on")
    if network.channels == 1 and pairs.channels != LATITUDE_CHANNELS[pairs.latitude]:
        what = f"{pairs.name} holds observations of several lines; the reverter takes one"
        raise DataError(what, "choose --network sightlines, or observe each line into a set of its own")
    if network.channels not in (1, pairs.channels):
        what = f"the reverter takes {network.channels} images of each galaxy; {pairs.name} has {pairs.channels}"
        raise DataError(what, "observe the lines that it was trained on, with the same --latitude")
    if network.quantity != pairs.quantity:
        what = f"the reverter reads a {network.quantity}; the observations of {pairs.name} are of {pairs.quantity}"
        raise DataError(what, "observe with the observer that it was trained on")


def check_sizes(hyper: TrainConfig, name: str, train: int, validation: int, ranks: int, stage: str = "") -> None:
    """UsageError when there are more ranks than samples; a warning when steps are smaller than configured."""
    if ranks > train:
        raise UsageError(f"{ranks} ranks are more than the {plural(train, 'training sample')}", "start fewer ranks")
    per_step = hyper.batch_size * ranks * hyper.batches_per_update
    if per_step > train:
        what = f"a step takes {per_step} samples, but there are only {train} to train on: every epoch is one step"
        warn(f"{stage}: {what}" if stage else what)
    if validation == 0 and hyper.patience_epochs:
        raise UsageError("patience needs validation samples, and there are none", "add some, or omit --patience")
    if validation == 0:
        warn(f"{name} has no validation samples: the last checkpoint counts as the best")


def stream_of(name: str, pairs: Pairs, numbers: Numbers, hyper: TrainConfig, **fields: Any) -> PairStream:
    """A stream that reads as `hyper` has it, with its own count of bad samples; `fields` are other fields of it."""
    bad, bad_litter = (BadSamples(hyper.max_bad if hyper.on_bad_sample == "skip" else 0) for _ in range(2))
    fields |= {"threads": hyper.read_threads, "ahead": hyper.read_ahead_batches, "bad": bad, "bad_litter": bad_litter}
    return PairStream(name, pairs, numbers, hyper.seed, hyper.batch_size, **fields)


def seen_of(
    pairs: Pairs, train: Numbers, validation: Numbers, litter: Pairs | None, pieces: dict[str, Numbers]
) -> Seen:
    """What a network meets in a training on these items and parts of the litter."""
    galaxies = (pairs.marks.of(numbers).known for numbers in (train, validation))
    names = litter.pieces() if litter else []
    met = (np.unique(digests(names[i] for i in pieces[name])) for name in (TRAIN, VALIDATION) if litter)
    return Seen(*galaxies, *met)


def image_noise_of(noise: Noise, pairs: Pairs) -> ImageNoise | None:
    return None if noise.is_zero else ImageNoise.of(noise, pairs.quantity, pairs.grid, pairs.latitude, pairs.coverage)


def _open_run(trainer: Trainer, folder: RunFolder, resume: str, overwrite: bool, force: bool) -> None:
    """Rank 0 prepares the folder; all ranks load the same checkpoint if the run is resumed.

    All checks come before the first write.
    """
    learner, on_rank_0 = trainer.learner, trainer.world.on_rank_0
    checkpoint = None
    if resume != "none":
        checkpoint = folder.latest() if resume == "auto" else load(Path(resume))
    if checkpoint:
        on_rank_0(lambda: _check_same_run(checkpoint, trainer, force))
    on_rank_0(lambda: folder.prepare(resume=resume != "none", overwrite=overwrite))
    if checkpoint:
        on_rank_0(lambda: folder.keep_best_of(checkpoint))
        trainer.resume(checkpoint)
    on_rank_0(lambda: folder.begin(learner.hyper, learner.progress))
    if learner.hyper.log == "tensorboard" and trainer.world.is_main:
        trainer.board = Board(folder.path, learner.progress.step)


def _open_stage(trainer: Trainer, digest: str, resumed: bool, force: bool) -> None:
    """Continue a stage whose first network has this digest; without such a checkpoint it is begun anew."""
    folder = cast(RunFolder, trainer.folder)
    then = folder.latest() if resumed and folder.path.is_dir() else None
    same = then is not None and then.reverter.get("digest", digest) == digest  # or it uses no first network
    if then and not same:
        trainer.world.on_rank_0(lambda: log(f"{trainer.name}: the first network has changed: trained anew"))
    fresh = folder.path.is_dir() and not same
    _open_run(trainer, folder, "auto" if same else "none", overwrite=fresh, force=force)


#: Fields of a configuration that may change when a run is resumed. Paths may: the data's fingerprint is compared.
_MAY_CHANGE = {"epochs", "patience_epochs", "batch_size", "batches_per_update", "data", "litter", "observer"}
_MAY_CHANGE |= {"checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints", "log", "stop_signals"}
_MAY_CHANGE |= {DISTANCES, "fresh_workers", "on_nan", "on_bad_sample", "max_bad", "checksums"}
_MAY_CHANGE |= {"read_threads", "read_ahead_batches"}


def _check_same_run(checkpoint: Checkpoint, trainer: Trainer, force: bool) -> None:
    """DataError that lists the differences between the checkpoint and this run, unless `force`."""
    network: Any = unwrap(trainer.learner.module)
    step = checkpoint.progress.step
    if checkpoint.reverter != {**checkpoint.reverter, **network.table()}:
        what = f"the checkpoint of step {step} has another network: {checkpoint.reverter}, not {network.table()}"
        raise DataError(what, "train it in a folder of its own")
    trained = checkpoint.settings("the checkpoint")
    now, then = (_compared(hyper, trainer.name) for hyper in (trainer.hyper, trained))
    names = [name for name in {**then, **now} if name not in _MAY_CHANGE and then.get(name) != now.get(name)]
    differences = [f"{name}: {then.get(name)} in the checkpoint, {now.get(name)} now" for name in names]
    if checkpoint.data.fingerprint != trainer.data.fingerprint:
        differences.append(f"data: {_named(then['data'])} in the checkpoint, {_named(now['data'])} now (other pairs)")
    if checkpoint.data.litter != trainer.data.litter:
        litter = [values["litter"] or "none" for values in (then, now)]
        differences.append(f"litter: {litter[0]} in the checkpoint, {litter[1]} now (other pieces)")
    _check_validation(checkpoint, trainer)
    if differences and not force:
        what = f"the checkpoint of step {step} is from another run: {'; '.join(differences)}"
        raise DataError(what, "leave these options out, or give the same; --force resumes nevertheless")


def _compared(hyper: TrainConfig, stage: str) -> dict[str, Any]:
    """What a run must keep: of the tables of later stages, only what this one depends on."""
    values = to_dict(hyper)
    tables = {name: values.pop(name) for name in LATER_STAGES}
    own = {f"{stage}.{key}": value for key, value in tables.get(stage, {}).items() if key not in _MAY_CHANGE}
    return {**values, **own, "unseen_fraction": hyper.unseen_fraction}


def _named(folders: Sequence[str]) -> str:
    return " ".join(folders) or "objects of a program"


def _check_validation(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """DataError when the network was trained on galaxies that are now to validate with; `--force` changes nothing."""
    held_out, pairs = trainer.validation.numbers, trainer.validation.pairs
    found = pairs.marks.of(held_out).among(checkpoint.seen.trained if checkpoint.seen else NONE)
    if found.any() and trainer.hyper.overlap != "allow":
        both = f"{pairs.marks.of(held_out[found]).galaxies} of the validation's galaxies"
        what = f"the network of step {checkpoint.progress.step} was trained on {both}"
        raise DataError(what, "resume with the splits of its training, or `--overlap allow`")


@dataclass(frozen=True)
class RunSummary:
    """The state of a run. Epochs are counted from 1; `best_epoch` is None without a validation loss."""

    run: str
    epochs: int
    steps: int
    best_epoch: int | None
    best_validation_loss: float | None
    stages: "tuple[RunSummary, ...]" = ()

    def __str__(self) -> str:
        best = ""
        if self.best_epoch is not None:
            best = f", best validation loss {self.best_validation_loss:.4g} after epoch {self.best_epoch}"
        own = f"{plural(self.epochs, 'epoch')}, {plural(self.steps, 'step')}{best}: {self.run}"
        return "\n".join((own, *map(str, self.stages)))


@dataclass(frozen=True)
class EnsembleSummary:
    """The states of an ensemble's members."""

    run: str
    members: tuple[RunSummary, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.members))


def train_run(hyper: TrainConfig, out: Path, **options: Any) -> RunSummary:
    """Train on `hyper.data` into the run folder `out`; `options` go to train_reverter. The same result on all ranks.

    The run's configuration holds absolute paths, so that later commands find the litter from any folder.
    """
    places = tuple(map(read_path, hyper.data))
    hyper = replace(hyper, data=places, litter=read_path(hyper.litter) if hyper.litter else "")
    dataset, observer = open_data(hyper.data, hyper.observer, checksums=hyper.checksums)
    litter = open_litter(hyper)
    pairs = pairs_of(dataset, observer)
    reverter = new_reverter(pairs, hyper)
    where: dict[str, Any] = {"checkpoint_directory": out.parent, "checkpoint_name": out.name}
    train_reverter(reverter, dataset, litter=litter, observer=observer, hyper=hyper, **where, **options)
    return summary(RunFolder(out))


def train_members(
    hyper: TrainConfig, out: Path, members: int, *, device: str = "auto", **options: Any
) -> EnsembleSummary:
    """Train an ensemble: runs that differ in their seed only, one after the other, in numbered folders of `out`.

    Member k has the seed `hyper.seed` + k - 1, so that member 1 is the run that `train_run` makes.
    """
    options |= {"device": device, "auto_startup": False, "auto_cleanup": False}
    summaries = []
    with world(device) as here, ExitStack() as stack:  # one process group for all members
        here.on_rank_0(lambda: stack.enter_context(owned(out)))
        here.on_rank_0(lambda: check_room_for_members(out, members))
        here.on_rank_0(lambda: write_text(out / MEMBERS, to_json({"members": members})))
        for k in range(1, members + 1):
            if not options.get("quiet"):
                log(f"member {k} of {members}")
            summaries.append(train_run(replace(hyper, seed=hyper.seed + k - 1), out / MEMBER.format(k), **options))
    return EnsembleSummary(str(out), tuple(summaries))


def summary(folder: RunFolder) -> RunSummary:
    """The state of a run by its newest checkpoint. DataError when it has none."""
    progress = folder.newest().progress
    best_epoch = None if progress.best_epoch is None else progress.best_epoch + 1
    stages = tuple(summary(stage) for name in LATER_STAGES if (stage := RunFolder(folder.path / name)).latest())
    return RunSummary(str(folder.path), progress.epoch, progress.step, best_epoch, progress.best_loss, stages)
