"""What a module is trained for: its inputs, its loss and its validation. Loop and step are the same for every task."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from iris_cli.console import Progress
from iris_cli.distributed import World
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import Totals, check_complete, evaluate, mean_scores
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.evaluation.metrics import SCORES
from iris_cli.evaluation.report import skill
from iris_cli.pairs.stream import PairBatch, PairStream

#: Measure -> mean over the validation set; None where there are no pairs.
Scores = dict[str, float | None]


@dataclass(frozen=True)
class Validation:
    """The pairs of a validation, and how to respond to signals in it (see `evaluate`). `key` is that of its epoch."""

    stream: PairStream
    world: World
    #: (1, R', L) the training set's mean density so far.
    mean_image: Tensor | None
    key: int
    bar: Progress
    check: Callable[[], None]
    waiting: Callable[[], None]

    def means(self, names: tuple[str, ...], measure: Callable[[PairBatch], Mapping[str, Tensor]]) -> Scores:
        """Mean of each measure, (n,) numbers of a batch on the device, over all pairs and ranks."""
        totals = Totals(names)
        with closing(self.stream.epoch(waiting=self.waiting)) as batches:
            for batch in batches:
                self.check()
                if len(batch):
                    found = measure(batch.to(self.world.device))
                    totals.add({name: found[name].detach().cpu().double() for name in names})
                self.bar.advance()
        self.world.sum(totals.table)
        check_complete(self.stream, self.world, totals.count())
        return totals.means()


class Task(Protocol):
    """`batch` is on the device of the module, with the `further` arrays of a pair that are named."""

    @property
    def further(self) -> tuple[str, ...]: ...

    def inputs(self, batch: PairBatch, key: int) -> tuple[Tensor, ...]:
        """What the module takes; random numbers in it depend on `key` and the batch's positions alone."""

    def per_sample(self, prediction: Tensor, batch: PairBatch) -> Tensor:
        """(n,) the loss of each pair."""

    def validate(self, module: Any, validation: Validation) -> Scores:
        """Scores of the module, `loss` among them."""


@dataclass(frozen=True)
class DensityTask:
    """A reverter: l-v image -> density."""

    loss: PhysicalLoss
    further: tuple[str, ...] = ()

    def inputs(self, batch: PairBatch, key: int) -> tuple[Tensor, ...]:
        return (batch.observation,)

    def per_sample(self, prediction: Tensor, batch: PairBatch) -> Tensor:
        return self.loss.per_sample(prediction, batch.density)

    def validate(self, module: Any, validation: Validation) -> Scores:
        v, ensemble = validation, Ensemble([module])
        batches = evaluate(ensemble, self.loss, v.stream, v.world, v.mean_image, v.bar, v.check, v.waiting)
        means = mean_scores(batches, SCORES, v.stream, v.world).means()
        return {**means, "skill": skill(means["loss"], means["loss_zero"], means["loss_mean_image"])}
