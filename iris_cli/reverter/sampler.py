"""The sampler: a second network that turns an l-v image, the first network's map of it and noise into one map.

The first network predicts one map; many maps fit an image. The sampler is trained by proper scores
(`iris_cli.evaluation.sampler_loss`), so that each draw of the noise gives another of these maps, in one pass. It is a
transformer whose tokens are longitudes, like `sightlines`. A sample is made of shares over distance, which add up to
one at each longitude, times the total of each longitude. The image determines this total of thin gas up to a few per
cent; of thick gas it leaves a wide distribution, which is learned as well: the total is the image's sum over velocity
times a factor that depends on the noise.

The first blocks see no noise, so that they are computed once for all samples of an image. Then noise enters: 32 numbers
scale and shift the channels of each further block (FiLM, Perez et al. 2018, arXiv:1709.07871), the same at all
longitudes, and each longitude has S numbers of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.reverter.columns import SCALES
from iris_cli.reverter.layers import DensityScale, check_size, initialise, on_device
from iris_cli.reverter.sightlines import FACTOR_GAIN, WIDTHS, Block, Spectra
from shards.order import stream_key

#: Numbers of noise that scale and shift channels.
LATENTS = 32
#: Blocks before and after the noise enters.
KNOWN, DRAWN = 2, 3
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


class NoisyBlock(nn.Module):
    """A block whose result is scaled and shifted by noise: (N, L, D), (N, 32) -> (N, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block, self.film = Block(width), nn.Linear(LATENTS, 2 * width)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        scale, shift = (0.3 * self.film(latents))[:, None].chunk(2, dim=2)
        return self.block(tokens) * (1.0 + scale) + shift


class Sampler(nn.Module):
    """M maps (n, M, S, S) of each image (n, C, S, S).

    The other inputs are first maps (n, 1, S, S) and noise (n, M, 32) and (n, M, S, S). Images and maps are in the units
    of the first network; `digest` identifies its weights.
    """

    def __init__(self, image_size: int, quantity: str, digest: str, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        check_size(image_size)
        self.image_size, self.quantity, self.digest, self.channels = image_size, quantity, digest, channels
        width, scale = WIDTHS[image_size], SCALES[quantity][1]
        self.spectra, self.density_scale = Spectra(channels, image_size, scale, width), DensityScale()
        self.first = nn.Linear(2 * image_size, width)
        self.known = nn.ModuleList(Block(width) for _ in range(KNOWN))
        self.grain = nn.Linear(image_size, width)
        self.drawn = nn.ModuleList(NoisyBlock(width) for _ in range(DRAWN))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, image_size + 1)
        #: ln(density summed over distance / image summed over velocity); pixels are about as many pc as km/s.
        self.log_factor = nn.Parameter(torch.tensor(math.log(SCALES["v_density"][1] / scale)))
        initialise(self, torch.Generator().manual_seed(seed))

    def forward(self, image: Tensor, first: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
        members = latents.shape[1]
        tokens, log_sums = self.spectra(image[:, : self.channels])
        lines = (first.float() / self.density_scale.scale)[:, 0].transpose(1, 2)  # (n, L, R')
        tokens = tokens + self.first(torch.cat([torch.asinh(lines), torch.asinh(10.0 * lines)], dim=2))
        for block in self.known:
            tokens = block(tokens)
        tokens = tokens.repeat_interleave(members, dim=0) + self.grain(noise.flatten(0, 1))
        for block in self.drawn:
            tokens = block(tokens, latents.flatten(0, 1))
        x = self.leave(self.norm(tokens)).float()
        weights, log_sums = F.softplus(x[..., :-1]), log_sums.repeat_interleave(members, dim=0)
        total = (FACTOR_GAIN * x[..., -1] + self.log_factor + log_sums).clamp(max=50.0).exp()
        maps = weights / (weights.sum(dim=2, keepdim=True) + 1e-6) * total[..., None]
        return maps.transpose(1, 2).unflatten(0, (-1, members))

    def on(self, device: torch.device) -> Sampler:
        on_device(self, device)
        return self

    def table(self) -> dict[str, Any]:
        """The arguments for `Sampler(**table)` to build the same network, without its weights."""
        return {name: getattr(self, name) for name in ("image_size", "quantity", "digest", "channels")}


class PosteriorSampler(nn.Module):
    """A sampler with its frozen first network: draws maps from the posterior of an image.

    The random numbers of a sample depend on `seed`, the key of the image and the number of the sample alone.
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
