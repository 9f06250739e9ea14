"""The loss between a predicted and a true top-down density: a number without units."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from iris_cli.config.train import TrainConfig
from iris_cli.errors import IrisError, UsageError
from iris_cli.plugins import find
from iris_cli.units import INNER

#: Larger residuals are clamped to this value, whose fourth power is still finite in float32.
_LARGEST = 1e9


class PhysicalLoss(nn.Module, ABC):
    """A loss that does not depend on units: residuals are divided by `normalization`, a density in the data's unit.

    A subclass in a program is found by its name, or by MODULE:NAME, as a configuration holds it.
    """

    normalization: Tensor
    known: ClassVar[dict[str, "type[PhysicalLoss]"]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        PhysicalLoss.known[cls.__name__] = PhysicalLoss.known[f"{cls.__module__}:{cls.__qualname__}"] = cls

    def __init__(self, hyper: TrainConfig | None = None, density_per_SI: float = INNER.density_per_SI) -> None:
        """`density_per_SI` is the data's density unit: what 1 kg/m^3 is in it."""
        super().__init__()
        hyper = hyper or TrainConfig()
        value = hyper.density_normalization_kg_m3 * density_per_SI
        self.register_buffer("normalization", torch.tensor(value, dtype=torch.float64))

    def normed_residual(self, pred: Tensor, true: Tensor) -> Tensor:
        """(pred - true) / normalization, in the images' dtype."""
        return (pred - true) / self.normalization  # a tensor on the device: reading its value would wait

    @abstractmethod
    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        """(N, 1, R', L) twice -> scalar: the mean over the batch."""

    def per_sample(self, pred: Tensor, true: Tensor) -> Tensor:
        """(N,) the loss of each image; their mean is the loss of the batch."""
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
    """Value and slope in closed form, in one pass; on a CPU image by image, so that the data stay in its cache.

    On a CPU, torch's asinh takes twenty times as long as its logarithm.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor) -> Tensor:
        value, slope = torch.empty_like(r), torch.empty_like(r)
        size = 1 if r.device.type == "cpu" and r.dim() > 1 else max(1, len(r) if r.dim() else 1)
        parts = (t.split(size) if r.dim() else (t,) for t in (r, value, slope))
        for x, y, dy in zip(*parts, strict=True):
            torch.clamp(x, -_LARGEST, _LARGEST, out=dy)
            s = dy * dy
            torch.mul(s, s, out=y)
            root = (y + 1.0).sqrt_()
            dy.mul_(2.0).div_(root)
            y.div_(root.add_(1.0)).add_(s).log1p_()  # asinh(s) = log(1 + s + s^2/(1 + sqrt(1 + s^2))) for s >= 0
            y.add_(x, alpha=0.0)  # NaN where x is infinite
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return gradient * slope


def asinh_of_square(r: Tensor) -> Tensor:
    """asinh(r^2); beyond |r| = 1e9, far above any density, value and slope stay constant. NaN where r is infinite."""
    return _AsinhOfSquare.apply(r)


def physical_loss(hyper: TrainConfig) -> PhysicalLoss:
    """The loss of a configuration: a class, or its name. UsageError when there is none, or it is not a loss."""
    loss = hyper.physical_loss
    if isinstance(loss, str):
        loss = find("physical_loss", loss, PhysicalLoss.known)
    if not (isinstance(loss, type) and issubclass(loss, PhysicalLoss)):
        raise UsageError(f"physical_loss = {loss!r}; it must be a class derived from PhysicalLoss, or its name")
    if loss.__module__.startswith("iris_cli."):
        return loss(hyper)
    try:
        made = loss(hyper)
        _check(made)
    except IrisError:
        raise
    except Exception as error:
        name = f"{loss.__module__}:{loss.__qualname__}"
        raise UsageError(f"the loss {name} cannot be computed: {type(error).__name__}: {error}", _CONTRACT) from error
    return made


_CONTRACT = "forward(pred, true) takes (N, 1, R', L) twice and returns the mean over the N images"


def _check(loss: PhysicalLoss) -> None:
    """UsageError unless there is a number for each image that depends on the prediction."""
    density = torch.linspace(0.0, 2.0, 2 * 32 * 32).reshape(2, 1, 32, 32) * float(loss.normalization)
    pred = density.clone().requires_grad_()
    found = loss.per_sample(pred, density.flip(0))
    name = f"{type(loss).__module__}:{type(loss).__qualname__}"
    if found.shape != (2,):
        raise UsageError(f"the loss {name} of 2 images is of shape {tuple(found.shape)}, not (2,)", _CONTRACT)
    if not found.requires_grad:
        raise UsageError(f"the loss {name} does not depend on the prediction", _CONTRACT)
