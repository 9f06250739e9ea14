"""The network `columns`: a U-Net that keeps each longitude in its own column.

The l-v image comes as (N, 1, L, V), the map leaves as (N, 1, R', L): longitude is a row there and a column here. Turned
to (V, L) first, what a U-Net hands across from its way down to its way up stays at its longitude, and only velocity
has to become distance. The other differences to the paper's network: the image enters as asinh at several scales, so
that faint and bright gas are seen alike; groups of channels are normalised rather than the batch, so that what is said
of one galaxy does not depend on the others; the map leaves on the scale of the loss.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.errors import UsageError
from iris_cli.reverter.paper import CHANNELS_PER_HEAD, SIZES, PixelAttention
from iris_cli.units import INNER

#: What an image is divided by before asinh, in inner units: a decade below and above what a `small` galaxy shows.
SCALES = {"temperature": (0.03, 0.3, 3.0), "v_density": (0.3, 3.0, 30.0), "intensity": (1e-20, 1e-19, 1e-18)}
#: The density that the last layer counts in: the loss's normalisation.
DENSITY = 1e-19 * INNER.density_per_SI
#: Channels at S/2, S/4, ... 4 pixels across.
WIDTHS = (16, 32, 64, 128, 192, 256, 256)
GROUPS = 8
#: Pixels across, from which down all pixels attend to each other.
MOST_ATTENDED = 16


class Asinh(nn.Module):
    """(N, 1, L, V) -> (N, scales, V, L): the image turned, as asinh(image/scale), with learned scales."""

    def __init__(self, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(scales).log())

    def forward(self, image: Tensor) -> Tensor:
        return torch.asinh(image.float().transpose(2, 3) / self.log_scale.exp()[:, None, None])


class Block(nn.Module):
    """`x + f(x)`, f twice normalised, activated and convolved: (N, C, H, W) -> (N, C', H, W)."""

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


class UNet(nn.Module):
    """(N, channels_in, S, S) -> (N, 1, S, S): by halves down to 4 pixels across and up again."""

    def __init__(self, channels_in: int, image_size: int) -> None:
        super().__init__()
        pixels = [image_size >> k for k in range(1, image_size.bit_length() - 2)]  # S/2, S/4, ... 4
        widths = WIDTHS[: len(pixels)]
        self.enter = nn.Conv2d(channels_in, widths[0], 4, stride=2, padding=1)
        self.levels = nn.ModuleList(_level(w, p) for w, p in zip(widths, pixels, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.join = nn.ModuleList(Block(2 * w, w) for w in widths[:-1])
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        image, kept = self.enter(image), []
        for level, down in zip(self.levels, self.down, strict=False):
            kept.append(level(image))
            image = down(kept[-1])
        image = self.levels[-1](image)
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            image = join(torch.cat([up(image), kept.pop()], dim=1))
        return self.leave(image)


def _level(channels: int, pixels: int) -> nn.Module:
    block = Block(channels, channels)
    if pixels > MOST_ATTENDED:
        return block
    return nn.Sequential(block, PixelAttention(channels, max(1, channels // CHANNELS_PER_HEAD)))


class Density(nn.Module):
    """Any number -> a density above zero, on the loss's scale; nothing learned yet is nearly nothing there."""

    def forward(self, image: Tensor) -> Tensor:
        return DENSITY * F.softplus(image.float() - 3.0)


def columns(image_size: int, quantity: str) -> dict[str, nn.Module]:
    """UsageError for a size that is not a table's."""
    if image_size not in SIZES:
        raise UsageError(f"the network takes square images of {', '.join(map(str, SIZES))} pixels, not {image_size}")
    scales = SCALES[quantity]
    return {"asinh": Asinh(scales), "unet": UNet(len(scales), image_size), "density_scale": Density()}
