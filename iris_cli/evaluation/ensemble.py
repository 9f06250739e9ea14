"""What predicts maps: several networks, or one, and the samplers that were trained on top of them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from iris_cli.errors import DataError
from iris_cli.reverter.reverter import Reverter

#: Names of predictors: the first network alone, the maps of all networks, the samples of all samplers.
NETWORK, ENSEMBLE, SAMPLES = "network", "ensemble", "samples"


class Sampler(Protocol):
    """Draws maps from a posterior. The random numbers of a sample depend on the sampler's seed, the key and the number
    of the sample alone.
    """

    def samples(self, observation: Tensor, count: int, keys: Sequence[str]) -> Tensor:
        """(n, C, L, V) and n keys -> (count, n, 1, R', L) densities in inner units."""


class Ensemble(nn.Module):
    """(N, C, L, V) -> (K, N, 1, R', L): the prediction of each network. A single network is an ensemble of one.

    `samplers` are those of all networks, or of none; `predict` draws `count` maps with each.
    """

    def __init__(self, members: Sequence[Reverter], samplers: Sequence[Sampler] = (), count: int = 64) -> None:
        """DataError unless all members take images of one size, quantity and number."""
        super().__init__()
        first = members[0]
        for number, member in enumerate(members[1:], start=2):
            for what in ("image_size", "quantity", "channels"):
                one, other = getattr(first, what), getattr(member, what)
                if one != other:
                    hint = "all members of an ensemble take the same images"
                    raise DataError(f"members 1 and {number} differ in {what}: {one} and {other}", hint)
        self.members = nn.ModuleList(members)
        self.samplers = nn.ModuleList(samplers)  # type: ignore[arg-type]
        self.count = count
        self.image_size, self.quantity, self.channels = first.image_size, first.quantity, first.channels

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> maps of each predictor, the best one last."""
        sizes = {NETWORK: 1} | ({ENSEMBLE: len(self)} if len(self) > 1 else {})
        return sizes | ({SAMPLES: len(self.samplers) * self.count} if self.samplers else {})

    def on(self, device: torch.device) -> "Ensemble":
        """Move each member to a device, in the memory format that is fastest there; returns itself."""
        for member in self.members:
            member.on(device)  # type: ignore[operator]
        self.samplers.to(device)
        return self

    def forward(self, observation: Tensor) -> Tensor:
        return torch.stack([member(observation) for member in self.members])

    def predict(self, observation: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
        """(K, n, 1, R', L) of each predictor, see `sizes`; the samples of the first sampler, of the second, …"""
        maps = self(observation)
        found = {NETWORK: maps[:1]} | ({ENSEMBLE: maps} if len(self) > 1 else {})
        if self.samplers:
            drawn = [one.samples(observation, self.count, keys) for one in self.samplers]  # type: ignore[operator]
            found[SAMPLES] = torch.cat(drawn)
        return found
