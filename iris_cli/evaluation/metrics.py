"""Measures of a prediction beside the loss: functions of a batch of maps that return one number per pair.

A measure that a pair does not define (the split of an empty map) is NaN for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
#: A galaxy whose two halves differ by less than this share of its mass is even: its sign is not counted.
EVEN_SPLIT = 0.05
#: Multiples of the loss's normalization above which the overlap of predicted and true gas is measured.
THRESHOLDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Maps:
    """A batch to measure, in float64: `members` (K, n, 1, R', L) predict the `true` maps (n, 1, R', L).

    `mean_image` (1, 1, R', L) is the training set's mean map, `volume` (R', 1) that of a pixel. A single network is an
    ensemble of one.
    """

    members: Tensor
    true: Tensor
    loss: PhysicalLoss
    mean_image: Tensor | None
    volume: Tensor

    @cached_property
    def pred(self) -> Tensor:
        """(n, 1, R', L) the mean of the members."""
        return self.members.mean(dim=0)

    def mass(self, image: Tensor) -> Tensor:
        """(..., n, 1, R', L) -> (..., n)"""
        return (image * self.volume).sum(dim=(-3, -2, -1))

    def halves(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(..., n, 1, R', L) -> (..., n, L) twice: the mass at each longitude in the near and the far half."""
        half, mass = image.shape[-2] // 2, (image * self.volume).squeeze(-3)
        return mass[..., :half, :].sum(dim=-2), mass[..., -half:, :].sum(dim=-2)

    def asinh(self, image: Tensor) -> Tensor:
        return torch.asinh(image / float(self.loss.normalization))

    def split(self, image: Tensor) -> Tensor:
        """(near - far)/(near + far) of the mass in the two halves of distance; NaN for an empty map."""
        near, far = (half.sum(dim=-1) for half in self.halves(image))
        return (near - far) / (near + far)


def pixel_volume(grid: Grid) -> Tensor:
    """(R', 1) relative volume of a top-down pixel: a cell of fixed angles grows with the square of its distance."""
    r = torch.from_numpy(grid.distance.centres()[grid.r_crop_min : grid.r_crop_max])
    return (r / r.mean()).square()[:, None]


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
    """Correlation of the asinh maps; 0 where either map has no structure."""
    from torchmetrics.functional.regression import pearson_corrcoef  # takes a second to load, and only a test needs it

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
    """Absolute error of the near/far split; a map predicted empty counts as even."""
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
#: The measures of a validation ...
SCORES: dict[str, Measure] = {
    "loss": lambda maps: maps.loss.per_sample(maps.pred, maps.true),
    "loss_zero": loss_of_zero,
    "loss_mean_image": loss_of_mean_image,
}
_OF_A_TEST = (rmse_dex, pearson_asinh, ssim_asinh, mass_ratio, near_far_error, near_far_sign_right)
#: ... and those of a test.
MEASURES: dict[str, Measure] = {**SCORES, **{measure.__name__: measure for measure in _OF_A_TEST}}
