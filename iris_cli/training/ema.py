"""A running mean of the weights while they are learned: less noisy than the last step's, at no cost in gradients."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class EMA:
    """Exponential mean over steps, w <- decay w + (1 - decay) new; running statistics are those of the last step."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        #: The network with mean weights.
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay
        self._steps = torch.zeros((), dtype=torch.int64, device=next(module.parameters()).device)

    @property
    def steps(self) -> int:
        return int(self._steps)

    @torch.no_grad()
    def add(self, module: nn.Module, void: Tensor) -> None:
        """After a step, unless it is `void` (() float32, 1 or 0): on the device. The first is taken as it is."""
        weight = torch.where(self._steps == 0, 1.0, 1.0 - self.decay) * (1.0 - void)
        for mean, new in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(new, weight)  # to the bit `mean` where the weight is 0, and `new` where it is 1
        for kept, last in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(last)
        self._steps += (1.0 - void).long()

    def go_on(self, weights: dict[str, Tensor], steps: int) -> None:
        self.module.load_state_dict(weights)
        self._steps.fill_(steps)
