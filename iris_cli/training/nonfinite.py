"""Whether the loss of a step is finite: known at once on the device, and some steps later on the host.

The mark on the device lets a step leave everything unchanged without waiting for its own loss; the copy on the host
stops the run or gives a warning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iris_cli.distributed import World

#: Steps after which the host reads a check. On the CPU the loss is there at once; a GPU works two steps ahead.
STEPS_AHEAD = {"cpu": 0, "cuda": 2}


@dataclass(frozen=True, eq=False)
class FiniteCheck:
    """`skip` () float32 is on the loss's device: 1 when the loss of any rank is not finite, 0 otherwise."""

    skip: Tensor
    _on_host: Tensor
    _copied: torch.cuda.Event | None

    @classmethod
    def of(cls, loss: Tensor, world: World) -> "FiniteCheck":
        """Check this rank's summed `loss` (). A collective over all ranks; on CUDA none waits for its device."""
        own = (~torch.isfinite(loss)).float()
        skip = world.max_tensor(own.clone())
        on_host = torch.stack([own, skip]).to("cpu", non_blocking=True)  # from a GPU into page-locked memory
        copied = torch.cuda.Event() if loss.is_cuda else None
        if copied:
            copied.record()
        return cls(skip, on_host, copied)

    def read(self) -> tuple[bool, bool]:
        """Whether this rank's loss, and that of any rank, is not finite. Waits for that step, not for later ones."""
        if self._copied:
            self._copied.synchronize()
        own, any_rank = self._on_host.tolist()
        return own > 0, any_rank > 0


@torch.no_grad()
def restore_buffers(module: nn.Module, before: list[Tensor], skip: Tensor | None = None) -> None:
    """Set the running statistics to `before`; with `skip`, only where that is 1, decided on the device."""
    for buffer, value in zip(module.buffers(), before, strict=True):
        if skip is None:
            buffer.copy_(value)
        else:
            torch.where(skip > 0, value, buffer, out=buffer)
