"""Several networks as one: trained on the same data with different seeds, their spread measures their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iris_cli.errors import DataError
from iris_cli.reverter.reverter import Reverter


class Ensemble(nn.Module):
    """(N, 1, L, V) -> (K, N, 1, R', L): the prediction of each member. A single network is an ensemble of one."""

    def __init__(self, members: Sequence[Reverter]) -> None:
        """DataError unless all members take images of one size and quantity."""
        super().__init__()
        first = members[0]
        for number, member in enumerate(members[1:], start=2):
            for what in ("image_size", "quantity"):
                one, other = getattr(first, what), getattr(member, what)
                if one != other:
                    hint = "all members of an ensemble take the same images"
                    raise DataError(f"members 1 and {number} differ in {what}: {one} and {other}", hint)
        self.members = nn.ModuleList(members)
        self.image_size, self.quantity = first.image_size, first.quantity

    def __len__(self) -> int:
        return len(self.members)

    def on(self, device: torch.device) -> Ensemble:
        """Move each member to a device, in the memory format that is fastest there; returns itself."""
        for member in self.members:
            member.on(device)  # type: ignore[operator]
        return self

    def forward(self, observation: Tensor) -> Tensor:
        return torch.stack([member(observation) for member in self.members])
