"""How far a predicted top-down density is from the true one: a number without units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from iris_cli.config.train import TrainConfig
from iris_cli.errors import UsageError, nearest
from iris_cli.units import INNER

#: From here on, asinh(r^2) is 2 ln|r| + ln 2 to every digit of float64; r^4 of the plain form would overflow soon.
_LARGE = 1e4


class PhysicalLoss(nn.Module, ABC):
    """A loss that does not depend on units: residuals are counted in `normalization`, a density in the data's unit.

    A subclass is known by its name, so that `physical_loss = "MyLoss"` in a configuration finds it once it is defined.
    """

    normalization: Tensor
    known: ClassVar[dict[str, type[PhysicalLoss]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        PhysicalLoss.known[cls.__name__] = cls

    def __init__(self, hyper: TrainConfig | None = None, density_per_SI: float = INNER.density_per_SI) -> None:
        """`density_per_SI` is the data's density unit: what 1 kg/m^3 is in it."""
        super().__init__()
        hyper = hyper or TrainConfig()
        value = hyper.density_normalization_kg_m3 * density_per_SI
        self.register_buffer("normalization", torch.tensor(value, dtype=torch.float64))

    def normed_residual(self, pred: Tensor, true: Tensor) -> Tensor:
        """(pred - true) / normalization, in the images' dtype."""
        return (pred - true) / float(self.normalization)

    @abstractmethod
    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        """(N, 1, R', L) twice -> scalar: the mean over the batch."""

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        """(N,) the loss of each image on its own; their mean is the loss of the batch."""
        if len(pred) == 0:
            return pred.new_zeros(0)
        return torch.stack([self(p, t) for p, t in zip(pred.split(1), true.split(1), strict=True)])


class ScaledDensityLoss(PhysicalLoss):
    """mean(asinh(((pred - true)/n)^2)), the loss of the IRIS paper (arXiv:2607.01338)."""

    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        return asinh_of_square(self.normed_residual(pred, true)).mean()

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        return asinh_of_square(self.normed_residual(pred, true)).flatten(1).mean(dim=1)


class _AsinhOfSquare(torch.autograd.Function):
    """Value and slope in closed form; on a CPU, torch's own asinh is twenty times as slow as its logarithm."""

    @staticmethod
    def forward(ctx: Any, r: Tensor) -> Tensor:
        ctx.save_for_backward(r)
        size = r.abs()
        s = size.clamp(max=_LARGE).square()
        small = torch.log1p(s + s * (s / (1.0 + torch.hypot(s, torch.ones_like(s)))))  # asinh(s) for s >= 0
        return torch.where(size < _LARGE, small, 2.0 * torch.log(size) + math.log(2.0))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        size = r.abs()
        s = size.clamp(max=_LARGE).square()
        slope = torch.where(size < _LARGE, 2.0 * r / torch.hypot(s, torch.ones_like(s)), 2.0 / r)
        return gradient * slope


def asinh_of_square(r: Tensor) -> Tensor:
    """asinh(r^2), finite with a finite gradient for every finite float32."""
    return _AsinhOfSquare.apply(r)


def physical_loss(hyper: TrainConfig, density_per_SI: float = INNER.density_per_SI) -> PhysicalLoss:
    """The loss that a configuration names. UsageError when no such class has been defined."""
    if hyper.physical_loss not in PhysicalLoss.known:
        raise UsageError(
            f"unknown physical loss '{hyper.physical_loss}'", nearest(hyper.physical_loss, PhysicalLoss.known)
        )
    return PhysicalLoss.known[hyper.physical_loss](hyper, density_per_SI)
