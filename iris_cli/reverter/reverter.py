"""The reverter: l-v image -> top-down map, a network together with its units."""

import torch
from torch import Tensor

from iris_cli.errors import UsageError, nearest
from iris_cli.reverter.layers import DensityScale, Rebuildable
from iris_cli.reverter.networks import Network, make_network, name_of
from iris_cli.units import INNER, UnitSystem

#: Quantities that an observation may measure; surveys deliver the first one.
OBSERVED_QUANTITIES = ("temperature", "intensity", "v_density")


class Reverter(Rebuildable):
    """(N, channel, S, S) longitude-velocity images -> (N, 1, S, S) top-down H2 densities, S = `image_size`.

    The first `channels` images are read: one of each line, or the moments in latitude of each. Only some networks
    (`networks.reads_several`) can read more than the first image.

    Both are in the units that the network was trained in. The buffers `density`, `temperature`, `intensity` and
    `v_density` hold the value of one SI unit in these units, so a state dict alone is enough to call the network in
    other units.
    """

    arguments = ("image_size", "quantity", "network", "channels")
    density: Tensor
    temperature: Tensor
    intensity: Tensor
    v_density: Tensor

    def __init__(
        self,
        image_size: int = 512,
        quantity: str = "temperature",
        units: UnitSystem = INNER,
        seed: int = 0,
        network: str | Network = "sightlines",
        channels: int = 1,
    ) -> None:
        """`network` is a name, or the class or function of a network itself.

        UsageError when no such network exists for this size, or no observer delivers the quantity.
        """
        super().__init__()
        if quantity not in OBSERVED_QUANTITIES:
            raise UsageError(f"a reverter cannot read a '{quantity}'", nearest(quantity, OBSERVED_QUANTITIES))
        self.image_size, self.quantity, self.network, self.channels = image_size, quantity, name_of(network), channels
        parts = make_network(self.network, image_size, quantity, channels, seed)
        self._parts = tuple(parts)
        for name, part in parts.items():
            self.add_module(name, part)
        for name in ("density", *OBSERVED_QUANTITIES):
            self.register_buffer(name, torch.tensor(units.per_SI(name), dtype=torch.float64))

    def forward(self, observation: Tensor) -> Tensor:
        """UsageError when the network returns another shape, with which the loss would be another one."""
        image = observation[:, : self.channels]
        for name in self._parts:
            image = getattr(self, name)(image)
        wanted = (len(observation), 1, self.image_size, self.image_size)
        if image.shape != wanted:
            what = f"the network {self.network} returns maps of shape {tuple(image.shape)}, not {wanted}"
            raise UsageError(what, "it has to return (N, 1, distance, longitude)")
        return image

    def set_density_scale(self, density_kg_m3: float) -> None:
        """Give the outputs of a network that is yet to be trained the scale of the loss, if they have a scale."""
        for part in self.modules():
            if isinstance(part, DensityScale):
                part.scale.fill_(density_kg_m3 * float(self.density))

    def multi_unit_call(self, observation: Tensor, input_units: UnitSystem, output_units: UnitSystem) -> Tensor:
        """`forward` for an observation in `input_units`; returns the density in `output_units`."""
        to_own = float(getattr(self, self.quantity)) / input_units.per_SI(self.quantity)
        from_own = output_units.per_SI("density") / float(self.density)
        return self(observation * to_own) * from_own
