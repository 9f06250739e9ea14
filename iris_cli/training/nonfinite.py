"""Whether a step counts: decided where its loss is, and heard of later.

In comes a step's loss on its device; out come a mark there, by which the step leaves everything as it was, and later
the word on the host that stops the run or warns. So no step waits for its own loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from iris_cli.distributed import World
from iris_cli.training.mean_image import MeanImage

#: Steps between a step and the reading of its verdict. On the CPU the loss is known as soon as it is there; a GPU is
#: given two steps to work on meanwhile.
STEPS_AHEAD = {"cpu": 0, "cuda": 2}


@dataclass(frozen=True)
class Verdict:
    """On step number `step`, whose samples on this rank are `ids` with the summed densities `seen`.

    `void` () float32 lies on the loss's device: 1 when the loss of any rank is not finite, 0 otherwise.
    """

    step: int
    ids: list[int]
    seen: MeanImage
    void: Tensor
    _word: Tensor
    _arrived: torch.cuda.Event | None

    @staticmethod
    def on(loss: Tensor, world: World, step: int, ids: list[int], seen: MeanImage) -> Verdict:
        """Of this rank's summed `loss` (); all ranks judge together, and none waits for its device."""
        own = (~torch.isfinite(loss)).float()
        void = world.max_tensor(own.clone())
        word = torch.stack([own, void]).to("cpu", non_blocking=True)  # from a GPU into page-locked memory
        arrived = torch.cuda.Event() if loss.is_cuda else None
        if arrived:
            arrived.record()
        return Verdict(step, ids, seen, void, word, arrived)

    def read(self) -> tuple[bool, bool]:
        """Whether this rank's loss, and that of any rank, was not finite; waits for that step, for none after it."""
        if self._arrived:
            self._arrived.synchronize()
        own, any_rank = self._word.tolist()
        return own > 0, any_rank > 0


@dataclass
class Pending:
    """Verdicts that were not read yet, the oldest first."""

    waiting: deque[Verdict] = field(default_factory=deque)

    def add(self, verdict: Verdict) -> None:
        self.waiting.append(verdict)

    def due(self, ahead: int) -> Iterator[Verdict]:
        """All but the last `ahead`, which they leave."""
        while len(self.waiting) > ahead:
            yield self.waiting.popleft()


@torch.no_grad()
def take_back(module: nn.Module, before: list[Tensor], void: Tensor) -> None:
    """Running statistics become those of `before` if the step is void; decided on the device."""
    for buffer, value in zip(module.buffers(), before, strict=True):
        torch.where(void > 0, value, buffer, out=buffer)
