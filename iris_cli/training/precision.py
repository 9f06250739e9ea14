"""What the network computes in while it learns: float32, or mixed with bfloat16 or float16; eager or compiled.

Weights, gradients, loss and optimizer stay float32, and so does every validation and test: a score does not depend on
the precision that its network was trained in, other than through the weights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from iris_cli.cache import private_folder
from iris_cli.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Forward in `precision`, and the optimizer's step from the gradients that came of it."""

    def __init__(self, precision: str, device: torch.device, *, compiled: bool = False) -> None:
        self.dtype, self.device, self.compiled = DTYPES[precision], device, compiled
        # float16 underflows below 6e-8: the loss is scaled up, and a step whose gradients overflow is left out
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def forward(self, module: nn.Module, image: Tensor, *, usual_size: bool) -> Tensor:
        """The module's prediction, float32. A batch of another size than usual is not worth a compilation."""
        with self.eager() if self.compiled and not usual_size else nullcontext(), self._mixed():
            return module(image).float()

    def eager(self) -> AbstractContextManager[Any]:
        """Within it, a compiled module runs as it was written."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def _mixed(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def update(self, optimizer: Optimizer, clip: float, void: Tensor) -> None:
        """A step; with `clip` > 0, gradients longer than that are shortened to it.

        Where `void` (() float32 on the device) is 1, neither weights nor the optimizer's state change by a bit; only
        float16's scale falls, as it does after an overflow.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.scaler.is_enabled():
            _spoil(parameters, void)
        if clip > 0:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip)
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif _looks(optimizer):
            with _unless(optimizer, void):
                optimizer.step()
        elif not void:  # waits for the device
            optimizer.step()


def _looks(optimizer: Optimizer) -> bool:
    """Whether it leaves a step out by itself, as torch's fused ones do: torch's own mark for its scaler."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


@contextmanager
def _unless(optimizer: Any, void: Tensor) -> Iterator[None]:
    """A fused optimizer's own way to leave a step out: it looks at `found_inf` on the device."""
    optimizer.found_inf = void
    try:
        yield
    finally:
        del optimizer.found_inf


def _spoil(parameters: Iterable[nn.Parameter], void: Tensor) -> None:
    """Make one gradient NaN if the step is void: the scaler of float16 believes what it sees in gradients alone."""
    grad = next(p.grad for p in parameters if p.grad is not None)
    grad[(0,) * grad.dim()].add_(torch.where(void > 0, torch.nan, 0.0))


def compile_in_place(module: nn.Module, device: torch.device) -> None:
    """Compile a module's forward; its parameters keep their names. UsageError without a C++ compiler on the CPU."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "c++"))):
        raise UsageError("--compile needs a C++ compiler, and there is none", "install g++, or leave it out")
    if folder := private_folder("inductor"):  # rather than torch's own, whose name in /tmp anybody can guess
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    module.compile(dynamic=False)
