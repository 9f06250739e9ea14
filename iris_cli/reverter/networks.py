"""The registry of networks: a name -> the modules that an l-v image passes one after the other to become a map."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from iris_cli.errors import choose
from iris_cli.reverter.columns import columns
from iris_cli.reverter.paper import paper

#: (image size in pixels, observed quantity) -> named modules, in the order in which they are applied.
Network = Callable[[int, str], dict[str, nn.Module]]

NETWORKS: dict[str, Network] = {"paper": paper, "columns": columns}


def make_network(name: str, image_size: int, quantity: str) -> dict[str, nn.Module]:
    """UsageError for an unknown name, or for an image size that the network does not support."""
    return choose("network", name, NETWORKS)(image_size, quantity)
