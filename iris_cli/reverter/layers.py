"""Layers, image sizes and initial weights that all networks share."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from iris_cli.errors import UsageError
from iris_cli.reverter.cpu_layers import MATRIX_LAYERS
from iris_cli.units import INNER

#: Image sizes that the networks are defined for, pixels across.
SIZES = (32, 64, 128, 256, 512)
#: Channels that each attention head works on, as in the IRIS paper (arXiv:2607.01338).
CHANNELS_PER_HEAD = 32
LEAKY_SLOPE = 0.01
#: The density by which the loss normalizes by default, 1e-19 kg/m3, in inner units.
DENSITY = 1e-19 * INNER.density_per_SI


class DensityScale(nn.Module):
    """A number on the scale of the loss -> a density in inner units; see `Reverter.set_density_scale`."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(DENSITY, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image


def check_size(image_size: int) -> None:
    """UsageError for an image size that is not in SIZES."""
    if image_size not in SIZES:
        message = f"the reverter takes square images of {', '.join(map(str, SIZES))} pixels, not {image_size}"
        raise UsageError(message, "choose a grid whose distance, longitude and velocity steps are one of these")


class Rebuildable(nn.Module):
    """A network whose class, called with `table()`, builds it again."""

    #: Names of the arguments, each of which is an attribute.
    arguments: tuple[str, ...]

    def table(self) -> dict[str, Any]:
        """The arguments to build the same network, without its weights."""
        return {name: getattr(self, name) for name in self.arguments}

    def on(self, device: torch.device) -> Self:
        """Move to a device, and give each convolution's weights the memory format that is fastest there."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not isinstance(layer, MATRIX_LAYERS):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.to(device)


class ZeroLinear(nn.Linear):
    """A linear map that is zero at first, so that the branch of a residual block that it ends adds nothing."""


class LinesOfSight(nn.Linear):
    """A linear map to lines of sight of so many distances, and to further numbers after them.

    Its first weights are smooth along distance: single distances that begin with much gas keep it in short trainings.
    """

    def __init__(self, width: int, distances: int, lines: int = 1, further: int = 0) -> None:
        super().__init__(width, lines * distances + further)
        self.lines, self.distances = lines, distances

    @torch.no_grad()
    def smooth(self) -> None:
        """Smooth the weights by a Gaussian of 1/16 of the distances, and keep the size of each distance's."""
        weight = self.weight.detach()[: self.lines * self.distances].unflatten(0, (self.lines, self.distances))
        pixel, size = torch.arange(self.distances), weight.norm(dim=2, keepdim=True)
        smooth = torch.exp(-0.5 * ((pixel[:, None] - pixel) * (16.0 / self.distances)) ** 2) @ weight
        weight.copy_(smooth * (size / smooth.norm(dim=2, keepdim=True)))


class PixelAttention(nn.Module):
    """Self-attention between all pixels, `LayerNorm(x + MHA(LayerNorm(x)))`: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads(channels), batch_first=True)
        self.norm_out = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(2).transpose(1, 2)  # (N, H W, C)
        normed = self.norm_in(pixels)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        return self.norm_out(pixels + mixed).transpose(1, 2).reshape(image.shape)


def heads(channels: int) -> int:
    """The number of attention heads for so many channels."""
    return max(1, channels // CHANNELS_PER_HEAD)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-uniform weights and zero biases for every convolution and linear map, drawn from `generator` alone."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if isinstance(layer, ZeroLinear):
                nn.init.zeros_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu", generator=generator)
            if isinstance(layer, LinesOfSight):
                layer.smooth()
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.MultiheadAttention):
            nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
