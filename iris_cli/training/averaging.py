"""A running mean of the weights while they are learned: less noisy than the last step's, at no cost in gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class RunningMean:
    """Exponential mean over steps, w <- decay w + (1 - decay) new; running statistics are those of the last step."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def module(self) -> nn.Module:
        """The network with mean weights."""
        return self._averaged.module

    @property
    def steps(self) -> int:
        return int(self._averaged.n_averaged)

    def add(self, module: nn.Module) -> None:
        """After a step."""
        self._averaged.update_parameters(module)

    def go_on(self, weights: dict[str, Tensor], steps: int) -> None:
        self.module.load_state_dict(weights)
        self._averaged.n_averaged = torch.tensor(steps)
