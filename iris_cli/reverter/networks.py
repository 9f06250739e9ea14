"""The registry of networks: a name -> the modules that an l-v image passes one after the other to become a map."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from iris_cli.errors import UsageError, choose
from iris_cli.reverter.columns import columns
from iris_cli.reverter.paper import paper
from iris_cli.reverter.sightlines import sightlines

#: (image size in pixels, observed quantity, channels) -> named modules, in the order in which they are applied.
Network = Callable[[int, str, int], dict[str, nn.Module]]

NETWORKS: dict[str, Network] = {"paper": paper, "columns": columns, "sightlines": sightlines}


#: Networks that read all images of an observation; the others read the first.
SEVERAL_CHANNELS = ("sightlines",)


def make_network(name: str, image_size: int, quantity: str, channels: int = 1) -> dict[str, nn.Module]:
    """UsageError for an unknown name, and for an image size or a number of channels that the network does not take."""
    if channels > 1 and name not in SEVERAL_CHANNELS:
        raise UsageError(f"the network '{name}' reads one image, not {channels}", "choose --network sightlines")
    return choose("network", name, NETWORKS)(image_size, quantity, channels)
