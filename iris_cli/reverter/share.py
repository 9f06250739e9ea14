"""The network `share`: where along each longitude its gas is, and how much the image's brightness there stands for.

The brightness of a longitude, summed over velocity, knows its mass: a thin line to a few per cent, a thick one roughly.
The network keeps it. For each longitude, shares over distance (softmax) multiply the column's mean brightness and a
learned correction. Both come from the U-Net of `columns`, which sees the coordinates of each pixel as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iris_cli.reverter.columns import SCALES, Asinh, UNet, check_size
from iris_cli.reverter.layers import DensityScale

#: Mean density of a column per mean brightness, on the scale of the loss and in units of the middle one of SCALES: of
#: the mock galaxies, to start from.
DENSITY_PER_BRIGHTNESS = 5.0
#: A column of less than this brightness, in the same unit, has this: noise sums to less than zero.
FAINTEST = 1e-3
#: The correction stays within exp(+-8).
MOST_CORRECTED = 8.0


class Coordinates(nn.Module):
    """(N, C, H, W) -> (N, C + 2, H, W): the row and the column of each pixel, -1 ... 1, as further channels."""

    def forward(self, image: Tensor) -> Tensor:
        n, _, height, width = image.shape
        rows, columns = (torch.linspace(-1.0, 1.0, size, device=image.device) for size in (height, width))
        shape = (n, 1, height, width)
        return torch.cat([image, rows[:, None].expand(shape), columns.expand(shape)], dim=1)


class Share(nn.Module):
    """(N, 1, L, V) -> (N, 1, R', L) densities."""

    def __init__(self, image_size: int, scales: tuple[float, float, float]) -> None:
        super().__init__()
        self.unit = scales[1] / DENSITY_PER_BRIGHTNESS
        self.asinh = Asinh(scales)
        self.coordinates = Coordinates()
        self.unet = UNet(len(scales) + 2, image_size, channels_out=2)
        self.density_scale = DensityScale()

    def forward(self, image: Tensor) -> Tensor:
        found = self.unet(self.coordinates(self.asinh(image))).float()
        shares = torch.softmax(found[:, :1], dim=2) * found.shape[2]  # (N, 1, R', L), mean 1 over distance
        correction = found[:, 1:].mean(dim=2, keepdim=True).clamp(-MOST_CORRECTED, MOST_CORRECTED).exp()
        brightness = image.float().mean(dim=3)[:, :, None] / self.unit  # (N, 1, 1, L)
        return self.density_scale(shares * correction * brightness.clamp(min=FAINTEST))


def share(image_size: int, quantity: str) -> dict[str, nn.Module]:
    """The one module, for square images of this size. UsageError for a size that is not in SIZES."""
    check_size(image_size)
    return {"share": Share(image_size, SCALES[quantity])}
