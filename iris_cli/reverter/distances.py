"""Where along the line of sight is the gas that shines at (l, v)? A network on the l-v plane that answers with shares.

The observation goes in, and for each longitude and velocity the shares of the gas in bins of distance come out: a
U-Net on the l-v plane predicts by how much the logarithms of the shares differ from those of the prior, which is where
the gas of all training galaxies at this (l, v) is. P(near) is the sum of the shares in front of the Galactic Centre.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iris_cli.errors import UsageError
from iris_cli.reverter.columns import GROUPS, SCALES, WIDTHS, UNet
from iris_cli.reverter.layers import SIZES, Rebuildable, initialise

#: Initial scales of asinh(image/scale): those of `columns`, and one for the faintest emission.
FAINTER = 0.1
#: The smallest share of a bin in the prior: what no training galaxy has shown is not impossible.
LEAST_SHARE = 1e-3


class Distances(Rebuildable):
    """(N, channels, L, V) observations -> (N, bins, L, V) logarithms of the shares of the gas in each bin of distance.

    Bins ascend with distance. With `moments` every three channels are the means of T, T b/b0 and T (b/b0)^2 of a line.
    The buffer `prior` (bins, L, V) holds the same logarithms for the training galaxies together.
    """

    arguments = ("image_size", "quantity", "bins", "channels", "moments")
    prior: Tensor

    def __init__(
        self, image_size: int, quantity: str, bins: int, channels: int = 1, moments: bool = False, seed: int = 0
    ) -> None:
        """UsageError for a size that is not in SIZES."""
        super().__init__()
        if image_size not in SIZES:
            sizes = ", ".join(map(str, SIZES))
            raise UsageError(f"the network takes square images of {sizes} pixels, not {image_size}")
        self.image_size, self.quantity, self.bins, self.channels = image_size, quantity, bins, channels
        self.moments = moments
        scales = (FAINTER * SCALES[quantity][0], *SCALES[quantity])
        self.log_scale = nn.Parameter(torch.tensor(scales).log())
        lines = channels // 3 if moments else channels
        features = lines * (len(scales) + 3 * moments) + 2
        self.unet = UNet(features, image_size, WIDTHS[0])
        first = nn.Conv2d(WIDTHS[0] + features, 2 * WIDTHS[0], 3, padding=1)
        last = nn.Conv2d(2 * WIDTHS[0], bins, 3, padding=1)
        self.leave = nn.Sequential(first, nn.GroupNorm(GROUPS, 2 * WIDTHS[0]), nn.SiLU(), last)
        self.register_buffer("prior", torch.full((bins, image_size, image_size), 1.0 / bins).log())
        initialise(self, torch.Generator().manual_seed(seed))
        with torch.no_grad():  # at first the answer is nearly the prior
            last.weight.mul_(0.1)

    def forward(self, observation: Tensor) -> Tensor:
        known = self._features(observation.float())
        change = self.leave(torch.cat([self.unet(known), known], dim=1))
        return (self.prior + change.float()).log_softmax(dim=1)

    def _features(self, observation: Tensor) -> Tensor:
        """asinh(image/scale) at several scales, of the moments also height and thickness; longitude and velocity."""
        scales = self.log_scale.exp()[:, None, None]
        found = []
        for line in observation.split(3 if self.moments else 1, dim=1):
            image = line[:, :1]
            found.append(torch.asinh(image / scales))
            if self.moments:
                weight = 1.0 / (image.abs() + scales[0])
                height, square = line[:, 1:2] * weight, line[:, 2:3] * weight
                found += [4.0 * height, 16.0 * (square - height * height), torch.asinh(4.0 * line[:, 1:2] / scales[1])]
        axis = torch.linspace(-1.0, 1.0, self.image_size, device=observation.device)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).expand(len(observation), -1, -1, -1)
        return torch.cat([*found, places], dim=1)

    def set_prior(self, columns: Tensor) -> None:
        """(bins, L, V) sums over the training galaxies of the gas at each (l, v), each galaxy with the same mass.

        Neighbours contribute where there is little gas.
        """
        filled = columns + 1e-3 * F.avg_pool2d(columns[None], 5, 1, 2, count_include_pad=False)[0]
        filled = filled + 1e-9 * columns.sum() / columns[0].numel()
        shares = filled / filled.sum(dim=0)
        shares = (shares + LEAST_SHARE) / (1.0 + LEAST_SHARE * len(shares))
        self.prior.copy_(shares.log())
