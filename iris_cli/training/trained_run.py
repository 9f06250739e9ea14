"""Trained runs, opened for testing and reverting: folder or file in; networks, configuration and statistics out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.config.toml import to_dict
from iris_cli.config.train import DISTANCES, METRICS, SAMPLES, TrainConfig
from iris_cli.console import warn
from iris_cli.errors import DataError, UsageError
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.out_of_distribution import TrainingInputs
from iris_cli.metrics_log import read_lines
from iris_cli.pairs.datasets import Pairs
from iris_cli.reverter.distances import Distances
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import PosteriorSampler, Sampler
from iris_cli.training.checkpoint import Checkpoint, load
from iris_cli.training.model_file import SUFFIX, tested, unpacked
from iris_cli.training.run_folder import TRAINING_INPUTS, RunFolder, member_folders
from iris_cli.training.train import check_fits


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint, its file, and the configuration of its training."""

    path: Path
    checkpoint: Checkpoint
    hyper: TrainConfig

    @property
    def folder(self) -> RunFolder | None:
        """The run folder that the checkpoint belongs to, if any."""
        folder = RunFolder(self.path.absolute().parent.parent)
        return folder if self.path.absolute().parent == folder.checkpoints else None

    def sampler(self, first: Reverter) -> PosteriorSampler | None:
        """That of the run folder, for the run's own network; None with a warning if it belongs to other weights."""
        folder = RunFolder(self.folder.path / SAMPLES) if self.folder else None
        if folder is None or not any(folder.checkpoints.glob("*.pt")):
            return None
        path, checkpoint = folder.best()
        if checkpoint.reverter.get("digest") != self.checkpoint.digest:
            warn(f"{path} was trained for other weights than those of {self.path}: no samples are drawn")
            return None
        return PosteriorSampler(first, checkpoint.make(Sampler), self.hyper.seed).eval()

    def distances(self) -> tuple[Distances, str] | None:
        """The distance network of the run folder, and its validation in words; None where there is none."""
        folder = RunFolder(self.folder.path / DISTANCES) if self.folder else None
        if folder is None or not any(folder.checkpoints.glob("*.pt")):
            return None
        _, checkpoint = folder.best()
        epoch = checkpoint.progress.best_epoch
        lines = [line for line in read_lines(folder.path / METRICS) if line["kind"] == "epoch"]
        found = next((line for line in lines if line["epoch"] == epoch and line.get("log_score") is not None), None)
        said = ""
        if found:
            said = (
                f"on held-out galaxies like the training set, the log score of P(near) is {found['log_score']:.2f} "
                f"(prior {found['prior_log_score']:.2f}) and it is off by {found['calibration']:.3f} in the mean"
            )
        return checkpoint.make(Distances), said

    def tested(self) -> dict[str, Any]:
        """The numbers of the latest test; empty without one."""
        return tested(self.folder.path) if self.folder else {}

    def training_inputs(self) -> TrainingInputs | str:
        """Statistics of the training's inputs, from the run folder; the reason, where there are none."""
        if self.checkpoint.data.fingerprint.startswith("imported:"):
            return "the checkpoint was imported, and its training set is not known"
        if self.folder is None:
            return f"{self.path} is not in a run folder"
        file = self.folder.training_inputs
        if self.hyper.observer:
            return "the run observed its galaxies on the fly"
        if not file.exists():
            return f"{self.folder.path} has no {TRAINING_INPUTS}: its training did not finish, or held out no galaxies"
        return TrainingInputs.load(file, self.checkpoint.data.key) or f"{file} is damaged, or of another training"


def open_run(run: Path) -> TrainedRun:
    """The best checkpoint of a run folder, or the checkpoint file itself. DataError when it is neither."""
    if run.is_file():
        path, checkpoint = run, load(run)
    elif run.is_dir():
        path, checkpoint = RunFolder(run).best()
    else:
        raise DataError(f"{run} does not exist", "name the folder of `iris train --out`, or a checkpoint in it")
    return TrainedRun(path, checkpoint, checkpoint.settings(str(path)))


def open_members(*runs: Path) -> list[TrainedRun]:
    """The best checkpoint of every run, every member of an ensemble, and every network in a file of `iris export`.

    DataError where there is none.
    """
    if not runs:
        raise UsageError("no run was named", "name the folder of `iris train --out`, or a checkpoint in it")
    folders = [unpacked(run) if run.suffix == SUFFIX and run.is_file() else run for run in runs]
    return [open_run(folder) for run in folders for folder in member_folders(run)]


def ensemble_for(members: Sequence[TrainedRun], *sets: Pairs, samples: int = 0) -> Ensemble:
    """The networks of all members, and the samplers of all for so many `samples` each, if all have one.

    DataError when pairs have another size, quantity or grid than the training's. Latitudes that differ are only a
    warning: pixels stay at their places, but hold other gas.
    """
    reverters = [member.checkpoint.make_reverter() for member in members]
    found = [member.sampler(first) for member, first in zip(members, reverters, strict=True)] if samples else []
    samplers = [sampler for sampler in found if sampler is not None]
    if 0 < len(samplers) < len(members):
        warn(f"{len(samplers)} of {len(members)} networks have a sampler: no samples are drawn")
        samplers = []
    ensemble = Ensemble(reverters, samplers, samples)
    for pairs in sets:
        check_fits(ensemble, pairs)
        for member in members:
            check_grid(member, pairs)
    return ensemble


def check_grid(run: TrainedRun, pairs: Pairs) -> None:
    trained = {**to_dict(run.checkpoint.data.grid), "latitude": run.checkpoint.data.latitude}
    found = {**to_dict(pairs.grid), "latitude": pairs.latitude}
    differ = [name for name in trained if name in found and found[name] != trained[name]]
    values = "; ".join(f"{name} = {trained[name]} then, {found[name]} in {pairs.name}" for name in differ)
    if any(not name.startswith("lat") for name in differ):
        raise DataError(f"{run.path} was trained on another grid: {values}", "observe on the grid of its training")
    if differ:
        warn(f"{run.path} was trained on other latitudes: {values}")
