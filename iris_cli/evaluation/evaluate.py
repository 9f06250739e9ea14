"""Every sample once: the same for validation and test, on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from iris_cli.console import Progress, plural, warn
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.evaluation.metrics import Maps, Measure, Totals, pixel_volume
from iris_cli.pairs.stream import PairBatch, PairStream, bad_litter_over_ranks


@torch.no_grad()
def predict(reverter: nn.Module, observation: Tensor, world: World) -> Tensor:
    """(n, 1, L, V) -> (n, 1, R', L), on the CPU."""
    return reverter(observation.to(world.device, non_blocking=True)).cpu()


def measure(
    reverter: nn.Module,
    loss: PhysicalLoss,
    batch: PairBatch,
    measures: dict[str, Measure],
    world: World,
    mean_image: Tensor | None,
    volume: Tensor,
) -> dict[str, Tensor]:
    """(n,) float64 of each measure."""
    pred = predict(reverter, batch.observation, world)
    maps = Maps(pred.double(), batch.density.double(), loss, mean_image, volume)
    return {name: function(maps).double() for name, function in measures.items()}


def evaluate(
    reverter: nn.Module,
    loss: PhysicalLoss,
    feed: PairStream,
    measures: dict[str, Measure],
    world: World,
    mean_image: Tensor | None,
    bar: Progress,
    agree: Callable[[], None] = lambda: None,
    waiting: Callable[[], None] = lambda: None,
) -> Totals:
    """Totals over all ranks; `agree` is called before each batch, `waiting` while one is late.

    DataError when a prediction or a true density is not finite, when samples are missing at the end that nobody has
    counted as unreadable, or when all are.
    """
    reverter.eval()
    totals, volume = Totals(measures), pixel_volume(feed.pairs.grid)
    image = None if mean_image is None else mean_image.double()[None]
    loss = loss.cpu()
    with closing(feed.epoch(waiting=waiting)) as batches:
        for batch in batches:
            agree()
            if len(batch):
                check_truth(batch, feed)
                values = measure(reverter, loss, batch, measures, world, image, volume)
                check_finite(values["loss"], batch, feed)
                totals.add(values)
            bar.advance()
    world.sum(totals.table)
    missing = feed.count - totals.count()
    if missing and missing > feed.bad_over_ranks(world):
        raise DataError(
            f"{totals.count()} samples were seen; {feed.pairs.name} promises {feed.count}",
            "check it: iris shards verify",
        )
    if missing == feed.count:
        raise DataError(f"none of the {feed.count} {feed.name} samples could be read", "check them: iris shards verify")
    return totals


def tell_bad_litter(feeds: Sequence[PairStream], world: World) -> None:
    """A warning when a test drew litter that could not be read; all ranks ask together."""
    if bad := bad_litter_over_ranks(feeds, world):
        warn(f"{plural(bad, 'sample')} of the litter could not be read: others were drawn instead")


def check_truth(batch: PairBatch, feed: PairStream) -> None:
    """DataError that names the first pair whose true density is not finite: nothing can be compared with it."""
    for number in batch.ids[~batch.density.flatten(1).isfinite().all(dim=1).numpy()]:
        raise DataError(
            f"the density of '{feed.pairs.key(int(number))}' of {feed.pairs.name} is not finite",
            "write the set again without it",
        )


def check_finite(values: Tensor, batch: PairBatch, feed: PairStream) -> None:
    """DataError that names the first pair whose value, (n,), is not finite."""
    for number in batch.ids[~values.isfinite().numpy()]:
        raise DataError(
            f"the reverter's prediction for '{feed.pairs.key(int(number))}' of {feed.pairs.name} is not finite",
            "was it trained on another unit, or did its training diverge?",
        )
