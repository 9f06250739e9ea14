"""The network `columns`: a U-Net that keeps each longitude in its own column.

The l-v image is (N, 1, L, V) and the map (N, 1, R', L): longitude is a row of the image and a column of the map. The
image is transposed to (V, L) first, so that the skip connections of the U-Net stay at their longitude and only velocity
has to become distance. Other differences from the paper's network: the input is asinh of the image at several scales,
so that faint and bright gas have similar values; group norm replaces batch norm, so that the map of one galaxy does not
depend on the others in its batch; the output is on the scale of the loss.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.reverter.layers import DensityScale, PixelAttention, check_size

#: Initial scales of asinh(image/scale), inner units: the brightness of a `small` galaxy, a decade below and above.
SCALES = {"temperature": (0.03, 0.3, 3.0), "v_density": (0.3, 3.0, 30.0), "intensity": (1e-20, 1e-19, 1e-18)}
#: Channels at S/2, S/4, ... 4 pixels across.
WIDTHS = (16, 32, 64, 128, 192, 256, 256)
GROUPS = 8
#: Levels of so many pixels across or fewer have attention between all their pixels.
MAX_ATTENDED = 16


class Asinh(nn.Module):
    """(N, 1, L, V) -> (N, scales, V, L): the transposed image as asinh(image/scale), with learned scales."""

    def __init__(self, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(scales).log())

    def forward(self, image: Tensor) -> Tensor:
        return torch.asinh(image.float().transpose(2, 3) / self.log_scale.exp()[:, None, None])


class Block(nn.Module):
    """`x + f(x)`, where f is norm, activation and convolution, twice: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out, 3, padding=1),
            nn.GroupNorm(GROUPS, out),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.across = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return self.across(image) + self.body(image)


def doubled(channels: int, out: int) -> nn.Module:
    """(N, C, H, W) -> (N, C', 2 H, 2 W). Unlike a transposed convolution with stride 2, it leaves no lattice on the map
    (Odena et al. 2016, doi:10.23915/distill.00003). Nearest, because its gradient is deterministic on a GPU as well.
    """
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, out, 3, padding=1))


class UNet(nn.Module):
    """(N, channels_in, S, S) -> (N, channels_out, S, S): levels halve the image, down to 4 pixels, and up again."""

    def __init__(self, channels_in: int, image_size: int, channels_out: int = 1) -> None:
        super().__init__()
        pixels = [image_size >> k for k in range(1, image_size.bit_length() - 2)]  # S/2, S/4, ... 4
        widths = WIDTHS[: len(pixels)]
        self.enter = nn.Conv2d(channels_in, widths[0], 4, stride=2, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(Block(w, w), PixelAttention(w)) if p <= MAX_ATTENDED else Block(w, w)
            for w, p in zip(widths, pixels, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(doubled(b, a) for a, b in pairwise(widths))
        self.join = nn.ModuleList(Block(2 * w, w) for w in widths[:-1])
        self.leave = nn.Sequential(nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), doubled(widths[0], channels_out))

    def forward(self, image: Tensor) -> Tensor:
        image, kept = self.enter(image), []
        for level, down in zip(self.levels, self.down, strict=False):
            kept.append(level(image))
            image = down(kept[-1])
        image = self.levels[-1](image)
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            image = join(torch.cat([up(image), kept.pop()], dim=1))
        return self.leave(image)


class Density(DensityScale):
    """Any number -> a density above zero; an output of 0 is close to zero density."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(F.softplus(image.float() - 3.0))


def columns(image_size: int, quantity: str, channels: int = 1) -> dict[str, nn.Module]:
    """Modules for square images of this size. UsageError as of `check_size`."""
    check_size(image_size)
    scales = SCALES[quantity]
    return {"asinh": Asinh(scales), "unet": UNet(len(scales), image_size), "density_scale": Density()}
