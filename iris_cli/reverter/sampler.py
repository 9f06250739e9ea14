"""The sampler: a second network that turns an l-v image, the first network's map of it and noise into one map.

The first network predicts one map; many maps fit an image. The sampler is trained by proper scores
(`iris_cli.evaluation.sampler_loss`), so that each draw of the noise gives another of these maps, in one pass. Like the
network `sightlines`, it is a transformer whose tokens are longitudes, and a sample is made of shares over distance
times the total of each longitude, which is the image's sum over velocity times a factor. Where the first network is a
`sightlines`, the sampler begins with its weights.

The encoder sees no noise, so that it runs once for all samples of an image. The noise enters the decoder: 32 numbers
scale and shift the tokens of each block (FiLM, Perez et al. 2018, arXiv:1709.07871), and a noise image is added to the
tokens and is an input of the last convolutions, which draw the structure of single pixels. Each of the 32 numbers is
multiplied by a wave along longitude: tokens that were all shifted alike would draw stripes of gas at one distance. The
factor of the totals is lognormal given the image. Its width, and what longitudes have in common, are predicted without
noise: the sum of a thin image determines the totals up to a few per cent, that of a thick one leaves a wide
distribution.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.reverter.columns import SCALES
from iris_cli.reverter.layers import DensityScale, LinesOfSight, Rebuildable, initialise
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sightlines import DEPTH, FACTOR_GAIN, WIDTHS, Block, Sightlines, Spectra
from shards.order import stream_key

#: Numbers of noise that scale and shift tokens; the first ones also change the totals of several longitudes together.
LATENTS, OF_TOTALS = 32, 8
#: Blocks of the decoder.
NOISY_BLOCKS = 2
#: Images of a token's line of sight, and channels of the last convolutions.
PLANES, CHANNELS = 4, 16
#: Standard deviation of ln of a longitude's total at first.
FIRST_WIDTH = 0.05
#: Pixels of the samples that are drawn together.
AT_ONCE = 2**20


def noise_of(size: int, keys: list[int], numbers: range) -> tuple[Tensor, Tensor]:
    """Standard normal numbers (n, M, 32) and images (n, M, S, S) of the samples `numbers` of the items `keys`.

    They depend on the key of the item and the number of the sample alone.
    """
    drawn = np.empty((len(keys), len(numbers), LATENTS + size * size), np.float32)
    for row, key in zip(drawn, keys, strict=True):
        for out, number in zip(row, numbers, strict=True):
            np.random.Generator(np.random.Philox(stream_key(key, number))).standard_normal(out=out, dtype=np.float32)
    latents, images = torch.from_numpy(drawn).split([LATENTS, size * size], dim=2)
    return latents, images.unflatten(2, (size, size))


def waves_of_noise(size: int) -> Tensor:
    """(S, 32) of mean square 1: four waves with each of 0.5, 1 ... 4 periods along longitude."""
    longitude, number = (torch.arange(size)[:, None] + 0.5) / size, torch.arange(LATENTS)
    periods, phase = (number.div(4, rounding_mode="floor") + 1) / 2, number % 2 / 4
    return math.sqrt(2.0) * torch.cos(2.0 * math.pi * (longitude * periods + phase))


class NoisyBlock(Block):
    """A `Block` whose normalised tokens are scaled and shifted by noise: (N, L, D), (N, L, 32) -> (N, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norm_in, self.norm_out = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.film = nn.Linear(LATENTS, 4 * width)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:  # type: ignore[override]
        scale_in, shift_in, scale_out, shift_out = self.film(latents).chunk(4, dim=2)
        tokens = tokens + self.between(self.norm_in(tokens) * (1.0 + scale_in) + shift_in)
        return tokens + self.within(self.norm_out(tokens) * (1.0 + scale_out) + shift_out)


class Sampler(Rebuildable):
    """M maps (n, M, R', L) of each observation (n, channel, L, V).

    The other inputs are first maps (n, 1, R', L) and noise (n, M, 32) and (n, M, R', L). Observations and maps are in
    the units of the first network; `digest` identifies its weights.
    """

    arguments = ("image_size", "quantity", "digest", "channels")

    def __init__(self, image_size: int, quantity: str, digest: str, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.image_size, self.quantity, self.digest, self.channels = image_size, quantity, digest, channels
        width, scale = WIDTHS[image_size], SCALES[quantity][1]
        self.spectra = Spectra(channels, image_size, scale, width)
        self.density_scale, self.first = DensityScale(), nn.Linear(2 * image_size, width, bias=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(DEPTH))
        total, last = nn.Linear(width, 2 + OF_TOTALS), nn.Conv2d(CHANNELS, 1, 3, padding=1)
        self.total = nn.Sequential(nn.LayerNorm(width), total)
        self.grain = nn.Linear(image_size, width, bias=False)
        self.waves = nn.Parameter(waves_of_noise(image_size))
        self.noisy_blocks = nn.ModuleList(NoisyBlock(width) for _ in range(NOISY_BLOCKS))
        self.leave = nn.Sequential(nn.LayerNorm(width), LinesOfSight(width, image_size, PLANES))
        inner = nn.Conv2d(PLANES + 3, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.draw = nn.Sequential(inner[0], nn.SiLU(), inner[1], nn.SiLU(), last)
        self.log_factor = nn.Parameter(torch.tensor(math.log(SCALES["v_density"][1] / scale)))
        #: ln of what multiplies all widths of totals, own and common: the loss depends little on a width, and so many
        #: weights would learn it slowly.
        self.log_widths = nn.Parameter(torch.zeros(2))
        initialise(self, torch.Generator().manual_seed(seed))
        with torch.no_grad():  # at first samples differ little
            last.weight.mul_(0.3)
            total.weight.mul_(0.1)
            total.bias[1] = math.log(math.expm1(FIRST_WIDTH))

    @torch.no_grad()
    def begin_with(self, first: Reverter) -> None:
        """Take the weights of the first network for the encoder, if it is a `sightlines`."""
        if first.network == "sightlines":
            trained: Sightlines = first.sightlines  # type: ignore[assignment]
            self.spectra.load_state_dict(trained.spectra.state_dict())
            self.blocks.load_state_dict(trained.blocks.state_dict())
            self.log_factor.copy_(trained.log_factor)

    def forward(self, observation: Tensor, first: Tensor, latents: Tensor, grain: Tensor) -> Tensor:
        members, first = latents.shape[1], first.float() / self.density_scale.scale
        known = torch.cat([torch.asinh(first), torch.asinh(10.0 * first)], dim=1)  # (n, 2, R', L)
        tokens, log_sums = self.spectra(observation[:, : self.channels])
        tokens = tokens + self.first(known.flatten(1, 2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens)
        of_image = tokens, self.total(tokens).float(), log_sums, known
        tokens, total, log_sums, known = (x.repeat_interleave(members, dim=0) for x in of_image)
        latents, grain = latents.flatten(0, 1), grain.flatten(0, 1)
        own = grain.mean(dim=1) * math.sqrt(self.image_size)  # one normal number for each longitude
        common = (total[..., 2:] * latents[:, None, :OF_TOTALS]).sum(dim=2)
        wide_own, wide_common = self.log_widths.exp()
        factor = FACTOR_GAIN * (total[..., 0] + wide_common * common) + wide_own * F.softplus(total[..., 1]) * own
        tokens = tokens + self.grain(grain.transpose(1, 2))
        for block in self.noisy_blocks:
            tokens = block(tokens, latents[:, None] * self.waves)
        planes = self.leave(tokens).unflatten(2, (PLANES, -1)).permute(0, 2, 3, 1)  # (n M, planes, R', L)
        drawn = planes[:, :1] + self.draw(torch.cat([planes, known, grain[:, None]], dim=1))
        shares = drawn[:, 0].float().softmax(dim=1)  # over distance
        maps = shares * (factor + self.log_factor + log_sums).clamp(max=50.0).exp()[:, None]
        return maps.unflatten(0, (-1, members))


class PosteriorSampler(nn.Module):
    """A sampler with its frozen first network: draws maps from the posterior of an observation.

    The random numbers of a sample depend on `seed`, the key of the observation and the number of the sample alone.
    """

    def __init__(self, first: nn.Module, sampler: Sampler, seed: int) -> None:
        super().__init__()
        self.first, self.sampler, self.seed = first, sampler, seed

    @torch.no_grad()
    def samples(self, observation: Tensor, count: int, keys: Sequence[str]) -> Tensor:
        """(n, C, L, V) and n keys -> (count, n, 1, R', L) densities, in inner units."""
        first, size = self.first(observation), self.sampler.image_size
        numbers, together = [stream_key("samples", self.seed, key) for key in keys], max(1, AT_ONCE // size**2)
        images, parts = [], range(0, count, together)
        for image, map_, number in zip(observation.split(1), first.split(1), numbers, strict=True):
            noise = (noise_of(size, [number], range(k, min(k + together, count))) for k in parts)
            images.append(torch.cat([self.sampler(image, map_, *(x.to(image.device) for x in z))[0] for z in noise]))
        return torch.stack(images, dim=1)[:, :, None]
