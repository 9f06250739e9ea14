"""The network `sightlines`: a transformer whose tokens are longitudes; each has a spectrum and becomes a line of sight.

In: images (N, C, L, V), one channel for each line or moment in latitude. Out: the map (N, 1, R', L). A token holds the
whole spectrum at its longitude and predicts the density at all distances of its line of sight, so that nothing is
enlarged and no lattice appears. Where gas is follows from the pattern of the whole image: attention joins all
longitudes, and a convolution the neighbours.

The image's sum over velocity at a longitude measures the column of thin gas. The network therefore predicts shares over
distance, which add up to one, and a factor for the column: density = share x factor x sum. Images are divided by their
mean brightness first, so that galaxies of different mass have similar inputs; the brightness itself is an input, too,
because the column of thick gas is not proportional to it.

A longitude whose pixels are all exactly zero was not observed. The network knows which these are, and its map continues
over them with the mean sum of the others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.reverter.columns import SCALES
from iris_cli.reverter.layers import CHANNELS_PER_HEAD, SIZES, LinesOfSight, ZeroLinear, check_size

#: Numbers of a token, for each image size.
WIDTHS = dict(zip(SIZES, (128, 160, 192, 256, 384), strict=True))
DEPTH = 3
#: Longitudes that the convolution joins.
NEIGHBOURS = 5
#: Brightness relative to the image's mean at which asinh changes from linear to logarithmic.
RELATIVE_SCALES = (0.1, 1.0, 10.0)
#: A longitude's sum over velocity counts as at least this share of the mean sum.
FAINTEST = 1e-3
#: Slows the learning of the factor of a column, on which all pixels of its line of sight depend.
FACTOR_GAIN = 0.3


class Spectra(nn.Module):
    """Images (N, C, L, V) -> tokens (N, L, D), and ln of the sum over velocity at each longitude (N, L)."""

    def __init__(self, channels: int, size: int, scale: float, width: int) -> None:
        super().__init__()
        self.scale = scale
        self.log_scale = nn.Parameter(torch.tensor(RELATIVE_SCALES).log())
        self.enter = nn.Linear(channels * (len(RELATIVE_SCALES) * size + 1) + 2, width)
        self.place = nn.Parameter(waves(size, width))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        image = image.float()
        observed = (image != 0).any(dim=3).any(dim=1)  # (N, L)
        brightness = image.abs().mean(dim=(2, 3)) / observed.float().mean(dim=1).clamp(min=1e-3)[:, None]
        brightness = brightness.clamp(min=1e-6 * self.scale)  # (N, C): the mean over what was observed
        relative = image / brightness[:, :, None, None]
        scaled = torch.asinh(relative[:, :, None] / self.log_scale.exp()[:, None, None])
        sums = torch.where(observed, relative[:, 0].mean(dim=2).clamp(min=FAINTEST), 1.0).log()
        known = torch.stack([sums, observed.float()], dim=2)
        mean = (brightness / self.scale).log()[:, None].expand(-1, image.shape[2], -1)
        spectra = scaled.permute(0, 3, 1, 2, 4).flatten(2)
        tokens = self.enter(torch.cat([spectra, mean, known], dim=2)) + self.place
        return tokens, sums + (brightness[:, :1] * image.shape[3]).log()


class Block(nn.Module):
    """x + attention, then x + two linear layers: (N, L, D) -> (N, L, D). At first it changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // CHANNELS_PER_HEAD
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.neighbours = nn.Conv1d(width, width, NEIGHBOURS, padding=NEIGHBOURS // 2, groups=width, bias=False)
        nn.init.zeros_(self.neighbours.weight)
        self.attend, self.attended = nn.Linear(width, 3 * width), ZeroLinear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), ZeroLinear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.between(self.norm_in(tokens))
        return tokens + self.within(self.norm_out(tokens))

    def between(self, x: Tensor) -> Tensor:
        """What each token reads from the others."""
        x = x + self.neighbours(x.transpose(1, 2)).transpose(1, 2)
        query, key, value = self.attend(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.attended(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def within(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(x)))


class Sightlines(nn.Module):
    """The whole network, (N, C, L, V) -> (N, 1, R', L)."""

    def __init__(self, image_size: int, quantity: str, channels: int) -> None:
        super().__init__()
        width, scale = WIDTHS[image_size], SCALES[quantity][1]
        self.spectra = Spectra(channels, image_size, scale, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(width)
        self.leave = LinesOfSight(width, image_size, further=1)
        #: ln(density summed over distance / image summed over velocity); pixels are about as many pc as km/s.
        self.log_factor = nn.Parameter(torch.tensor(math.log(SCALES["v_density"][1] / scale)))

    def forward(self, image: Tensor) -> Tensor:
        tokens, log_sums = self.spectra(image)
        for block in self.blocks:
            tokens = block(tokens)
        x = self.leave(self.norm(tokens)).float()
        weights = F.softplus(x[..., :-1])
        column = (FACTOR_GAIN * x[..., -1] + self.log_factor + log_sums).clamp(max=50.0).exp()
        shares = weights / (weights.sum(dim=2, keepdim=True) + 1e-6)
        return (shares * column[..., None]).transpose(1, 2)[:, None]


def waves(size: int, width: int) -> Tensor:
    """(S, D) cosines of longitude at several frequencies and phases, as the first values of each token's place."""
    longitude, number = torch.linspace(-1.0, 1.0, size)[:, None], torch.arange(width)
    return torch.cos(math.pi * longitude * 2.0 ** (number % 6) + number.div(6, rounding_mode="floor"))


def sightlines(image_size: int, quantity: str, channels: int) -> dict[str, nn.Module]:
    """Modules for square images of this size. UsageError as of `check_size`."""
    check_size(image_size)
    return {"sightlines": Sightlines(image_size, quantity, channels)}
