"""The network `paper`: the encoder-decoder of the IRIS paper (arXiv:2607.01338), as a table of stages.

The paper gives the table for 512 x 512 pixels. Smaller images have fewer stages; `stages_for` selects them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from iris_cli.reverter.cpu_layers import FEW_CHANNELS, FEW_PIXELS, FewChannelNorm, MatrixConv2d, MatrixConvTranspose2d
from iris_cli.reverter.layers import LEAKY_SLOPE, PixelAttention, check_size


@dataclass(frozen=True)
class Stage:
    """One row: a convolution to `channels` in the encoder, a transposed one from them in the decoder.

    With `attends`, the encoder's convolution is followed by attention.
    """

    channels: int
    kernel: int = 4
    stride: int = 2
    padding: int = 1
    groups: int = 1
    attends: bool = False


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


def paper(image_size: int, quantity: str, channels: int = 1) -> dict[str, nn.Module]:
    """Encoder and decoder for square images of this size. UsageError as of `check_size`."""
    check_size(image_size)
    stages = stages_for(image_size)
    return {"encoder": _named(_encoder_layers(stages)), "decoder": _named(_decoder_layers(stages))}


def stages_for(image_size: int) -> tuple[Stage, ...]:
    """The rows for a square image: the paper's table without its outermost stages.

    Below 256 pixels the channels shrink with the image, down to 16 in the first stage. Attention stays at 32, 16 and 8
    pixels across, where these are at most a quarter of the image: attention between all pixels of a small image would
    cost ten times as much as the rest of the network.
    """
    rows = PAPER_STAGES[(PAPER_SIZE // image_size).bit_length() - 1 :]
    shrink = max(1, 256 // image_size)
    across = [image_size >> k for k in range(1, len(rows) + 1)]
    return tuple(
        replace(row, channels=row.channels // shrink, attends=row.attends and 4 * pixels <= image_size)
        for row, pixels in zip(rows, across, strict=True)
    )


#: The layers of a stage, each with its kind.
Layers = list[tuple[str, nn.Module]]


def _encoder_layers(stages: tuple[Stage, ...]) -> Iterator[Layers]:
    """(N, 1, S, S) -> (N, latent, 1, 1)."""
    channels_in = 1
    for row, pixels in zip(stages, _pixels_after(stages), strict=True):
        kind = MatrixConv2d if pixels <= FEW_PIXELS and row.groups == 1 else nn.Conv2d
        convolution = kind(channels_in, row.channels, row.kernel, row.stride, row.padding, groups=row.groups)
        layers: Layers = [("convolution", convolution)]
        if row is not stages[-1]:
            layers.append(("batch_norm", _norm(row.channels)))
        layers.append(("activation", nn.LeakyReLU(LEAKY_SLOPE)))
        if row.attends:
            layers.append(("attention", PixelAttention(row.channels)))
        yield layers
        channels_in = row.channels


def _decoder_layers(stages: tuple[Stage, ...]) -> Iterator[Layers]:
    """(N, latent, 1, 1) -> (N, 1, S, S), never negative."""
    channels_out = (*(row.channels for row in reversed(stages[:-1])), 1)
    for row, out, pixels in zip(reversed(stages), channels_out, reversed(_pixels_after(stages)), strict=True):
        kind = MatrixConvTranspose2d if pixels <= FEW_PIXELS else nn.ConvTranspose2d
        convolution = kind(row.channels, out, row.kernel, row.stride, row.padding, groups=row.groups)
        layers: Layers = [("transpose_convolution", convolution)]
        if row is stages[0]:
            layers.append(("activation", nn.ReLU()))
        else:
            layers += [("batch_norm", _norm(out)), ("activation", nn.LeakyReLU(LEAKY_SLOPE))]
        yield layers


def _norm(channels: int) -> nn.BatchNorm2d:
    return FewChannelNorm(channels) if channels <= FEW_CHANNELS else nn.BatchNorm2d(channels)


def _pixels_after(stages: tuple[Stage, ...]) -> list[int]:
    """Pixels across after each stage; one after the last."""
    before = [1]
    for row in reversed(stages):
        before.append((before[-1] - 1) * row.stride - 2 * row.padding + row.kernel)
    return before[-2::-1]


def _named(stages: Iterator[Layers]) -> nn.Sequential:
    """Layers with the names `_<stage>_<position>_<kind>`, as in checkpoints of the paper's code."""
    named = nn.Sequential()
    for k, layers in enumerate(stages, start=1):
        for m, (kind, layer) in enumerate(layers, start=1):
            named.add_module(f"_{k}_{m}_{kind}", layer)
    return named
