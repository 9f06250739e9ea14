"""Networks by name: each a row of modules, from an l-v image to a top-down map, that an image passes one by one."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from iris_cli.errors import UsageError, nearest
from iris_cli.reverter import blocks, unet

#: A network for square images of so many pixels, of that quantity.
Network = Callable[[int, str], dict[str, nn.Module]]


def paper(image_size: int, quantity: str) -> dict[str, nn.Module]:
    """The encoder-decoder of the IRIS paper (arXiv:2607.01338), with fewer stages below 512 pixels."""
    stages = blocks.stages_for(image_size)
    return {"encoder": blocks.encoder(stages), "decoder": blocks.decoder(stages)}


NETWORKS: dict[str, Network] = {"paper": paper, "columns": unet.columns}


def make_network(name: str, image_size: int, quantity: str) -> dict[str, nn.Module]:
    """UsageError for an unknown name, or a size that the network has no table for."""
    if name not in NETWORKS:
        raise UsageError(f"unknown network '{name}'", nearest(name, NETWORKS))
    return NETWORKS[name](image_size, quantity)
