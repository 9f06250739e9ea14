"""Later stages of a run, in the order in which they are trained: each has a sub-folder of the run folder.

A stage is a second network beside the frozen first one, with a task and a configuration of its own. Its folder has the
layout of a run folder. To add one, write a row of STAGES and a table of `TrainConfig`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iris_cli.config.train import DISTANCES, SAMPLES, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import DataError
from iris_cli.evaluation import distances, sampler_loss
from iris_cli.evaluation.loss import physical_loss
from iris_cli.evaluation.metrics import pixel_volume
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.pair import LV_COLUMN, LV_NEARER
from iris_cli.pairs.stream import PairBatch, PairStream
from iris_cli.reverter.distances import Distances
from iris_cli.reverter.networks import reads_several
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import Sampler, noise_of
from iris_cli.training.task import Scores, Task, Validation
from shards.order import stream_key


@dataclass(frozen=True)
class Stage:
    """`build` makes the network and its task for a frozen first network of this digest, and for pairs.

    `prepare` changes a new network once, before its training, given the pairs to train on.
    """

    name: str
    build: Callable[[TrainConfig, Reverter, str, Pairs], tuple[nn.Module, Task]]
    #: Trains only on the galaxies that were set aside from the first network.
    unseen: bool = False
    prepare: Callable[[Any, PairStream], None] = lambda network, stream: None

    def hyper(self, hyper: TrainConfig) -> TrainConfig:
        """The configuration of the stage's own run folder."""
        own = getattr(hyper, self.name)
        return replace(
            hyper,
            **{stage.name: replace(getattr(hyper, stage.name), train=stage is self) for stage in STAGES},
            epochs=own.epochs,
            batch_size=own.batch_size,
            batches_per_update=own.batches_per_update,
            gradient_clip=own.gradient_clip,
            ema_decay=own.ema_decay,
            patience_epochs=0,
            optimizer=OptimizerConfig("adam", own.learning_rate),
            schedule=ScheduleConfig("cosine", warmup_epochs=own.warmup_epochs),
        )


def later_stages(hyper: TrainConfig) -> Iterator[Stage]:
    """Those that a configuration asks for."""
    return (stage for stage in STAGES if getattr(hyper, stage.name).train)


@dataclass(frozen=True)
class SamplerTask:
    """A sampler; `samples` maps are drawn of each pair. `volume` (R', 1) is that of a pixel."""

    first: Reverter
    normalization: Tensor
    volume: Tensor
    samples: int
    further: tuple[str, ...] = ()

    def inputs(self, batch: PairBatch, key: int) -> tuple[Tensor, ...]:
        keys = [stream_key(key, position) for position in batch.positions.tolist()]
        noise = noise_of(self.first.image_size, keys, range(self.samples))
        device = batch.observation.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            first = self.first.to(device)(batch.observation)
        return (batch.observation, first, *(numbers.to(device, non_blocking=True) for numbers in noise))

    def per_sample(self, prediction: Tensor, batch: PairBatch) -> Tensor:
        scores = self._scores(prediction, batch)
        return torch.stack(
            [weight * scores[name] for name, weight in sampler_loss.WEIGHTS.items() if name in scores]
        ).sum(0)

    def _scores(self, prediction: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        device = prediction.device
        return sampler_loss.scores(prediction, batch.density, self.normalization.to(device), self.volume.to(device))

    def validate(self, module: Any, validation: Validation) -> Scores:
        """The loss, and the CRPS of asinh(density / normalization) of single pixels."""

        def measure(batch: PairBatch) -> dict[str, Tensor]:
            samples = module(*self.inputs(batch, validation.key))
            return {"loss": self.per_sample(samples, batch), "crps": self._scores(samples, batch)["crps_1"]}

        return validation.means(("loss", "crps"), measure)


def _samples(hyper: TrainConfig, first: Reverter, digest: str, pairs: Pairs) -> tuple[nn.Module, Task]:
    channels = first.channels if reads_several(first.network) else pairs.channels
    sampler = Sampler(first.image_size, first.quantity, digest, channels, hyper.seed)
    sampler.begin_with(first)
    normalization, volume = physical_loss(hyper).normalization, pixel_volume(pairs.grid).float()
    sampler.density_scale.scale.copy_(normalization)
    return sampler, SamplerTask(first, normalization, volume, hyper.samples.samples_per_pair)


@dataclass(frozen=True)
class DistancesTask:
    """A distance network. The loss is the log score of P(near) and the CRPS of distance, in units of the bins."""

    #: Number of the inner edge at the Galactic Centre, and the widths of the bins in pc.
    centre: int
    width_pc: Tensor
    further: tuple[str, ...] = (LV_COLUMN, LV_NEARER)

    def inputs(self, batch: PairBatch, key: int) -> tuple[Tensor, ...]:
        return (batch.observation,)

    def per_sample(self, prediction: Tensor, batch: PairBatch) -> Tensor:
        found = self._scores(prediction, batch)
        return found["log_score"] + found["crps_pc"] / float(self.width_pc.mean())

    def _scores(self, prediction: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        return distances.scores(prediction, *distances.truth(batch), self.centre, self.width_pc.to(prediction.device))

    def validate(self, module: Any, validation: Validation) -> Scores:
        """Scores of `evaluation.distances`, those of the prior, and how far P(near) is from the share that is near."""

        def measure(batch: PairBatch) -> dict[str, Tensor]:
            predicted = module(batch.observation).float()
            found = {"loss": self.per_sample(predicted, batch), **self._scores(predicted, batch)}
            prior = self._scores(module.prior.expand_as(predicted), batch)
            found |= {f"prior_{name}": prior[name] for name in ("log_score", "brier", "crps_pc")}
            column, nearer = distances.truth(batch)
            p_near = predicted[:, : self.centre + 1].exp().sum(dim=1)
            tenths = distances.reliability(p_near, column, nearer[:, self.centre]).flatten(1)
            return found | dict(zip(_TENTHS, tenths.T, strict=True))

        means = validation.means((*_DISTANCE_SCORES, *_TENTHS), measure)
        table = np.array([means.pop(name) or 0.0 for name in _TENTHS]).reshape(3, -1)
        return {**means, "calibration": float(np.abs(table[1] - table[2]).sum() / max(table[0].sum(), 1e-30))}


_DISTANCE_SCORES = ("loss", "log_score", "brier", "crps_pc", "right", "prior_log_score", "prior_brier", "prior_crps_pc")
_TENTHS = tuple(f"{part}_{k}" for part in ("gas", "p_near", "near") for k in range(distances.TENTHS))


def _distances(hyper: TrainConfig, first: Reverter, digest: str, pairs: Pairs) -> tuple[nn.Module, Task]:
    """DataError for pairs without the arrays that say where gas is."""
    if missing := [name for name in (LV_COLUMN, LV_NEARER) if name not in pairs.further]:
        hint = "write the pairs again: `iris preobserve --distances` does so from tensors"
        raise DataError(f"{pairs.name} holds no {missing[0]}, from which a distance network learns", hint)
    centre, width = distances.bins_of(pairs.grid)
    moments = pairs.latitude == "moments"
    network = Distances(first.image_size, first.quantity, len(width), pairs.channels, moments, hyper.seed)
    return network, DistancesTask(centre, width)


def _with_prior(network: Distances, stream: PairStream) -> None:
    network.set_prior(distances.mean_columns(stream).to(network.prior.device))


STAGES = (Stage(SAMPLES, _samples, unseen=True), Stage(DISTANCES, _distances, prepare=_with_prior))
