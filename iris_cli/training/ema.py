"""Exponential moving average (EMA) of the weights during training: less noisy than the weights of the last step."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class EMA:
    """w <- w + max(1 - decay, 10/(10 + steps)) (new - w). Running statistics are copied from the last step.

    At first the average is over about the last tenth of the steps, so that a short training does not keep its first
    weights (Karras et al. 2024, arXiv:2312.02696).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        #: The network with averaged weights.
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay
        self._steps = torch.zeros((), dtype=torch.int64, device=next(module.parameters()).device)

    @property
    def steps(self) -> int:
        """Number of steps in the average."""
        return int(self._steps)

    @torch.no_grad()
    def update(self, module: nn.Module, skip: Tensor) -> None:
        """Add the weights after a step, unless `skip` (() float32 on the device) is 1. The first ones are copied."""
        weight = (10.0 / (10.0 + self._steps)).clamp(min=1.0 - self.decay) * (1.0 - skip)
        for mean, new in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(new, weight)  # bit for bit `mean` where the weight is 0, and `new` where it is 1
        for kept, last in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(last)
        self._steps += (1.0 - skip).long()

    def load(self, weights: dict[str, Tensor], steps: int) -> None:
        """Continue an average of `steps` steps."""
        self.module.load_state_dict(weights)
        self._steps.fill_(steps)
