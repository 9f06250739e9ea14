"""Numerical precision of the training: float32, or mixed with bfloat16 or float16; eager or compiled.

Weights, gradients, loss and optimizer stay float32, and so do validation and test: a score depends on the precision of
the training only through the weights.
"""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from iris_cli.cache import private_folder
from iris_cli.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Forward pass, backward pass and optimizer step in a precision: "fp32", "bf16" or "fp16"."""

    def __init__(self, name: str, device: torch.device, *, compiled: bool = False) -> None:
        self.dtype, self.device, self.compiled = DTYPES[name], device, compiled
        # float16 underflows below 6e-8: the loss is scaled up, and a step whose gradients overflow is skipped
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def forward(self, module: nn.Module, *inputs: Tensor, usual_size: bool) -> Tensor:
        """The module's prediction, float32. A batch of another size than usual is not compiled for."""
        cast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)
        with nullcontext() if usual_size else self.eager(), cast:
            return module(*inputs).float()

    def eager(self) -> AbstractContextManager[Any]:
        """A block in which a compiled module runs eagerly."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def update(self, optimizer: Any, clip: float, skip: Tensor) -> None:
        """Take an optimizer step; with `clip` > 0, gradients longer than that are shortened to it.

        Where `skip` (() float32 on the device) is 1, weights and optimizer state keep every bit; only the scale of
        float16 falls, as it does after an overflow.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.scaler.is_enabled():  # it checks the gradients alone: one becomes NaN where `skip` is 1
            grad = next(p.grad for p in parameters if p.grad is not None)
            grad[(0,) * grad.dim()].add_(torch.where(skip > 0, torch.nan, 0.0))
        if clip > 0:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip)
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif getattr(optimizer, "_step_supports_amp_scaling", False):  # a fused one reads `found_inf` on the device
            optimizer.found_inf = skip
            try:
                optimizer.step()
            finally:
                del optimizer.found_inf
        elif not skip:  # waits for the device
            optimizer.step()


def compile_in_place(module: nn.Module, device: torch.device) -> None:
    """Compile a module's forward; its parameters keep their names. UsageError without a C++ compiler on the CPU."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "c++"))):
        raise UsageError("--compile needs a C++ compiler, and none was found", "install g++, or omit --compile")
    if folder := private_folder("inductor"):  # torch's own folder in /tmp has a name that any user can predict
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    module.compile(dynamic=False)
