"""Predictors that need no training, to compare with: other galaxies as samples, the mean map, an empty map."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iris_cli.pairs.stream import PairBatch, PairStream
from shards.order import stream_key
from shards.stream import BadSamples

TRIVIAL = PRIOR, MEAN_MAP, EMPTY_MAP = "prior", "mean map", "empty map"
#: Galaxies that are samples of the prior for a pair, and those from whose maps distances are measured (TARP), at most.
MOST_SAMPLES, MOST_REFERENCES = 32, 8
#: Pixels of the maps that are kept, at most, of which each pair takes its own; at least as many maps as a pair needs.
MOST_PIXELS = 2**24


@dataclass(frozen=True)
class Trivial:
    """The true maps (G, 1, R', L) of G galaxies of a set, a view of each, and the mean map of the training set.

    For a pair, random ones of other galaxies than its own are samples of the prior: what is known without the image.
    Others are its points of reference of TARP. `groups` are the galaxies of all items, `mean_image` is (1, R', L).
    """

    maps: Tensor
    galaxies: tuple[str, ...]
    groups: Sequence[str]
    mean_image: Tensor | None

    @classmethod
    def of(cls, stream: PairStream, mean_image: Tensor | None = None) -> "Trivial":
        """At most as many as are needed, evenly over the set; the same on every rank."""
        first = {name: position for position, name in reversed(list(enumerate(stream.groups)))}
        places, pixels = np.sort(list(first.values())), int(np.prod(stream.pairs.grid.density_shape))
        most = max(1 + MOST_SAMPLES + MOST_REFERENCES, MOST_PIXELS // pixels)
        some = places[np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int)]
        chosen = replace(stream, numbers=stream.numbers[some], rank=0, world=1, batch=1, noise=None, litter=None)
        groups, maps, galaxies = stream.pairs.groups(), [], []
        with closing(replace(chosen, bad=BadSamples(len(some))).epoch()) as batches:
            for batch in batches:
                maps += list(batch.density.double())
                galaxies += [groups[number] for number in batch.ids]
        stacked = torch.stack(maps) if maps else torch.zeros(0, *stream.pairs.grid.density_shape).double()
        return cls(stacked, tuple(galaxies), groups, None if mean_image is None else mean_image.double())

    @property
    def references(self) -> int:
        """Galaxies for TARP, if there are any others."""
        return min(MOST_REFERENCES, len(self.galaxies) // 2)

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> maps of each trivial predictor."""
        samples = max(min(MOST_SAMPLES, len(self.galaxies) - 1 - self.references), 0)
        found = {PRIOR: samples, MEAN_MAP: int(self.mean_image is not None), EMPTY_MAP: 1}
        return {name: size for name, size in found.items() if size}

    def predict(self, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """References (M, n, 1, R', L), and (K, n, 1, R', L) of each trivial predictor."""
        maps = self.maps[torch.tensor([self._others(self.groups[k]) for k in batch.ids], dtype=torch.int64).T]
        empty = batch.density.new_zeros(1, *batch.density.shape).double()
        found = {PRIOR: maps[self.references :], EMPTY_MAP: empty}
        if self.mean_image is not None:
            found[MEAN_MAP] = self.mean_image.expand_as(empty)
        return maps[: self.references], found

    def _others(self, galaxy: str) -> list[int]:
        """References and samples, in random order that depends on the galaxy alone."""
        others = [k for k, name in enumerate(self.galaxies) if name != galaxy]
        dice = np.random.Generator(np.random.Philox(stream_key("other galaxies", galaxy)))
        return dice.permutation(others)[: self.references + self.sizes.get(PRIOR, 0)].tolist()
