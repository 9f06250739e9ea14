"""The sampler: a second network that turns an l-v image, the first network's map of it and noise into one map.

The first network predicts one map; many maps fit an image. The sampler is trained by proper scores
(`iris_cli.evaluation.sampler_loss`), so that each draw of the noise gives another of these maps, in one pass. A sample
is made of shares over distance, which are positive and add up to one at each longitude, times the total of each
longitude. The image determines this total of thin gas up to a few per cent; of thick gas it leaves a wide distribution,
which is learned as well: the total is the image's sum over velocity times a factor that depends on the noise.

The encoder sees no noise, so that it runs once for all samples of an image. The noise enters the decoder: 32 numbers
scale and shift the channels of each block (FiLM, Perez et al. 2018, arXiv:1709.07871), and a noise image is one more
channel at each size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.reverter.columns import GROUPS, MAX_ATTENDED, SCALES, WIDTHS, Asinh, Block, doubled
from iris_cli.reverter.layers import DensityScale, PixelAttention, initialise, on_device
from shards.order import stream_key

#: Numbers of noise that scale and shift channels.
LATENTS = 32
#: Pixels of the samples that are drawn together.
AT_ONCE = 2**20
#: A longitude's sum over velocity counts as at least this share of the image's mean sum.
FAINTEST = 1e-3


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
    """`Block` whose inner channels are scaled and shifted by noise: (N, C, H, W), (N, 32) -> (N, C', H, W)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.norm = nn.GroupNorm(GROUPS, out, affine=False)
        self.film = nn.Linear(LATENTS, 2 * out)
        self.after = nn.Sequential(nn.SiLU(), nn.Conv2d(out, out, 3, padding=1))
        self.across = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        scale, shift = self.film(latents)[:, :, None, None].chunk(2, dim=1)
        return self.across(image) + self.after(self.norm(self.before(image)) * (1.0 + scale) + shift)


class Sampler(nn.Module):
    """M maps (n, M, S, S) of each image (n, channel, S, S), of which the first channel is used.

    The other inputs are first maps (n, 1, S, S) and noise (n, M, 32) and (n, M, S, S). Images and maps are in the units
    of the first network; `digest` identifies its weights.
    """

    def __init__(self, image_size: int, quantity: str, digest: str, seed: int = 0) -> None:
        super().__init__()
        self.image_size, self.quantity, self.digest = image_size, quantity, digest
        pixels = [image_size >> k for k in range(1, image_size.bit_length() - 2)]  # S/2, S/4, ... 4
        widths = WIDTHS[: len(pixels)]
        scales = SCALES[quantity]
        self.asinh, self.density_scale = Asinh(scales), DensityScale()
        self.enter = nn.Conv2d(len(scales) + 4, widths[0], 4, stride=2, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(Block(w, w), PixelAttention(w)) if p <= MAX_ATTENDED else Block(w, w)
            for w, p in zip(widths, pixels, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.bottom = NoisyBlock(widths[-1], widths[-1])
        self.up = nn.ModuleList(doubled(b, a) for a, b in pairwise(widths))
        self.mix = nn.ModuleList(nn.Conv2d(1, w, 1, bias=False) for w in widths)
        self.join = nn.ModuleList(NoisyBlock(2 * w, w) for w in widths[:-1])
        self.last = NoisyBlock(widths[0], widths[0])
        self.leave = nn.Conv2d(widths[0] + 3, widths[0], 3, padding=1)
        self.output = nn.Conv2d(widths[0], 2, 3, padding=1)
        #: ln(density summed over distance / image summed over velocity); pixels are about as many pc as km/s.
        self.log_factor = nn.Parameter(torch.tensor(SCALES["v_density"][1] / scales[1]).log())
        initialise(self, torch.Generator().manual_seed(seed))
        with torch.no_grad():  # at first all samples are nearly the same even map
            self.output.weight.mul_(0.1)

    def forward(self, image: Tensor, first: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
        image, members = image[:, :1], latents.shape[1]
        known, kept = self._encode(image, first)
        log_total = self._log_total(image)

        def each(x: Tensor) -> Tensor:
            return x.repeat_interleave(members, dim=0)

        z, grain = latents.flatten(0, 1), noise.flatten(0, 1)[:, None]
        grains = [grain * 1.0]
        for _ in kept:
            grains.append(2.0 * F.avg_pool2d(grains[-1], 2))  # of unit variance again
        x = self.bottom(each(kept[-1]) + self.mix[-1](grains[-1]), z)
        for k in reversed(range(len(self.up))):
            x = self.join[k](torch.cat([self.up[k](x) + self.mix[k](grains[k + 1]), each(kept[k])], dim=1), z)
        x = F.interpolate(self.last(x, z), scale_factor=2.0, mode="nearest")
        x = self.output(F.silu(self.leave(torch.cat([x, each(known), grains[0]], dim=1)))).float()
        shares, factor = x[:, 0].softmax(dim=1), x[:, 1].mean(dim=1)  # over distance
        maps = shares * (each(log_total) + factor).clamp(max=50.0).exp()[:, None]
        return maps.unflatten(0, (-1, members))

    def _encode(self, image: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The first map at two scales (n, 2, S, S), and features of the image at S/2, S/4 ... 4 pixels across."""
        first = first.float() / self.density_scale.scale
        known = torch.cat([torch.asinh(first), torch.asinh(10.0 * first)], dim=1)
        line = torch.linspace(-1.0, 1.0, self.image_size, device=image.device)
        places = torch.stack(torch.meshgrid(line, line, indexing="ij")).expand(len(image), -1, -1, -1)
        x, kept = self.enter(torch.cat([self.asinh(image), known, places], dim=1)), []
        for level, down in zip(self.levels, self.down, strict=False):
            kept.append(level(x))
            x = down(kept[-1])
        return known, [*kept, self.levels[-1](x)]

    def _log_total(self, image: Tensor) -> Tensor:
        """(n, L) ln of the density's sum over distance, as the image's sum over velocity has it for thin gas."""
        sums = image.float().sum(dim=3).squeeze(1)
        floor = FAINTEST * sums.clamp(min=0.0).mean(dim=1, keepdim=True) + 1e-30
        return torch.maximum(sums, floor).log() + self.log_factor

    def on(self, device: torch.device) -> Sampler:
        on_device(self, device)
        return self

    def table(self) -> dict[str, Any]:
        """The arguments for `Sampler(**table)` to build the same network, without its weights."""
        return {"image_size": self.image_size, "quantity": self.quantity, "digest": self.digest}


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
        for image, map_, number in zip(observation[:, :1].split(1), first.split(1), numbers, strict=True):
            noise = (noise_of(size, [number], range(k, min(k + together, count))) for k in parts)
            images.append(torch.cat([self.sampler(image, map_, *(x.to(image.device) for x in z))[0] for z in noise]))
        return torch.stack(images, dim=1)[:, :, None]
