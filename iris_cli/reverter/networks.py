"""Networks by name: each a row of modules, from an l-v image to a top-down map, that an image passes one by one."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from iris_cli.errors import UsageError, nearest
from iris_cli.reverter.columns import columns
from iris_cli.reverter.paper import paper

#: A network for square images of so many pixels, of that quantity.
Network = Callable[[int, str], dict[str, nn.Module]]


NETWORKS: dict[str, Network] = {"paper": paper, "columns": columns}


def make_network(name: str, image_size: int, quantity: str) -> dict[str, nn.Module]:
    """UsageError for an unknown name, or a size that the network has no table for."""
    if name not in NETWORKS:
        raise UsageError(f"unknown network '{name}'", nearest(name, NETWORKS))
    return NETWORKS[name](image_size, quantity)
