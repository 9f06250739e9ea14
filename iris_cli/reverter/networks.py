"""The registry of networks: a name -> the modules that an l-v image passes one after the other to become a map."""

from collections.abc import Callable

import torch
from torch import nn

from iris_cli.errors import IrisError, UsageError
from iris_cli.plugins import find
from iris_cli.reverter.columns import columns
from iris_cli.reverter.layers import initialise
from iris_cli.reverter.paper import paper
from iris_cli.reverter.sightlines import sightlines

#: (image size in pixels, observed quantity, channels) -> a module, or named modules in the order in which they are
#: applied. The class of a module is one, too.
Network = Callable[[int, str, int], nn.Module | dict[str, nn.Module]]

NETWORKS: dict[str, Network] = {"sightlines": sightlines, "columns": columns, "paper": paper}

#: Networks that read all images of an observation; the others read the first. A network of another package has an
#: attribute `several_channels = True` instead.
SEVERAL_CHANNELS = ("sightlines",)


def network_named(name: str) -> Network:
    """UsageError when there is no such network, or its module may not or cannot be imported (`plugins`)."""
    return find("network", name, NETWORKS)


def name_of(network: str | Network) -> str:
    """The name of a network that a program gives as an object: MODULE:NAME, by which the program finds it again."""
    if isinstance(network, str):
        return network
    if not callable(network):
        raise UsageError(f"network = {network!r}; it must be a name, or a class derived from torch.nn.Module")
    name = f"{network.__module__}:{network.__qualname__}"
    NETWORKS[name] = network
    return name


def reads_several(name: str) -> bool:
    """Whether a network reads all images of an observation."""
    return name in SEVERAL_CHANNELS or getattr(network_named(name), "several_channels", False) is True


def make_network(name: str, image_size: int, quantity: str, channels: int, seed: int) -> dict[str, nn.Module]:
    """Named modules with initial weights that depend on the seed alone.

    UsageError for an unknown name, and for an image size or a number of channels that the network does not take.
    """
    if channels > 1 and not reads_several(name):
        raise UsageError(f"the network '{name}' reads one image, not {channels}", "choose --network sightlines")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _made(name, image_size, quantity, channels)
    if isinstance(made, nn.Module):
        return {"own": made}  # with the initial weights of its constructor
    generator = torch.Generator().manual_seed(seed)
    for part in made.values():
        initialise(part, generator)
    return made


def _made(name: str, image_size: int, quantity: str, channels: int) -> nn.Module | dict[str, nn.Module]:
    network, hint = network_named(name), "it is called with (image_size, quantity, channels)"
    if network.__module__.startswith("iris_cli."):
        return network(image_size, quantity, channels)
    try:
        made = network(image_size, quantity, channels)
    except IrisError:
        raise
    except Exception as error:
        what = f"the network {name} cannot be made for images of {image_size} x {image_size} pixels"
        raise UsageError(f"{what}: {type(error).__name__}: {error}", hint) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"the network {name} is a {type(made).__name__}, not a torch.nn.Module", hint)
    return made
