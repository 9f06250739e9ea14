"""lv image -> top-down map: the encoder-decoder network of the IRIS paper (arXiv:2607.01338)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iris_cli.errors import UsageError, nearest
from iris_cli.reverter import blocks
from iris_cli.units import INNER, UnitSystem

#: What an observation may measure; the first is what a survey brings.
OBSERVED_QUANTITIES = ("temperature", "intensity", "v_density")


class Reverter(nn.Module):
    """(N, 1, S, S) longitude-velocity images -> (N, 1, S, S) top-down H2 densities, S = `image_size`.

    Both in the units that the network was trained in. It keeps them as buffers (`density`, `temperature`, `intensity`,
    `v_density`: what one SI unit is in them), so that a state dict alone is enough to call it in other units.
    """

    density: Tensor
    temperature: Tensor
    intensity: Tensor
    v_density: Tensor

    def __init__(
        self, image_size: int = 512, quantity: str = "temperature", units: UnitSystem = INNER, seed: int = 0
    ) -> None:
        """UsageError when there is no table for the size, or the quantity is not one that an observer delivers."""
        super().__init__()
        if quantity not in OBSERVED_QUANTITIES:
            raise UsageError(f"a reverter cannot read a '{quantity}'", nearest(quantity, OBSERVED_QUANTITIES))
        self.image_size, self.quantity = image_size, quantity
        stages = blocks.stages_for(image_size)
        self.encoder = blocks.encoder(stages)
        self.decoder = blocks.decoder(stages)
        blocks.initialise(self, torch.Generator().manual_seed(seed))
        for name in ("density", *OBSERVED_QUANTITIES):
            self.register_buffer(name, torch.tensor(units.per_SI(name), dtype=torch.float64))

    def forward(self, observation: Tensor) -> Tensor:
        return self.decoder(self.encoder(observation))

    def multi_unit_call(self, observation: Tensor, input_units: UnitSystem, output_units: UnitSystem) -> Tensor:
        """`forward` for an observation in `input_units`, with the density in `output_units`."""
        to_own = float(getattr(self, self.quantity)) / input_units.per_SI(self.quantity)
        from_own = output_units.per_SI("density") / float(self.density)
        return self(observation * to_own) * from_own
