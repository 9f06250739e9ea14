"""The reverter's stages as a table, and the layers that a row stands for.

The IRIS paper (arXiv:2607.01338) gives the table for 512 x 512 pixels. A smaller image has as many stages fewer as it
can be halved less often; `stages_for` says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from iris_cli.errors import UsageError
from iris_cli.reverter.cpu_layers import FEW_CHANNELS, FEW_PIXELS, FewChannelNorm, MatrixConv2d, MatrixConvTranspose2d

LEAKY_SLOPE = 0.01
CHANNELS_PER_HEAD = 32


@dataclass(frozen=True)
class Stage:
    """One row: a convolution to `channels`, on the way back a transposed one from them; perhaps attention."""

    channels: int
    kernel: int = 4
    stride: int = 2
    padding: int = 1
    groups: int = 1
    attends: bool = False

    @property
    def heads(self) -> int:
        """A head looks at 32 channels, as each of the paper's does."""
        return max(1, self.channels // CHANNELS_PER_HEAD)


#: Nine stages from (1, 512, 512) to a latent (2048, 1, 1); the comment gives the pixels across after the stage.
PAPER_STAGES = (
    Stage(4),  # 256
    Stage(16),  # 128
    Stage(32),  # 64
    Stage(64, attends=True),  # 32
    Stage(128, attends=True),  # 16
    Stage(256, attends=True),  # 8
    Stage(512),  # 4
    Stage(1024, kernel=2, padding=0),  # 2
    Stage(2048, kernel=2, stride=1, padding=0, groups=4),  # 1
)
PAPER_SIZE = 512
SIZES = (32, 64, 128, 256, 512)


def stages_for(image_size: int) -> tuple[Stage, ...]:
    """The rows for a square image: the paper's without its outermost, so that what remains sees the same pixels.

    Below 256 pixels the channels shrink with the image, down to 16 in the first stage. Attention stays at 32, 16 and 8
    pixels across, where these are a quarter of the image or less: of all pixels of a small image, it would cost ten
    times all the rest. UsageError for a size that is not in SIZES.
    """
    if image_size not in SIZES:
        raise UsageError(
            f"the reverter takes square images of {', '.join(map(str, SIZES))} pixels, not {image_size}",
            "choose a grid whose distance, longitude and velocity steps are one of these",
        )
    rows = PAPER_STAGES[(PAPER_SIZE // image_size).bit_length() - 1 :]
    shrink = max(1, 256 // image_size)
    across = [image_size >> k for k in range(1, len(rows) + 1)]
    return tuple(
        replace(row, channels=row.channels // shrink, attends=row.attends and 4 * pixels <= image_size)
        for row, pixels in zip(rows, across, strict=True)
    )


def paper(image_size: int, quantity: str) -> dict[str, nn.Module]:
    """The encoder-decoder of the IRIS paper (arXiv:2607.01338), with fewer stages below 512 pixels."""
    stages = stages_for(image_size)
    return {"encoder": encoder(stages), "decoder": decoder(stages)}


class PixelAttention(nn.Module):
    """Self-attention between all pixels, `LayerNorm(x + MHA(LayerNorm(x)))`: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm_out = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(2).transpose(1, 2)  # (N, H W, C)
        normed = self.norm_in(pixels)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        return self.norm_out(pixels + mixed).transpose(1, 2).reshape(image.shape)


def encoder(stages: tuple[Stage, ...]) -> nn.Sequential:
    """(N, 1, S, S) -> (N, latent, 1, 1)."""
    return _named(_encoder_layers(stages))


def decoder(stages: tuple[Stage, ...]) -> nn.Sequential:
    """(N, latent, 1, 1) -> (N, 1, S, S), never negative."""
    return _named(_decoder_layers(stages))


def _encoder_layers(stages: tuple[Stage, ...]) -> Iterator[list[tuple[str, nn.Module]]]:
    channels_in = 1
    for row, pixels in zip(stages, _pixels_after(stages), strict=True):
        kind = MatrixConv2d if pixels <= FEW_PIXELS and row.groups == 1 else nn.Conv2d
        convolution = kind(channels_in, row.channels, row.kernel, row.stride, row.padding, groups=row.groups)
        layers: list[tuple[str, nn.Module]] = [("convolution", convolution)]
        if row is not stages[-1]:
            layers.append(("batch_norm", _norm(row.channels)))
        layers.append(("activation", nn.LeakyReLU(LEAKY_SLOPE)))
        if row.attends:
            layers.append(("attention", PixelAttention(row.channels, row.heads)))
        yield layers
        channels_in = row.channels


def _decoder_layers(stages: tuple[Stage, ...]) -> Iterator[list[tuple[str, nn.Module]]]:
    channels_out = (*(row.channels for row in reversed(stages[:-1])), 1)
    for row, out, pixels in zip(reversed(stages), channels_out, reversed(_pixels_after(stages)), strict=True):
        kind = MatrixConvTranspose2d if pixels <= FEW_PIXELS else nn.ConvTranspose2d
        transposed = kind(row.channels, out, row.kernel, row.stride, row.padding, groups=row.groups)
        if row is stages[0]:
            yield [("transpose_convolution", transposed), ("activation", nn.ReLU())]
        else:
            yield [
                ("transpose_convolution", transposed),
                ("batch_norm", _norm(out)),
                ("activation", nn.LeakyReLU(LEAKY_SLOPE)),
            ]


def _norm(channels: int) -> nn.BatchNorm2d:
    return FewChannelNorm(channels) if channels <= FEW_CHANNELS else nn.BatchNorm2d(channels)


def _pixels_after(stages: tuple[Stage, ...]) -> list[int]:
    """Pixels across after each stage; the last leaves one."""
    before = [1]
    for row in reversed(stages):
        before.append((before[-1] - 1) * row.stride - 2 * row.padding + row.kernel)
    return before[-2::-1]


def _named(stages: Iterator[list[tuple[str, nn.Module]]]) -> nn.Sequential:
    """Layers called `_<stage>_<position>_<kind>`, as in the checkpoints of the paper's code."""
    named = nn.Sequential()
    for k, layers in enumerate(stages, start=1):
        for m, (kind, layer) in enumerate(layers, start=1):
            named.add_module(f"_{k}_{m}_{kind}", layer)
    return named


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-uniform weights and zero biases for every convolution and linear map, drawn from `generator` alone."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.MultiheadAttention):
            nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
