"""Later stages of a run, in the order in which they are trained: each has a sub-folder of the run folder.

A stage is a second network beside the frozen first one, with a task and a configuration of its own. Its folder has the
layout of a run folder. To add one, write a row of STAGES and a table of `TrainConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from iris_cli.config.grid import Grid
from iris_cli.config.train import SAMPLES, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.evaluation import sampler_loss
from iris_cli.evaluation.loss import physical_loss
from iris_cli.evaluation.metrics import pixel_volume
from iris_cli.pairs.stream import PairBatch
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import Sampler, noise_of
from iris_cli.training.task import Scores, Task, Validation
from shards.order import stream_key


@dataclass(frozen=True)
class Stage:
    """`build` makes the network and its task for a frozen first network of this digest, on a grid."""

    name: str
    build: Callable[[TrainConfig, Reverter, str, Grid], tuple[nn.Module, Task]]
    #: Trains only on the galaxies that were set aside from the first network.
    unseen: bool = False

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
            schedule=ScheduleConfig("cosine", warmup_epochs=1.0),
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


def _samples(hyper: TrainConfig, first: Reverter, digest: str, grid: Grid) -> tuple[nn.Module, Task]:
    sampler = Sampler(first.image_size, first.quantity, digest, seed=hyper.seed)
    normalization = physical_loss(hyper).normalization
    sampler.density_scale.scale.copy_(normalization)
    return sampler, SamplerTask(first, normalization, pixel_volume(grid).float(), hyper.samples.samples_per_pair)


STAGES = (Stage(SAMPLES, _samples, unseen=True),)
