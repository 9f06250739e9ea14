"""How good predictions are, beside the loss: one number per pair and measure, averaged exactly over pairs.

Sums and counts are float64 and joined over ranks at the end, so that ranks, batches and order do not matter. A measure
that a pair does not define (the split of an empty map) is NaN for it and leaves its average alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.evaluation.loss import PhysicalLoss

#: A pixel is occupied from this share of the loss's normalization on (1e-21 kg/m^3 by default) ...
OCCUPIED = 1e-2
#: ... and a prediction counts as at least this much, so that an empty pixel is one dex wrong rather than infinitely.
FLOOR = 1e-3
#: Gas is dense from this multiple of the normalization on.
DENSE = 1.0
#: Peak of the asinh maps that structural similarity is measured on: ten times the normalization.
SSIM_PEAK = math.asinh(10.0)
#: A galaxy whose two halves differ by less than this share of its mass is even: its sign is not asked for.
EVEN_SPLIT = 0.05
#: Multiples of the loss's normalization above which predicted and true gas are asked to overlap.
THRESHOLDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Maps:
    """A batch as measured: float64 (n, 1, R', L), `mean_image` (1, 1, R', L), `volume` (R', 1) of a pixel."""

    pred: Tensor
    true: Tensor
    loss: PhysicalLoss
    mean_image: Tensor | None
    volume: Tensor

    def mass(self, image: Tensor) -> Tensor:
        return (image * self.volume).flatten(1).sum(dim=1)

    def asinh(self, image: Tensor) -> Tensor:
        return torch.asinh(image / float(self.loss.normalization))

    def split(self, image: Tensor) -> Tensor:
        """(near - far)/(near + far) of the mass in the two halves of distance; NaN for an empty map."""
        half = image.shape[-2] // 2
        masses = (image * self.volume).sum(dim=(1, 3))
        near, far = masses[:, :half].sum(dim=1), masses[:, -half:].sum(dim=1)
        return (near - far) / (near + far)


def pixel_volume(grid: Grid) -> Tensor:
    """(R', 1) relative volume of a top-down pixel: a cell of fixed angles grows with the square of its distance."""
    r = torch.from_numpy(grid.distance.centres()[grid.r_crop_min : grid.r_crop_max])
    return (r / r.mean()).square()[:, None]


def loss_of_prediction(maps: Maps) -> Tensor:
    return maps.loss.per_sample(maps.pred, maps.true)


def loss_of_zero(maps: Maps) -> Tensor:
    return maps.loss.per_sample(torch.zeros_like(maps.true), maps.true)


def loss_of_mean_image(maps: Maps) -> Tensor:
    if maps.mean_image is None:
        return torch.full((len(maps.true),), math.nan, dtype=torch.float64)
    return maps.loss.per_sample(maps.mean_image.expand_as(maps.true), maps.true)


def rmse_dex(maps: Maps) -> Tensor:
    """Root mean square of log10(pred/true) over a pair's occupied pixels."""
    n = float(maps.loss.normalization)
    occupied = maps.true >= OCCUPIED * n
    ratio = maps.pred.clamp(min=FLOOR * n) / maps.true.clamp(min=FLOOR * n)
    square = torch.where(occupied, torch.log10(ratio).square(), 0.0).flatten(1).sum(dim=1)
    return (square / occupied.flatten(1).sum(dim=1)).sqrt()


def pearson_asinh(maps: Maps) -> Tensor:
    """Correlation of the asinh maps; a map without structure correlates with nothing: 0."""
    from torchmetrics.functional.regression import pearson_corrcoef  # takes a second to load, only a test needs it

    pred, true = (maps.asinh(image).flatten(1) for image in (maps.pred, maps.true))
    varied = (pred.std(dim=1) > 0) & (true.std(dim=1) > 0)
    values = torch.zeros(len(pred), dtype=torch.float64)
    if varied.any():
        values[varied] = pearson_corrcoef(pred[varied].T, true[varied].T).double().reshape(-1)
    return values


def ssim_asinh(maps: Maps) -> Tensor:
    """Structural similarity of the asinh maps.

    In float32: its convolutions are fifteen times slower in float64, for a difference of 1e-6.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    pred, true = maps.asinh(maps.pred).float(), maps.asinh(maps.true).float()
    similarity = structural_similarity_index_measure(pred, true, reduction="none", data_range=SSIM_PEAK)
    return similarity.double().reshape(-1)


def mass_ratio(maps: Maps) -> Tensor:
    """Predicted over true mass."""
    true = maps.mass(maps.true)
    return torch.where(true > 0, maps.mass(maps.pred) / true, math.nan)


def near_far_error(maps: Maps) -> Tensor:
    """How far the predicted near/far split is from the true one; a map predicted empty counts as even."""
    return (maps.split(maps.pred).nan_to_num(0.0) - maps.split(maps.true)).abs()


def near_far_sign_right(maps: Maps) -> Tensor:
    """1 where the heavier half is predicted heavier, 0 where not; NaN for galaxies that are even."""
    pred, true = maps.split(maps.pred).nan_to_num(0.0), maps.split(maps.true)
    right = (pred.sign() == true.sign()).double()
    return torch.where(true.abs() > EVEN_SPLIT, right, math.nan)


def iou(maps: Maps) -> Tensor:
    """(n, thresholds) intersection over union of the pixels above each threshold; NaN where neither map has any."""
    levels = torch.tensor(THRESHOLDS, dtype=torch.float64) * float(maps.loss.normalization)
    pred, true = (image.flatten(1)[..., None] >= levels for image in (maps.pred, maps.true))
    return (pred & true).sum(dim=1) / (pred | true).sum(dim=1)


Measure = Callable[[Maps], Tensor]
#: What validation looks at ...
SCORES: dict[str, Measure] = {
    "loss": loss_of_prediction,
    "loss_zero": loss_of_zero,
    "loss_mean_image": loss_of_mean_image,
}
#: ... and what a test reports.
MEASURES: dict[str, Measure] = {
    **SCORES,
    "rmse_dex": rmse_dex,
    "pearson_asinh": pearson_asinh,
    "ssim_asinh": ssim_asinh,
    "mass_ratio": mass_ratio,
    "near_far_error": near_far_error,
    "near_far_sign_right": near_far_sign_right,
}


class Totals:
    """Running sums of measures: `add` batches, join ranks by summing `table`, then ask for `means`."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = (*names, "pairs")
        #: (sum or count, measure)
        self.table = torch.zeros(2, len(self.names), dtype=torch.float64)

    def add(self, values: dict[str, Tensor]) -> None:
        """(n,) numbers of each measure; NaN is left out."""
        pairs = len(next(iter(values.values())))
        columns = torch.stack([*(values[name] for name in self.names[:-1]), torch.ones(pairs, dtype=torch.float64)])
        self.table[0] += columns.nan_to_num(0.0).sum(dim=1)
        self.table[1] += (~columns.isnan()).sum(dim=1)

    def count(self, name: str = "pairs") -> int:
        return int(self.table[1, self.names.index(name)])

    def means(self) -> dict[str, float | None]:
        """Measure -> mean over the pairs that define it; None where none does."""
        sums, counts = self.table.tolist()
        return {name: s / n if n else None for name, s, n in zip(self.names[:-1], sums, counts, strict=False)}
